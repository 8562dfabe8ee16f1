"""What the local mesh admits of Istio's kinds, and what it refuses with which field."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from harness.localmesh.errors import Refused
from harness.localmesh.kinds import istio
from harness.localmesh.kinds.istio.values import Duration, ProtoDuration

FAULT = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"

VALID = {
    "VirtualService": """
      hosts: [reviews]
      http:
      - name: tested
        match: [{uri: {prefix: /a}, headers: {end-user: {exact: jason}}}, {method: {exact: GET}}]
        route:
        - {destination: {host: reviews, subset: v1, port: {number: 9080}}, weight: 75}
        - {destination: {host: reviews, subset: v2}, weight: 25}
        retries: {attempts: 3, perTryTimeout: 250ms, retryOn: "5xx,reset,503", backoff: 5ms}
        timeout: 1.5s
        fault: {delay: {fixedDelay: 1s, percentage: {value: 0.1}}, abort: {httpStatus: 503, percentage: {value: 50}}}
    """,
    "DestinationRule": """
      host: reviews
      trafficPolicy:
        connectionPool:
          tcp: {maxConnections: 5, connectTimeout: 1s}
          http: {http1MaxPendingRequests: 1, http2MaxRequests: 7, maxRequestsPerConnection: 2, maxRetries: 4}
        outlierDetection: {consecutive5xxErrors: 2, interval: 1s, baseEjectionTime: 3m, maxEjectionPercent: 100}
        tls: {mode: ISTIO_MUTUAL}
      subsets: [{name: v1, labels: {version: v1}}]
    """,
    "PeerAuthentication": """
      selector: {matchLabels: {app: reviews}}
      mtls: {mode: STRICT}
      portLevelMtls: {"9080": {mode: DISABLE}}
    """,
    "Gateway": """
      selector: {istio: ingressgateway}
      servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: ["*", "shop/*.test"]}]
    """,
    "EnvoyFilter": f"""
      workloadSelector: {{labels: {{app: reviews}}}}
      configPatches:
      - applyTo: HTTP_FILTER
        match:
          context: SIDECAR_INBOUND
          listener:
            portNumber: 9080
            filterChain:
              filter:
                name: envoy.filters.network.http_connection_manager
                subFilter: {{name: envoy.filters.http.router}}
        patch:
          operation: INSERT_BEFORE
          value:
            name: envoy.filters.http.fault
            typed_config:
              "@type": {FAULT}
              abort: {{http_status: 503, percentage: {{numerator: 30, denominator: HUNDRED}}}}
              delay: {{fixed_delay: 0.25s, percentage: {{numerator: 1000000, denominator: MILLION}}}}
    """,
}


def _manifest(kind: str) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": "it"}, "spec": yaml.safe_load(VALID[kind])}


def _changed(kind: str, path: str, value: Any) -> dict[str, Any]:
    """The valid manifest with the field at `path` (dots; numbers are indices) set to `value`, or removed (`...`)."""
    manifest = _manifest(kind)
    *way, last = [int(part) if part.isdecimal() else part for part in path.split("/")]
    place: Any = manifest["spec"]
    for part in way:
        place = place[part]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return manifest


@pytest.mark.parametrize("kind", VALID)
def test_what_the_mesh_translates_is_admitted(kind):
    """One manifest of each kind with all its important fields passes and leaves the manifest alone."""
    manifest = _manifest(kind)
    before = copy.deepcopy(manifest)
    istio.admit(manifest)
    assert manifest == before


@pytest.mark.parametrize(
    ("kind", "path", "value", "field", "why"),
    [
        ("VirtualService", "hosts", ["*"], "hosts[0]", "gateways only"),
        ("VirtualService", "hosts", ["a*.b"], "hosts[0]", "wildcard"),
        ("VirtualService", "hosts", ["a", "a"], "hosts[1]", "twice"),
        ("VirtualService", "http", ..., "http", "at least one http, tcp or tls route"),
        ("VirtualService", "http/0/route", ..., "http[0].route", "exactly one"),
        ("VirtualService", "http/0/redirect", {"uri": "/x"}, "http[0].route", "exactly one"),
        ("VirtualService", "http/0/timeout", "1", "http[0].timeout", "no duration"),
        ("VirtualService", "http/0/timeout", "0.5ms", "http[0].timeout", "at least 1ms"),
        ("VirtualService", "http/0/timeout", "1.0005s", "http[0].timeout", "whole milliseconds"),
        ("VirtualService", "http/0/timeout", 1, "http[0].timeout", "no duration"),
        ("VirtualService", "http/0/retries/attempts", 0, "http[0].retries.attempts", "set to 0"),
        ("VirtualService", "http/0/retries/attempts", -1, "http[0].retries.attempts", ">= 0"),
        ("VirtualService", "http/0/retries/retryOn", "5xx, reset", "http[0].retries.retryOn", "' reset'"),
        ("VirtualService", "http/0/retries/retryOn", "1000", "http[0].retries.retryOn", "'1000'"),
        (
            "VirtualService",
            "http/0/retries/perTryTimeout",
            "0s",
            "http[0].retries.perTryTimeout",
            "at least 1ms",
        ),
        ("VirtualService", "http/0/route/0/weight", -1, "http[0].route[0].weight", ">= 0"),
        (
            "VirtualService",
            "http/0/route/0/destination/host",
            "*",
            "http[0].route[0].destination.host",
            "no destination",
        ),
        (
            "VirtualService",
            "http/0/route/0/destination/subset",
            "V_1",
            "http[0].route[0].destination.subset",
            "label",
        ),
        ("VirtualService", "http/0/match/0/uri", {"regex": "(?=a)"}, "http[0].match[0].uri.regex", "RE2"),
        ("VirtualService", "http/0/match/0/uri", {"regex": r"(a)\1"}, "http[0].match[0].uri.regex", "RE2"),
        ("VirtualService", "http/0/match/0/uri", {"regex": "a{1001}"}, "http[0].match[0].uri.regex", "RE2"),
        ("VirtualService", "http/0/match/0/uri", {"regex": "("}, "http[0].match[0].uri.regex", "RE2"),
        (
            "VirtualService",
            "http/0/match/0/uri",
            {"exact": "a", "prefix": "b"},
            "http[0].match[0].uri",
            "only one",
        ),
        ("VirtualService", "http/0/fault", {}, "http[0].fault", "a delay or an abort"),
        ("VirtualService", "http/0/fault/abort/httpStatus", 600, "http[0].fault.abort.httpStatus", "599"),
        (
            "VirtualService",
            "http/0/fault/abort/percentage/value",
            101,
            "http[0].fault.abort.percentage.value",
            "100",
        ),
        ("VirtualService", "http/0/fault/delay/fixedDelay", ..., "http[0].fault.delay", "fixedDelay"),
        ("DestinationRule", "host", "", "host", "no host name"),
        ("DestinationRule", "trafficPolicy", {}, "trafficPolicy", "at least one field"),
        (
            "DestinationRule",
            "trafficPolicy/connectionPool",
            {},
            "trafficPolicy.connectionPool",
            "tcp or http",
        ),
        (
            "DestinationRule",
            "trafficPolicy/outlierDetection/maxEjectionPercent",
            101,
            "trafficPolicy.outlierDetection.maxEjectionPercent",
            "100",
        ),
        ("DestinationRule", "subsets/0/name", "", "subsets[0].name", "DNS label"),
        ("DestinationRule", "subsets", [{"name": "a"}, {"name": "a"}], "subsets", "twice"),
        ("PeerAuthentication", "selector", ..., "portLevelMtls", "requires selector"),
        ("PeerAuthentication", "portLevelMtls", {"0": {}}, "portLevelMtls[0]", "1-65535"),
        ("PeerAuthentication", "mtls/mode", "MUTUAL", "mtls.mode", "MUTUAL"),
        (
            "PeerAuthentication",
            "selector/matchLabels",
            {"app": "*"},
            "selector.matchLabels[app]",
            "wildcards",
        ),
        ("Gateway", "servers", [], "servers", "at least one server"),
        ("Gateway", "servers/0/hosts", [], "servers[0].hosts", "at least one host"),
        ("Gateway", "servers/0/port/name", "", "servers[0].port.name", "empty"),
        ("Gateway", "servers/0/port/number", 0, "servers[0].port.number", ">= 1"),
        ("EnvoyFilter", "configPatches", [], "configPatches", "at least one patch"),
        ("EnvoyFilter", "configPatches/0/applyTo", "CLUSTER", "configPatches[0].applyTo", "CLUSTER"),
        ("EnvoyFilter", "configPatches/0/match/context", "ANY", "configPatches[0].match.context", "ANY"),
        (
            "EnvoyFilter",
            "configPatches/0/patch/operation",
            "MERGE",
            "configPatches[0].patch.operation",
            "MERGE",
        ),
        ("EnvoyFilter", "configPatches/0/patch/value/name", "x", "configPatches[0].patch.value.name", "'x'"),
    ],
)
def test_what_istio_or_the_mesh_does_not_take_is_refused_with_its_field(kind, path, value, field, why):
    """Each refusal is 422 Invalid and names the object, the path of the field and the reason."""
    with pytest.raises(Refused) as caught:
        istio.admit(_changed(kind, path, value))
    refusal = caught.value
    assert (refusal.code, refusal.reason, refusal.field) == (422, "Invalid", f"spec.{field}")
    assert why in refusal.message
    assert '"it"' in refusal.message


TYPED = "configPatches/0/patch/value/typed_config"


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (f"{TYPED}/abort/http_status", ..., ".abort"),
        (f"{TYPED}/abort/grpc_status", 14, ".abort"),
        (f"{TYPED}/abort/percentage/numerator", 101, ".abort.percentage.numerator"),
        (f"{TYPED}/delay/fixed_delay", "250ms", ".delay.fixed_delay"),
        (f"{TYPED}/delay/header_delay", {}, ".delay.header_delay"),
        (f"{TYPED}/@type", "type.googleapis.com/other", ".@type"),
        (f"{TYPED}/headers", [{"name": "a", "string_match": {}}], ".headers[0].string_match"),
    ],
)
def test_the_inserted_fault_must_be_one_that_envoy_takes(path, value, field):
    """What Envoy would reject, taking the whole listener with it, is refused before it gets there."""
    with pytest.raises(Refused) as caught:
        istio.admit(_changed("EnvoyFilter", path, value))
    assert caught.value.field == f"spec.configPatches[0].patch.value.typed_config{field}"


def test_a_weight_of_zero_is_fine_for_one_destination_and_not_for_all_of_several():
    """Weights are relative: with several destinations their sum must be positive."""
    route = [{"destination": {"host": "a"}, "weight": 0}]
    istio.admit(_changed("VirtualService", "http/0/route", route))
    with pytest.raises(Refused, match="add up to 0"):
        istio.admit(_changed("VirtualService", "http/0/route", route * 2))


def test_a_kind_that_is_not_emulated_is_refused_by_name():
    """A WasmPlugin is refused with the list of what there is."""
    with pytest.raises(Refused, match="VirtualService, DestinationRule"):
        istio.admit({"kind": "WasmPlugin", "metadata": {"name": "it"}, "spec": {}})


def test_a_spec_is_typed():
    """Durations are seconds, and what is not given is None."""
    spec = istio.spec_of(_manifest("VirtualService"), istio.VirtualService)
    assert (spec.http[0].timeout, spec.http[0].retries.per_try_timeout) == (1.5, 0.25)
    assert spec.http[0].redirect is None


@given(st.integers(1, 10**8), st.sampled_from([("ms", 1), ("s", 1000), ("m", 60_000)]))
def test_every_duration_of_whole_milliseconds_is_read(number, unit):
    """A whole number of a unit is read as that many seconds."""
    assert Duration.read(f"{number}{unit[0]}") == pytest.approx(number * unit[1] / 1000)


@given(st.text(max_size=8))
def test_no_text_breaks_the_reading_of_durations(text):
    """Anything is either a positive number of seconds or refused as such."""
    for kind in (Duration, ProtoDuration):
        try:
            value = kind.read(text)
        except ValueError:
            continue
        assert value > 0
