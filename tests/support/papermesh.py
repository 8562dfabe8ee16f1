"""A mesh without processes: objects go in through admission, and what each Envoy would be told comes out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from pathlib import Path

import yaml

from harness.localmesh.admission import PROXY
from harness.localmesh.api.resources import NODES, PODS, SERVICES, Resource, by_kind
from harness.localmesh.errors import Refused
from harness.localmesh.kinds.admission import admit
from harness.localmesh.kinds.parse import Manifest
from harness.localmesh.store import Store
from harness.localmesh.world import World, workload
from harness.localmesh.xds.memo import Memo
from harness.localmesh.xds.model import Proxy, Snapshot
from harness.localmesh.xds.snapshot import snapshot, translated
from harness.localmesh.xds.view import Views

VILLAGE = Path(__file__).with_name("village.yaml").read_text()
"""Sidecars in two namespaces and three localities, a pod without one, and an ingress gateway."""


def manifests(text: str) -> list[Manifest]:
    """The objects of a YAML text."""
    return [item for item in yaml.safe_load_all(text) if item]


class Objects:
    """Objects where the translation looks for them: as much of a store as it reads."""

    def __init__(self, manifests: Iterable[Manifest]) -> None:
        self._manifests = list(manifests)

    revision = 1

    def changed(self, _: Resource) -> int:
        """As `Store.changed`."""
        return 1

    def list(
        self, resource: Resource, namespace: str = "", where: Callable[[Manifest], bool] | None = None
    ) -> tuple[Manifest, ...]:
        """As `Store.list`."""
        return tuple(
            item
            for item in self._manifests
            if item["kind"] == resource.kind
            and namespace in ("", item["metadata"].get("namespace"))
            and (where is None or where(item))
        )


class PaperMesh:
    """A store with admission, the world that reads it, and the translation's memory."""

    def __init__(self, text: str = "", store: Store | None = None) -> None:
        """Args: text: the objects there are at first, as YAML; their pods are ready at once."""
        self.store = Store([admit]) if store is None else store
        self._world = World(self.store)
        self._memo = Memo()
        self._addresses = (f"127.8.{n // 200}.{n % 200 + 1}" for n in itertools.count())
        for manifest in manifests(text):
            self.write(manifest)

    def write(self, manifest: Manifest) -> None:
        """Creates the object, or puts it in the place of the one of that name; a new pod is ready.

        Raises:
            Refused: admission does not take it.
        """
        resource = by_kind(manifest["apiVersion"], manifest["kind"])
        assert resource is not None, manifest
        metadata = manifest["metadata"]
        try:
            self.store.create(resource, manifest)
        except Refused as refused:
            if refused.reason != "AlreadyExists":
                raise
            self.store.replace(resource, manifest)
        else:
            if resource is PODS:
                self.serve(metadata["namespace"], metadata["name"])

    def erase(self, manifest: Manifest) -> None:
        """Deletes the object, if it is there; a pod is gone at once."""
        resource = by_kind(manifest["apiVersion"], manifest["kind"])
        assert resource is not None, manifest
        metadata = manifest["metadata"]
        try:
            self.store.delete(resource, metadata.get("namespace", ""), metadata["name"], grace=0)
        except Refused as refused:
            if refused.code != 404:
                raise

    def serve(self, namespace: str, name: str, ready: bool = True) -> None:
        """Says whether the pod serves, and gives it an address unless it has one."""

        def change(pod: Manifest) -> Manifest:
            address = pod.get("status", {}).get("podIP") or next(self._addresses)
            condition = {"type": "Ready", "status": str(ready)}
            return {**pod, "status": {"phase": "Running", "podIP": address, "conditions": [condition]}}

        self.store.update(PODS, namespace, name, change, section="status")

    def proxies(self) -> list[Proxy]:
        """The Envoys of the pods that have an address; a gateway listens at its first Service's."""
        nodes = {node["metadata"]["name"]: node for node in self.store.list(NODES)}
        found = []
        for pod in self.store.list(PODS):
            containers = [container["name"] for container in pod["spec"]["containers"]]
            if PROXY in containers and pod.get("status", {}).get("podIP"):
                member = workload(pod, nodes.get(pod["spec"].get("nodeName", "")))
                gateway = containers == [PROXY]
                found.append(Proxy(member, {}, self._entry(pod) if gateway else member.ip, gateway))
        return found

    def snapshots(self) -> dict[str, Snapshot]:
        """What each Envoy is told, by "namespace/pod"; what has not changed since the last time is remembered."""
        views = Views(self._world.mesh(), self._memo)
        return {_name(proxy): translated(views.of(proxy)) for proxy in self.proxies()}

    def fresh_snapshots(self) -> dict[str, Snapshot]:
        """As `snapshots`, but each Envoy's is worked out anew from the stored objects, and shares nothing."""
        return {_name(proxy): snapshot(World(self.store).mesh(), proxy) for proxy in self.proxies()}

    def _entry(self, pod: Manifest) -> str:
        metadata = pod["metadata"]
        for service in self.store.list(SERVICES, metadata["namespace"]):
            selector = service["spec"].get("selector") or {}
            if selector and selector.items() <= metadata.get("labels", {}).items():
                return str(service["spec"]["clusterIP"])
        return str(pod["status"]["podIP"])


def _name(proxy: Proxy) -> str:
    return f"{proxy.workload.namespace}/{proxy.workload.name}"
