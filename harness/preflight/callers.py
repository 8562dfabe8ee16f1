"""Callers that are outside the mesh, or do not know the target: policies are in force in callers' sidecars. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatch
from typing import Any

from harness.caveats import Caveat, Severity
from harness.changes import Manifest, ref_of
from harness.faults import Pod
from harness.preflight.premises import Premises, Service, labels_of
from harness.slo import Probe

_INJECT = "sidecar.istio.io/inject"


def bare_callers(premises: Premises) -> Iterator[Caveat]:
    """Callers of the target without a sidecar: no route and no policy is in force there, and nobody counts there.

    Who calls is known of the Services that SLOs name besides the target; else, unless a gateway sends requests to it,
    any other pod of its namespace may, and it is said without refusing: callers may be elsewhere.
    """
    if premises.callers:
        for service in premises.callers:
            yield from _bare(premises, premises.behind(service), f"{service.name}, on the way to the target,")
    elif premises.services and not premises.exposed & {*premises.services}:
        uids = {pod.uid for one in premises.services for pod in premises.behind(one)}
        uids |= {pod.uid for pod in premises.scene.pods}
        others = [pod for pod in premises.pods if pod.uid not in uids]
        here = [pod for pod in others if pod.namespace == premises.scene.target.namespace]
        for caveat in _bare(premises, here, f"what else runs in {premises.scene.target.namespace}"):
            fix = f"if it calls the target, {caveat.fix}"
            yield replace(caveat, severity="warn", fix=fix)


def uncounted(premises: Premises) -> Iterator[Caveat]:
    """An indicator by the callee's count (reporter "destination") of a Service whose pods have no sidecar to count."""
    for slo in premises.experiment.indicators:
        found = () if isinstance(slo.sli, Probe) else slo.sli.selectors
        for labels in map(labels_of, found):
            if labels.get("reporter") != "destination":
                continue
            service = Service(
                labels.get("destination_service_namespace", ""), labels.get("destination_service_name", "")
            )
            yield from _bare(
                premises, premises.behind(service), f'{service.name}, where "{slo.name}" is counted,'
            )


def hidden_target(premises: Premises) -> Iterator[Caveat]:
    """A Sidecar of a caller whose `egress` leaves the target out: its routes and policies are unknown there."""
    for sidecar in premises.of("Sidecar"):
        egress = sidecar["spec"].get("egress") or ()
        hosts = [host for listener in egress for host in listener.get("hosts") or ()]
        home = sidecar["metadata"]["namespace"]
        if not hosts or not _is_of_callers(premises, sidecar):
            continue
        for service in premises.services:
            if not any(_imports(host, service, home) for host in hosts):
                yield Caveat(
                    "hidden-target",
                    "warn",
                    f"these callers do not know {service.host}, so none of its routes and policies is in force there",
                    f"{ref_of(sidecar)} spec.egress",
                    f'add "{service.namespace}/{service.host}" to its hosts',
                )


def _bare(premises: Premises, pods: Iterable[Pod], who: str) -> Iterator[Caveat]:
    every = tuple(pods)
    bare = [pod for pod in every if not pod.sidecar]
    if not bare:
        return
    severity: Severity = "refuse" if len(bare) == len(every) else "warn"
    names = ", ".join(pod.name for pod in bare[:3]) + (f" and {len(bare) - 3} more" if len(bare) > 3 else "")
    part = "has" if severity == "refuse" else "has in part"
    yield Caveat(
        "no-sidecar",
        severity,
        f"{who} {part} no sidecar ({names}): no route, policy or count of the mesh is in force there",
        _where(premises, bare[0]),
        "enable injection there, and restart these pods",
    )


def _where(premises: Premises, pod: Pod) -> str:
    """The field that keeps a pod without a sidecar."""
    for item in premises.of("Deployment"):
        selector = (item["spec"].get("selector") or {}).get("matchLabels") or {}
        same = item["metadata"]["namespace"] == pod.namespace
        if not selector or not same or not selector.items() <= pod.labels.items():
            continue
        meta = (item["spec"].get("template") or {}).get("metadata") or {}
        for name in ("labels", "annotations"):
            if _INJECT in (meta.get(name) or {}):
                return f'{ref_of(item)} spec.template.metadata.{name}["{_INJECT}"]'
        return f"Namespace {pod.namespace} metadata.labels, for {ref_of(item)}"
    return f"{pod.ref} spec.containers"


def _is_of_callers(premises: Premises, sidecar: Manifest) -> bool:
    """Whether callers of the target are among the pods of a Sidecar; of its whole namespace where none is known."""
    home = sidecar["metadata"]["namespace"]
    selector: Mapping[str, Any] = (sidecar["spec"].get("workloadSelector") or {}).get("labels") or {}
    known = [pod for service in premises.callers for pod in premises.behind(service)]
    if known:
        return any(pod.namespace == home and selector.items() <= pod.labels.items() for pod in known)
    return home == premises.scene.target.namespace and not selector


def _imports(host: str, service: Service, home: str) -> bool:
    """Whether an egress host (`namespace/name`) of a Sidecar of the namespace `home` lets a Service in."""
    namespace, _, name = host.rpartition("/")
    if namespace not in ("*", service.namespace) and not (namespace == "." and home == service.namespace):
        return False
    return name in ("*", service.host) or fnmatch(service.host, name)
