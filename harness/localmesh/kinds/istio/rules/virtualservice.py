"""What Istio's webhook, or Envoy itself, holds against a VirtualService."""

from __future__ import annotations

import re
from collections.abc import Iterator

from harness.localmesh.kinds.istio.values import (
    Problem,
    host_problems,
    label_problems,
    regex_problems,
    repeated,
)
from harness.localmesh.kinds.istio.virtualservice import (
    MESH,
    Destination,
    Headers,
    HttpRoute,
    Match,
    Retries,
    VirtualService,
    status_known,
)

# The words of istio/istio pkg/config/validation/validation.go, supportedRetryOnPolicies.
_RETRY_ON = frozenset(
    {
        *("5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "retriable-4xx"),
        *("refused-stream", "retriable-status-codes", "retriable-headers", "envoy-ratelimited"),
        *("http3-post-connect-failure", "cancelled", "deadline-exceeded", "internal", "resource-exhausted"),
        "unavailable",
    }
)
_FORMAT = re.compile(r"%%|%[A-Z0-9_]+(?:\([^)]*\))?(?::\d+)?%")
_GATEWAY = re.compile(r"(?:[a-z0-9][-a-z0-9]*/)?[a-z0-9][-a-z0-9.]*")


def problems(spec: VirtualService) -> Iterator[Problem]:
    """What Istio's webhook holds against `spec`."""
    if not spec.hosts:
        yield "hosts", "a virtual service must have at least one host"
    if twice := repeated([host.lower() for host in spec.hosts]):
        yield "hosts", f"{twice!r} stands there twice"
    in_mesh = MESH in spec.gateways or not spec.gateways
    for index, host in enumerate(spec.hosts):
        yield from host_problems(f"hosts[{index}]", host)
        if host == "*" and in_mesh:
            yield (
                f"hosts[{index}]",
                'the host "*" is allowed at gateways only; name the gateways or the hosts',
            )
    for index, name in enumerate(spec.gateways):
        if not _GATEWAY.fullmatch(name):
            yield f"gateways[{index}]", f'{name!r} is no gateway; write "name", "namespace/name" or "mesh"'
    if not spec.http:
        yield (
            "http",
            "a virtual service must have at least one HTTP route (the local mesh has no tcp and tls routes)",
        )
    for index, route in enumerate(spec.http):
        for path, why in _route_problems(route):
            yield f"http[{index}].{path}", why


def _route_problems(route: HttpRoute) -> Iterator[Problem]:
    actions = [bool(route.route), route.redirect is not None, route.direct_response is not None]
    if sum(actions) != 1:
        yield "route", "a route needs exactly one of route, redirect and directResponse"
    for name in ("fault", "rewrite", "retries", "timeout"):
        if not route.route and getattr(route, name) is not None:
            yield name, "it has no effect on a redirect or a direct response; remove it"
    for index, match in enumerate(route.match):
        for path, why in _match_problems(match):
            yield f"match[{index}].{path}", why
    for index, weighted in enumerate(route.route):
        for path, why in _destination_problems(weighted.destination):
            yield f"route[{index}].destination.{path}", why
    if len(route.route) > 1 and not sum(weighted.weight for weighted in route.route):
        yield "route", "the weights of the destinations add up to 0"
    yield from _header_problems("headers", route.headers)
    for index, weighted in enumerate(route.route):
        yield from _header_problems(f"route[{index}].headers", weighted.headers)
    if route.retries is not None:
        yield from _retry_problems(route.retries)
    if route.fault is not None and route.fault.delay is None and route.fault.abort is None:
        yield "fault", "a fault needs a delay or an abort"
    yield from _rewrite_problems(route)


def _match_problems(match: Match) -> Iterator[Problem]:
    places = [("uri", match.uri), ("method", match.method), ("authority", match.authority)]
    for name in ("headers", "without_headers", "query_params"):
        field = {"without_headers": "withoutHeaders", "query_params": "queryParams"}.get(name, name)
        for key, string in getattr(match, name).items():
            places.append((f"{field}[{key}]", string))
            if not key:
                yield field, "a name must not be empty"
    for place, string in places:
        if string is None:
            continue
        given = [value for value in (string.exact, string.prefix, string.regex) if value is not None]
        if len(given) > 1:
            yield place, "only one of exact, prefix and regex can be given"
        if not given and "[" not in place:
            yield place, "one of exact, prefix and regex must be given"
        if string.prefix == "":
            yield f"{place}.prefix", "must not be empty"
        if string.regex is not None:
            yield from regex_problems(f"{place}.regex", string.regex)


def _destination_problems(destination: Destination) -> Iterator[Problem]:
    yield from host_problems("host", destination.host, wildcard=False)
    if destination.subset:
        yield from label_problems("subset", destination.subset)


def _header_problems(field: str, headers: Headers) -> Iterator[Problem]:
    """A lone "%" begins a command of Envoy's; one that does not end makes it refuse the configuration."""
    for side in ("request", "response"):
        operations = getattr(headers, side)
        for action in ("set", "add"):
            for name, value in getattr(operations, action).items():
                if "%" in _FORMAT.sub("", value):
                    yield (
                        f"{field}.{side}.{action}[{name}]",
                        f'{value!r} has a lone "%"; write "%%" for the sign',
                    )


def _retry_problems(retries: Retries) -> Iterator[Problem]:
    idle = (
        retries.per_try_timeout is None and not retries.retry_on and retries.retry_remote_localities is None
    )
    if retries.attempts == 0 and not idle:
        yield "retries.attempts", "http retry policy configured when attempts are set to 0 (disabled)"
    words = retries.retry_on.split(",") if retries.retry_on else []
    for word in words:
        if word not in _RETRY_ON and not status_known(word):
            yield "retries.retryOn", f"{word!r} is not a valid retryOn policy"


def _rewrite_problems(route: HttpRoute) -> Iterator[Problem]:
    if (rewrite := route.rewrite) is not None:
        if rewrite.uri and rewrite.uri_regex_rewrite:
            yield "rewrite", "only one of uri and uriRegexRewrite can be given"
        if not (rewrite.uri or rewrite.authority or rewrite.uri_regex_rewrite):
            yield "rewrite", "one of uri, uriRegexRewrite and authority must be given"
        if rewrite.uri_regex_rewrite:
            yield from regex_problems("rewrite.uriRegexRewrite.match", rewrite.uri_regex_rewrite.match)
    if (redirect := route.redirect) is not None and not (
        redirect.uri or redirect.authority or redirect.scheme or redirect.port
    ):
        yield "redirect", "one of uri, authority, scheme and port must be given"
