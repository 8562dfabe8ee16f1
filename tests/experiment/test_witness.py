"""Witnesses: what agents and Chaos Mesh tell of pods, and what they do not."""

from dataclasses import replace

import pytest
from scenes import pod

from harness.errors import HarnessError
from harness.experiment.witness import Witness, injected
from harness.faults import Expired, OnEach, Reissued, Renewed, Running
from harness.roots import fingerprint
from harness.sidecars import seconds_left, trusted_root

PODS = (pod(0), pod(1))


@pytest.fixture
def told(kube_api):
    """What the agents tell, by pod: seconds, or the text of an answer; and the two pods."""
    said = {}

    def answer(request):
        name = request.path.partition("/pods/")[2].partition(":15020/proxy/stats/prometheus")
        if not name[1]:
            return None
        left = said[name[0]]
        text = f'other 1\nistio_agent_cert_expiry_seconds{{resource_name="default"}} {left}\nmore 2\n'
        return kube_api.reply(200, left if isinstance(left, str) else text)

    kube_api.before = answer
    for one in PODS:
        kube_api.put(_manifest(one))
    _trust(kube_api, "old")
    return said


def _manifest(one):
    metadata = {"name": one.name, "namespace": "shop", "uid": one.uid, "labels": {"app": "payments"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": []}}


def _trust(api, root):
    metadata = {"name": "istio-ca-root-cert", "namespace": "shop"}
    data = {"root-cert.pem": root}
    api.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})


def test_expired_certificates_are_told_by_the_agents(cluster, told):
    """Of the pods that are there still."""
    evidence = OnEach(PODS, Expired())
    told |= {"payments-0": -0.5, "payments-1": 3}
    assert Witness().look(cluster, evidence, 0.0) == {"payments-0"}
    told |= {"payments-1": -3}
    assert Witness().look(cluster, evidence, 0.0) == {"payments-0", "payments-1"}


def test_the_certificate_of_a_pod_that_took_the_name_does_not_count(cluster, kube_api, told):
    """It was issued to another one."""
    told |= {"payments-0": -0.5, "payments-1": -1}
    kube_api.put(_manifest(pod(0, uid="another")))
    assert Witness().look(cluster, OnEach(PODS, Expired()), 0.0) == {"payments-1"}


@pytest.mark.parametrize("text", ["", "istio_agent_cert_expiry_seconds{} 3", 'x{resource_name="default"} 3'])
def test_an_agent_that_says_nothing_of_a_certificate_is_not_misread(cluster, told, text):
    """There is none, then."""
    told |= {"payments-0": text, "payments-1": 'istio_agent_cert_expiry_seconds{resource_name="default"} NaN'}
    assert seconds_left(cluster, PODS) == {}


def test_an_agent_that_does_not_answer_is_named(cluster, kube_api):
    """With the right that it takes."""
    kube_api.before = lambda request: kube_api.reply(
        403, {"kind": "Status", "reason": "Forbidden", "code": 403}
    )
    with pytest.raises(
        HarnessError, match=r"may not ask port 15020 of Pod shop/payments-0 \(get on pods/proxy\)"
    ):
        seconds_left(cluster, PODS)


def test_a_certificate_is_of_the_new_root_when_it_was_issued_after_istiod_told_it(cluster, kube_api, told):
    """One that was there when the new root was first seen may be of either."""
    witness, evidence = Witness(), OnEach(PODS, Reissued(fingerprint("old")))
    told |= {"payments-0": 10, "payments-1": 10}
    assert witness.look(cluster, evidence, 100.0) == set()
    told |= {"payments-0": 20}
    assert witness.look(cluster, evidence, 101.0) == set()
    _trust(kube_api, "new")
    assert witness.look(cluster, evidence, 101.0) == set()
    told |= {"payments-0": 18.8, "payments-1": 20}
    assert witness.look(cluster, evidence, 102.0) == {"payments-1"}
    told |= {"payments-0": 20}
    assert witness.look(cluster, evidence, 103.0) == {"payments-0", "payments-1"}


def test_a_certificate_is_new_when_it_is_not_the_one_of_the_first_look(cluster, told):
    """By when it expires; that it grows older makes no other one of it."""
    witness, evidence = Witness(), OnEach(PODS, Renewed())
    told |= {"payments-0": 10, "payments-1": 4}
    assert witness.look(cluster, evidence, 100.0) == set()
    told |= {"payments-0": 9, "payments-1": 9.9}
    assert witness.look(cluster, evidence, 101.0) == {"payments-1"}
    told |= {"payments-0": 10, "payments-1": -1}
    assert witness.look(cluster, evidence, 112.0) == {"payments-0", "payments-1"}


def test_of_several_roots_the_first_one_is_that_of_the_mesh(cluster, kube_api):
    """Another one that is trusted as well does not make it another one."""
    old, new = (
        f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n" for text in ("b2xk", "bmV3")
    )
    for told, first in ((old, old), (old + new, old), (f"{new}\n{old}", new)):
        _trust(kube_api, told)
        assert trusted_root(cluster, "shop") == fingerprint(first)


def test_a_namespace_without_a_root_is_named(cluster, kube_api):
    """Istiod puts one into each."""
    with pytest.raises(HarnessError, match="no root certificate in ConfigMap shop/istio-ca-root-cert"):
        trusted_root(cluster, "shop")


def test_a_container_runs_where_the_pod_itself_says_so(cluster, kube_api):
    """Not where it waits still, and not in another pod that has taken the name."""
    for one, state in ((PODS[0], "running"), (PODS[1], "waiting")):
        status = {"ephemeralContainerStatuses": [{"name": "stress", "state": {state: {}}}]}
        kube_api.put(_manifest(one) | {"status": status})
    assert Witness().look(cluster, OnEach(PODS, Running("stress")), 0.0) == {"payments-0"}
    another = replace(PODS[0], uid="another")
    assert Witness().look(cluster, OnEach((another,), Running("stress")), 0.0) == frozenset()


def _experiment(*records, injected="True", recovered="False"):
    conditions = [
        {"type": "AllInjected", "status": injected},
        {"type": "AllRecovered", "status": recovered},
    ]
    listed = [{"id": name, "phase": phase} for name, phase in records]
    return {"status": {"conditions": conditions, "experiment": {"containerRecords": listed}}}


@pytest.mark.parametrize(
    ("experiment", "names"),
    [
        (_experiment(("shop/a", "Injected"), ("shop/b/web", "Injected")), {"a", "b"}),
        (_experiment(("shop/a", "Injected"), ("shop/b", "Not Injected")), {"a"}),
        (_experiment(("shop/a/web", "Injected"), ("shop/a/db", "Not Injected")), set()),
        (_experiment(("shop/a", "Injected"), injected="False"), set()),
        (_experiment(("shop/a", "Injected"), recovered="True"), set()),
        (_experiment(), set()),
        ({"status": {"conditions": None}}, set()),
        ({}, set()),
    ],
)
def test_chaos_mesh_has_injected_what_its_records_and_its_conditions_say(experiment, names):
    """Both: a record alone may be about to change."""
    assert injected(experiment) == names
