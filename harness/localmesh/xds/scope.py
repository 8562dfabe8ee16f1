"""What proxies of a namespace see: the Services and VirtualServices that Sidecars let them import.

Source: istio/istio `pilot/pkg/model/sidecar.go`. Sidecars for all workloads are the oldest without a selector;
one in the root namespace is for namespaces that have none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.localmesh.kinds.istio.sidecar import EgressListener
from harness.localmesh.kinds.istio.virtualservice import HttpRoute, TcpRoute, TlsRoute
from harness.localmesh.xds.hosts import is_wildcard, is_within, matches
from harness.localmesh.xds.model import ROOT_NAMESPACE, Service, Sidecar, VirtualService
from harness.localmesh.xds.services import by_age
from harness.localmesh.xds.virtualservices import MESH, VirtualServices

_EVERYTHING = EgressListener(hosts=("*/*",))
_EXCLUDE = "~"


@dataclass(frozen=True)
class Egress:
    """One egress listener: its Services and VirtualServices, in istiod's order.

    `port` 0 means every port not named elsewhere.
    """

    port: int
    services: tuple[Service, ...]
    virtual_services: tuple[VirtualService, ...]


@dataclass(frozen=True)
class Scope:
    """What a proxy sees: its egress listeners, and the Services of all of them, one for each host."""

    egress: tuple[Egress, ...]
    services: tuple[Service, ...]
    by_host: Mapping[str, Service]
    outbound_mode: str | None = None

    def egress_for(self, port: int) -> Egress | None:
        """The listener that decides about `port`."""
        return next((egress for egress in self.egress if egress.port in (0, port)), None)


def sidecar_for(sidecars: Iterable[Sidecar], namespace: str, labels: Mapping[str, str]) -> Sidecar | None:
    """The Sidecar of a workload: one that selects it, then its namespace's, then the mesh's."""
    ordered = by_age(sidecars)
    for with_selector in (True, False):
        for item in ordered:
            selector = item.spec.workload_selector
            wanted = selector.labels if selector else None
            fits = (wanted or {}).items() <= labels.items()
            if item.namespace == namespace and (wanted is not None) == with_selector and fits:
                return item
    return next(
        (
            item
            for item in ordered
            if item.namespace == ROOT_NAMESPACE and item.spec.workload_selector is None
        ),
        None,
    )


def gateway_scope(visible: Sequence[Service]) -> Scope:
    """What a gateway sees: every Service exported to its namespace."""
    services = _merged(visible)
    return Scope((), tuple(services.values()), services)


def sidecar_scope(
    sidecar: Sidecar | None,
    namespace: str,
    visible: tuple[Service, ...],
    rules: VirtualServices,
    known: Mapping[str, Mapping[str, Service]],
) -> Scope:
    """What a sidecar sees of the Services `visible` in `namespace`; `known` are all, by host and namespace."""
    listeners = (sidecar.spec.egress if sidecar else ()) or (_EVERYTHING,)
    seen = rules.seen(namespace, MESH)
    egress = tuple(_egress(listener, namespace, visible, seen) for listener in listeners)
    services: dict[str, Service] = {}
    for one in egress:
        _add(services, one.services)
        _add(services, _destinations(one, namespace, visible, known))
    mode = (
        sidecar.spec.outbound_traffic_policy.mode
        if sidecar and sidecar.spec.outbound_traffic_policy
        else None
    )
    return Scope(egress, tuple(services.values()), services, mode)


def _egress(
    listener: EgressListener, namespace: str, visible: Sequence[Service], rules: Sequence[VirtualService]
) -> Egress:
    imports = _Imports(listener.hosts, namespace)
    port = listener.port.number if listener.port else 0
    services = [_with_port(item, port) for item in visible if imports.service(item)]
    chosen = _one_namespace_each([item for item in services if item is not None], namespace)
    found = tuple(rule for rule in rules if imports.virtual_service(rule))
    return Egress(port, tuple(chosen), found)


class _Imports:
    """The hosts of an egress listener: "namespace/host", "." for the own namespace, "*" for all, "~" for not."""

    def __init__(self, hosts: Iterable[str], namespace: str) -> None:
        self._wanted: dict[str, list[str]] = {}
        self._excluded: dict[str, list[str]] = {}
        for written in hosts:
            where, _, host = written.partition("/")
            excluded = where.startswith(_EXCLUDE)
            where = (where.removeprefix(_EXCLUDE) or "*") if excluded else where
            target = self._excluded if excluded else self._wanted
            target.setdefault(namespace if where == "." else where, []).append(host)

    def service(self, service: Service) -> bool:
        if self._is_excluded(service.host, service.namespace):
            return False
        return any(
            is_within(service.host, host)
            for where in (service.namespace, "*")
            for host in self._wanted.get(where, ())
        )

    def virtual_service(self, rule: VirtualService) -> bool:
        return any(
            self._imports_rule(host, rule.namespace) and not self._is_excluded(host, rule.namespace)
            for host in rule.spec.hosts
        )

    def _imports_rule(self, host: str, namespace: str) -> bool:
        return any(
            matches(host, pattern) if is_wildcard(host) or is_wildcard(pattern) else host == pattern
            for where in (namespace, "*")
            for pattern in self._wanted.get(where, ())
        )

    def _is_excluded(self, host: str, namespace: str) -> bool:
        return any(
            is_within(host, pattern)
            for where in (namespace, "*")
            for pattern in self._excluded.get(where, ())
        )


def _with_port(service: Service, port: int) -> Service | None:
    """`service` with that port only; None when it has no such port. 0 keeps all."""
    if not port or (len(service.ports) == 1 and service.ports[0].number == port):
        return service
    own = service.port(port)
    return None if own is None else replace(service, ports=(own,))


def _one_namespace_each(services: Sequence[Service], namespace: str) -> list[Service]:
    """Of Services with the same host those of one namespace.

    That is the proxy's own, then that of a Kubernetes Service, then the first.
    """
    chosen: dict[str, Service] = {}
    for service in services:
        known = chosen.get(service.host)
        own = service.namespace == namespace
        elsewhere = known is not None and known.namespace != namespace
        if known is None or own or (elsewhere and service.kubernetes and not known.kubernetes):
            chosen[service.host] = service

    return [service for service in services if chosen[service.host].namespace == service.namespace]


def _destinations(
    egress: Egress,
    namespace: str,
    visible: Iterable[Service],
    known: Mapping[str, Mapping[str, Service]],
) -> Iterator[Service]:
    """The Services to which the VirtualServices of `egress` lead, imported or not."""
    seen = {(service.host, service.namespace) for service in visible}
    for rule in egress.virtual_services:
        for host, ports in _led_to(rule, namespace).items():
            places = known.get(host, {})
            where = namespace if namespace in places else _best(places, seen, host)
            if where is not None:
                service = places[where]
                matching = _with_port(service, egress.port) if egress.port else _with_ports(service, ports)
                if matching is not None:
                    yield matching


def _best(places: Mapping[str, Service], seen: set[tuple[str, str]], host: str) -> str | None:
    candidates = [service for where, service in places.items() if (host, where) in seen]
    if not candidates:
        return None
    best = min(candidates, key=lambda item: (not item.kubernetes, item.created, item.namespace))
    return best.namespace


def _with_ports(service: Service, ports: frozenset[int]) -> Service | None:
    if not ports or 0 in ports:
        return service
    kept = tuple(port for port in service.ports if port.number in ports)
    if len(kept) == len(service.ports):
        return service
    return replace(service, ports=kept) if kept else None


def _led_to(rule: VirtualService, namespace: str) -> dict[str, frozenset[int]]:
    """The hosts that routes for callers of `namespace` lead to, with the ports named; 0 where none is.

    istiod looks at HTTP routes only for whether they are for that namespace; there one match for another namespace
    weighs more than one for any (istio/istio `pilot/pkg/model/virtualservice.go`).
    """
    found: dict[str, frozenset[int]] = {}
    routes: tuple[HttpRoute | TcpRoute | TlsRoute, ...] = (*rule.spec.http, *rule.spec.tcp, *rule.spec.tls)
    for route in routes:
        wanted = {match.source_namespace for match in route.match} if isinstance(route, HttpRoute) else set()
        if namespace not in wanted and wanted - {""}:
            continue
        destinations = [item.destination for item in route.route]
        if isinstance(route, HttpRoute):
            destinations += [route.mirror] if route.mirror else []
            destinations += [item.destination for item in route.mirrors]
        for item in destinations:
            port = item.port.number if item.port else 0
            found[item.host] = found.get(item.host, frozenset()) | {port}
    return found


def _merged(services: Iterable[Service]) -> dict[str, Service]:
    merged: dict[str, Service] = {}
    _add(merged, services)
    return merged


def _add(merged: dict[str, Service], services: Iterable[Service]) -> None:
    """Adds Services, one for each host: the first, with the ports of others of its kind; Kubernetes' beat all."""
    for service in services:
        known = merged.get(service.host)
        if known is None or (service.kubernetes and not known.kubernetes):
            merged[service.host] = service
        elif known.ports != service.ports and _mergeable(known, service):
            numbers = {port.number for port in known.ports}
            more = tuple(port for port in service.ports if port.number not in numbers)
            merged[service.host] = replace(known, ports=known.ports + more) if more else known


def _mergeable(one: Service, other: Service) -> bool:
    return all(
        getattr(one, name) == getattr(other, name)
        for name in ("namespace", "resolution", "kubernetes", "selector", "export_to")
    )
