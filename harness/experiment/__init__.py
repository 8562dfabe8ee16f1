"""An experiment: a promise that has to hold while a fault is in force, run in phases against any mesh."""

from harness.experiment.engine import run
from harness.experiment.model import Experiment, Mesh, Quiet, Watch
from harness.experiment.necessary import Necessary, necessary

__all__ = ["Experiment", "Mesh", "Necessary", "Quiet", "Watch", "necessary", "run"]
