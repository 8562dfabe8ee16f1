"""Signals that end a run, turned into an exception, so that what was done is undone on the way out."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


class Interrupts:
    """The signals of one run: the first one interrupts it, further ones change nothing."""

    def __init__(self) -> None:
        self._holds = 0
        self._pending: signal.Signals | None = None
        self._seen = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nothing inside is interrupted: a signal that comes meanwhile interrupts at the end."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
            if self._pending and not self._holds:
                pending, self._pending = self._pending, None
                raise KeyboardInterrupt(_sentence(pending))

    def receive(self, number: int, frame: FrameType | None = None) -> None:
        """What to do when a signal comes."""
        if self._seen:  # a second one must not cut the clean-up short
            return
        self._seen = True
        if self._holds:
            self._pending = signal.Signals(number)
        else:
            raise KeyboardInterrupt(_sentence(signal.Signals(number)))


@contextmanager
def interruptible() -> Iterator[Interrupts]:
    """SIGTERM, SIGHUP and SIGINT raise KeyboardInterrupt inside; afterwards they do what they did before.

    Python delivers signals to the main thread only; in any other one nothing is changed.
    """
    interrupts = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    before = {number: signal.signal(number, interrupts.receive) for number in _ENDING}
    try:
        yield interrupts
    finally:
        for number, action in before.items():
            signal.signal(number, action if action is not None else signal.SIG_DFL)


def _sentence(number: signal.Signals) -> str:
    return f"interrupted by {number.name}"
