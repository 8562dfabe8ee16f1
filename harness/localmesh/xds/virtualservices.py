"""VirtualServices as istiod holds them: full names, delegates merged into their roots, and who sees which.

Source: istio/istio `pilot/pkg/model/virtualservice.go`, `virtualservice_controller.go`, `push_context.go`
(initVirtualServices).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import msgspec

from harness.localmesh.kinds.istio import virtualservice as kind
from harness.localmesh.xds.delegation import merged_routes
from harness.localmesh.xds.hosts import fqdn
from harness.localmesh.xds.memo import Memo
from harness.localmesh.xds.model import VirtualService
from harness.localmesh.xds.services import by_age

R = TypeVar("R", kind.HttpRoute, kind.TcpRoute, kind.TlsRoute)
D = TypeVar("D", kind.WeightedDestination, kind.RouteDestination, kind.MirrorPolicy)

MESH = kind.MESH
_KINDS_OF_ROUTE = ("http", "tcp", "tls")


@dataclass(frozen=True)
class VirtualServices:
    """The VirtualServices of a mesh, resolved, oldest first, with the namespaces each is exported to."""

    exported: tuple[tuple[VirtualService, frozenset[str]], ...]

    def seen(self, namespace: str, gateway: str) -> tuple[VirtualService, ...]:
        """Those bound to `gateway` ("mesh" or "namespace/name") that proxies of `namespace` see.

        First its own private ones, then those exported to it by name, then the public ones.
        """
        private: list[VirtualService] = []
        named: list[VirtualService] = []
        public: list[VirtualService] = []
        for rule, to in self.exported:
            if gateway not in rule.spec.gateways:
                continue
            if "*" in to:
                public.append(rule)
            elif namespace in to:
                (private if rule.namespace == namespace else named).append(rule)
        return (*private, *named, *public)


def virtual_services(memo: Memo, rules: Sequence[VirtualService]) -> VirtualServices:
    """The VirtualServices made of `rules`; those that have not changed stay the same objects."""
    delegates = {(rule.namespace, rule.name): rule for rule in rules if not rule.spec.hosts}
    roots = [rule for rule in by_age(rules) if rule.spec.hosts]
    return VirtualServices(tuple(memo(_exported, rule, *_delegates(rule, delegates)) for rule in roots))


def _delegates(
    rule: VirtualService, delegates: Mapping[tuple[str, str], VirtualService]
) -> Iterator[VirtualService | None]:
    """For each route of `rule` that delegates: to whom, or None when the delegate is missing or not exported to it."""
    for route in rule.spec.http:
        if route.delegate is not None:
            found = delegates.get((route.delegate.namespace or rule.namespace, route.delegate.name))
            yield found if found is not None and _exports(found) & {"*", rule.namespace} else None


def _exported(
    rule: VirtualService, *delegates: VirtualService | None
) -> tuple[VirtualService, frozenset[str]]:
    full, rest = resolved(rule), iter(delegates)
    routes: list[kind.HttpRoute] = []
    for route in full.spec.http:
        if route.delegate is None:
            routes.append(route)
        elif (delegate := next(rest)) is not None:
            routes += merged_routes(route, resolved(delegate).spec.http)
    spec = msgspec.structs.replace(full.spec, http=tuple(routes))
    return replace(full, spec=spec), _exports(rule)


def resolved(rule: VirtualService) -> VirtualService:
    """`rule` with every host and gateway written in full."""
    spec, namespace = rule.spec, rule.namespace
    routes = {
        name: tuple(_resolved(route, namespace) for route in getattr(spec, name)) for name in _KINDS_OF_ROUTE
    }
    hosts = tuple(fqdn(host, namespace) for host in spec.hosts)
    gateways = _gateways(spec.gateways or (MESH,), namespace)
    return replace(rule, spec=msgspec.structs.replace(spec, hosts=hosts, gateways=gateways, **routes))


def _resolved(route: R, namespace: str) -> R:
    """`route` with the hosts of its destinations and the gateways of its matches written in full."""
    changes: dict[str, object] = {
        "route": tuple(_with_destination(item, namespace) for item in route.route),
        "match": tuple(
            msgspec.structs.replace(match, gateways=_gateways(match.gateways, namespace))
            for match in route.match
        ),
    }
    if isinstance(route, kind.HttpRoute):
        changes["mirrors"] = tuple(_with_destination(item, namespace) for item in route.mirrors)
        changes["mirror"] = None if route.mirror is None else _full(route.mirror, namespace)
    return msgspec.structs.replace(route, **changes)


def _with_destination(item: D, namespace: str) -> D:
    return msgspec.structs.replace(item, destination=_full(item.destination, namespace))


def _full(destination: kind.Destination, namespace: str) -> kind.Destination:
    return msgspec.structs.replace(destination, host=fqdn(destination.host, namespace))


def _gateways(names: Iterable[str], namespace: str) -> tuple[str, ...]:
    """Gateway names in full: "name" is one of the VirtualService's namespace, "./name" too."""
    return tuple(name if name == MESH else _gateway(name, namespace) for name in names)


def _gateway(name: str, namespace: str) -> str:
    where, slash, bare = name.rpartition("/")
    return f"{where if slash and where != '.' else namespace}/{bare}"


def _exports(rule: VirtualService) -> frozenset[str]:
    """The namespaces, "*" for all; "~" is nobody."""
    given = rule.spec.export_to or ("*",)
    return frozenset(rule.namespace if name == "." else name for name in given) - {"~"}
