"""What Istio's webhook, or Envoy itself, holds against an HTTP route of a VirtualService (`validateHTTPRoute`)."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Sequence
from itertools import chain

from harness.localmesh.kinds.istio import formats, re2
from harness.localmesh.kinds.istio.rules import cors, httpmatch
from harness.localmesh.kinds.istio.rules.common import (
    each,
    host_problems,
    label_problems,
    regex_problems,
    under,
)
from harness.localmesh.kinds.istio.values import Problem
from harness.localmesh.kinds.istio.virtualservice import (
    Body,
    Destination,
    Fault,
    Headers,
    HttpRoute,
    Percentage,
    Redirect,
    Retries,
    Rewrite,
    status_known,
)

GRPC_STATUSES = (
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS"),
    *("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE"),
    *("UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"),
)
"""The names of gRPC's codes; the index of each is its number."""

# The words of istio/istio pkg/config/validation/agent/validation.go, supportedRetryOnPolicies.
_RETRY_ON = frozenset(
    {
        *("5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "retriable-4xx"),
        *("refused-stream", "retriable-status-codes", "retriable-headers", "envoy-ratelimited"),
        *("http3-post-connect-failure", "cancelled", "deadline-exceeded", "internal", "resource-exhausted"),
        "unavailable",
    }
)
_MOST = 2**32 - 1  # what Envoy adds weights up to
_REFERENCE = re.compile(r"\\(.?)", re.DOTALL)


def problems(route: HttpRoute, *, delegate: bool) -> Iterator[Problem]:
    """The fields of `route` that Istio would not take; `delegate` when its VirtualService has no hosts."""
    yield from _conflicts(route, delegate=delegate)
    yield from each("match", map(httpmatch.problems, route.match))
    yield from _headers_problems(route.headers)
    if route.cors_policy is not None:
        yield from under("corsPolicy", cors.problems(route.cors_policy))
    if route.fault is not None:
        yield from under("fault", _fault_problems(route.fault))
    yield from _mirror_problems(route)
    if route.redirect is not None:
        yield from _redirect_problems(route.redirect)
    if route.direct_response is not None and route.direct_response.body is not None:
        yield from under("directResponse.body", _body_problems(route.direct_response.body))
    if route.retries is not None:
        yield from under("retries", _retry_problems(route.retries))
    if route.rewrite is not None:
        yield from under("rewrite", _rewrite_problems(route.rewrite))
    yield from _authority_problems(route)
    for index, weighted in enumerate(route.route):
        yield from under(f"route[{index}]", _headers_problems(weighted.headers))
        yield from under(f"route[{index}].destination", destination_problems(weighted.destination))
    yield from weight_problems([weighted.weight for weighted in route.route])


def warnings(route: HttpRoute) -> Iterator[Problem]:
    """The fields of `route` that Istio takes with a warning, or takes and ignores."""
    for name, value in (
        ("mirrorPercent", route.mirror_percent),
        ("mirror_percent", route.mirror_percent_old),
    ):
        if value is not None:
            yield name, "is deprecated; use mirrorPercentage"
    abort = route.fault.abort if route.fault is not None else None
    if abort is not None and abort.http_status is None and abort.grpc_status is None:
        yield "fault.abort", "neither httpStatus nor grpcStatus is given, so nothing is aborted"
    body = route.direct_response.body if route.direct_response is not None else None
    if body is not None and _size(body) > 100 * 1024:
        yield "directResponse.body", "is larger than 100 KiB, which slows istiod down"
    if route.redirect is not None or route.direct_response is not None:
        for name in ("timeout", "retries"):
            if getattr(route, name) is not None:
                yield name, "has no effect on a redirect or a direct response"


def destination_problems(destination: Destination) -> Iterator[Problem]:
    """What keeps `destination` from being one; a wildcard host is one when a ServiceEntry has it."""
    if destination.host == "*":
        yield "host", '"*" is no destination; name a host'
    else:
        yield from host_problems("host", destination.host)
    if destination.subset:
        yield from label_problems("subset", destination.subset)


def weight_problems(weights: Sequence[int]) -> Iterator[Problem]:
    """What keeps `weights` from being those of one route's destinations."""
    if len(weights) > 1 and not sum(weights):
        yield "route", "the weights of the destinations add up to 0"
    if sum(weights) > _MOST:
        yield "route", f"the weights of the destinations add up to more than {_MOST}"


def _conflicts(route: HttpRoute, *, delegate: bool) -> Iterator[Problem]:
    if route.delegate is not None:
        if delegate:
            yield (
                "delegate",
                "a delegate cannot delegate further; remove it or give the virtual service hosts",
            )
        for name in ("redirect", "route"):
            if getattr(route, name):
                yield name, "a route that delegates cannot have this; leave it to the delegate"
        return
    if route.mirror is not None and route.mirrors:
        yield "mirrors", "only one of mirror and mirrors can be given"
    actions = {
        "route": bool(route.route),
        "redirect": bool(route.redirect),
        "directResponse": bool(route.direct_response),
    }
    if sum(actions.values()) != 1:
        yield "route", "a route needs exactly one of route, redirect and directResponse"
    if not route.route:
        for name in ("fault", "rewrite"):
            if getattr(route, name) is not None:
                yield name, "a redirect or a direct response cannot have this; remove it"


def _headers_problems(headers: Headers) -> Iterator[Problem]:
    for side in ("request", "response"):
        operations = getattr(headers, side)
        for action in ("set", "add"):
            for name, value in getattr(operations, action).items():
                field = f"headers.{side}.{action}[{name}]"
                yield from _header_name_problems(field, name, authority=side == "request")
                if (why := formats.fault(value)) is not None:
                    yield field, f"{value!r} {why}" if len(value) < 200 else f"the value {why}"
        for index, name in enumerate(operations.remove):
            yield from _header_name_problems(f"headers.{side}.remove[{index}]", name, authority=False)


def _header_name_problems(field: str, name: str, *, authority: bool) -> Iterator[Problem]:
    """`authority` allows the two names of the host, which become a rewrite of it."""
    if not name:
        yield field, "the name of a header must not be empty"
    elif len(name.encode()) > 16384:
        yield field, "the name of a header is longer than 16384 bytes"
    elif not (authority and _is_authority(name)) and (name.startswith(":") or name.lower() == "host"):
        yield field, f"{name!r} cannot be changed; it is no ordinary header"


def _is_authority(name: str) -> bool:
    return name.lower() in (":authority", "host")


def _authority_problems(route: HttpRoute) -> Iterator[Problem]:
    current = route.rewrite.authority if route.rewrite is not None else ""
    request = route.headers.request
    for name, value in chain(request.set.items(), request.add.items()):
        if _is_authority(name):
            if current:
                yield "headers.request", f"the authority is set to {current!r} and to {value!r}; set it once"
            current = value


def _share_problems(field: str, percentage: Percentage | None) -> Iterator[Problem]:
    if percentage is not None and 0 < percentage.value < 0.0001:
        yield (
            f"{field}.percentage.value",
            f"{percentage.value} is too small; the least share is 0.0001 percent",
        )


def _fault_problems(fault: Fault) -> Iterator[Problem]:
    if fault.delay is None and fault.abort is None:
        yield "", "a fault needs a delay or an abort"
    if fault.delay is not None:
        yield from _share_problems("delay", fault.delay.percentage)
    if (abort := fault.abort) is not None:
        yield from _share_problems("abort", abort.percentage)
        if abort.http_status is not None and abort.grpc_status is not None:
            yield "abort", "only one of httpStatus and grpcStatus can be given"
        if abort.grpc_status is not None and abort.grpc_status not in GRPC_STATUSES:
            yield "abort.grpcStatus", f"{abort.grpc_status!r} is no gRPC status; write one like UNAVAILABLE"


def _mirror_problems(route: HttpRoute) -> Iterator[Problem]:
    if route.mirror is not None:
        yield from under("mirror", destination_problems(route.mirror))
    for index, mirror in enumerate(route.mirrors):
        yield from under(f"mirrors[{index}].destination", destination_problems(mirror.destination))
    if route.mirror_percent is not None and route.mirror_percent_old is not None:
        yield "mirror_percent", "is the older spelling of mirrorPercent; only one of them can be given"


def _redirect_problems(redirect: Redirect) -> Iterator[Problem]:
    if redirect.port is not None and redirect.derive_port is not None:
        yield "redirect", "only one of port and derivePort can be given"
    if redirect == Redirect(redirect_code=redirect.redirect_code):
        yield "redirect", "one of uri, authority, scheme and port must be given"


def _size(body: Body) -> int:
    if body.bytes is not None:
        return len(body.bytes) * 3 // 4
    return len((body.string or "").encode())


def _body_problems(body: Body) -> Iterator[Problem]:
    if body.string is not None and body.bytes is not None:
        yield "", "only one of string and bytes can be given"
    if body.bytes is not None:
        try:
            base64.b64decode(body.bytes, validate=True)
        except binascii.Error:
            yield "bytes", "is no base64"
    if _size(body) > 1024 * 1024:
        yield "", "is larger than 1 MiB"


def _retry_problems(retries: Retries) -> Iterator[Problem]:
    idle = (
        retries.per_try_timeout is None and not retries.retry_on and retries.retry_remote_localities is None
    )
    if retries.attempts == 0 and not idle:
        yield "attempts", "http retry policy configured when attempts are set to 0 (disabled)"
    for word in retries.retry_on.split(",") if retries.retry_on else []:
        if word not in _RETRY_ON and not status_known(word):
            yield "retryOn", f"{word!r} is not a valid retryOn policy"


def _rewrite_problems(rewrite: Rewrite) -> Iterator[Problem]:
    regex = rewrite.uri_regex_rewrite
    if rewrite.uri and regex is not None:
        yield "", "only one of uri and uriRegexRewrite can be given"
    if not (rewrite.uri or rewrite.authority or regex is not None):
        yield "", "one of uri, uriRegexRewrite and authority must be given"
    if regex is None:
        return
    if not regex.match or not regex.rewrite:
        yield "uriRegexRewrite", "needs both match and rewrite"
        return
    wrong = list(regex_problems("uriRegexRewrite.match", regex.match))
    yield from wrong or _substitution_problems(regex.match, regex.rewrite)


def _substitution_problems(regex: str, text: str) -> Iterator[Problem]:
    """Envoy refuses a substitution that names a group the expression does not have, and a lone backslash."""
    for reference in _REFERENCE.findall(text):
        if reference != "\\" and not (reference.isascii() and reference.isdecimal()):
            yield "uriRegexRewrite.rewrite", f"{text!r} has a lone backslash; write two for the sign"
        elif reference != "\\" and int(reference) > re2.groups(regex):
            yield (
                "uriRegexRewrite.rewrite",
                f"{text!r} names group {reference}, which {regex!r} does not have",
            )
