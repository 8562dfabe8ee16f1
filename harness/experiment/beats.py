"""A fault that goes on while it is in force: what is due is done when its time has come."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from harness import journal as log
from harness.experiment.context import Context
from harness.experiment.interrupts import Interrupts
from harness.faults import Fault, Rhythm
from harness.injection import Injection


@dataclass
class Beats:
    """The times at which one fault goes on, counted from the moment at which it was put in force."""

    fault: Fault
    rhythm: Rhythm
    context: Context
    injection: Injection
    interrupts: Interrupts
    _done: int = 0
    _began: float = field(default_factory=time.monotonic)

    def look(self) -> None:
        """Does what has come due since the last look; of several times that were missed, the last one only.

        Raises:
            HarnessError: a change failed.
        """
        seconds = time.monotonic() - self._began
        due = self.rhythm.due(min(seconds, self.context.experiment.blast_radius.seconds))
        if due <= self._done:
            return
        self._done = due
        ready = {pod.ref: pod for pod in self.context.pods() if pod.ready and not pod.terminating}
        changes = self.fault.further(self.context.scene, tuple(ready.values()), due)
        with self.interrupts.held():
            self.injection.go_on(changes)
            uids = tuple(ready[change.ref].uid for change in changes if change.ref in ready)
            texts = tuple(f"{type(change).__name__.lower()} {change.ref}" for change in changes)
            self.context.journal.write(log.Continued(self.context.now(), due, texts, uids))
