"""What an experiment rests on: the objects of the mesh around its target, and ways through them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from typing import Any

from harness.changes import Change, Manifest, Ref, ref_of
from harness.experiment import Experiment
from harness.faults import Pod, Scene
from harness.slo import SLI, Probe, Selector

MESH = "mesh"
"""The name that stands for all sidecars in the `gateways` of a VirtualService."""


@dataclass(frozen=True)
class Route:
    """One HTTP route of a VirtualService that leads to the target."""

    item: Manifest
    index: int

    @property
    def content(self) -> Mapping[str, Any]:
        """What it says, as an HTTPRoute."""
        route: Mapping[str, Any] = self.item["spec"]["http"][self.index]
        return route

    @property
    def ref(self) -> Ref:
        """Its VirtualService."""
        return ref_of(self.item)

    @property
    def retries(self) -> Mapping[str, Any]:
        """Its retries; empty where it says nothing of them, or forbids them (`attempts: 0`)."""
        found: Mapping[str, Any] = self.content.get("retries") or {}
        return found if found.get("attempts", 0) > 0 else {}

    @property
    def policies(self) -> tuple[str, ...]:
        """Which of its fields are about failing callees."""
        timeout = ("timeout",) if self.content.get("timeout") else ()
        return (*(("retries",) if self.retries else ()), *timeout)

    def at(self, *path: str) -> str:
        """A field of it, as people write it."""
        return f"{self.ref} {'.'.join((f'spec.http[{self.index}]', *path))}"


@dataclass(frozen=True, order=True)
class Service:
    """A Service by its name."""

    namespace: str
    name: str

    @property
    def host(self) -> str:
        """Its name in full."""
        return f"{self.name}.{self.namespace}.svc.cluster.local"

    def is_meant(self, given: str, home: str) -> bool:
        """Whether an object of the namespace `home` means it by the host `given`; a wildcard means it, too."""
        short = {self.name} if home == self.namespace else set()
        known = {*short, f"{self.name}.{self.namespace}", f"{self.name}.{self.namespace}.svc", self.host}
        return given in known or fnmatch(self.host, given)


@dataclass(frozen=True)
class Premises:
    """What one experiment rests on.

    Attributes:
        experiment: the experiment.
        scene: its target, as it was resolved.
        objects: Services, Deployments, Pods and PodDisruptionBudgets of the namespaces that it names; VirtualServices,
            DestinationRules, Gateways and Sidecars of the mesh; with their apiVersion and kind.
        interval: seconds between two scrapes of Prometheus; None where that is not known.
        changes: all that the fault is to change.
        expects_held: whether HELD is the verdict that is expected; a control expects another.
    """

    experiment: Experiment
    scene: Scene
    objects: tuple[Manifest, ...] = ()
    interval: float | None = None
    changes: tuple[Change, ...] = ()
    expects_held: bool = True

    def of(self, kind: str) -> tuple[Manifest, ...]:
        """The objects of a kind."""
        return tuple(item for item in self.objects if item["kind"] == kind)

    @cached_property
    def pods(self) -> tuple[Pod, ...]:
        """All pods that are ready and stay."""
        found = map(Pod.of, self.of("Pod"))
        return tuple(pod for pod in found if pod.ready and not pod.terminating)

    @cached_property
    def services(self) -> tuple[Service, ...]:
        """The Services that select all pods of the target: the names under which callers know it."""
        return tuple(
            _named(item)
            for item in self.of("Service")
            if item["metadata"]["namespace"] == self.scene.target.namespace
            and all(_selects(item, pod) for pod in self.scene.pods)
        )

    @cached_property
    def promised(self) -> tuple[Service, ...]:
        """The Services whose requests the SLOs count, as far as they name them."""
        found = {one for slo in self.experiment.indicators for one in services_of(slo.sli)}
        return tuple(sorted(found))

    @cached_property
    def callers(self) -> tuple[Service, ...]:
        """The promised Services that are not the target: they are on the way to it."""
        return tuple(one for one in self.promised if one not in self.services)

    def behind(self, service: Service) -> tuple[Pod, ...]:
        """The pods that a Service selects."""
        found = [item for item in self.of("Service") if _named(item) == service]
        return tuple(pod for pod in self.pods if any(_selects(item, pod) for item in found))

    @cached_property
    def routes(self) -> tuple[Route, ...]:
        """The HTTP routes that lead to the target, of all VirtualServices."""
        return tuple(route for service in self.services for route in self.routes_to(service))

    def routes_to(self, service: Service) -> Iterator[Route]:
        """The HTTP routes that lead to a Service."""
        for item in self.of("VirtualService"):
            home = item["metadata"]["namespace"]
            for index, content in enumerate(item["spec"].get("http") or ()):
                ways = content.get("route") or ()
                if any(service.is_meant(way["destination"]["host"], home) for way in ways):
                    yield Route(item, index)

    def rules(self, service: Service) -> tuple[Manifest, ...]:
        """The DestinationRules of a Service: those that name it, else those whose wildcard means it."""
        found = [
            item
            for item in self.of("DestinationRule")
            if service.is_meant(item["spec"]["host"], item["metadata"]["namespace"])
        ]
        named = [item for item in found if "*" not in item["spec"]["host"]]
        return tuple(named or found)

    @property
    def exposed(self) -> frozenset[Service]:
        """The Services of target and SLOs to which a gateway sends requests by another name than their own."""
        return frozenset(one for one in {*self.services, *self.promised} if self._is_exposed(one))

    def _is_exposed(self, service: Service) -> bool:
        for route in self.routes_to(service):
            item, home = route.item, route.item["metadata"]["namespace"]
            hosts = item["spec"].get("hosts") or ()
            outside = [host for host in hosts if "*" in host or not service.is_meant(host, home)]
            if outside and any(self.gateway(name, home) for name in gateways_of(item) if name != MESH):
                return True
        return False

    def gateway(self, name: str, home: str) -> Manifest | None:
        """The Gateway that a VirtualService of the namespace `home` names, None where there is none."""
        namespace, _, short = name.rpartition("/")
        wanted = ((namespace or home), short)
        for item in self.of("Gateway"):
            if (item["metadata"]["namespace"], item["metadata"]["name"]) == wanted:
                return item
        return None


def gateways_of(item: Manifest) -> tuple[str, ...]:
    """To which gateways a VirtualService is bound, the sidecars (`mesh`) among them."""
    return tuple(item["spec"].get("gateways") or (MESH,))


def services_of(sli: SLI) -> frozenset[Service]:
    """The Services whose requests an indicator counts, as far as it names them."""
    if isinstance(sli, Probe):
        return frozenset()
    found = (labels_of(selector) for selector in sli.selectors)
    return frozenset(
        Service(labels["destination_service_namespace"], labels["destination_service_name"])
        for labels in found
        if {"destination_service_namespace", "destination_service_name"} <= labels.keys()
    )


def labels_of(selector: Selector) -> dict[str, str]:
    """The labels of which a selector wants exactly one value."""
    return {one.label: one.value for one in selector.matchers if one.operator == "="}


def _named(item: Manifest) -> Service:
    return Service(item["metadata"]["namespace"], item["metadata"]["name"])


def _selects(service: Manifest, pod: Pod) -> bool:
    selector = (service["spec"].get("selector") or {}).items()
    return bool(
        selector and service["metadata"]["namespace"] == pod.namespace and selector <= pod.labels.items()
    )
