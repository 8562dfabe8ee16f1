"""All Services of a mesh, those of Kubernetes and those that ServiceEntries make."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.localmesh.xds.model import Service, ServiceEntry
from harness.localmesh.xds.services import entry_services


class Registry:
    """All Services, oldest first, and where to find them."""

    def __init__(self, services: Sequence[Service], entries: Sequence[ServiceEntry]) -> None:
        made = [service for entry in entries for service in entry_services(entry)]
        self.services = sorted([*services, *made], key=lambda item: (item.created, item.name, item.namespace))
        self.by_host: dict[str, dict[str, Service]] = {}
        self._same: dict[tuple[str, str], list[Service]] = {}
        for service in self.services:
            places = self.by_host.setdefault(service.host, {})
            known = places.get(service.namespace)
            if known is None or (service.kubernetes and not known.kubernetes):
                places[service.namespace] = service
            self._same.setdefault((service.host, service.namespace), []).append(service)

    def visible(self, namespace: str) -> tuple[Service, ...]:
        """Those that `namespace` sees: its private ones and those exported to it by name, then the public."""
        named, public = [], []
        for service in self.services:
            to = service.export_to
            if not to or "*" in to:
                public.append(service)
            elif "~" not in to and (namespace in to or ("." in to and service.namespace == namespace)):
                named.append(service)
        return (*named, *public)

    def of_host(self, service: Service) -> Sequence[Service]:
        """The Services of that host and namespace, oldest first."""
        return self._same.get((service.host, service.namespace), (service,))

    def same_host(self, service: Service) -> Iterator[Service]:
        """The Services of that host, namespace and registry, oldest first."""
        return (one for one in self.of_host(service) if one.kubernetes == service.kubernetes)
