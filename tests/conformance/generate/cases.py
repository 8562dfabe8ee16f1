"""Whole cases: a small cluster with services, pods and nodes, and Istio objects over it."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.conformance.case import PROXY, Asked, Case, settled
from tests.conformance.generate import edges, traffic
from tests.conformance.generate.values import (
    GATEWAYS,
    NAMESPACES,
    PLACES,
    PORTS,
    REGIONS,
    ROOT,
    SERVICES,
    SUBSETS,
    few,
    manifest,
)

_GATEWAY_POD = "ingressgateway"
_GATEWAY_PORTS = {"http2": (80, 8080), "https": (443, 8443), "tls": (15443, 15443), "tcp": (31400, 31400)}
"""The gateway's Service: port and target port by name."""

_SAID = {
    "http": ("http", "grpc", "grpc-web", "kubernetes.io/h2c", "kubernetes.io/ws"),
    "tcp-db": ("tcp", "mysql", "mongo"),
    "https": ("https", "tls", "kubernetes.io/wss"),
}
"""appProtocol by the name of the port: of ports with one number istiod sniffs if some are HTTP and some are not."""

_ISTIO = (
    ("VirtualService", traffic.virtual_service, 3),
    ("VirtualService", traffic.delegated, 1),
    ("DestinationRule", traffic.destination_rule, 3),
    ("Gateway", edges.gateway, 2),
    ("ServiceEntry", edges.service_entry, 2),
    ("WorkloadEntry", edges.workload_entry, 2),
    ("Sidecar", edges.sidecar, 2),
    ("EnvoyFilter", edges.envoy_filter, 2),
    ("PeerAuthentication", edges.peer_authentication, 2),
    ("AuthorizationPolicy", edges.authorization_policy, 2),
)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A case with at most three sidecars asked for, and a gateway where there is one."""
    objects = [_namespace(name) for name in (*NAMESPACES, ROOT)]
    objects += [_node(index, place) for index, place in enumerate(REGIONS)]
    objects += draw(st.lists(_service(), min_size=1, max_size=4, unique_by=_place))
    pods = draw(st.lists(_pod(), min_size=1, max_size=5))
    for index, pod in enumerate(pods):
        pod["metadata"]["name"] += f"-{index}"
    made = [item for kind, spec, most in _ISTIO for item in draw(_objects(kind, spec, most))]
    ages = draw(st.permutations(range(len(made))))
    for item, age in zip(made, ages, strict=True):
        item["metadata"]["creationTimestamp"] = f"2026-01-01T00:00:{age:02}Z"
    objects += [*pods, *made]
    asked = [
        Asked(pod["metadata"]["name"], pod["metadata"]["namespace"])
        for pod in pods
        if pod["metadata"]["annotations"].get("sidecar.istio.io/inject") != "false"
    ][:3]
    if any(item["kind"] == "Gateway" for item in made):
        objects += [_gateway_pod(), _gateway_service()]
        asked.append(Asked(_GATEWAY_POD, ROOT, gateway=True))
    mesh = draw(few({}, {}, {"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}}, {"enableAutoMtls": False}))
    return Case(settled(objects), tuple(asked), mesh)


@st.composite
def _objects(draw: st.DrawFn, kind: str, specs: Any, most: int) -> list[dict[str, Any]]:
    if not draw(st.booleans()):
        return []
    spaces = (*NAMESPACES, ROOT) if kind in ("PeerAuthentication", "AuthorizationPolicy") else PLACES
    made = []
    drawn = draw(st.lists(specs, min_size=1, max_size=most))
    for index, spec in enumerate(_apart(drawn) if kind == "ServiceEntry" else drawn):
        name = f"{kind.lower()}-{index}"
        if kind == "Gateway":
            name = GATEWAYS[index]
        elif kind == "VirtualService" and "hosts" not in spec:
            name = f"delegate-{index + 1}"
        extra = {}
        if kind == "AuthorizationPolicy" and draw(few(False, False, True)):
            extra["annotations"] = {"istio.io/dry-run": "true"}
        made.append(manifest(kind, name, draw(few(*spaces)), spec, 0, **extra))
    return made


def _apart(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that share no host with one before: which of two istiod takes is left to chance."""
    taken: set[str] = set()
    kept = []
    for entry in entries:
        if taken.isdisjoint(entry["hosts"]):
            kept.append(entry)
        taken.update(entry["hosts"])
    return kept


def _namespace(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def _node(index: int, place: str) -> dict[str, Any]:
    region, zone, rack = (*place.split("/"), "", "")[:3]
    labels = {
        "topology.kubernetes.io/region": region,
        "topology.kubernetes.io/zone": zone,
        "topology.istio.io/subzone": rack,
    }
    kept = {name: value for name, value in labels.items() if value}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"node-{index}", "labels": kept}}


@st.composite
def _service(draw: st.DrawFn) -> dict[str, Any]:
    name = draw(few(*SERVICES))
    ports = []
    for port in draw(st.lists(few(*PORTS), min_size=1, max_size=3, unique=True)):
        made: dict[str, Any] = {"name": port, "port": PORTS[port]}
        if draw(st.booleans()):
            made["targetPort"] = draw(few(8080, port))
        if draw(few(False, False, False, True)):
            made["appProtocol"] = draw(few(*_SAID.get(port, _SAID["http"])))
        ports.append(made)
    spec = {"ports": ports, "selector": draw(few({"app": name}, {"app": name}, {"app": "a"}))}
    if draw(few(False, False, False, True)):
        spec["clusterIP"] = "None"
    to = draw(few("", "", "", "", "", ".", ".", "shop", "default,istio-system"))
    annotations = {"networking.istio.io/exportTo": to} if to else {}
    metadata = {"name": name, "namespace": draw(few(*PLACES)), "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


@st.composite
def _pod(draw: st.DrawFn) -> dict[str, Any]:
    app, version = draw(few(*SERVICES)), draw(few(*SUBSETS))
    ports = [{"name": name, "containerPort": number} for name, number in PORTS.items()]
    injected = draw(few({}, {}, {}, {"sidecar.istio.io/inject": "false"}))
    made = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{app}-{version}",
            "namespace": draw(few(*PLACES)),
            "labels": {"app": app, "version": version},
            "annotations": injected,
        },
        "spec": {
            "serviceAccountName": draw(few(app, "default")),
            "nodeName": f"node-{draw(st.integers(0, len(REGIONS) - 1))}",
            "containers": [{"name": "app", "image": "app", "ports": ports}],
        },
    }
    if draw(few(False, False, False, True)):
        made["status"] = {"conditions": [{"type": "Ready", "status": "False"}]}
    return made


def _place(item: dict[str, Any]) -> tuple[str, str]:
    return item["metadata"]["namespace"], item["metadata"]["name"]


def _gateway_pod() -> dict[str, Any]:
    labels = {"istio": "ingressgateway", "app": "istio-ingressgateway"}
    ports = [{"containerPort": port} for port in (8080, 8443)]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": _GATEWAY_POD, "namespace": ROOT, "labels": labels},
        "spec": {"nodeName": "node-0", "containers": [{"name": PROXY, "image": "auto", "ports": ports}]},
    }


def _gateway_service() -> dict[str, Any]:
    ports = [
        {"name": name, "port": port, "targetPort": target} for name, (port, target) in _GATEWAY_PORTS.items()
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "istio-ingressgateway", "namespace": ROOT},
        "spec": {"selector": {"istio": "ingressgateway"}, "ports": ports},
    }
