"""Experiments on payments in the small world, and what they promise and take away."""

from harness import journal as log
from harness.changes import ABSENT, Edit, Patch, Ref
from harness.experiment import Experiment
from harness.faults import BlastRadius, Target
from harness.indicators import availability
from harness.journal import select
from harness.load import Load
from harness.slo import SLO

SCRAPE = 0.1  # of the world
TARGET = Target("payments", "shop")
UP = SLO("availability", availability("payments", "shop"), at_least=0.95)
NO_RETRIES = Patch(
    Ref("networking.istio.io/v1", "VirtualService", "shop", "payments"),
    (Edit(("spec", "http", 0, "retries"), ABSENT),),
)


def experiment(fault, **fields):
    """An experiment on payments with quick limits."""
    values = {
        "hypothesis": [UP],
        "target": TARGET,
        "fault": fault,
        "load": Load("browse", rate=200),
        "blast_radius": BlastRadius(max_pods=3, seconds=20),
        "recover_within": 4.0,
        "observe": 4.0,
    }
    return Experiment(**(values | fields))


def phases(events):
    """The phases that were begun, in order."""
    return [event.phase for event in select(events, log.PhaseStarted)]
