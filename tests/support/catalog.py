"""The pods of catalog in the shop's mesh, and everything there that a fault may touch."""

from __future__ import annotations

from harness import BlastRadius, Target

CATALOG = Target("catalog", namespace="shop")
WIDE = BlastRadius(max_pods=3, max_nodes=1, namespaces=("shop", "istio-system"))
SPECS = (
    ("apps/v1", "Deployment"),
    ("networking.istio.io/v1", "VirtualService"),
    ("networking.istio.io/v1alpha3", "EnvoyFilter"),
    ("security.istio.io/v1", "AuthorizationPolicy"),
    ("v1", "Node"),
)
BUDGET = {
    "apiVersion": "policy/v1",
    "kind": "PodDisruptionBudget",
    "metadata": {"name": "catalog", "namespace": "shop"},
    "spec": {"minAvailable": 3, "selector": {"matchLabels": {"app": "catalog"}}},
}


def specs(cluster):
    """What people wrote in every object that a fault may change, by kind and name."""
    objects = [item for kind in SPECS for item in cluster.list(*kind)]
    return {(item["kind"], item["metadata"]["name"]): item.get("spec") for item in objects}


def ready(cluster, app="catalog", namespace="shop"):
    """The UIDs of the pods that serve."""
    pods = cluster.pods(namespace, {"app": app})
    return {pod.uid for pod in pods if pod.ready and not pod.terminating}


def every_pod(cluster, app="catalog", namespace="shop"):
    """The UIDs of all pods, also of those on their way out or not yet there."""
    return {pod.uid for pod in cluster.pods(namespace, {"app": app})}
