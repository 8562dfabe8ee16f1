"""Pieces of protobuf messages as JSON that every part of the configuration uses."""

from __future__ import annotations

from harness.localmesh.xds.model import Resource

XDS_CLUSTER = "xds-grpc"
"""The static cluster of the xDS server, named as in Istio."""

_TYPES = "type.googleapis.com/"


def typed(kind: str, /, **fields: object) -> Resource:
    """The message `kind` packed as an `Any`."""
    return {"@type": _TYPES + kind, **fields}


def extension(name: str, kind: str, /, **fields: object) -> Resource:
    """An extension (a filter, a transport socket, an access logger) with its typed configuration."""
    return {"name": name, "typed_config": typed(kind, **fields)}


def duration(seconds: float) -> str:
    """`seconds` as protobuf's JSON has it: "0.25s"."""
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"


def address(ip: str, port: int) -> Resource:
    """A TCP address."""
    return {"socket_address": {"address": ip, "port_value": port}}


def xds() -> Resource:
    """A configuration that Envoy gets from the mesh's xDS server, by the one stream that all kinds share."""
    return {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}
