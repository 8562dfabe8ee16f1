"""Doors guarded by AuthorizationPolicies: listeners of a single Envoy, without a mesh around it."""

from __future__ import annotations

from typing import Any

import msgspec
import yaml

from harness.localmesh.kinds.istio import rbac
from harness.localmesh.kinds.istio.authorizationpolicy import AuthorizationPolicy
from harness.localmesh.xds.authz import Policy, rbac_filters
from harness.localmesh.xds.proto import address, extension

# As in a sidecar: Envoy's own limit of 100 is too small for a regular expression that names a namespace.
_RUNTIME = {"layers": [{"name": "it", "static_layer": {"re2.max_program_size.error_level": 32768}}]}


def policies(text: str) -> list[Policy]:
    """The specs of YAML `text` as policies of namespace shop; a spec with `dryRun` is a dry run."""
    made = []
    for number, spec in enumerate(yaml.safe_load_all(text)):
        tried = spec.pop("dryRun", False)
        typed = msgspec.convert(spec, AuthorizationPolicy)
        assert not [*rbac.problems(typed)]
        made.append(Policy(f"p{number}", "shop", tried, typed))
    return made


def _http(guards: list[Policy]) -> Any:
    """The connection manager that answers 200 with the audit's hint and the results of dry runs as headers."""
    results = {
        "x-audit": "%DYNAMIC_METADATA(envoy.common:access_log_hint)%",
        "x-allow": "%DYNAMIC_METADATA(envoy.filters.http.rbac:istio_dry_run_allow_shadow_engine_result)%",
        "x-deny": "%DYNAMIC_METADATA(envoy.filters.http.rbac:istio_dry_run_deny_shadow_engine_result)%",
    }
    route = {
        "match": {"prefix": "/"},
        "direct_response": {"status": 200},
        "response_headers_to_add": [
            {"header": {"key": key, "value": value}} for key, value in results.items()
        ],
    }
    return extension(
        "envoy.filters.network.http_connection_manager",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="it",
        normalize_path=True,
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        http_filters=[
            *rbac_filters(guards, tcp=False),
            extension("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router"),
        ],
    )


def door(ip: str, port: int, guards: list[Policy], secrets: Any, *, tcp: bool) -> Any:
    """A listener with a chain for mTLS and one for plaintext, both guarded."""
    echo = extension("envoy.filters.network.echo", "envoy.extensions.filters.network.echo.v3.Echo")
    filters = [*rbac_filters(guards, tcp=True), echo] if tcp else [_http(guards)]
    inspector = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
    chains: list[Any] = [{"filters": filters}]
    if secrets:
        chains[0]["filter_chain_match"] = {"transport_protocol": "raw_buffer"}
        chains.append(
            {
                "filters": filters,
                "filter_chain_match": {"transport_protocol": "tls"},
                "transport_socket": _tls(secrets),
            }
        )
    return {
        "name": f"{ip}_{port}_{tcp}_{id(guards)}",
        "address": address(ip, port),
        "filter_chains": chains,
        "listener_filters": [extension("envoy.filters.listener.tls_inspector", inspector)],
    }


def _tls(secrets: Any) -> Any:
    return extension(
        "envoy.transport_sockets.tls",
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        require_client_certificate=True,
        common_tls_context={
            "tls_certificates": [secrets["default"]["tls_certificate"]],
            "validation_context": secrets["ROOTCA"]["validation_context"],
        },
    )


def bootstrap(listeners: list[Any]) -> dict[str, Any]:
    """The whole configuration of an Envoy with these `listeners`."""
    return {"static_resources": {"listeners": listeners}, "layered_runtime": _RUNTIME}
