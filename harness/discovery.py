"""Which kinds a cluster serves and under which paths, from the discovery document of each API version."""

from __future__ import annotations

from urllib.parse import quote

from harness.changes import Manifest
from harness.errors import HarnessError
from harness.wire import Wire


class UnknownKindError(HarnessError):
    """The server knows no such kind."""


class Discovery:
    """What the server behind `wire` says of its kinds; kinds that were found are not asked for again."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._kinds: dict[str, dict[str, tuple[str, bool]]] = {}

    def path(self, api_version: str, kind: str, namespace: str) -> str:
        """Where the objects of a kind are; all of them, or those of a namespace. Raises UnknownKindError."""
        plural, namespaced = self._kind(api_version, kind)
        inside = f"namespaces/{quote(namespace)}/" if namespaced and namespace else ""
        return f"{_root(api_version)}/{inside}{plural}"

    def resources(self, api_version: str) -> dict[str, Manifest]:
        """What the server says of an API version, by the names of its resources; {} when there is no such version."""
        answer = self._wire.call("GET", _root(api_version))
        if answer.code == 404:
            return {}
        listed = self._wire.content(answer, f"list kinds of {api_version}")["resources"]
        return {entry["name"]: entry for entry in listed}

    def _kind(self, api_version: str, kind: str) -> tuple[str, bool]:
        """The plural of a kind and whether it lives in namespaces."""
        if kind not in self._kinds.get(api_version, {}):
            self._kinds[api_version] = {
                entry["kind"]: (name, entry["namespaced"])
                for name, entry in self.resources(api_version).items()
                if "/" not in name
            }
        try:
            return self._kinds[api_version][kind]
        except KeyError:
            raise UnknownKindError(
                f"The cluster at {self._wire.host} knows no kind {kind} in {api_version}; is Istio installed there?"
            ) from None


def _root(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
