"""What Istio's webhook holds against a Sidecar (`ValidateSidecar`)."""

from __future__ import annotations

from collections.abc import Iterator

from harness.localmesh.kinds.istio.rules.common import (
    label_problems,
    namespace_of,
    repeated,
    selector_problems,
    under,
)
from harness.localmesh.kinds.istio.rules.gateway import host_entry_problems
from harness.localmesh.kinds.istio.sidecar import EgressListener, Sidecar
from harness.localmesh.kinds.istio.values import Problem
from harness.localmesh.kinds.parse import Manifest


def problems(spec: Sidecar, manifest: Manifest) -> Iterator[Problem]:
    """The fields of `spec` that Istio would not take, each with the reason."""
    if spec.workload_selector is not None:
        yield from selector_problems("workloadSelector.labels", spec.workload_selector.labels)
    if not spec.egress and spec.outbound_traffic_policy is None:
        yield "egress", "a sidecar must have egress listeners or an outboundTrafficPolicy"
    for index, listener in enumerate(spec.egress):
        if listener.port is None and index < len(spec.egress) - 1:
            yield f"egress[{index}]", "a listener without a port must be the last one, and the only one"
        yield from under(f"egress[{index}]", _listener_problems(listener))
    numbers = [listener.port.number for listener in spec.egress if listener.port is not None]
    if (twice := repeated(numbers)) is not None:
        yield "egress", f"the port {twice} stands there twice"


def warnings(spec: Sidecar, manifest: Manifest) -> Iterator[Problem]:
    """The fields of `spec` that Istio takes with a warning."""
    for index, listener in enumerate(spec.egress):
        yield from under(f"egress[{index}]", _twice(listener, namespace_of(manifest)))


def _listener_problems(listener: EgressListener) -> Iterator[Problem]:
    if not listener.hosts:
        yield "hosts", "a listener must have at least one host"
    for index, entry in enumerate(listener.hosts):
        yield from host_entry_problems(f"hosts[{index}]", entry, gateway=False)
    if listener.port is not None and listener.port.name:
        yield from label_problems("port.name", listener.port.name)


def _twice(listener: EgressListener, own: str) -> Iterator[Problem]:
    seen: dict[str, set[str]] = {}
    for index, entry in enumerate(listener.hosts):
        namespace, slash, host = entry.partition("/")
        if not slash or namespace.startswith("~"):
            continue
        hosts = seen.setdefault(own if namespace == "." else namespace, set())
        if (host in hosts or "*" in hosts) if host != "*" else hosts:
            yield f"hosts[{index}]", f"{entry!r} stands there twice, or includes another host"
        hosts.add(host)
    if "*" in seen.get("*", ()) and len(seen) > 1:
        yield "hosts", '"*/*" includes every other host'
