"""Faults and the blast radius: the changes they make, the evidence they name, and what is refused beforehand."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.changes import Create, Delete, Ref
from harness.errors import HarnessError
from harness.faults import Abort, BlastRadius, NoEvidence, Nothing, Pod, PodKill, Replaced, Scene, Target


def _pod(number, **different):
    pod = Pod(
        f"payments-{number}",
        "shop",
        f"u{number}",
        {"app": "payments"},
        True,
        False,
        "127.1.0.1",
        (8080,),
        True,
    )
    return replace(pod, **different)


def _scene(*pods, target=None, seed=1):
    target = target or Target("payments", "shop")
    return Scene(target, pods or tuple(_pod(number) for number in range(3)), "20260102-abc", seed)


# targets and scenes


def test_a_target_selects_by_the_label_app_unless_told_otherwise():
    """The common case needs no selector."""
    assert Target("payments").labels == {"app": "payments"}
    assert Target("payments", "shop", {"tier": "back"}).labels == {"tier": "back"}
    assert str(Target("payments", "shop")) == "shop/payments"


@pytest.mark.parametrize("make", [lambda: Target(""), lambda: Target("a", ""), lambda: Target("a", "b", {})])
def test_a_target_that_selects_everything_is_refused(make):
    """An empty selector means every pod to Kubernetes."""
    with pytest.raises(HarnessError, match="selects everything"):
        make()


def test_a_scene_without_a_pod_is_refused():
    """The message says where was looked, and how to look there oneself."""
    with pytest.raises(
        HarnessError, match=r"No ready pod in namespace shop carries app=payments.*kubectl get pods -n shop"
    ):
        Scene(Target("payments", "shop"), (), "run", 1)


@pytest.mark.parametrize("different", [{"ready": False}, {"terminating": True}])
def test_a_scene_with_a_pod_that_is_not_ready_is_refused(different):
    """What happens to such a pod would not be the fault's doing."""
    with pytest.raises(HarnessError, match="payments-1 is not ready"):
        _scene(_pod(1, **different))


# abort


def test_abort_inserts_the_fault_filter_before_the_router_of_the_callee():
    """Golden: behind the caller's router, where its retries and ejection see it; the labels say whose it is."""
    [change] = Abort(503, percent=30).changes(_scene())
    assert change == Create(
        {
            "apiVersion": "networking.istio.io/v1alpha3",
            "kind": "EnvoyFilter",
            "metadata": {
                "name": "harness-20260102-abc-abort-503-payments",
                "namespace": "shop",
                "labels": {"app.kubernetes.io/managed-by": "harness", "harness.mesh/run": "20260102-abc"},
            },
            "spec": {
                "workloadSelector": {"labels": {"app": "payments"}},
                "configPatches": [
                    {
                        "applyTo": "HTTP_FILTER",
                        "match": {
                            "context": "SIDECAR_INBOUND",
                            "listener": {
                                "filterChain": {
                                    "filter": {
                                        "name": "envoy.filters.network.http_connection_manager",
                                        "subFilter": {"name": "envoy.filters.http.router"},
                                    }
                                }
                            },
                        },
                        "patch": {
                            "operation": "INSERT_BEFORE",
                            "value": {
                                "name": "envoy.filters.http.fault",
                                "typed_config": {
                                    "@type": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault",
                                    "abort": {
                                        "http_status": 503,
                                        "percentage": {"numerator": 300_000, "denominator": "MILLION"},
                                    },
                                },
                            },
                        },
                    }
                ],
            },
        }
    )


def test_the_evidence_of_abort_is_the_callees_own_count():
    """Flag FI at the destination reporter, out of all requests of the target."""
    evidence = Abort(503, 30).evidence(_scene())
    everything = {
        "reporter": "destination",
        "destination_workload_namespace": "shop",
        "destination_app": "payments",
    }
    assert evidence.selector_all == everything
    assert evidence.selector_hit == everything | {"response_flags": "FI", "response_code": "503"}
    assert (evidence.percent, evidence.momentary) == (30, False)


def test_abort_is_refused_where_a_pod_has_no_sidecar():
    """Nothing would bite there, and the share would be wrong."""
    with pytest.raises(HarnessError, match=r"no sidecar in payments-2; enable injection in namespace shop"):
        Abort(503, 30).changes(_scene(_pod(1), _pod(2, sidecar=False)))


def test_abort_is_refused_where_its_requests_could_not_be_counted():
    """Istio's metrics know a pod by its label app."""
    with pytest.raises(HarnessError, match="label app"):
        Abort(503, 30).changes(_scene(_pod(1), _pod(2, labels={"tier": "back"})))


@pytest.mark.parametrize(
    "make", [lambda: Abort(199, 1), lambda: Abort(600, 1), lambda: Abort(503, -1), lambda: Abort(503, 101)]
)
def test_an_abort_that_cannot_be_is_refused(make):
    """Envoy takes 200 to 599; a percentage is one."""
    with pytest.raises(HarnessError, match="Abort cannot"):
        make()


@given(st.from_regex(r"[A-Za-z0-9_.-]{1,40}", fullmatch=True))
def test_the_name_of_what_abort_creates_is_one_that_kubernetes_takes(run):
    """Whatever a run is called: an RFC 1123 subdomain."""
    [change] = Abort(503, 30).changes(replace(_scene(), run=run))
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", change.ref.name)


# pod kill


@given(st.integers(1, 5), st.integers(0, 2**32), st.randoms())
def test_the_same_seed_kills_the_same_pods_in_whatever_order_they_are_listed(count, seed, random):
    """A run can be repeated; the changes, the evidence and the pods agree."""
    pods = [_pod(number) for number in range(5)]
    scene = _scene(*pods, seed=seed)
    random.shuffle(pods)
    kill = PodKill(count, 7)
    victims = kill.pods(scene)
    assert kill.pods(_scene(*pods, seed=seed)) == victims
    assert len(set(victims)) == count
    assert kill.changes(scene) == tuple(Delete(Ref("v1", "Pod", "shop", pod.name), 7) for pod in victims)
    requests = Abort(503, 30).evidence(scene).selector_all
    assert kill.evidence(scene) == Replaced(tuple(pod.uid for pod in victims), requests)


def test_other_seeds_kill_other_pods():
    """The choice is not always the first."""
    assert len({PodKill().pods(_scene(seed=seed)) for seed in range(20)}) == 3


def test_the_harm_of_a_kill_is_done_at_once():
    """Whoever measures has to begin before it."""
    assert PodKill().evidence(_scene()).momentary


def test_killing_more_pods_than_there_are_is_refused():
    """Both numbers are named."""
    with pytest.raises(
        HarnessError, match=r"shop/payments has only 3 ready pods; it is asked to kill 4 pods"
    ):
        PodKill(4).changes(_scene())


@pytest.mark.parametrize("make", [lambda: PodKill(0), lambda: PodKill(1, -1)])
def test_a_kill_that_cannot_be_is_refused(make):
    """At least one pod, with no less than no time."""
    with pytest.raises(HarnessError, match="PodKill"):
        make()


# nothing


def test_nothing_changes_nothing_and_touches_nobody():
    """The null object passes the narrowest blast radius."""
    scene = _scene()
    assert (Nothing().changes(scene), Nothing().pods(scene), Nothing().harm(scene)) == ((), (), 0)
    assert Nothing().evidence(scene) == NoEvidence()
    BlastRadius(max_pods=0, max_percent=0).check(Nothing(), scene)


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (Abort(503, 30), "abort 503 30%"),
        (Abort(500, 0.5), "abort 500 0.5%"),
        (PodKill(), "kill 1 pod"),
        (PodKill(2), "kill 2 pods"),
        (Nothing(), "nothing"),
    ],
)
def test_a_fault_has_a_short_and_stable_name(fault, text):
    """It is the id of a test and a column of the table of verdicts."""
    assert str(fault) == text


# blast radius


def test_a_fault_within_the_blast_radius_passes():
    """At the limit is within."""
    BlastRadius(max_pods=3, max_percent=30, namespaces=("shop",)).check(Abort(503, 30), _scene())
    BlastRadius(max_pods=1, max_percent=34).check(PodKill(), _scene())


@pytest.mark.parametrize(
    ("radius", "fault", "message"),
    [
        (
            BlastRadius(max_pods=2),
            Abort(503, 1),
            r"abort 503 1% would touch 3 pods of shop/payments.* allows 2",
        ),
        (BlastRadius(max_pods=1), PodKill(2), r"kill 2 pods would touch 2 pods.* allows 1"),
        (
            BlastRadius(max_pods=3, max_percent=20),
            Abort(503, 30),
            r"take away 30 % of shop/payments.* allows 20 %",
        ),
        (BlastRadius(max_percent=33), PodKill(), r"take away 33\.3 %.* allows 33 %"),
        (
            BlastRadius(3, namespaces=("test",)),
            Abort(503, 30),
            r"Pod shop/payments-0: .*outside the blast radius",
        ),
    ],
)
def test_a_fault_beyond_the_blast_radius_is_refused_with_the_limit(radius, fault, message):
    """What it would do, and what is allowed."""
    with pytest.raises(HarnessError, match=message):
        radius.check(fault, _scene())


@pytest.mark.parametrize("namespace", ["kube-system", "istio-system"])
@pytest.mark.parametrize("fault", [PodKill(), Nothing()], ids=str)
def test_a_protected_namespace_is_refused_even_when_it_is_named(namespace, fault):
    """Without it there is no mesh to learn about."""
    scene = _scene(_pod(1, namespace=namespace), target=Target("payments", namespace))
    with pytest.raises(HarnessError, match="is protected"):
        BlastRadius(namespaces=(namespace,)).check(fault, scene)


@pytest.mark.parametrize(
    "limits", [{"max_pods": -1}, {"max_percent": 101}, {"max_percent": -1}, {"seconds": 0}]
)
def test_a_blast_radius_that_cannot_be_is_refused(limits):
    """Numbers that mean nothing are not limits."""
    with pytest.raises(HarnessError, match="is no limit"):
        BlastRadius(**limits)
