"""The mesh as one proxy sees it: every question the translation asks, answered as istiod would.

`Views` is made for one state of the mesh and gives the `View` of any proxy; what proxies share is worked out
once, and what the state before had in common with this one is taken over by way of the memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, TypeVar

from harness.localmesh.kinds.istio.virtualservice import L4Match, Match, TlsMatch
from harness.localmesh.xds import authn
from harness.localmesh.xds.given import given_ports
from harness.localmesh.xds.memo import Memo
from harness.localmesh.xds.model import (
    ROOT_NAMESPACE,
    AuthorizationPolicy,
    Credential,
    Endpoint,
    EnvoyFilter,
    Gateway,
    Mesh,
    MeshConfig,
    OutboundMode,
    Proxy,
    Service,
    ServicePort,
    Telemetry,
    VirtualService,
)
from harness.localmesh.xds.registry import Registry
from harness.localmesh.xds.rules import Rule, Rules, chosen
from harness.localmesh.xds.scope import Egress, Scope, gateway_scope, sidecar_for, sidecar_scope
from harness.localmesh.xds.services import (
    Population,
    augmented,
    by_age,
    endpoints,
    inbound_ports,
    target_port,
)
from harness.localmesh.xds.virtualservices import VirtualServices, virtual_services

T = TypeVar("T")

Served = Mapping[tuple[int, int], tuple[Endpoint, ...]]
"""The endpoints of Services, by the identity of the Service and the number of its port."""

_CHANGING = frozenset({"workloads", "workload_entries", "virtual_services"})


class Views:
    """What is the same for all proxies of one mesh."""

    def __init__(self, mesh: Mesh, memo: Memo | None = None) -> None:
        """Args: memo: the memory of the state before, whose generation ends here."""
        self.mesh = mesh
        self.memo = memo or Memo()
        self.memo.turn()
        self.registry = self.memo(Registry, mesh.services, mesh.service_entries)
        self.population = self.memo(Population, mesh.workloads, mesh.workload_entries)
        self.virtual_services: VirtualServices = self.memo(virtual_services, self.memo, mesh.virtual_services)
        self.rules = self.memo(Rules, self.memo, mesh.destination_rules)
        self.served: Served = self.memo.through(
            _served, self, self.registry, self.population, mesh.service_entries, mesh.peer_authentications
        )
        self.settings = tuple(
            getattr(mesh, name) for name in Mesh.__dataclass_fields__ if name not in _CHANGING
        )
        """All of the mesh but its workloads and VirtualServices."""
        self._found: dict[tuple[int, int], tuple[Service, tuple[Endpoint, ...]]] = {}
        self._proven: dict[tuple[str, str], frozenset[str]] = {}
        self.ruled: dict[tuple[str, int], tuple[Service, tuple[Rule, ...]]] = {}
        policies = mesh.peer_authentications
        spoken = {"", *(policy.namespace for policy in policies)}
        self.modes = {namespace: authn.namespace_mode(policies, namespace) for namespace in spoken}

    @cached_property
    def labels_asked(self) -> frozenset[str]:
        """The labels of proxies that a VirtualService's match or a DestinationRule asks for."""
        return self.memo(_labels_asked, self.virtual_services) | self.rules.asked

    @cached_property
    def given(self) -> Mapping[tuple[str, int], int]:
        """The ports at which sidecars offer TCP Services, by host and port; the same object until they change."""
        return self.memo(given_ports, self.registry.services)

    def of(self, proxy: Proxy) -> View:
        """What `proxy` sees."""
        return View(self, proxy)

    def endpoints(self, service: Service, port: ServicePort) -> tuple[Endpoint, ...]:
        """The endpoints of `port` of all Services of the host of `service`.

        istiod knows ports of several Services of one host by name for EDS, by number for DNS.
        """
        key = (id(service), port.number)
        if (known := self.served.get(key)) is not None:
            return known
        if key not in self._found:  # made of several Services, as one proxy sees them
            self._found[key] = (service, self.looked_up(service, port))
        return self._found[key][1]

    def identities(self, service: Service) -> frozenset[str]:
        """Whatever the endpoints of the host of `service` may prove to be, and what the youngest Service of it says.

        These are the endpoints of all its ports, also of those that a Sidecar leaves out, and of all its Services in
        that namespace (istio/istio `pilot/pkg/model/push_context.go`, addServiceAccounts).
        """
        key = (service.host, service.namespace)
        if key not in self._proven:
            same = self.registry.of_host(service)
            by_port = [self.endpoints(one, port) for one in same for port in one.ports]
            self._proven[key] = self.memo(_identities, same[-1], *by_port)
        return self._proven[key]

    def looked_up(self, service: Service, port: ServicePort) -> tuple[Endpoint, ...]:
        """The same, but for what is known already."""
        by_number = service.resolution in ("DNS", "DNS_ROUND_ROBIN")
        made: tuple[Endpoint, ...] = ()
        for one in self.registry.same_host(service):
            own = one.port(port.number) if by_number else one.named_port(port.name)
            if own is not None:
                found = endpoints(self.memo, self.mesh, self.population, one, own)
                made = self.memo(_joined, made, found) if made else found
        return made


class View:
    """What one proxy sees. Services, rules and policies come in istiod's order."""

    def __init__(self, views: Views, proxy: Proxy) -> None:
        self._views = views
        self.proxy = proxy
        # As it is now: a pod's labels may change while its proxy runs, and its node may move.
        own = proxy.workload
        self.workload = views.population.named.get((own.namespace, own.name), own)
        self.namespace = proxy.workload.namespace

    @property
    def config(self) -> MeshConfig:
        """The mesh-wide settings."""
        return self._views.mesh.config

    def memo(self, make: Callable[..., T], *arguments: Any) -> T:
        """`make(*arguments)`, remembered for as long as the arguments are the same objects; see `Memo`."""
        return self._views.memo(make, *arguments)

    def shared(self, make: Callable[[View], T], *read: object) -> T:
        """`make(self)`, made once for all proxies to which it is the same, and for as long as `read` is the same.

        These are the ones of the same namespace, Services and locality that agree in the labels rules ask for: `make`
        may look at the Services they see and at these, at nothing else of the proxy, and of the mesh at nothing but
        `read`. Nobody may change the result.
        """
        views, workload = self._views, self.workload
        labels = augmented(workload.labels, workload.locality)
        asked = frozenset(item for item in labels.items() if item[0] in views.labels_asked)
        place = workload.locality
        return views.memo.through(
            make,
            self,
            self.services,
            self.proxy.gateway,
            self.namespace,
            f"{place.region}/{place.zone}/{place.subzone}",
            asked,
            *read,
        )

    def own(self, make: Callable[[View], T]) -> T:
        """`make(self)`, remembered for this proxy until more changes than other workloads and VirtualServices.

        `make` may look at neither of those. Nobody may change the result.
        """
        return self._views.memo.through(
            make, self, self.workload, self.proxy.gateway, self.proxy.listen, *self._views.settings
        )

    @property
    def rules(self) -> Rules:
        """The DestinationRules of the mesh; the same object until they change."""
        return self._views.rules

    @property
    def served(self) -> Served:
        """The endpoints of all Services; the same object until they change."""
        return self._views.served

    @property
    def namespace_mtls_modes(self) -> frozenset[tuple[str, str]]:
        """What `namespace_mtls_mode` goes by; equal until an answer changes."""
        return frozenset(self._views.modes.items())

    @cached_property
    def scope(self) -> Scope:
        """The Services and egress listeners it may know."""
        registry = self._views.registry
        if self.proxy.gateway:
            return self.memo(_gateway_scope, registry, self.namespace)
        sidecar = sidecar_for(self._views.mesh.sidecars, self.namespace, self.workload.labels)
        return self.memo(
            _sidecar_scope, self._views.memo, registry, self._views.virtual_services, sidecar, self.namespace
        )

    @property
    def services(self) -> tuple[Service, ...]:
        """The Services it may call, one for each host."""
        return self.scope.services

    def registered(self, host: str, namespace: str = "") -> Service | None:
        """The Service of that full name, whether it may call it or not; of `namespace`, or else of the only one."""
        places = self._views.registry.by_host.get(host, {})
        found = [service for place, service in places.items() if namespace in ("", place)]
        return found[0] if len(found) == 1 else None

    @property
    def egress(self) -> tuple[Egress, ...]:
        """Its egress listeners; a gateway has none."""
        return self.scope.egress

    @property
    def outbound_mode(self) -> OutboundMode:
        """What becomes of requests to unknown hosts."""
        mode = self.scope.outbound_mode or self.config.outbound_mode
        return "REGISTRY_ONLY" if mode == "REGISTRY_ONLY" else "ALLOW_ANY"

    def service(self, host: str) -> Service | None:
        """The Service of that full name, if it may call it."""
        return self.scope.by_host.get(host)

    def endpoints(self, service: Service, port: ServicePort) -> tuple[Endpoint, ...]:
        """Where `port` of `service` is served, ready or not: the endpoints of all Services of its host."""
        return self._views.endpoints(service, port)

    def identities(self, service: Service) -> frozenset[str]:
        """The SPIFFE identities that a server of `service` may have; see `Views.identities`."""
        return self._views.identities(service)

    def destination_rule(self, service: Service, *, inbound: bool = False) -> Rule | None:
        """The DestinationRules for `service`, merged; `inbound` disregards those with a workloadSelector."""
        views, key = self._views, (self.namespace, id(service))
        if key not in views.ruled:
            candidates = self.memo(Rules.candidates, views.rules, self.namespace, service)
            views.ruled[key] = service, candidates
        return chosen(views.ruled[key][1], self.namespace, None if inbound else self.workload.labels)

    def virtual_services(self, gateway: str) -> tuple[VirtualService, ...]:
        """The VirtualServices bound to `gateway` ("namespace/name") that it sees; for sidecars see `egress`."""
        return self.memo(VirtualServices.seen, self._views.virtual_services, self.namespace, gateway)

    def given_port(self, service: Service, port: ServicePort) -> int | None:
        """Where sidecars offer a TCP port of a Service, on their own address; None for HTTP."""
        return self._views.given.get((service.host, port.number))

    @cached_property
    def gateways(self) -> tuple[Gateway, ...]:
        """The Gateways that select it, oldest first."""
        labels = self.workload.labels
        found = [item for item in self._views.mesh.gateways if item.spec.selector.items() <= labels.items()]
        return tuple(by_age(found))

    @property
    def credentials(self) -> tuple[Credential, ...]:
        """The certificates in the Secrets of all namespaces."""
        return self._views.mesh.credentials

    def namespace_mtls_mode(self, namespace: str) -> str:
        """The mTLS mode of a namespace by its own or the mesh's PeerAuthentication; "" when there is none."""
        modes = self._views.modes
        return modes.get(namespace, modes[""])

    def mtls_mode(self, port: int) -> str:
        """The mTLS mode of a port of its own workload: STRICT, PERMISSIVE or DISABLE."""
        policies = self._views.mesh.peer_authentications
        return self.memo(authn.mode, policies, self.namespace, self.workload.labels, port)

    def inbound_ports(self) -> Mapping[int, Sequence[tuple[Service, ServicePort]]]:
        """The ports of its inbound side, declared or targeted, with the Services behind each, oldest first."""
        ports: dict[int, list[tuple[Service, ServicePort]]] = {port: [] for _, port in self.workload.ports}
        for number, service, port in inbound_ports(self._views.registry.services, self.workload):
            ports.setdefault(number, []).append((service, port))
        return dict(sorted(ports.items()))

    @cached_property
    def authorization_policies(self) -> tuple[AuthorizationPolicy, ...]:
        """Those for its workload: of the root namespace, then of its own, each oldest first."""
        return tuple(self._applying(self._views.mesh.authorization_policies))

    @cached_property
    def telemetries(self) -> tuple[Telemetry, ...]:
        """Those for its workload: the oldest of the mesh, the oldest of its namespace, all that select it.

        One of the root namespace with a selector is only for workloads there (istio/istio
        `pilot/pkg/model/telemetry.go`, applicableTelemetries).
        """
        fitting = self._applying(self._views.mesh.telemetries)
        selecting = [
            item for item in fitting if item.spec.selector.match_labels and item.namespace == self.namespace
        ]
        wide: dict[str, Telemetry] = {}
        for item in fitting:
            if not item.spec.selector.match_labels:
                wide.setdefault(item.namespace, item)
        return (*wide.values(), *selecting)

    @cached_property
    def envoy_filters(self) -> tuple[EnvoyFilter, ...]:
        """Those for its workload, by priority, then those of the root namespace first, then by age."""
        labels = self.workload.labels
        fitting = [
            item
            for item in by_age(self._views.mesh.envoy_filters)
            if item.namespace in (ROOT_NAMESPACE, self.namespace)
            and item.spec.workload_selector.labels.items() <= labels.items()
        ]
        return tuple(sorted(fitting, key=lambda item: (item.spec.priority, item.namespace != ROOT_NAMESPACE)))

    def _applying(self, policies: Sequence[P]) -> list[P]:
        """Of `policies` those of the root and of its own namespace whose selector fits its workload."""
        found = []
        for namespace in dict.fromkeys((ROOT_NAMESPACE, self.namespace)):
            for item in by_age(policies):
                wanted = item.spec.selector.match_labels if item.spec.selector else {}
                if item.namespace == namespace and wanted.items() <= self.workload.labels.items():
                    found.append(item)
        return found


P = TypeVar("P", AuthorizationPolicy, Telemetry)


def _labels_asked(rules: VirtualServices) -> frozenset[str]:
    matches: list[Match | L4Match | TlsMatch] = []
    for rule, _ in rules.exported:
        matches += (match for route in rule.spec.http for match in route.match)
        matches += (match for route in rule.spec.tcp for match in route.match)
        matches += (match for route in rule.spec.tls for match in route.match)
    return frozenset(key for match in matches for key in match.source_labels)


def _gateway_scope(registry: Registry, namespace: str) -> Scope:
    return gateway_scope(registry.visible(namespace))


def _sidecar_scope(
    memo: Memo, registry: Registry, rules: VirtualServices, sidecar: Any, namespace: str
) -> Scope:
    visible = memo(Registry.visible, registry, namespace)
    made = sidecar_scope(sidecar, namespace, visible, rules, registry.by_host)
    return replace(made, services=memo(_these, *made.services))


def _these(*services: Service) -> tuple[Service, ...]:
    """The same object for the same Services."""
    return services


def _identities(service: Service, *by_port: Sequence[Endpoint]) -> frozenset[str]:
    proven = {endpoint.identity for found in by_port for endpoint in found}
    return frozenset(proven | set(service.accounts)) - {""}


def _joined(one: tuple[Endpoint, ...], other: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
    return one + other


def _served(views: Views) -> Served:
    ports = [(service, port) for service in views.registry.services for port in service.ports]
    return views.memo(_table, views.registry, *(views.looked_up(*pair) for pair in ports))


def _table(registry: Registry, *found: tuple[Endpoint, ...]) -> Served:
    """The same object for the same endpoints."""
    keys = ((id(service), port.number) for service in registry.services for port in service.ports)
    return dict(zip(keys, found, strict=True))


__all__ = ["View", "Views", "target_port"]
