"""Signals that end a run, turned into an exception, so that what was done is undone on the way out."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


class Interrupts:
    """The signals of one run: the first one interrupts it, further ones change nothing.

    What has to be undone is made and undone inside one `held`, with `released` around what may be interrupted in
    between. So there is no moment at which a signal comes between a change and the promise to undo it.
    """

    def __init__(self) -> None:
        self._holds = 0
        self._received: signal.Signals | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nothing inside is interrupted: a signal that comes meanwhile interrupts at the end."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
            self._check()

    @contextmanager
    def released(self) -> Iterator[None]:
        """Inside, a signal interrupts at once, though it is within what is held; so does one that came before."""
        holds, self._holds = self._holds, 0
        try:
            self._check()
            yield
            self._check()  # Python drops what is raised in a finalizer
        finally:
            self._holds = holds

    def receive(self, number: int, frame: FrameType | None = None) -> None:
        """What to do when a signal comes."""
        if self._received:  # a second one must not cut the clean-up short
            return
        self._received = signal.Signals(number)
        self._check()

    def _check(self) -> None:
        if self._received and not self._holds:
            raise KeyboardInterrupt(_sentence(self._received))


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
