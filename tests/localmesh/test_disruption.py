"""Disruption budgets and the Endpoints of Services: what the controllers compute, and what an eviction may take."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.localmesh import disruption, endpoints
from harness.localmesh.api.resources import (
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    NAMESPACES,
    PODS,
    REPLICA_SETS,
    SERVICES,
)
from harness.localmesh.errors import Refused
from harness.localmesh.kinds.admission import admit
from harness.localmesh.store import Store
from harness.localmesh.workloads import owner_reference

READY = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
NOT_READY = {"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]}
POD_SPEC = {"containers": [{"name": "web", "image": "web"}]}
LABELS = {"app": "web"}


@pytest.fixture
def store():
    """A store with the namespace `default`."""
    return fresh()


def fresh():
    """A store with the namespace `default`."""
    made = Store([admit])
    made.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}})
    return made


def pod(store, name, status=READY, owner=None):
    """A pod with that status."""
    metadata = {"name": name, "namespace": "default", "labels": LABELS}
    if owner:
        metadata["ownerReferences"] = [owner_reference(owner)]
    made = store.create(PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": POD_SPEC})
    return store.replace(PODS, {**made, "status": status}, section="status")


def budget(store, selector=LABELS, **spec):
    """A budget, and its status computed."""
    metadata = {"name": "budget", "namespace": "default"}
    whole = {**spec, **({} if selector is None else {"selector": {"matchLabels": selector}})}
    made = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata, "spec": whole}
    store.create(DISRUPTION_BUDGETS, made)
    return reconciled(store)


def reconciled(store):
    """The status of the budget now."""
    disruption.reconcile(store)
    return store.get(DISRUPTION_BUDGETS, "default", "budget")["status"]


def numbers(status):
    """Expected, desired, healthy and allowed."""
    return tuple(
        status[name] for name in ("expectedPods", "desiredHealthy", "currentHealthy", "disruptionsAllowed")
    )


def deployment(store, replicas):
    """The ReplicaSet of a Deployment of that many pods."""
    template = {"metadata": {"labels": LABELS}, "spec": POD_SPEC}
    spec = {"replicas": replicas, "selector": {"matchLabels": LABELS}, "template": template}
    metadata = {"name": "web", "namespace": "default"}
    parent = store.create(
        DEPLOYMENTS, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}
    )
    return store.create(
        REPLICA_SETS,
        {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {**metadata, "ownerReferences": [owner_reference(parent)]},
            "spec": spec,
        },
    )


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"minAvailable": 2}, (3, 2, 2, 0)),
        ({"minAvailable": 1}, (3, 1, 2, 1)),
        ({"minAvailable": "50%"}, (4, 2, 2, 0)),
        ({"minAvailable": "25%"}, (4, 1, 2, 1)),
        ({"maxUnavailable": 3}, (4, 1, 2, 1)),
        ({"maxUnavailable": "30%"}, (4, 2, 2, 0)),
        ({"maxUnavailable": 0}, (4, 4, 2, 0)),
        ({}, (0, 0, 2, 0)),
    ],
)
def test_a_budget_is_computed_as_kubernetes_does(store, spec, expected):
    """Four pods wanted, three there, two ready: a plain minAvailable counts those there, the rest those wanted."""
    owner = deployment(store, 4)
    for name, status in (("a", READY), ("b", READY), ("c", NOT_READY)):
        pod(store, name, status, owner)
    assert numbers(budget(store, **spec)) == expected


def test_an_eviction_takes_from_the_budget_and_the_next_one_waits(store):
    """429 with the numbers; when the pod is back, one may go again."""
    first, second = pod(store, "a"), pod(store, "b")
    budget(store, minAvailable=1)
    disruption.evict(store, first)
    with pytest.raises(Refused, match="would violate the pod's disruption budget") as refused:
        disruption.evict(store, second)
    assert (refused.value.code, refused.value.reason) == (429, "TooManyRequests")
    assert refused.value.causes[0][0] == "DisruptionBudget"
    store.delete(PODS, "default", "a", grace=0)
    assert numbers(reconciled(store)) == (1, 1, 1, 0)
    pod(store, "a")
    assert numbers(reconciled(store)) == (2, 1, 2, 1)


def test_an_evicted_pod_that_is_not_gone_yet_counts_as_gone(store):
    """Between an eviction and the deletion it brings nobody else may go in its stead."""
    first = pod(store, "a")
    pod(store, "b")
    budget(store, minAvailable=1)
    disruption.evict(store, first)
    status = reconciled(store)
    assert list(status["disruptedPods"]) == ["a"]
    assert status["disruptionsAllowed"] == 0


def test_a_dry_run_takes_nothing(store):
    """It only says whether it could."""
    first = pod(store, "a")
    before = budget(store, minAvailable=0)
    disruption.evict(store, first, dry_run=True)
    assert store.get(DISRUPTION_BUDGETS, "default", "budget")["status"] == before


def test_pods_that_serve_nobody_may_always_go(store):
    """Pending ones, those on their way out, unhealthy ones while enough others are healthy or the policy says so."""
    budget(store, minAvailable=1)
    disruption.evict(store, pod(store, "pending", {"phase": "Pending"}))
    sick = pod(store, "sick", NOT_READY)
    reconciled(store)
    with pytest.raises(Refused):
        disruption.evict(store, sick)
    pod(store, "well")
    reconciled(store)
    disruption.evict(store, sick)
    store.update(
        DISRUPTION_BUDGETS,
        "default",
        "budget",
        lambda it: {
            **it,
            "spec": {**it["spec"], "minAvailable": 5, "unhealthyPodEvictionPolicy": "AlwaysAllow"},
        },
    )
    disruption.evict(store, sick)


def test_a_budget_that_was_not_computed_yet_lets_nobody_go(store):
    """As in Kubernetes: ask again later."""
    made = pod(store, "a")
    budget(store, minAvailable=0)
    store.update(
        DISRUPTION_BUDGETS, "default", "budget", lambda it: {**it, "spec": {**it["spec"], "minAvailable": 1}}
    )
    with pytest.raises(Refused, match="disruption budget") as refused:
        disruption.evict(store, made)
    assert refused.value.retry_after == 10


def test_an_empty_selector_guards_everything_and_none_nothing(store):
    """The rules of policy/v1."""
    pod(store, "a")
    assert numbers(budget(store, selector={}, minAvailable=1)) == (1, 1, 1, 0)
    store.delete(DISRUPTION_BUDGETS, "default", "budget")
    assert numbers(budget(store, selector=None, minAvailable=1)) == (0, 1, 0, 0)


@given(st.integers(0, 6), st.integers(0, 6), st.lists(st.booleans(), max_size=12))
def test_evictions_never_leave_fewer_than_the_budget_asks_for(healthy, least, delete):
    """Whatever the order of evictions, deletions and computations."""
    store = fresh()
    for number in range(healthy):
        pod(store, f"p{number}")
    budget(store, minAvailable=least)
    for number, gone in enumerate(delete):
        name = f"p{number % max(healthy, 1)}"
        try:
            found = store.get(PODS, "default", name)
            disruption.evict(store, found)
        except Refused:
            continue
        if gone:
            store.delete(PODS, "default", name, grace=0)
        if number % 2:
            disruption.reconcile(store)
    taken = store.get(DISRUPTION_BUDGETS, "default", "budget")["status"].get("disruptedPods", {})
    alive = [item for item in store.list(PODS) if item["metadata"]["name"] not in taken]
    assert len(alive) >= min(least, healthy)


def test_endpoints_say_what_the_slices_say(store):
    """Ready addresses, those that are not, and none of pods that terminate; a Service without selector has none."""
    metadata = {"name": "web", "namespace": "default"}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": metadata}
    made = store.create(SERVICES, {**service, "spec": {"selector": LABELS, "ports": [{"port": 80}]}})
    other = {**service, "metadata": {**metadata, "name": "other"}, "spec": {"ports": [{"port": 80}]}}
    store.create(SERVICES, other)
    found = [
        {"addresses": [f"127.0.0.{number}"], "conditions": {"ready": ready, "terminating": going}}
        for number, (ready, going) in enumerate([(True, False), (False, False), (False, True)], 1)
    ]
    ports = [{"name": "", "port": 8080, "protocol": "TCP"}]
    labels = {"kubernetes.io/service-name": "web"}
    piece = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "web-1",
            "namespace": "default",
            "labels": labels,
            "ownerReferences": [owner_reference(made)],
        },
        "addressType": "IPv4",
        "endpoints": found,
        "ports": ports,
    }
    store.create(ENDPOINT_SLICES, piece)
    endpoints.reconcile(store)
    assert store.get(ENDPOINTS, "default", "web")["subsets"] == [
        {"addresses": [{"ip": "127.0.0.1"}], "notReadyAddresses": [{"ip": "127.0.0.2"}], "ports": ports}
    ]
    assert len(store.list(ENDPOINTS)) == 1
    before = store.revision
    endpoints.reconcile(store)
    assert store.revision == before
    store.delete(SERVICES, "default", "web")
    assert not store.list(ENDPOINTS)
