"""Resources as Envoy reads them from a stream: the binary form of the messages that the translation writes as JSON.

The descriptions of the messages are those of the package xds-protos.
"""

from __future__ import annotations

import hashlib
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, TypeVar

from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto

from harness.localmesh.xds.model import Resource

T = TypeVar("T")

_TYPES = "type.googleapis.com/"
_POOL = descriptor_pool.DescriptorPool()
_ADDED: set[str] = set()

# What Envoy 1.39 added to its stats access logger, in which the same release deprecated `stat_prefix`, and xds-protos
# lacks up to 1.85.
_STATS = "envoy/extensions/access_loggers/stats/v3/stats.proto"
_SCOPE = "envoy/type/v3/scope.proto"
_OPTIONAL: Any = {"label": FieldDescriptorProto.LABEL_OPTIONAL}
_IS_SCOPE: Any = {"type": FieldDescriptorProto.TYPE_MESSAGE, "type_name": ".envoy.type.v3.Scope"}

_PIECES = {"envoy.config.route.v3.RouteConfiguration": "virtual_hosts"}
"""The repeated field of a kind whose items many Envoys share, and of which a change concerns few."""

_REMEMBERED = 20_000


@dataclass(frozen=True)
class Encoded:
    """A resource's message, packed, and its version: the same for the same content."""

    message: Any
    version: str


class Encoder:
    """Encodes resources; one that is the very object of an earlier one, or a virtual host that is, only once.

    Nobody may change them afterwards.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[Resource, Any]] = {}

    def encoded(self, resource: Resource) -> Encoded:
        """`resource`, a message as JSON with its `@type`, ready to be sent.

        Raises ValueError, with the field's path, if it has a field that Envoy's API does not know.
        """
        return self._once(resource, self._encode)

    def _encode(self, resource: Resource) -> Encoded:
        kind = resource["@type"].removeprefix(_TYPES)
        cut = _PIECES.get(kind, "")
        value = _bytes(kind, {name: item for name, item in resource.items() if name not in ("@type", cut)})
        # The bytes of messages one after the other are those of the messages merged: repeated fields add up.
        value += b"".join(
            self._once(piece, lambda piece: _bytes(kind, {cut: [piece]})) for piece in resource.get(cut, ())
        )
        packed = message("google.protobuf.Any")(type_url=resource["@type"], value=value)
        return Encoded(packed, hashlib.sha256(value).hexdigest()[:12])

    def _once(self, resource: Resource, encode: Callable[[Resource], T]) -> T:
        known = self._known.get(id(resource))
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            # The resource is kept beside what it became, so that its id stays its own.
            known = self._known[id(resource)] = resource, encode(resource)
        made: T = known[1]
        return made


def _bytes(kind: str, value: Resource) -> bytes:
    _know(_kinds(value))
    try:
        made = json_format.ParseDict(value, message(kind)(), descriptor_pool=_POOL)
    except json_format.ParseError as error:
        raise ValueError(f"{kind}: {error}") from None
    encoded: bytes = made.SerializeToString(deterministic=True)
    return encoded


@cache
def message(kind: str) -> Any:
    """The class of the message with that full name."""
    _know((kind,))
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(kind))


def _kinds(value: object) -> Iterable[str]:
    """The full names of all messages that are packed in `value`."""
    if isinstance(value, dict):
        if isinstance(kind := value.get("@type"), str):
            yield kind.removeprefix(_TYPES)
        for item in value.values():
            yield from _kinds(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _kinds(item)


def _know(kinds: Iterable[str]) -> None:
    for kind in kinds:
        _load(kind.rpartition(".")[0])


@cache
def _load(package: str) -> None:
    """Makes the messages of a protobuf package known, which is a Python package with a module for each file."""
    found = import_module(package)
    for module in pkgutil.iter_modules(found.__path__):
        if module.name.endswith("_pb2"):
            _add(import_module(f"{package}.{module.name}").DESCRIPTOR)


def _add(file: Any) -> None:
    """Adds a file, and first those that it imports, to our pool."""
    if file.name in _ADDED:
        return
    _ADDED.add(file.name)
    for imported in file.dependencies:
        _add(imported)
    described = FileDescriptorProto()
    file.CopyToProto(described)
    if file.name == _STATS:
        _POOL.Add(_scope_file())
        described.dependency.append(_SCOPE)
        config = next(item for item in described.message_type if item.name == "Config")
        config.field.append(FieldDescriptorProto(name="stats_scope", number=6, **_OPTIONAL, **_IS_SCOPE))
    _POOL.Add(described)


def _scope_file() -> FileDescriptorProto:
    prefix = FieldDescriptorProto(name="prefix", number=5, **_OPTIONAL, type=FieldDescriptorProto.TYPE_STRING)
    scope = DescriptorProto(name="Scope", field=[prefix])
    return FileDescriptorProto(name=_SCOPE, package="envoy.type.v3", syntax="proto3", message_type=[scope])
