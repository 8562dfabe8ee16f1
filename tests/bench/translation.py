"""The translation by itself: 1,000 Services and 2,000 pods, first as a whole, then after one change of each kind.

In CPU seconds, which on an idle machine are those of the clock: it is one thread that waits for nothing.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

from harness.localmesh import genesis
from harness.localmesh.api import resources
from harness.localmesh.api.resources import PODS, SERVICES, by_kind
from harness.localmesh.store import Store
from harness.localmesh.world import World
from harness.localmesh.xds.memo import Memo
from harness.localmesh.xds.model import Mesh, Proxy
from harness.localmesh.xds.snapshot import translated
from harness.localmesh.xds.view import Views
from tests.bench.figures import Figures

NAMESPACES = 20
SERVICE_COUNT = 1000
RULED = 5  # every fifth Service has a VirtualService and a DestinationRule
_ROUNDS = 5
_NETWORKING, _SECURITY = "networking.istio.io/v1", "security.istio.io/v1"


def measure(figures: Figures, *, quick: bool) -> None:
    """Adds the figures: from the store's objects to the configuration of one sidecar, and of all 2,000."""
    # As the mesh's own process: what is searched for cycles here is nearly free of them.
    gc.set_threshold(50_000, 50, 50)
    store = _store()
    translation = _Translation(World(store))
    figures.add("1,000 Services, 2,000 pods, one sidecar", [translation.seconds(1)], 2.0, "s")
    for name, change in _changes(store).items():
        taken = []
        for number in range(1, _ROUNDS + 1):
            change(number)
            taken.append(1000 * translation.seconds(1))
        figures.add(f"the same after a change of {name}", taken, 50.0, "ms", at="median")
    if not quick:
        figures.add("1,000 Services, 2,000 pods, all 2,000 sidecars", [translation.seconds(None)], None, "s")
        for name, change in _changes(store).items():
            change(0)
            taken = [translation.seconds(None)]
            figures.add(f"the same for all sidecars after a change of {name}", taken, None, "s")


class _Translation:
    """World and memory of a mesh, as the control loop keeps them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._memo = Memo()

    def seconds(self, sidecars: int | None) -> float:
        """CPU seconds it takes to translate the present state for so many sidecars; None: for all."""
        begun = time.process_time()
        mesh = self._world.mesh()
        views = Views(mesh, self._memo)
        kept = [translated(views.of(proxy)) for proxy in _proxies(mesh, sidecars)]
        taken = time.process_time() - begun
        if not all(len(one.clusters) > SERVICE_COUNT for one in kept):
            raise AssertionError("a sidecar misses clusters")
        return taken


def _proxies(mesh: Mesh, count: int | None) -> list[Proxy]:
    return [Proxy(workload, {}, workload.ip) for workload in mesh.workloads[:count]]


def _changes(store: Store) -> dict[str, Callable[[int], None]]:
    """A change of each kind, each time another one."""
    place = ("n0", "s100")

    def virtual_service(number: int) -> None:
        _edit(store, resources.VIRTUAL_SERVICES, place, _rule("s100", f"{number + 2}s"))

    def destination_rule(number: int) -> None:
        policy = {"connectionPool": {"http": {"maxRetries": number + 1}}}
        _edit(store, resources.DESTINATION_RULES, place, {**_subsets("s100"), "trafficPolicy": policy})

    def readiness(number: int) -> None:
        pod = store.get(PODS, "n0", "s100-0")
        _tell(store, pod, ready=number % 2 == 0)

    def service(number: int) -> None:
        found = store.get(SERVICES, *place)["spec"]
        port = {**found["ports"][0], "name": f"http-{number}"}
        _edit(store, SERVICES, place, {**found, "ports": [port]})

    def authentication(number: int) -> None:
        mode = "STRICT" if number % 2 else "PERMISSIVE"
        _edit(store, resources.PEER_AUTHENTICATIONS, ("n0", "mode"), {"mtls": {"mode": mode}})

    return {
        "a VirtualService": virtual_service,
        "a DestinationRule": destination_rule,
        "one pod's readiness": readiness,
        "a Service": service,
        "a PeerAuthentication": authentication,
    }


def _edit(store: Store, resource: resources.Resource, place: tuple[str, str], spec: dict[str, Any]) -> None:
    store.update(resource, *place, lambda old: {**old, "spec": spec})


def _store() -> Store:
    store = Store()
    for manifest in genesis.objects():
        _create(store, manifest)
    for number in range(NAMESPACES):
        _create(store, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"n{number}"}})
    for number in range(SERVICE_COUNT):
        _populate(store, number, f"n{number % NAMESPACES}")
    mode = {"mtls": {"mode": "PERMISSIVE"}}
    _create(store, _object(_SECURITY, "PeerAuthentication", "n0", "mode", mode))
    return store


def _populate(store: Store, number: int, namespace: str) -> None:
    """A Service with two pods."""
    name = f"s{number}"
    spec = {
        "clusterIP": f"10.0.{number // 250}.{number % 250 + 1}",
        "selector": {"app": name},
        "ports": [{"name": "http", "port": 8080, "targetPort": 8080}],
    }
    _create(store, _object("v1", "Service", namespace, name, spec))
    for replica in range(2):
        pod = _object("v1", "Pod", namespace, f"{name}-{replica}", _containers())
        pod["metadata"]["labels"] = {"app": name, "version": f"v{replica + 1}"}
        _tell(
            store,
            _create(store, pod),
            ready=True,
            address=f"127.{replica + 1}.{number // 250}.{number % 250 + 1}",
        )
    if number % RULED == 0:
        _create(store, _object(_NETWORKING, "VirtualService", namespace, name, _rule(name, "1s")))
        _create(store, _object(_NETWORKING, "DestinationRule", namespace, name, _subsets(name)))


def _containers() -> dict[str, Any]:
    program = {"name": "app", "image": "harness/service", "ports": [{"containerPort": 8080}]}
    return {"nodeName": "local-0", "containers": [program, {"name": "istio-proxy", "image": "auto"}]}


def _rule(name: str, timeout: str) -> dict[str, Any]:
    shares = {"v1": 90, "v2": 10}
    route = [
        {"destination": {"host": name, "subset": subset}, "weight": weight}
        for subset, weight in shares.items()
    ]
    return {"hosts": [name], "http": [{"route": route, "timeout": timeout}]}


def _subsets(name: str) -> dict[str, Any]:
    versions = ("v1", "v2")
    return {"host": name, "subsets": [{"name": item, "labels": {"version": item}} for item in versions]}


def _tell(store: Store, pod: dict[str, Any], *, ready: bool, address: str = "") -> None:
    at = {"type": "Ready", "status": str(ready), "lastTransitionTime": "2026-01-01T00:00:00Z"}
    ip = address or pod["status"]["podIP"]
    status = {"podIP": ip, "phase": "Running", "conditions": [at]}
    store.replace(PODS, {**pod, "status": status}, section="status")


def _object(version: str, kind: str, namespace: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def _create(store: Store, manifest: dict[str, Any]) -> dict[str, Any]:
    resource = by_kind(manifest["apiVersion"], manifest["kind"])
    if resource is None:
        raise AssertionError(f"{manifest['kind']} is served")
    return store.create(resource, manifest)
