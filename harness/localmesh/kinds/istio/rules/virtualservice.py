"""What Istio's webhook holds against a VirtualService (`ValidateVirtualService`)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from harness.localmesh.kinds.istio.rules import httproute, unreachable
from harness.localmesh.kinds.istio.rules.common import (
    covers,
    each,
    export_problems,
    gateway_problems,
    host_problems,
    is_address,
    namespace_of,
    overlap,
    partial_wildcard,
    subnet_problems,
    tag_problems,
    under,
)
from harness.localmesh.kinds.istio.values import Problem
from harness.localmesh.kinds.istio.virtualservice import (
    MESH,
    L4Match,
    RouteDestination,
    TcpRoute,
    TlsMatch,
    TlsRoute,
    VirtualService,
)
from harness.localmesh.kinds.parse import Manifest

# A name that istiod's gateways for other clusters make for a host; only with tls routes.
_GENERATED = re.compile(r"outbound_[^_]*[0-9][^_]*_[^_]*_[^_]*[a-zA-Z].*")


def problems(spec: VirtualService, manifest: Manifest) -> Iterator[Problem]:
    """The fields of `spec` that Istio would not take, each with the reason."""
    yield from _delegate_problems(spec)
    yield from gateway_problems("gateways", spec.gateways)
    yield from _hosts_problems(spec)
    if not (spec.http or spec.tcp or spec.tls):
        yield "http", "a virtual service must have at least one http, tcp or tls route"
    yield from each("http", (httproute.problems(route, delegate=not spec.hosts) for route in spec.http))
    yield from each("tls", (_tls_problems(route, spec) for route in spec.tls))
    yield from each("tcp", (_tcp_problems(route) for route in spec.tcp))
    yield from export_problems(spec.export_to, namespace_of(manifest))


def warnings(spec: VirtualService, manifest: Manifest) -> Iterator[Problem]:
    """The fields of `spec` that Istio takes with a warning."""
    places = {"gateways": spec.gateways}
    for kind in ("http", "tls", "tcp"):
        for index, route in enumerate(getattr(spec, kind)):
            for number, match in enumerate(route.match):
                places[f"{kind}[{index}].match[{number}].gateways"] = match.gateways
    for place, names in places.items():
        for index, name in enumerate(names):
            if "/" not in name and "." in name:
                yield (
                    f"{place}[{index}]",
                    f"{name!r} is the old form of a gateway's name; write namespace/name",
                )
    for number, route in enumerate(spec.tls):
        for index, match in enumerate(route.match):
            for host in filter(is_address, match.sni_hosts):
                yield (
                    f"tls[{number}].match[{index}].sniHosts",
                    f"{host!r} is an IP address, which clients do not send",
                )
    yield from each("http", map(httproute.warnings, spec.http))
    yield from unreachable.warnings(spec)


def _delegate_problems(spec: VirtualService) -> Iterator[Problem]:
    if not spec.hosts:
        for field in ("gateways", "tls", "tcp"):
            if getattr(spec, field):
                yield (
                    field,
                    "a virtual service without hosts is a delegate and cannot have this; add hosts",
                )


def _for_gateways(spec: VirtualService) -> bool:
    return bool(spec.gateways) and MESH not in spec.gateways


def _hosts_problems(spec: VirtualService) -> Iterator[Problem]:
    sound = True
    named = any(match.sni_hosts for route in spec.tls for match in route.match)
    for index, host in enumerate(spec.hosts):
        field = f"hosts[{index}]"
        found = (
            []
            if is_address(host)
            else list(_host_problems(field, host, generated=named and _for_gateways(spec)))
        )
        if host == "*" and not _for_gateways(spec):
            found.append((field, 'the host "*" is allowed at gateways only; name the gateways or the hosts'))
        sound = sound and not found
        yield from found
    if sound:
        for index, host in enumerate(spec.hosts):
            for earlier in spec.hosts[:index]:
                # capitals make no difference to Envoy, which takes no domain twice
                if overlap(earlier.lower(), host.lower()):
                    yield (
                        f"hosts[{index}]",
                        f"{host!r} stands there twice: {earlier!r} says the same or includes it",
                    )


def _host_problems(field: str, host: str, *, generated: bool) -> Iterator[Problem]:
    if not (generated and _GENERATED.fullmatch(host)):
        yield from host_problems(field, host)


def _l4_problems(match: L4Match | TlsMatch) -> Iterator[Problem]:
    for index, subnet in enumerate(match.destination_subnets):
        yield from subnet_problems(f"destinationSubnets[{index}]", subnet)
    yield from tag_problems("sourceLabels", match.source_labels)
    yield from gateway_problems("gateways", match.gateways)


def _tcp_problems(route: TcpRoute) -> Iterator[Problem]:
    yield from each("match", map(_l4_problems, route.match))
    yield from _route_problems(route.route)


def _tls_problems(route: TlsRoute, spec: VirtualService) -> Iterator[Problem]:
    if not route.match:
        yield "match", "a tls route must have at least one match"
    for index, match in enumerate(route.match):
        place = f"match[{index}]"
        if not match.sni_hosts:
            yield f"{place}.sniHosts", "must not be empty"
        for number, host in enumerate(match.sni_hosts):
            yield from _sni_problems(f"{place}.sniHosts[{number}]", host, spec)
        yield from under(place, _l4_problems(match))
    yield from _route_problems(route.route)


def _sni_problems(field: str, host: str, spec: VirtualService) -> Iterator[Problem]:
    if is_address(host):
        return
    found = list(_host_problems(field, host, generated=_for_gateways(spec)))
    if not found and partial_wildcard(host):
        found.append(
            (field, f'{host!r} has a wildcard in a part of a label, which Envoy does not take; write "*."')
        )
    if not found and not any(covers(wide, host) for wide in spec.hosts):
        found.append((field, f"{host!r} is none of the virtual service's hosts: {', '.join(spec.hosts)}"))
    yield from found


def _route_problems(route: tuple[RouteDestination, ...]) -> Iterator[Problem]:
    if not route:
        yield "route", "must not be empty"
    for index, weighted in enumerate(route):
        yield from under(f"route[{index}].destination", httproute.destination_problems(weighted.destination))
    yield from httproute.weight_problems([weighted.weight for weighted in route])
