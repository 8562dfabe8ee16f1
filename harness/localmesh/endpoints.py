"""The Endpoints of the Services: what their EndpointSlices say, in the older form that some clients read.

Rules: kubernetes/kubernetes `pkg/controller/endpoint`: a subset for each set of ports, its addresses sorted, those of
pods that are not ready apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from harness.localmesh.api.resources import ENDPOINT_SLICES, ENDPOINTS, SERVICES
from harness.localmesh.errors import Refused
from harness.localmesh.kinds.parse import Manifest
from harness.localmesh.store import Store
from harness.localmesh.workloads import owner_reference

_SERVICE_NAME = "kubernetes.io/service-name"


def reconcile(store: Store) -> None:
    """Makes the Endpoints of every Service with a selector follow its EndpointSlices."""
    slices: dict[tuple[str, str], list[Manifest]] = {}
    for item in store.list(ENDPOINT_SLICES):
        metadata = item["metadata"]
        service = metadata.get("labels", {}).get(_SERVICE_NAME, "")
        slices.setdefault((metadata["namespace"], service), []).append(item)
    there = {
        (item["metadata"]["namespace"], item["metadata"]["name"]): item for item in store.list(ENDPOINTS)
    }
    for service in store.list(SERVICES):
        place = service["metadata"]["namespace"], service["metadata"]["name"]
        if service["spec"].get("selector") and "deletionTimestamp" not in service["metadata"]:
            _settle(store, service, subsets(slices.get(place, ())), there.get(place))


def subsets(slices: Iterable[Manifest]) -> list[Manifest]:
    """The subsets that say what the slices say; pods that terminate are left out, as in Kubernetes."""
    found = []
    for item in slices:
        ready: list[Manifest] = []
        not_ready: list[Manifest] = []
        for endpoint in item.get("endpoints") or ():
            conditions = endpoint.get("conditions") or {}
            if conditions.get("terminating"):
                continue
            (ready if conditions.get("ready") else not_ready).extend(_addresses(endpoint))
        parts = {
            "addresses": _sorted(ready),
            "notReadyAddresses": _sorted(not_ready),
            "ports": item.get("ports"),
        }
        if ready or not_ready:
            found.append({name: part for name, part in parts.items() if part})
    return found


def _addresses(endpoint: Manifest) -> list[Manifest]:
    rest = {"nodeName": endpoint.get("nodeName"), "targetRef": endpoint.get("targetRef")}
    kept = {name: value for name, value in rest.items() if value}
    return [{"ip": address, **kept} for address in endpoint.get("addresses") or ()]


def _sorted(addresses: list[Manifest]) -> list[Manifest]:
    return sorted(addresses, key=lambda address: str(address["ip"]))


def _settle(store: Store, service: Manifest, wanted: list[Manifest], found: Manifest | None) -> None:
    metadata = service["metadata"]
    try:
        if found is None:
            store.create(ENDPOINTS, _endpoints(service, wanted))
        elif found.get("subsets", []) != wanted:
            store.update(
                ENDPOINTS, metadata["namespace"], metadata["name"], partial(_with_subsets, subsets=wanted)
            )
    except Refused as refused:
        # The Service or its namespace has gone meanwhile.
        if refused.reason not in ("NotFound", "AlreadyExists", "Forbidden"):
            raise


def _with_subsets(found: Manifest, subsets: list[Manifest]) -> Manifest:
    return {**found, "subsets": subsets}


def _endpoints(service: Manifest, wanted: list[Manifest]) -> Manifest:
    metadata = service["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "labels": metadata.get("labels", {}),
            "ownerReferences": [owner_reference(service)],
        },
        "subsets": wanted,
    }
