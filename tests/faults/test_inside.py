"""Faults inside a pod: which container is put where, what proves it, and what is refused beforehand."""

from dataclasses import replace

import pytest
from scenes import COUNTED, pod, scene

from harness.changes import Attach, Create
from harness.errors import HarnessError
from harness.faults import BlastRadius, OnEach, PodKill, ProxyKill, Recorded, Restarted, Running, Stress

IMAGE = "docker.io/istio/proxyv2:1.30.3"
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsGroup": 1337,
    "runAsNonRoot": True,
    "runAsUser": 1337,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def _here(**different):
    counts = {"app": 1, "istio-proxy": 2}
    pods = (
        pod(number, proxy_image=IMAGE, restarts=counts, program="app", **different) for number in range(3)
    )
    return scene(*pods, attaching=True)


def test_a_proxy_is_asked_to_end_from_within_its_pod():
    """Golden: its own image, which the node has, and as few rights as the strictest namespace asks for."""
    [change] = ProxyKill().changes(_here())
    [victim] = PodKill().pods(_here())
    assert change == Attach(
        victim.ref,
        {
            "name": "harness-20260102-abc-proxy-kill",
            "image": IMAGE,
            "args": ["request", "POST", "quitquitquit"],
            "imagePullPolicy": "IfNotPresent",
            "securityContext": RESTRICTED,
        },
        15.0,
    )


def test_the_evidence_of_a_killed_proxy_is_its_restart_and_that_of_nothing_else():
    """Counts from before, for it may have been started again before."""
    evidence = ProxyKill(2).evidence(_here())
    assert evidence == Restarted(
        "istio-proxy", {one.uid: {"app": 1, "istio-proxy": 2} for one in PodKill(2).pods(_here())}, COUNTED
    )
    assert evidence.momentary
    assert ProxyKill(2).harm(_here()) == pytest.approx(200 / 3)


def test_stress_is_a_container_that_ends_by_itself():
    """Golden."""
    fault = Stress(cpu=2, load=80, memory_mib=64, seconds=20, percent=70)
    changes = fault.changes(_here())
    assert [change.ref for change in changes] == [one.ref for one in PodKill(2).pods(_here())]
    assert {change.seconds for change in changes} == {20.0}
    assert changes[0].container == {
        "name": "harness-20260102-abc-stress",
        "image": "alexeiled/stress-ng:latest",
        "args": [
            *("--cpu", "2", "--cpu-load", "80"),
            *("--vm", "1", "--vm-bytes", "64M", "--vm-keep"),
            *("--timeout", "20s"),
        ],
        "imagePullPolicy": "IfNotPresent",
        "securityContext": RESTRICTED,
    }
    assert fault.evidence(_here()) == OnEach(PodKill(2).pods(_here()), Running("harness-20260102-abc-stress"))


def test_chaos_mesh_makes_the_stress_where_it_is():
    """Golden: in the program's own control group, at these pods only, with its end in it."""
    fault = Stress(cpu=2, load=80, memory_mib=64, seconds=20, percent=70)
    where = replace(_here(), kinds=fault.needs.kinds, attaching=False)
    [change] = fault.changes(where)
    assert isinstance(change, Create)
    victims = [one.name for one in PodKill(2).pods(where)]
    assert (change.manifest["apiVersion"], change.manifest["kind"]) == (
        "chaos-mesh.org/v1alpha1",
        "StressChaos",
    )
    assert change.manifest["spec"] == {
        "mode": "all",
        "selector": {"namespaces": ["shop"], "pods": {"shop": victims}},
        "containerNames": ["app"],
        "stressors": {"cpu": {"workers": 2, "load": 80}, "memory": {"workers": 1, "size": "64MiB"}},
        "duration": "20000ms",
    }
    assert change.manifest["metadata"]["finalizers"] == ["chaos-mesh/records"]
    assert fault.evidence(where) == OnEach(PodKill(2).pods(where), Recorded(change.ref), within=15.0)
    [only] = Stress(seconds=20).changes(where)
    assert only.manifest["spec"]["stressors"] == {"cpu": {"workers": 1, "load": 100}}
    gateway = replace(where, pods=(pod(0),))
    assert "containerNames" not in Stress(seconds=20).changes(gateway)[0].manifest["spec"]


@pytest.mark.parametrize(
    ("fault", "end"), [(ProxyKill(), "1.25."), (Stress(), "1.25, or install Chaos Mesh.")], ids=str
)
def test_where_nothing_can_be_put_into_pods_it_is_refused(fault, end):
    """Before anything is done, with what it takes."""
    with pytest.raises(HarnessError, match=r"cannot be had at shop/payments: .* no ephemeral") as refused:
        BlastRadius(max_pods=3).check(fault, replace(_here(), attaching=False))
    assert str(refused.value).endswith(end)


def test_stress_that_nobody_could_end_in_time_is_refused():
    """Its seconds are the least that it is in force."""
    BlastRadius(seconds=30).check(Stress(seconds=30), _here())
    with pytest.raises(
        HarnessError, match=r"would last for 31 s, whatever happens; the blast radius allows 30 s"
    ):
        BlastRadius(seconds=30).check(Stress(seconds=31), _here())


def test_a_pod_without_a_proxy_has_none_to_kill():
    """Named."""
    with pytest.raises(HarnessError, match="no sidecar in payments-0, payments-1, payments-2"):
        ProxyKill().changes(_here(sidecar=False))


@pytest.mark.parametrize("fault", [ProxyKill(), Stress()], ids=str)
def test_what_is_put_into_pods_needs_a_cluster_that_lets_it(fault):
    """Resolved before anything else."""
    assert fault.needs.attaching
    assert not PodKill().needs.attaching


@pytest.mark.parametrize(
    "make",
    [
        lambda: ProxyKill(0),
        lambda: ProxyKill(percent=0),
        lambda: Stress(cpu=0),
        lambda: Stress(cpu=-1),
        lambda: Stress(load=101),
        lambda: Stress(seconds=0),
        lambda: Stress(count=0),
        lambda: Stress(count=2, percent=50),
    ],
)
def test_what_cannot_be_is_refused(make):
    """It would do nothing, or never end."""
    with pytest.raises(HarnessError, match=r"ProxyKill|Stress"):
        make()


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (ProxyKill(), "kill the proxy of 1 pod"),
        (ProxyKill(percent=50), "kill the proxy of 50% of the pods"),
        (Stress(), "stress cpu 1x100% in 1 pod"),
        (Stress(cpu=0, memory_mib=64, count=2), "stress memory 64 MiB in 2 pods"),
    ],
)
def test_a_fault_has_a_short_and_stable_name(fault, text):
    """It is the id of a test."""
    assert str(fault) == text
