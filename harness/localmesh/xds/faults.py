"""Faults of a VirtualService, which the caller's proxy makes before the router sees the request.

Source: istio/istio `pilot/pkg/networking/core/route/route.go` (TranslateFault). An abort without a percentage strikes
never, which is Envoy's default; one without a status is none, as in istiod, which logs a warning.
"""

from __future__ import annotations

from harness.localmesh.kinds.istio.virtualservice import Abort, Delay, Fault
from harness.localmesh.xds.model import Resource
from harness.localmesh.xds.percent import fraction, whole
from harness.localmesh.xds.proto import duration, typed

FILTER = "envoy.filters.http.fault"
"""The filter that a route configures by this."""

_GRPC = (
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS"),
    *("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE"),
    *("UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"),
)
"""The gRPC statuses, each at the place of its number."""


def http_fault(fault: Fault) -> Resource | None:
    """The fault filter's configuration for one route; None when there is nothing that it could do."""
    fields: Resource = {}
    if fault.delay is not None:
        fields["delay"] = _delay(fault.delay)
    if fault.abort is not None and (fault.abort.http_status, fault.abort.grpc_status) != (None, None):
        fields["abort"] = _abort(fault.abort)
    return typed("envoy.extensions.filters.http.fault.v3.HTTPFault", **fields) if fields else None


def _delay(delay: Delay) -> Resource:
    share = whole(delay.percent) if delay.percentage is None else fraction(delay.percentage)
    return {"fixed_delay": duration(delay.fixed_delay), "percentage": share}


def _abort(abort: Abort) -> Resource:
    fields: Resource = {} if abort.percentage is None else {"percentage": fraction(abort.percentage)}
    if abort.grpc_status is not None:
        return {"grpc_status": _GRPC.index(abort.grpc_status), **fields}
    return {"http_status": abort.http_status, **fields}
