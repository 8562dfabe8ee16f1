"""One route on paper, and patches of it."""

from harness.changes import Edit, Patch, Ref

REF = Ref("networking.istio.io/v1", "VirtualService", "shop", "catalog")


def patch_of(*edits):
    """A patch of the route."""
    return Patch(REF, tuple(Edit(path, value) for path, value in edits))


def route_of(spec):
    """The route with this spec."""
    metadata = {"name": "catalog", "namespace": "shop"}
    return {"apiVersion": REF.api_version, "kind": REF.kind, "metadata": metadata, "spec": spec}
