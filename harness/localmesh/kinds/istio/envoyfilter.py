"""EnvoyFilter: the one pattern that puts Envoy's HTTP fault filter in front of a workload's program.

Istio's own VirtualService faults act at the caller before the router, where retries, timeouts and outlier
detection never see them; this pattern acts at the callee's sidecar, where they do.
"""

from __future__ import annotations

from typing import Annotated, Literal, dataclass_transform

import msgspec
from msgspec import Meta, field

from harness.localmesh.kinds.istio.selectors import WorkloadSelector
from harness.localmesh.kinds.istio.values import Port, ProtoDuration, Unsigned
from harness.localmesh.kinds.parse import Kind


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class _Proto(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """Part of an Envoy configuration: its names are written with underscores, not in camelCase."""


class Fraction(_Proto):
    """A share of the requests."""

    numerator: Unsigned = 0
    denominator: Literal["HUNDRED", "TEN_THOUSAND", "MILLION"] = "HUNDRED"


class FaultAbort(_Proto):
    """An answer that the proxy gives in the program's place."""

    http_status: Annotated[int, Meta(ge=200, le=599)] | None = None
    grpc_status: Unsigned | None = None
    percentage: Fraction = Fraction()


class FaultDelay(_Proto):
    """A delay before the program sees the request."""

    fixed_delay: ProtoDuration
    percentage: Fraction = Fraction()


class Regex(_Proto):
    """An RE2 expression that must match the whole string."""

    regex: str


class StringMatcher(_Proto):
    """One way to compare a string."""

    exact: str | None = None
    prefix: str | None = None
    suffix: str | None = None
    contains: str | None = None
    safe_regex: Regex | None = None


class HeaderMatcher(_Proto):
    """A condition on a request header; all of them must hold for the fault to strike."""

    name: str
    string_match: StringMatcher | None = None
    present_match: bool | None = None
    invert_match: bool = False


class HttpFault(_Proto):
    """The configuration of Envoy's `envoy.filters.http.fault`."""

    type: Literal["type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"] = field(
        name="@type"
    )
    abort: FaultAbort | None = None
    delay: FaultDelay | None = None
    headers: tuple[HeaderMatcher, ...] = ()


class HttpFilter(_Proto):
    """The filter to insert."""

    name: Literal["envoy.filters.http.fault"]
    typed_config: HttpFault


class SubFilter(Kind):
    """The HTTP filter before which the fault goes; without it, the fault goes first."""

    name: Literal["envoy.filters.http.router"]


class NetworkFilter(Kind):
    """The HTTP connection manager."""

    name: Literal["envoy.filters.network.http_connection_manager"]
    sub_filter: SubFilter | None = None


class FilterChain(Kind):
    """Every filter chain with an HTTP connection manager."""

    filter: NetworkFilter


class Listener(Kind):
    """The inbound listener of `port_number`, the workload's port, or of all ports."""

    filter_chain: FilterChain
    port_number: Port | None = None


class PatchMatch(Kind):
    """Where the patch applies."""

    context: Literal["SIDECAR_INBOUND"]
    listener: Listener


class Patch(Kind):
    """What is inserted."""

    operation: Literal["INSERT_FIRST", "INSERT_BEFORE"]
    value: HttpFilter


class ConfigPatch(Kind):
    """One insertion."""

    apply_to: Literal["HTTP_FILTER"]
    match: PatchMatch
    patch: Patch


class EnvoyFilter(Kind):
    """The spec of an EnvoyFilter; filters apply by `priority`, lowest first, then by age."""

    workload_selector: WorkloadSelector = WorkloadSelector()
    config_patches: tuple[ConfigPatch, ...] = ()
    priority: Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)] = 0
