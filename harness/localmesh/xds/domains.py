"""The names by which a Service is called, as they stand in `domains` of a virtual host.

Source: istio/istio `pilot/pkg/networking/core/httproute.go` (generateVirtualHostDomains,
GenerateAltVirtualHosts). A Service of the mesh can be called by its full name, with or without a dot at the end, and by
parts of it; the shortest only in its namespace.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.localmesh.xds import names
from harness.localmesh.xds.hosts import is_ip
from harness.localmesh.xds.model import TRUST_DOMAIN, UNSPECIFIED, Service

_SUFFIX = f".svc.{TRUST_DOMAIN}"


def service_domains(service: Service, namespace: str) -> tuple[tuple[str, ...], frozenset[str]]:
    """The domains of `service` for callers of `namespace`, without ports, and which of them are made up from its name.

    The addresses are those istiod knows of one Service: every cluster IP, but of a ServiceEntry the last address alone,
    because istiod makes a Service of each of them and keeps the last one of a name.
    """
    other = tuple(_alternatives(service.host.lower(), namespace))
    called = (service.host.lower(), *other)
    if service.kubernetes and service.resolution == "PASSTHROUGH":
        called = (*called, *(f"*.{name}" for name in called))
    addresses = service.addresses if service.kubernetes else service.addresses[-1:]
    numbers = (names.bracketed(address) for address in addresses if address != UNSPECIFIED)
    return tuple(dict.fromkeys((*called, *numbers))), frozenset(other)


def with_port(domains: Sequence[str], port: int) -> list[str]:
    """`domains` as one proxy for all ports takes them: with the port, and for 80 without it too."""
    ported = [f"{domain}:{port}" for domain in domains]
    return [*domains, *ported] if port == 80 else ported


def _alternatives(host: str, namespace: str) -> Iterator[str]:
    if not is_ip(host):
        yield f"{host}."
    if host.endswith(_SUFFIX):
        short = host.removesuffix(_SUFFIX)
        name, _, where = short.partition(".")
        if where == namespace:
            yield from (name, f"{short}.svc", short)
        elif where:
            yield from (short, f"{short}.svc")
