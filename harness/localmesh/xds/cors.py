"""Cross-origin rules of a VirtualService.

Source: istio/istio `pilot/pkg/networking/core/route/route.go` (TranslateCORSPolicy).
"""

from __future__ import annotations

from harness.localmesh.kinds.istio.virtualservice import CorsPolicy
from harness.localmesh.xds.match import string_match
from harness.localmesh.xds.model import Resource
from harness.localmesh.xds.percent import whole
from harness.localmesh.xds.proto import typed

FILTER = "envoy.filters.http.cors"
"""The filter that a route configures by this."""


def cors_policy(policy: CorsPolicy) -> Resource:
    """The CORS filter's configuration for one route; preflights that fit no origin are let through unless ignored."""
    fields: Resource = {
        "filter_enabled": {"default_value": whole(100)},
        "forward_not_matching_preflights": policy.unmatched_preflights != "IGNORE",
    }
    if origins := _origins(policy):
        fields["allow_origin_string_match"] = origins
    lists = {
        "allow_methods": policy.allow_methods,
        "allow_headers": policy.allow_headers,
        "expose_headers": policy.expose_headers,
    }
    fields |= {name: ",".join(values) for name, values in lists.items() if values}
    if policy.max_age is not None:
        fields["max_age"] = str(int(policy.max_age))
    if policy.allow_credentials is not None:
        fields["allow_credentials"] = policy.allow_credentials
    return typed("envoy.extensions.filters.http.cors.v3.CorsPolicy", **fields)


def _origins(policy: CorsPolicy) -> list[Resource]:
    matchers = [string_match(origin) for origin in policy.allow_origins]
    if not policy.allow_origins:
        return [{"exact": origin} for origin in policy.allow_origin]
    return [matcher for matcher in matchers if matcher is not None]
