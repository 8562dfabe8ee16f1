"""Which lists are sets or keyed by a field of their elements, and which parts are replaced as a whole. Pure.

Sources: the `listType`, `listMapKey` and `mapType` markers of the Kubernetes API types (k8s.io/api, v1.32) and the
`x-kubernetes-list-*` fields of Istio's definitions: the lists of Istio's specs have none and are atomic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.localmesh.api.resources import Resource
from harness.localmesh.api.status import bad_request

Names = tuple[str, ...]
"""Where a part of an object is: names of fields, without places in lists."""

_EVERYWHERE: dict[Names, Names] = {
    ("metadata", "ownerReferences"): ("uid",),
    ("status", "conditions"): ("type",),
}
_KEYED: dict[Names, Names] = {
    ("containers",): ("name",),
    ("containers", "ports"): ("containerPort", "protocol"),
    ("containers", "env"): ("name",),
    ("containers", "volumeMounts"): ("mountPath",),
    ("volumes",): ("name",),
    ("imagePullSecrets",): ("name",),
    ("secrets",): ("name",),
    ("topologySpreadConstraints",): ("topologyKey", "whenUnsatisfiable"),
    ("spec", "ports"): ("port", "protocol"),
    ("status", "podIPs"): ("ip",),
    ("status", "addresses"): ("type",),
}
_SETS = frozenset([("metadata", "finalizers")])
_ATOMIC = frozenset(("selector", "nodeSelector", "involvedObject", "related", "targetRef"))
# What a key is when an element leaves it out.
_DEFAULTS = {"protocol": "TCP"}


@dataclass(frozen=True)
class Schema:
    """The shape of the objects of `resource`."""

    resource: Resource

    def keys(self, names: Names) -> Names:
        """The fields that identify an element of the list there; () when it is not keyed."""
        found = _EVERYWHERE.get(names)
        if not found and self.resource.builtin:
            found = _KEYED.get(names[-2:]) or _KEYED.get(names[-1:])
        return found or ()

    def is_set(self, names: Names) -> bool:
        """Whether the list there is a set of plain values."""
        return names in _SETS

    def is_atomic(self, names: Names) -> bool:
        """Whether the object there has one owner for all of it."""
        return self.resource.builtin and names[-1:] != () and names[0] != "metadata" and names[-1] in _ATOMIC

    def identity(self, names: Names, element: Any) -> dict[str, Any]:
        """What identifies `element` in the keyed list there.

        Raises:
            Refused: 400 when it is no object or lacks a key.
        """
        place = ".".join(("", *names))
        if not isinstance(element, dict):
            raise bad_request(f"{place}: {element!r} is not an object")
        identity = {}
        for key in self.keys(names):
            value = element.get(key, _DEFAULTS.get(key))
            if not isinstance(value, str | int):
                raise bad_request(f"{place}: an element of the list omits its key field {key!r}")
            identity[key] = value
        return identity
