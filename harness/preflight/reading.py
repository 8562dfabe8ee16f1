"""The edge of preflight: what it reads of a cluster and of Prometheus, and the rights that this takes."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Sequence
from dataclasses import replace

from harness.caveats import Caveat
from harness.changes import Change, Manifest
from harness.cluster import Cluster
from harness.errors import HarnessError
from harness.experiment import Experiment, Mesh, Preflight
from harness.faults import Pod, Scene, foreseen
from harness.injection import resolve
from harness.preflight.examination import examine
from harness.preflight.premises import Premises, services_of
from harness.prometheus import Prometheus, PrometheusUnavailable, scrape_interval
from harness.rbac import Need, missing, plural
from harness.series import Window
from harness.slo import Matcher, Selector

_NETWORKING = "networking.istio.io/v1"
_OF_MESH = tuple((_NETWORKING, kind) for kind in ("VirtualService", "DestinationRule", "Gateway", "Sidecar"))
_OF_NAMESPACES = (
    ("v1", "Pod"),
    ("v1", "Service"),
    ("apps/v1", "Deployment"),
    ("policy/v1", "PodDisruptionBudget"),
)
_POLL = 0.25  # seconds
_LOOK_BACK = 300.0  # seconds: five scrapes of a minute each


def preflight(
    experiment: Experiment, mesh: Mesh, scene: Scene, *, expects_held: bool = True
) -> tuple[Caveat, ...]:
    """What an experiment on a resolved target cannot prove; what the fault itself refuses is among it.

    The policies of the mesh are taken as they are: a control run that weakens some is examined by the intact ones.
    Where credentials may not read what it takes, that is the one caveat.

    Raises:
        HarnessError: the cluster or Prometheus does not answer.
    """
    if lacking := missing(mesh.cluster, reads(experiment)):
        what = ", ".join(map(str, lacking))
        reason, fix = (
            f"the credentials in use may not {what}, so nobody can tell",
            "`harness rbac` prints a role that may",
        )
        return (Caveat("unread", "refuse", reason, str(experiment.target), fix),)
    changes, refused = _foreseen(experiment, scene)
    objects = _objects(mesh.cluster, experiment)
    interval = scrape_interval_of(mesh.prometheus, scene.pods)
    found = examine(Premises(experiment, scene, objects, interval, changes, expects_held))
    # what the fault itself refuses is said once: a caveat names field and fix
    return found if any(one.stops for one in found) else (*refused, *found)


def overriding(preflight: Preflight) -> Preflight:
    """The same, except that nothing stops; what would have is marked as overridden."""

    def look(
        experiment: Experiment, mesh: Mesh, scene: Scene, *, expects_held: bool = True
    ) -> Sequence[Caveat]:
        found = preflight(experiment, mesh, scene, expects_held=expects_held)
        return [replace(one, overridden=one.stops) for one in found]

    return look


def check(experiment: Experiment, mesh: Mesh, *, expects_held: bool = True) -> tuple[Caveat, ...]:
    """The same from the beginning: the target is resolved, and the blast radius checked; nothing is written.

    Whatever keeps a run from beginning is a caveat, too.
    """
    fault, target = experiment.fault, experiment.target
    try:
        scene = resolve(mesh.cluster, target, run="check", seed=0, fault=fault)
        found = preflight(experiment, mesh, scene, expects_held=expects_held)
        if not any(caveat.stops for caveat in found):
            experiment.blast_radius.check(fault, scene)
    except HarnessError as error:
        return (_refusal(experiment, error),)
    return found


def reads(experiment: Experiment) -> frozenset[Need]:
    """The rights that preflight takes: to list, and nothing else."""
    mesh = {Need("", _NETWORKING.partition("/")[0], plural(kind), "list") for _, kind in _OF_MESH}
    return frozenset(mesh) | {
        Need(namespace, version.rpartition("/")[0], plural(kind), "list")
        for namespace in _namespaces(experiment)
        for version, kind in _OF_NAMESPACES
    }


def scrape_interval_of(prometheus: Prometheus, pods: tuple[Pod, ...]) -> float | None:
    """Seconds between two scrapes of these pods, of anything where none of them is known by its address.

    None while fewer than three scrapes were seen. Raises PrometheusUnavailable.
    """
    now = prometheus.clock()
    window = Window(now - _LOOK_BACK, now)
    addresses = "|".join(re.escape(pod.ip) for pod in pods if pod.ip)
    mine = Selector("up", (Matcher("instance", "=~", f"({addresses})(:.+)?"),))
    for selector in (mine, Selector("up")) if addresses else (Selector("up"),):
        found = scrape_interval(prometheus.series(selector, seconds=_LOOK_BACK, at=now), window)
        if found is not None:
            return found
    return None


def await_scrapes(prometheus: Prometheus, within: float) -> None:
    """Returns when Prometheus has scraped something three times, or cannot be asked, or after `within` seconds."""
    until = time.monotonic() + within
    with contextlib.suppress(PrometheusUnavailable):  # whoever needs it will say so
        while scrape_interval_of(prometheus, ()) is None and time.monotonic() < until:
            time.sleep(_POLL)


def _foreseen(experiment: Experiment, scene: Scene) -> tuple[tuple[Change, ...], tuple[Caveat, ...]]:
    """What the fault is to change, or why it would not."""
    try:
        return foreseen(experiment.fault, scene), ()
    except HarnessError as error:
        return (), (_refusal(experiment, error),)


def _refusal(experiment: Experiment, error: HarnessError) -> Caveat:
    return Caveat("refused", "refuse", str(error), f"{experiment.fault} on {experiment.target}", "")


def _objects(cluster: Cluster, experiment: Experiment) -> tuple[Manifest, ...]:
    """What a run rests on; of a kind that the cluster does not have there is nothing."""
    found: list[Manifest] = []
    for version, kind in _OF_MESH:
        if cluster.knows(version, kind):
            found += cluster.list(version, kind)
    for version, kind in _OF_NAMESPACES:
        if cluster.knows(version, kind):
            for namespace in _namespaces(experiment):
                found += cluster.list(version, kind, namespace)
    return tuple(found)


def _namespaces(experiment: Experiment) -> tuple[str, ...]:
    """Those of the target and of the Services that SLOs name."""
    named = {service.namespace for slo in experiment.indicators for service in services_of(slo.sli)}
    return tuple(sorted({experiment.target.namespace, *named}))
