"""No field of the published definitions of Istio's kinds is silently dropped.

`crds.json` holds the schemas of Istio 1.31's CRDs without their descriptions: types, enumerations and what is required.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.localmesh.errors import Refused
from harness.localmesh.kinds import istio
from harness.localmesh.kinds.istio.rules.table import TABLE

SCHEMAS = json.loads(Path(__file__).with_name("crds.json").read_text())
SAMPLES: dict[str, list[Any]] = {
    "string": ["text", "1s", "HTTP", "https", "YQ=="],
    "integer": [1, 200, 301],
    "number": [1.5],
    "boolean": [True],
    "object": [{"any": "thing"}],
}

WARMUP = {"loadBalancer": {"warmup": {"duration": "1s"}}}
WARM = {**WARMUP, "portLevelSettings": [WARMUP]}
ROUND: dict[str, Any] = {
    "DestinationRule": {"trafficPolicy": WARM, "subsets": [{"name": "v1", "trafficPolicy": WARM}]},
    "EnvoyFilter": yaml.safe_load("""
      configPatches:
      - applyTo: HTTP_FILTER
        match:
          context: SIDECAR_INBOUND
          listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager}}}
        patch:
          operation: INSERT_FIRST
          value:
            name: envoy.filters.http.fault
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault
    """),
    "Gateway": {"servers": [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}]},
    "Sidecar": {"egress": [{"port": {"number": 80}, "hosts": ["*/*"]}]},
    "VirtualService": {
        "http": [{"fault": {"delay": {"fixedDelay": "1s"}}, "directResponse": {"status": 200}}]
    },
}
"""By kind, what must stand round a field because the mesh requires it beyond the schema, or in a certain form."""

POLICIES = [
    f"{place}{ports}"
    for place in ("trafficPolicy", "subsets.trafficPolicy")
    for ports in ("", ".portLevelSettings")
]
REFUSED: dict[str, set[str]] = {
    "AuthorizationPolicy": {
        "action=CUSTOM",
        "provider",
        "rules.from.source.notRequestPrincipals",
        "rules.from.source.requestPrincipals",
        "targetRef",
        "targetRefs",
    },
    "DestinationRule": {
        *(
            f"{place}.tls.{name}"
            for place in POLICIES
            for name in ("caCertificates", "caCrl", "clientCertificate", "privateKey")
        ),
        *(f"{place}.outlierDetection.consecutiveErrors" for place in POLICIES),
        *(f"{place}.tunnel" for place in ("trafficPolicy", "subsets.trafficPolicy")),
    },
    "EnvoyFilter": {
        "configPatches.applyTo=BOOTSTRAP",
        "configPatches.applyTo=CLUSTER",
        "configPatches.applyTo=EXTENSION_CONFIG",
        "configPatches.applyTo=FILTER_CHAIN",
        "configPatches.applyTo=HTTP_ROUTE",
        "configPatches.applyTo=INVALID",
        "configPatches.applyTo=LISTENER",
        "configPatches.applyTo=LISTENER_FILTER",
        "configPatches.applyTo=NETWORK_FILTER",
        "configPatches.applyTo=ROUTE_CONFIGURATION",
        "configPatches.applyTo=VIRTUAL_HOST",
        "configPatches.match.cluster",
        "configPatches.match.context=ANY",
        "configPatches.match.context=GATEWAY",
        "configPatches.match.context=SIDECAR_OUTBOUND",
        "configPatches.match.context=WAYPOINT",
        "configPatches.match.listener.filterChain.applicationProtocols",
        "configPatches.match.listener.filterChain.destinationPort",
        "configPatches.match.listener.filterChain.filter.name",
        "configPatches.match.listener.filterChain.filter.subFilter.name",
        "configPatches.match.listener.filterChain.name",
        "configPatches.match.listener.filterChain.sni",
        "configPatches.match.listener.filterChain.transportProtocol",
        "configPatches.match.listener.listenerFilter",
        "configPatches.match.listener.name",
        "configPatches.match.listener.portName",
        "configPatches.match.proxy",
        "configPatches.match.routeConfiguration",
        "configPatches.match.waypoint",
        "configPatches.patch.filterClass=AUTHN",
        "configPatches.patch.filterClass=AUTHZ",
        "configPatches.patch.filterClass=STATS",
        "configPatches.patch.filterClass=UNSPECIFIED",
        "configPatches.patch.operation=ADD",
        "configPatches.patch.operation=INSERT_AFTER",
        "configPatches.patch.operation=INVALID",
        "configPatches.patch.operation=MERGE",
        "configPatches.patch.operation=REMOVE",
        "configPatches.patch.operation=REPLACE",
        "configPatches.patch.value.any",
        "targetRefs",
    },
    "Gateway": {
        "servers.defaultEndpoint",
        "servers.port.targetPort",
        "servers.tls.caCertificates",
        "servers.tls.caCrl",
        "servers.tls.mode=AUTO_PASSTHROUGH",
        "servers.tls.privateKey",
        "servers.tls.serverCertificate",
        "servers.tls.tlsCertificates",
    },
    "ServiceEntry": {
        "endpoints.network",
        "resolution=DYNAMIC_DNS",
    },
    "Sidecar": {
        "egress.bind",
        "egress.captureMode=IPTABLES",
        "egress.captureMode=NONE",
        "egress.port.targetPort",
        "inboundConnectionPool",
        "ingress",
        "outboundTrafficPolicy.egressProxy",
    },
    "Telemetry": {
        "targetRef",
        "targetRefs",
        "tracing.customTags",
        "tracing.disableContextPropagation",
    },
    "VirtualService": {
        "http.fault.abort.http2Error",
        "http.fault.delay.exponentialDelay",
        "tcp.match.sourceSubnet",
    },
    "WorkloadEntry": {
        "network",
    },
}
"""By kind, the fields and the values of enumerations that are refused by design."""


def _leaves(schema: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The places of a schema that hold plain values; "[]" is an item of a list and "{}" a value of a map."""
    if schema["type"] == "array":
        yield from _leaves(schema["items"], (*path, "[]"))
    elif "additionalProperties" in schema:
        yield from _leaves(schema["additionalProperties"], (*path, "{}"))
    elif schema.get("properties"):
        for name, part in schema["properties"].items():
            yield from _leaves(part, (*path, name))
    else:
        yield path, schema


def _least(schema: Any) -> Any:
    """The smallest value that has all a schema requires."""
    if schema["type"] == "object":
        return {name: _least(schema["properties"][name]) for name in schema.get("required", ())}
    return [] if schema["type"] == "array" else _values(schema)[0]


def _values(schema: Any) -> list[Any]:
    return [value for value in schema.get("enum", ()) if value] or SAMPLES[schema["type"]]


def _with(schema: Any, path: tuple[str, ...], value: Any, around: Any) -> Any:
    """The smallest value of a schema with `value` at `path`, and with what is `around` it beside it."""
    if not path:
        return value
    step, *rest = path
    if step == "[]":
        return [_with(schema["items"], tuple(rest), value, around[0] if around else {})]
    if step == "{}":
        return {"80": _with(schema["additionalProperties"], tuple(rest), value, {})}
    inner = _with(schema["properties"][step], tuple(rest), value, around.get(step, {}))
    return {**_least(schema), **around, step: inner}


def _field(path: tuple[str, ...]) -> str:
    """A path as a refusal names it, without the marks of lists and maps."""
    return ".".join(step for step in path if step not in ("[]", "{}"))


def _fate(kind: str, path: tuple[str, ...], value: Any) -> Refused | None:
    manifest = {
        "kind": kind,
        "metadata": {"name": "it"},
        "spec": _with(SCHEMAS[kind], path, value, ROUND.get(kind, {})),
    }
    try:
        istio.spec_of(manifest, TABLE[kind][0])
    except Refused as refused:
        return refused
    return None


def test_the_definitions_are_those_of_the_kinds_there_are():
    """There is a schema for each kind of the table, and no other."""
    assert SCHEMAS.keys() == TABLE.keys()


@pytest.mark.parametrize("kind", SCHEMAS)
def test_every_field_is_typed_or_refused_by_its_name(kind):
    """A refusal names the field itself or one that holds it, and what is refused is what is refused by design."""
    refused = set()
    for path, schema in _leaves(SCHEMAS[kind]):
        fates = {str(value): _fate(kind, path, value) for value in _values(schema)}
        if "enum" not in schema and None in fates.values():
            continue
        for value, fate in fates.items():
            if fate is not None:
                named = re.sub(r"\[[^]]*\]", "", fate.field).removeprefix("spec").removeprefix(".")
                assert named, fate
                assert f"{_field(path)}.".startswith(f"{named}.") or schema["type"] == "object", fate
                refused.add(f"{named}={value}" if named == _field(path) and "enum" in schema else named)
    assert refused == REFUSED.get(kind, set())


def _objects(schema: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The places of a schema that hold objects with fields."""
    if schema["type"] == "array":
        yield from _objects(schema["items"], (*path, "[]"))
    elif "additionalProperties" in schema:
        yield from _objects(schema["additionalProperties"], (*path, "{}"))
    elif schema.get("properties"):
        yield path
        for name, part in schema["properties"].items():
            yield from _objects(part, (*path, name))


@pytest.mark.parametrize("kind", SCHEMAS)
def test_a_field_that_istio_does_not_have_is_refused_wherever_it_stands(kind):
    """A misspelt field is never taken for an absent one."""
    for path in _objects(SCHEMAS[kind]):
        spec = _with(SCHEMAS[kind], path, {"mispelt": 1}, ROUND.get(kind, {}))
        with pytest.raises(Refused):
            istio.spec_of({"kind": kind, "metadata": {"name": "it"}, "spec": spec}, TABLE[kind][0])
