"""VirtualService: HTTP, TLS and TCP routes."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Literal

from msgspec import Meta, field

from harness.localmesh.kinds.istio.values import Count, Duration, Labels, Percent, Port, WholePercent
from harness.localmesh.kinds.parse import Kind

MESH = "mesh"
"""The name by which `gateways` means all sidecars."""


class StringMatch(Kind):
    """One of the three ways to compare a string; none of them means that it is present."""

    exact: str | None = None
    prefix: str | None = None
    regex: str | None = None


class Match(Kind):
    """One alternative of an HTTP route: all its fields must fit (Istio's HTTPMatchRequest)."""

    name: str = ""
    uri: StringMatch | None = None
    ignore_uri_case: bool = False
    scheme: StringMatch | None = None
    method: StringMatch | None = None
    authority: StringMatch | None = None
    headers: dict[str, StringMatch] = field(default_factory=dict)
    without_headers: dict[str, StringMatch] = field(default_factory=dict)
    query_params: dict[str, StringMatch] = field(default_factory=dict)
    port: Port | None = None
    gateways: tuple[str, ...] = ()
    source_labels: Labels = field(default_factory=dict)
    source_namespace: str = ""
    stat_prefix: str = ""


class PortSelector(Kind):
    """A port of a Service."""

    number: Port


class Destination(Kind):
    """Where requests go: a Service, and optionally one subset and one port of it."""

    host: str
    subset: str = ""
    port: PortSelector | None = None


class HeaderOperations(Kind):
    """Headers to set, add and remove, in this order."""

    set: dict[str, str] = field(default_factory=dict)
    add: dict[str, str] = field(default_factory=dict)
    remove: tuple[str, ...] = ()


class Headers(Kind):
    """Changes to the headers of requests and responses."""

    request: HeaderOperations = HeaderOperations()
    response: HeaderOperations = HeaderOperations()


class WeightedDestination(Kind):
    """A destination and its share; weights are relative to their sum (Istio's HTTPRouteDestination)."""

    destination: Destination
    weight: Count = 0
    headers: Headers = Headers()


class Retries(Kind):
    """The retry policy; `attempts` counts the retries, not the first try, and 0 switches retries off."""

    attempts: Count = 0
    per_try_timeout: Duration | None = None
    retry_on: str = ""
    retry_ignore_previous_hosts: bool | None = None
    retry_remote_localities: bool | None = None
    backoff: Duration | None = None


class Percentage(Kind):
    """A share of the requests, 0-100."""

    value: Percent = 0.0


class Delay(Kind):
    """A fixed delay; without `percentage`, `percent` (the older field, whole numbers) says how often it strikes."""

    fixed_delay: Duration
    percentage: Percentage | None = None
    percent: WholePercent = 0


class Abort(Kind):
    """An answer made by the proxy: one of `http_status` and `grpc_status` (a name like "UNAVAILABLE").

    With neither, istiod makes no abort (`TranslateFault`).
    """

    http_status: Annotated[int, Meta(ge=200, le=599)] | None = None
    grpc_status: str | None = None
    percentage: Percentage | None = None


class Fault(Kind):
    """A fault at the caller, before the router: retries and timeouts never see it."""

    delay: Delay | None = None
    abort: Abort | None = None


class RegexRewrite(Kind):
    """A substitution in the path."""

    match: str = ""
    rewrite: str = ""


class Rewrite(Kind):
    """What replaces the matched path (or prefix) and the authority."""

    uri: str = ""
    authority: str = ""
    uri_regex_rewrite: RegexRewrite | None = None


class Redirect(Kind):
    """An answer that sends the client elsewhere; one of `port` and `derive_port`, or neither."""

    uri: str = ""
    authority: str = ""
    scheme: Literal["", "http", "https"] = ""
    port: Port | None = None
    derive_port: Literal["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"] | None = None
    redirect_code: Literal[301, 302, 303, 307, 308] = 301


class Body(Kind):
    """The body of a direct response, one of a text and bytes (base64 in the manifest)."""

    string: str | None = None
    bytes: Annotated[str, Meta(pattern=r"^[A-Za-z0-9+/]*={0,2}$")] | None = None


class DirectResponse(Kind):
    """A fixed answer."""

    status: Annotated[int, Meta(ge=200, le=599)]
    body: Body | None = None


class MirrorPolicy(Kind):
    """A destination that gets copies; without a percentage, of every request."""

    destination: Destination
    percentage: Percentage | None = None


class CorsPolicy(Kind):
    """Cross-origin rules; `allow_origin` is the older list of exact origins, read when `allow_origins` is empty."""

    allow_origins: tuple[StringMatch, ...] = ()
    allow_origin: tuple[str, ...] = ()
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    max_age: Duration | None = None
    allow_credentials: bool | None = None
    unmatched_preflights: Literal["UNSPECIFIED", "FORWARD", "IGNORE"] = "UNSPECIFIED"


class Delegate(Kind):
    """The VirtualService whose routes stand in this one's place; no namespace means the root's own."""

    name: str = ""
    namespace: str = ""


class HttpRoute(Kind):
    """One rule of a VirtualService; without `match` it takes every request.

    The share of mirrored requests is `mirror_percentage`, else `mirror_percent` or `mirror_percent_old` (two
    spellings of one older field), else 100.
    """

    name: str = ""
    match: tuple[Match, ...] = ()
    route: tuple[WeightedDestination, ...] = ()
    redirect: Redirect | None = None
    direct_response: DirectResponse | None = None
    delegate: Delegate | None = None
    rewrite: Rewrite | None = None
    timeout: Duration | None = None
    retries: Retries | None = None
    fault: Fault | None = None
    mirror: Destination | None = None
    mirrors: tuple[MirrorPolicy, ...] = ()
    mirror_percentage: Percentage | None = None
    mirror_percent: WholePercent | None = None
    mirror_percent_old: WholePercent | None = field(default=None, name="mirror_percent")
    cors_policy: CorsPolicy | None = None
    headers: Headers = Headers()


class L4Match(Kind):
    """One alternative of a TCP route: all its fields must fit (Istio's L4MatchAttributes)."""

    destination_subnets: tuple[str, ...] = ()
    port: Port | None = None
    source_labels: Labels = field(default_factory=dict)
    gateways: tuple[str, ...] = ()
    source_namespace: str = ""


class TlsMatch(Kind):
    """One alternative of a TLS route; one of `sni_hosts` must be the name the client asks for."""

    sni_hosts: tuple[str, ...]
    destination_subnets: tuple[str, ...] = ()
    port: Port | None = None
    source_labels: Labels = field(default_factory=dict)
    gateways: tuple[str, ...] = ()
    source_namespace: str = ""


class RouteDestination(Kind):
    """A destination of connections and its share."""

    destination: Destination
    weight: Count = 0


class TcpRoute(Kind):
    """Where connections go; without `match`, all of them."""

    match: tuple[L4Match, ...] = ()
    route: tuple[RouteDestination, ...] = ()


class TlsRoute(Kind):
    """Where TLS connections go, by the name they ask for, still encrypted."""

    match: tuple[TlsMatch, ...]
    route: tuple[RouteDestination, ...] = ()


class VirtualService(Kind):
    """The spec of a VirtualService.

    No `hosts` make it a delegate; no `gateways` mean `MESH`; `export_to` holds namespaces, "." (its own) or "*" (all,
    as when it is empty).
    """

    hosts: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    http: tuple[HttpRoute, ...] = ()
    tls: tuple[TlsRoute, ...] = ()
    tcp: tuple[TcpRoute, ...] = ()
    export_to: tuple[str, ...] = ()


def status_known(word: str) -> bool:
    """Whether `word` is the number of an HTTP status that has a name."""
    return word.isascii() and word.isdecimal() and int(word) in set(HTTPStatus)
