"""A sound mesh on paper: a gateway, frontend and payments, with policies that do what they say; tests spoil it."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

from harness.experiment import Experiment
from harness.faults import Abort, BlastRadius, Fault, Pod, Scene, Target, foreseen
from harness.indicators import availability
from harness.load import Load
from harness.preflight import Premises, examine
from harness.slo import SLO

Manifest = dict[str, Any]
PAYMENTS = Target("payments", "shop")
UP = SLO("up", availability("frontend", "shop"), at_least=0.99)
ISTIO = "networking.istio.io/v1"
HOST = "payments.shop.svc.cluster.local"


def manifest(version: str, kind: str, name: str, spec: Manifest, namespace: str = "shop") -> Manifest:
    """An object of the API."""
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def pod(app: str, number: int = 0, *, sidecar: bool = True, **labels: str) -> Manifest:
    """A ready pod."""
    name = f"{app}-{number}"
    made = manifest("v1", "Pod", name, {"containers": [{"name": "app"}]})
    made["metadata"] |= {"uid": f"u-{name}", "labels": {"app": app, **labels}}
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": app, "controller": True}
    made["metadata"]["ownerReferences"] = [owner]
    made["spec"]["containers"] += [{"name": "istio-proxy"}] if sidecar else []
    made["status"] = {"podIP": f"127.0.1.{number + 1}", "conditions": [{"type": "Ready", "status": "True"}]}
    return made


def service(app: str) -> Manifest:
    """A Service for the pods of an app."""
    return manifest("v1", "Service", app, {"selector": {"app": app}, "ports": [{"port": 80}]})


def shop(pods: int = 3) -> dict[str, Manifest]:
    """The objects of the sound mesh, by names that tests spoil them by."""
    entry = {"hosts": ["*"], "gateways": ["entry"], "http": [{"route": _to("frontend")}]}
    calls = {
        "hosts": ["payments"],
        "http": [
            {
                "route": _to("payments"),
                "timeout": "2s",
                "retries": {"attempts": 3, "perTryTimeout": "500ms", "retryOn": "5xx,reset"},
            }
        ],
    }
    detection = {"consecutive5xxErrors": 5, "maxEjectionPercent": 50}
    rule = {"host": "payments", "trafficPolicy": {"outlierDetection": detection}}
    server = {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}
    numbered = {f"payments-{number}": pod("payments", number) for number in range(pods)}
    return {
        "frontend": service("frontend"),
        "payments": service("payments"),
        "frontend-0": pod("frontend"),
        **numbered,
        "gateway": manifest(
            ISTIO, "Gateway", "entry", {"selector": {"istio": "ingressgateway"}, "servers": [server]}
        ),
        "entry": manifest(ISTIO, "VirtualService", "entry", entry),
        "calls": manifest(ISTIO, "VirtualService", "payments", calls),
        "rule": manifest(ISTIO, "DestinationRule", "payments", rule),
    }


def premises(
    objects: dict[str, Manifest] | None = None,
    *,
    fault: Fault | None = None,
    interval: float | None = 1.0,
    expects_held: bool = True,
    **fields: Any,
) -> Premises:
    """What an experiment on payments rests on; `fields` are those of the Experiment."""
    found = shop() if objects is None else objects
    bites = Abort(503, 30) if fault is None else fault
    load, radius = Load("browse", rate=200), BlastRadius(max_pods=9)
    experiment = Experiment(**{
        "hypothesis": [UP], "target": PAYMENTS, "fault": bites, "load": load, "blast_radius": radius, **fields,
    })  # fmt: skip
    pods = tuple(Pod.of(item) for item in found.values() if item["kind"] == "Pod")
    scene = Scene(PAYMENTS, tuple(one for one in pods if one.labels["app"] == "payments"), "run", 1)
    at = getattr(bites, "at", "callee")
    changes = foreseen(bites, scene) if at == "callee" else ()
    return Premises(experiment, scene, tuple(found.values()), interval, changes, expects_held)


def spoiled(spoil: Callable[[dict[str, Manifest]], object], pods: int = 3, **given: Any) -> Premises:
    """The premises after `spoil` has changed the objects."""
    objects = deepcopy(shop(pods))
    spoil(objects)
    return premises(objects, **given)


def codes(found: Premises) -> list[str]:
    """What preflight finds, by code and severity."""
    return [f"{one.severity} {one.code}" for one in examine(found)]


def with_sli(found: Premises, slo: SLO) -> Premises:
    """The same about another promise."""
    return replace(found, experiment=replace(found.experiment, hypothesis=[slo]))


def _to(name: str) -> list[Manifest]:
    return [{"destination": {"host": name}}]
