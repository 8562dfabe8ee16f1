"""What is counted, whether it can see the fault, and whether there is enough of it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from harness.caveats import Caveat, Severity
from harness.experiment import necessary
from harness.faults import Abort, Delay
from harness.preflight.premises import Premises, labels_of
from harness.slo import SLO, Probe

_LEAST_SCRAPES = 2


def blind_reporter(premises: Premises) -> Iterator[Caveat]:
    """An indicator by the callee's count under a fault in the caller's sidecar: the callee never sees the fault.

    An aborted request never leaves the caller, and the callee's clock starts when a delay is over.
    """
    fault = premises.experiment.fault
    if not isinstance(fault, Abort | Delay) or fault.at != "caller":
        return
    for slo in premises.experiment.indicators:
        if any(_is_at_target(premises, labels) for labels in _labels(slo)):
            yield Caveat(
                "blind-reporter",
                "refuse",
                f'"{slo.name}" is counted by the callee (reporter destination), which never sees {fault}',
                f'SLO "{slo.name}" reporter',
                'count at the caller (reporter="source"), or put the fault at the callee',
            )


def short_window(premises: Premises) -> Iterator[Caveat]:
    """A time in which Prometheus does not look twice: counts are differences between scrapes."""
    experiment, interval = premises.experiment, premises.interval
    if interval is None or all(isinstance(slo.sli, Probe) for slo in experiment.hypothesis):
        return
    observed = min(experiment.observe, experiment.blast_radius.seconds)
    if observed < _LEAST_SCRAPES * interval:
        limit = "observe" if experiment.observe <= experiment.blast_radius.seconds else "blast_radius.seconds"
        yield Caveat(
            "short-window",
            "refuse",
            f"it is observed for {observed:g} s, and Prometheus scrapes every {interval:.3g} s: fewer than "
            f"{_LEAST_SCRAPES} scrapes count nothing",
            f"Experiment {limit}",
            f"observe for {_LEAST_SCRAPES * interval:.3g} s at least, better five scrapes, or scrape more often",
        )


def undecidable(premises: Premises) -> Iterator[Caveat]:
    """An objective for which the load sends too few requests in the time: it cannot be HELD, whatever the mesh does."""
    severity: Severity = "refuse" if premises.expects_held else "warn"
    for one in necessary(premises.experiment):
        if not one.decidable and one.seconds is not None:
            yield Caveat(
                "undecidable",
                severity,
                f"HELD takes {one.events:,} events at least, {one.seconds:,.1f} s of {premises.experiment.load}, and "
                "it is not observed that long",
                f'SLO "{one.slo.name}" at_least',
                f"observe longer (and let blast_radius.seconds be as long), send more than "
                f"{premises.experiment.load.rate:g} requests per second, or promise less",
            )


def _labels(slo: SLO) -> tuple[Mapping[str, str], ...]:
    return () if isinstance(slo.sli, Probe) else tuple(map(labels_of, slo.sli.selectors))


def _is_at_target(premises: Premises, labels: Mapping[str, str]) -> bool:
    """Whether series with these labels are the callee's own count of requests to the target."""
    if labels.get("reporter") != "destination":
        return False
    target = premises.scene.target
    known = {"destination_workload_namespace": {target.namespace}} | {
        label: {getattr(service, part) for service in premises.services}
        for label, part in (
            ("destination_service_name", "name"),
            ("destination_service_namespace", "namespace"),
            ("destination_service", "host"),
        )
        if premises.services
    }
    known["destination_app"] = {pod.labels.get("app", "") for pod in premises.scene.pods}
    return all(labels[name] in values for name, values in known.items() if name in labels)
