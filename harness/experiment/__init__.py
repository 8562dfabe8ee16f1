"""An experiment: a promise that has to hold while a fault is in force, run in phases against any mesh."""

from harness.experiment.engine import run
from harness.experiment.model import Experiment, Mesh, Preflight, Quiet, Watch
from harness.experiment.necessary import Necessary, necessary

__all__ = ["Experiment", "Mesh", "Necessary", "Preflight", "Quiet", "Watch", "necessary", "run"]
