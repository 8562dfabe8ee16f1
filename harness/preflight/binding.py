"""VirtualServices that no proxy on the way to the target has been given. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatch

from harness.caveats import Caveat, Severity
from harness.changes import Manifest
from harness.preflight.premises import MESH, Premises, Route, gateways_of


def unbound(premises: Premises) -> Iterator[Caveat]:
    """A route to the target that is bound to gateways through which nobody comes."""
    for route in premises.routes:
        if route.item["spec"].get("hosts"):  # a delegate has none, and is bound where its root is
            yield from _missing(premises, route)
            yield from _elsewhere(premises, route)


def _missing(premises: Premises, route: Route) -> Iterator[Caveat]:
    """Gateways that are not there, or that do not serve its hosts."""
    home, names = route.item["metadata"]["namespace"], gateways_of(route.item)
    lost = []
    for name in names:
        if name == MESH:
            continue
        gateway = premises.gateway(name, home)
        if gateway is None:
            lost.append((name, f"there is no Gateway {name if '/' in name else f'{home}/{name}'}"))
        elif not _serves(gateway, route.item):
            lost.append((name, f"Gateway {name} serves none of its hosts"))
    nowhere = len(lost) == len(names)
    severity: Severity = "refuse" if nowhere and not _replaced(premises, route) else "warn"
    rest = "so it is in force nowhere" if nowhere else "so it is not in force there"
    for name, why in lost:
        yield Caveat(
            "unbound",
            severity,
            f"{why}, {rest}",
            f"{route.ref} spec.gateways[{names.index(name)}]",
            "name the gateway in use, or mesh for the sidecars",
        )


def _elsewhere(premises: Premises, route: Route) -> Iterator[Caveat]:
    """Policies by the name of the Service itself at gateways only, or at sidecars only while a gateway calls it."""
    home, names = route.item["metadata"]["namespace"], gateways_of(route.item)
    hosts = route.item["spec"]["hosts"]
    service = next(
        (one for one in premises.services if all(one.is_meant(host, home) for host in hosts)), None
    )
    if service is None or not route.policies or any("*" in host for host in hosts):
        return
    what, exposed = " and ".join(route.policies), service in premises.exposed
    if MESH not in names and not exposed:
        yield Caveat(
            "unbound",
            "warn" if _replaced(premises, route) else "refuse",
            f"its {what} are in force at {', '.join(names)} only, and sidecars are who calls {service.name}",
            f"{route.ref} spec.gateways",
            f"add {MESH}",
        )
    elif names == (MESH,) and exposed and not premises.callers:
        yield Caveat(
            "unbound",
            "warn",
            f"its {what} are in force at sidecars only, and a gateway calls {service.name} by another route",
            f"{route.ref} spec.gateways",
            "put them on the route of the gateway, too",
        )


def _replaced(premises: Premises, route: Route) -> bool:
    """Whether another VirtualService gives the callers' sidecars a way to the target."""
    return any(MESH in gateways_of(other.item) for other in premises.routes if other.ref != route.ref)


def _serves(gateway: Manifest, item: Manifest) -> bool:
    """Whether a Gateway serves one of the hosts of a VirtualService."""
    served = [host for server in gateway["spec"].get("servers") or () for host in server.get("hosts") or ()]
    names = [host.rpartition("/")[2] for host in served]
    return any(
        fnmatch(host, name) or fnmatch(name, host)
        for host in item["spec"].get("hosts") or ()
        for name in names
    )
