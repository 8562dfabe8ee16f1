"""Who can be called by way of an egress listener, port by port, and which VirtualServices speak about whom.

Source: istio/istio `pilot/pkg/networking/core/httproute.go` (selectVirtualServices),
`route/route.go` (separateVSHostsAndServices), `pilot/pkg/model/sidecar.go` (computeWildcardHostVirtualServiceIndex).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.localmesh.xds.hosts import is_wildcard, matches, most_specific
from harness.localmesh.xds.model import Service, VirtualService
from harness.localmesh.xds.scope import Egress


class Called:
    """The Services and VirtualServices of one egress listener, made ready for questions about one port."""

    def __init__(self, egress: Egress) -> None:
        self._rules = egress.virtual_services
        self._ports: dict[int, dict[str, Service]] = {}
        for service in egress.services:
            for port in service.ports:
                self._ports.setdefault(port.number, {})[service.host.lower()] = service
        self.http_ports = {port.number for item in egress.services for port in item.ports if port.is_http}
        self._exact: dict[str, list[int]] = {}
        self._wild: dict[str, list[int]] = {}
        for index, rule in enumerate(self._rules):
            for host in rule.spec.hosts:
                places = self._wild if is_wildcard(host) else self._exact
                places.setdefault(host.lower(), []).append(index)
        self._owners: dict[str, VirtualService | None] = {}

    def at(self, port: int) -> Mapping[str, Service]:
        """The Services that have `port`, of whatever protocol, by host; of several for one host the last."""
        return self._ports.get(port, {})

    def rules(self, port: int, *, everything: bool) -> Sequence[VirtualService]:
        """The VirtualServices, in istiod's order, that name a Service at `port`, or all of them."""
        if everything:
            return self._rules
        services = self.at(port)
        found = {index for host in services for index in self._exact.get(host, ())}
        for pattern, indices in self._wild.items():
            if any(matches(pattern, host) for host in services):
                found.update(indices)
        for pattern in filter(is_wildcard, services):
            found.update(
                i for host, indices in self._exact.items() if matches(host, pattern) for i in indices
            )
        return [self._rules[index] for index in sorted(found)]

    def hosts_of(self, rule: VirtualService, port: int) -> tuple[tuple[str, ...], tuple[Service, ...]]:
        """The hosts of `rule` that are no Services at `port`, and the Services there that it is for.

        A wildcard is for those Services only for which no other VirtualService has a more specific host.
        """
        registry = self.at(port)
        written = [host.lower() for host in rule.spec.hosts]
        exact = [host for host in written if not is_wildcard(host)]
        foreign = [host for host in exact if host not in registry]
        services = [registry[host] for host in exact if host in registry]
        for pattern in filter(is_wildcard, written):
            covered = [service for host, service in registry.items() if matches(host, pattern)]
            services += [service for service in covered if self._owner(service.host.lower()) is rule]
            if not covered:
                foreign.append(pattern)
        return tuple(foreign), tuple(services)

    def _owner(self, host: str) -> VirtualService | None:
        """The VirtualService with the most specific host that covers `host`; the first of several with the same."""
        if host not in self._owners:
            indices = self._exact.get(host) or most_specific(host, self._wild)
            self._owners[host] = self._rules[indices[0]] if indices else None
        return self._owners[host]
