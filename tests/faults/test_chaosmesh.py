"""Faults that Chaos Mesh makes: objects, evidence, what is refused, and how they go, at the wire."""

import re
import time
from dataclasses import replace

import pytest
from chaosmesh import install
from scenes import COUNTED, pod, scene

from harness.changes import Create
from harness.errors import HarnessError
from harness.experiment.witness import Witness
from harness.faults import (
    BlastRadius,
    DnsFailure,
    OnEach,
    PacketDelay,
    PacketLoss,
    Partition,
    Recorded,
    Stress,
    Target,
)
from harness.injection import heal, inject, resolve
from harness.ledger import Ledger
from harness.rbac import needs
from harness.scene import Needs

FRONTEND = Target("frontend", "web")
NETWORK = ("chaos-mesh.org/v1alpha1", "NetworkChaos")
DNS = ("chaos-mesh.org/v1alpha1", "DNSChaos")
PATH = "/apis/chaos-mesh.org/v1alpha1/namespaces/shop/networkchaos/harness-run-loss-payments"
FAULTS = [PacketLoss(5), PacketDelay(0.1, jitter=0.01), Partition(FRONTEND), DnsFailure(("bank.*",))]
WIDE = BlastRadius(max_pods=4, namespaces=("shop", "web"))
NAMES = ["payments-0", "payments-1", "payments-2"]
SELECTED = {"mode": "all", "selector": {"namespaces": ["shop"], "pods": {"shop": NAMES}}}


def _scene(kinds=(NETWORK, DNS)):
    frontend = scene(pod(1, "frontend", namespace="web"), target=FRONTEND)
    return scene(others=(frontend,), kinds=kinds)


SPECS = [
    {"action": "loss", "direction": "to", "loss": {"loss": "5", "correlation": "0"}},
    {
        "action": "delay",
        "direction": "to",
        "delay": {"latency": "100ms", "jitter": "10ms", "correlation": "0"},
    },
    {
        "action": "partition",
        "direction": "both",
        "target": {"mode": "all", "selector": {"namespaces": ["web"], "pods": {"web": ["frontend-1"]}}},
    },
    {"action": "error", "patterns": ["bank.*"]},
]


@pytest.mark.parametrize(("fault", "spec"), list(zip(FAULTS, SPECS, strict=True)), ids=str)
def test_a_fault_is_one_object_at_exactly_the_pods_of_the_target(fault, spec):
    """Golden: tagged, with its end in it, and with the finalizer by which Chaos Mesh takes it back."""
    [change] = fault.changes(_scene())
    assert isinstance(change, Create)
    assert change.manifest["spec"] == {**SELECTED, **spec, "duration": "120000ms"}
    metadata = change.manifest["metadata"]
    assert metadata["finalizers"] == ["chaos-mesh/records"]
    assert metadata["labels"] == {
        "app.kubernetes.io/managed-by": "harness",
        "harness.mesh/run": "20260102-abc",
    }
    assert fault.evidence(_scene()) == OnEach(_scene().pods, Recorded(change.ref), COUNTED, 15)
    assert change.ref.namespace == "shop"


def test_what_a_fault_needs_to_know():
    """A partition is between two workloads."""
    assert PacketLoss(5).needs == Needs(kinds=(NETWORK,))
    assert DnsFailure().needs == Needs(kinds=(DNS,))
    assert Partition(FRONTEND).needs == Needs((FRONTEND,), kinds=(NETWORK,))
    assert [one.name for one in Partition(FRONTEND).pods(_scene())] == [*NAMES, "frontend-1"]
    with pytest.raises(HarnessError, match="touch 4 pods"):
        replace(WIDE, max_pods=3).check(Partition(FRONTEND), _scene())


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (PacketLoss(5), "loss of 5% of packets"),
        (PacketDelay(0.1, jitter=0.01), "delay of packets by 100ms ± 10ms"),
        (PacketDelay(0.0005), "delay of packets by 500us"),
        (Partition(FRONTEND), "partition from web/frontend"),
        (DnsFailure(("bank.*",)), "dns failure of bank.*"),
        (DnsFailure(), "dns failure of all names"),
    ],
)
def test_a_fault_reads_as_people_say_it(fault, words):
    """Short and stable."""
    assert str(fault) == words


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_without_chaos_mesh_the_fault_is_refused(fault):
    """With what can be used instead."""
    with pytest.raises(HarnessError, match=r"cannot be had at shop/payments.*install Chaos Mesh, or use"):
        WIDE.check(fault, _scene(()))


@pytest.mark.parametrize("fault", [replace(fault, lasting=30) for fault in FAULTS], ids=str)
def test_a_fault_that_would_be_over_before_it_was_observed_is_refused(fault):
    """Chaos Mesh ends it when its time is up, though the blast radius lets it be in force for longer."""
    replace(WIDE, seconds=30).check(fault, _scene())
    with pytest.raises(
        HarnessError, match=r"end by itself after 30 s, the blast radius lets it be .* for 31 s"
    ):
        replace(WIDE, seconds=31).check(fault, _scene())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PacketLoss(101), "choose 0 to 100"),
        (lambda: PacketLoss(5, lasting=0), "PacketLoss cannot last for 0 s"),
        (lambda: PacketDelay(0), "PacketDelay cannot delay for 0 s"),
        (lambda: PacketDelay(0.1, jitter=0.2), "cannot vary by 0.2 s"),
        (lambda: PacketDelay(float("nan")), "cannot delay for nan s"),
        (lambda: Partition(FRONTEND, lasting=1e9), "choose up to a day"),
        (lambda: DnsFailure(("*.org",)), "the last character"),
    ],
)
def test_numbers_and_names_that_cannot_be_are_refused(make, message):
    """Before anything is asked of the cluster."""
    with pytest.raises(HarnessError, match=message):
        make()


# at the wire


@pytest.fixture
def ledger(tmp_path):
    """An empty ledger."""
    return Ledger(tmp_path / "ledger")


@pytest.fixture
def shop(kube_api):
    """Two ready pods of payments."""
    for number in (1, 2):
        metadata = {"name": f"payments-{number}", "namespace": "shop", "labels": {"app": "payments"}}
        status = {"conditions": [{"type": "Ready", "status": "True"}]}
        spec = {"containers": [{"name": "app"}]}
        kube_api.put(
            {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status}
        )
    return kube_api


@pytest.fixture
def chaos(shop, serve_kinds):
    """Chaos Mesh in the cluster."""
    return install(shop, serve_kinds)


def _resolved(cluster, fault):
    return resolve(cluster, Target("payments", "shop"), run="run", seed=1, fault=fault)


def _inject(cluster, ledger, fault, **more):
    scene = _resolved(cluster, fault)
    return inject(cluster, fault, scene, ledger=ledger, blast_radius=WIDE, **more), fault.evidence(scene)


def test_a_cluster_without_chaos_mesh_is_found_out_by_discovery(cluster, shop):
    """Nothing is written."""
    with pytest.raises(HarnessError, match="the cluster knows no NetworkChaos"):
        PacketLoss(5).changes(_resolved(cluster, PacketLoss(5)))
    assert shop.writes() == []


def test_the_fault_shows_when_chaos_mesh_has_injected_every_pod_and_is_gone_after_the_revert(
    cluster, chaos, ledger
):
    """Not when it has only selected them; the object is gone only when they are recovered."""
    before = chaos.api.state()
    injection, evidence = _inject(cluster, ledger, PacketLoss(5))
    witness = Witness()
    assert witness.look(cluster, evidence, 0.0) == set()
    assert witness.look(cluster, evidence, 0.0) == {"payments-1", "payments-2"}
    healing = injection.end()
    assert (healing.failed, healing.kept) == ((), ())
    assert chaos.api.state() == before
    assert witness.look(cluster, evidence, 0.0) == set()


def test_stress_is_gone_at_the_revert_where_chaos_mesh_makes_it(cluster, chaos, ledger):
    """Nobody waits for its seconds; it shows when stress-ng runs in the container of every pod."""
    before = chaos.api.state()
    injection, evidence = _inject(cluster, ledger, Stress(count=2, seconds=60))
    rights = {need.verb for need in needs(injection.changes, "shop") if need.resource == "stresschaos"}
    assert rights == {"get", "create", "delete"}
    witness = Witness()
    assert witness.look(cluster, evidence, 0.0) == set()
    assert witness.look(cluster, evidence, 0.0) == {"payments-1", "payments-2"}
    began = time.monotonic()
    healing = injection.end()
    assert time.monotonic() - began < 30
    assert (healing.failed, healing.kept) == ((), ())
    assert chaos.api.state() == before


def test_a_pod_that_chaos_mesh_does_not_reach_keeps_the_fault_from_showing(cluster, chaos, ledger):
    """As its condition says that not all are injected."""
    chaos.unreached = ("payments-2",)
    injection, evidence = _inject(cluster, ledger, PacketLoss(5))
    for _ in range(3):
        assert Witness().look(cluster, evidence, 0.0) == set()
    injection.end()


def test_a_stuck_finalizer_is_said_and_stays_in_the_ledger(cluster, chaos, ledger, monkeypatch):
    """The fault may be in force still; when the controller is back, heal finishes it."""
    injection, _ = _inject(cluster, ledger, PacketLoss(5))
    chaos.stuck = True
    start, tick = time.perf_counter(), time.monotonic()
    with monkeypatch.context() as hurried:
        hurried.setattr(time, "monotonic", lambda: tick + 100 * (time.perf_counter() - start))
        healing = injection.end()
    waited = re.search(r"still being deleted after (\d+) s", healing.failed[0])
    assert waited is not None
    assert int(waited[1]) >= 40
    assert "chaos-mesh/records" in healing.failed[0]
    assert PATH in chaos.api.objects
    chaos.stuck = False
    assert heal(cluster, ledger).done == ("NetworkChaos shop/harness-run-loss-payments is deleted again.",)
    assert PATH not in chaos.api.objects


def test_another_machine_heals_it_when_its_claim_is_over(cluster, chaos, ledger, tmp_path):
    """It finds the object by its label, and waits until it is gone."""
    before = chaos.api.state()
    injection, _ = _inject(cluster, ledger, PacketLoss(5), expires_in=-1)
    metadata = chaos.api.objects[PATH]["metadata"]
    assert metadata["labels"]["harness.mesh/claim"] == "true"
    healing = heal(cluster, Ledger(tmp_path / "elsewhere"))
    assert "NetworkChaos shop/harness-run-loss-payments, which a run left" in healing.done[0]
    assert chaos.api.state() == before
    assert injection.end().failed == ()


@pytest.mark.parametrize(("fault", "resource"), [(PacketLoss(5), "networkchaos"), (DnsFailure(), "dnschaos")])
def test_the_rights_name_the_resources_as_chaos_mesh_does(fault, resource):
    """Its kinds have no plural."""
    wanted = needs(fault.changes(_scene()), "shop")
    asked = {(need.resource, need.verb) for need in wanted if need.group == "chaos-mesh.org"}
    assert asked == {(resource, "get"), (resource, "create"), (resource, "delete")}
