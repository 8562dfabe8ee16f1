"""All loggers of a proxy's listeners: what is counted of a request or a connection, then what is written down.

Where Envoy has no route, filter chain or endpoint for something, these say so, too: every HTTP connection manager and
every TCP proxy has them, and a listener that has no filter chain for a connection writes it down.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.localmesh.xds.accesslog import access_logs
from harness.localmesh.xds.metrics import (
    client_labels,
    connection_metrics,
    ended,
    request_metrics,
    server_labels,
)
from harness.localmesh.xds.model import Resource, Service, Telemetry, Workload
from harness.localmesh.xds.overrides import Side
from harness.localmesh.xds.view import View


def request_logs(
    view: View, side: Side, *, mutual_tls: bool = False, service: Service | None = None
) -> list[Resource]:
    """The access loggers of an HTTP connection manager at that side of requests.

    At the callee's, `mutual_tls` says whether its callers prove who they are, and `service` is what they call.
    """
    counted = _counted(view, side, service, http=True, mutual_tls=mutual_tls)
    return [*counted, *access_logs(view.config, view.telemetries, side)]


def connection_logs(
    view: View, side: Side, *, mutual_tls: bool = False, service: Service | None = None
) -> list[Resource]:
    """The access loggers of a TCP proxy at that side of connections; arguments as for `request_logs`."""
    counted = _counted(view, side, service, http=False, mutual_tls=mutual_tls)
    return [*counted, *access_logs(view.config, view.telemetries, side, ended())]


def listener_logs(view: View, side: Side) -> Resource:
    """The settings of a listener by which it writes down connections that no filter chain takes."""
    unserved = {"response_flag_filter": {"flags": ["NR"]}}
    written = access_logs(view.config, view.telemetries, side, unserved)
    return {"access_log": written} if written else {}


def _counted(
    view: View, side: Side, service: Service | None, *, http: bool, mutual_tls: bool
) -> Sequence[Resource]:
    if side == "CLIENT":
        return view.memo(_of_caller, view.workload, http, view.proxy.gateway, *view.telemetries)
    return view.memo(_of_callee, view.workload, http, mutual_tls, service, *view.telemetries)


def _of_caller(workload: Workload, http: bool, gateway: bool, *telemetries: Telemetry) -> list[Resource]:
    labels = client_labels(workload, http=http, gateway=gateway)
    return (request_metrics if http else connection_metrics)(labels, telemetries, "CLIENT")


def _of_callee(
    workload: Workload, http: bool, mutual_tls: bool, service: Service | None, *telemetries: Telemetry
) -> list[Resource]:
    labels = server_labels(workload, service, http=http, mutual_tls=mutual_tls)
    return (request_metrics if http else connection_metrics)(labels, telemetries, "SERVER")
