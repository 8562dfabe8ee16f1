"""Which servers a gateway proxy has: those of all Gateways that select it, merged port by port.

Gateways are taken oldest first. At one port of the pod there are either HTTP servers, which share one route table, or
TLS servers, told apart by server name; a server that does not fit in with those before it is left out, as in istiod:

- one with TLS settings of which a host is there already at that port,
- one at a port of a plain server, unless both are HTTP.

A port that is a port of a Service of the gateway stands for the Service's target port. `bind: 0.0.0.0` is no other
place than none (istiod would make two listeners of the same name, which no Envoy takes). The label
`experimental.istio.io/disable-gateway-port-translation` of Services has no effect.
Source: istio/istio `pilot/pkg/model/gateway.go` (mergeGateways), `pkg/config/gateway/gateway.go`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.localmesh.kinds.istio import gateway as kind
from harness.localmesh.xds.hosts import is_within, matches
from harness.localmesh.xds.model import Gateway, VirtualService
from harness.localmesh.xds.view import View


@dataclass(frozen=True)
class Server:
    """A server of a Gateway.

    Attributes:
        gateway: its Gateway as "namespace/name".
        hosts: "host", or "namespace/host" for VirtualServices of that namespace only.
        spec: the server as written.
        listens: the port it listens at.
        routes: the name of its route table; "" when requests are not told apart.
    """

    gateway: str
    hosts: tuple[str, ...]
    spec: kind.Server
    listens: int
    routes: str

    @property
    def port(self) -> int:
        """The port as written, which VirtualServices speak of."""
        return self.spec.port.number

    @property
    def is_http(self) -> bool:
        """Whether it takes requests without TLS."""
        return self.spec.port.protocol.http

    @property
    def is_passthrough(self) -> bool:
        """Whether it leaves TLS to whom it passes connections on."""
        return self.spec.tls is not None and self.spec.tls.mode == "PASSTHROUGH"

    @property
    def server_names(self) -> frozenset[str]:
        """Its hosts without their namespaces."""
        return frozenset(host.rpartition("/")[2] for host in self.hosts)

    @property
    def redirects(self) -> bool:
        """Whether it sends requests without TLS to where there is TLS."""
        return self.spec.tls is not None and self.spec.tls.https_redirect

    def shared_hosts(self, rule: VirtualService) -> list[str]:
        """What of the hosts of `rule` is served here; of two hosts of which one covers the other, the narrower."""
        found = []
        for host in self._hosts_for(rule):
            for wanted in rule.spec.hosts:
                if is_within(host, wanted):
                    found.append(host)
                elif is_within(wanted, host):
                    found.append(wanted)
        return list(dict.fromkeys(found))

    def concerns(self, rule: VirtualService) -> bool:
        """Whether some host of `rule` can be one of its own."""
        own = self._hosts_for(rule)
        return any(matches(host, wanted) for host in own for wanted in rule.spec.hosts)

    def _hosts_for(self, rule: VirtualService) -> list[str]:
        places = (host.rpartition("/") for host in self.hosts)
        return [name for namespace, _, name in places if namespace in ("", rule.namespace)]


@dataclass(frozen=True)
class Servers:
    """The servers of a proxy.

    Attributes:
        groups: those of the same port and protocol, in istiod's order.
        by_routes: those that take requests, by the name of their route table.
    """

    groups: Sequence[Sequence[Server]]
    by_routes: Mapping[str, Sequence[Server]]


def gateway_servers(view: View) -> Servers:
    """The servers of the proxy."""
    merging = _Merging()
    for gateway in view.gateways:
        for spec in gateway.spec.servers:
            merging.add(_server(gateway, spec, _target(view, spec.port.number)))
    return Servers(tuple(merging.groups.values()), merging.by_routes)


def claim(names: Iterable[str], taken: set[str]) -> bool:
    """Adds all `names` to those taken; if one of them is taken already, none, and the answer is False."""
    if not taken.isdisjoint(names):
        return False
    taken.update(names)
    return True


class _Merging:
    """The servers so far."""

    def __init__(self) -> None:
        self.groups: dict[tuple[int, str], list[Server]] = {}
        self.by_routes: dict[str, list[Server]] = {}
        self._plain: dict[int, list[Server]] = {}
        self._hosts: dict[int, set[str]] = {}

    def add(self, server: Server) -> None:
        protocol, tls = server.spec.port.protocol, server.spec.tls
        if tls is not None and not claim(server.hosts, self._hosts.setdefault(server.listens, set())):
            return
        plain = self._plain.get(server.listens)
        if plain is not None:
            if server.is_http and plain[0].is_http:
                plain.append(server)
            return
        if server.routes in self.by_routes:
            return
        group = self.groups.setdefault((server.listens, protocol), [])
        group.append(server)
        if tls is None or server.is_http:
            self._plain[server.listens] = group
        if server.routes:
            # Of a plain group all servers come to share the table of the first.
            self.by_routes[server.routes] = group if server.is_http else [server]


def _server(gateway: Gateway, spec: kind.Server, listens: int) -> Server:
    name = f"{gateway.namespace}/{gateway.name}"
    return Server(name, _full(spec.hosts, gateway.namespace), spec, listens, _routes(gateway, spec, listens))


def _routes(gateway: Gateway, spec: kind.Server, listens: int) -> str:
    """The name of the route table; "" for TCP, and for TLS that is no HTTPS or does not end here."""
    port, bind = spec.port, f".{spec.bind}" if spec.bind else ""
    if port.protocol.http:
        return f"http.{listens}{bind}"
    if port.protocol == "HTTPS" and spec.tls is not None and spec.tls.mode != "PASSTHROUGH":
        return f"https.{port.number}.{port.name}.{gateway.name}.{gateway.namespace}{bind}"
    return ""


def _full(hosts: Iterable[str], namespace: str) -> tuple[str, ...]:
    """Hosts with "." as `namespace`, and without the "*" that stands for all."""
    places = [host.rpartition("/") for host in hosts]
    if any(where == name == "*" for where, _, name in places):
        return ("*",)
    full = {"": "", "*": "", ".": f"{namespace}/"}
    return tuple(full.get(where, f"{where}/") + name for where, _, name in places)


def _target(view: View, number: int) -> int:
    """The target port of the oldest Service of the gateway that has port `number`; else `number` itself."""
    targets = [
        (service.created, service.name, service.namespace, target)
        for target, services in view.inbound_ports().items()
        for service, port in services
        if port.number == number
    ]
    return min(targets)[-1] if targets else number
