"""Signals end a run in order: the first one interrupts, what is being undone is finished first."""

import itertools
import os
import signal
import sys
import threading

import pytest

from harness.experiment.interrupts import Interrupts, interruptible


def test_the_first_signal_interrupts_and_further_ones_change_nothing():
    """An impatient second Ctrl-C does not cut the clean-up short."""
    interrupts = Interrupts()
    with pytest.raises(KeyboardInterrupt, match="interrupted by SIGTERM"):
        interrupts.receive(signal.SIGTERM)
    interrupts.receive(signal.SIGTERM)
    interrupts.receive(signal.SIGINT)


def test_what_is_held_is_finished_before_the_interruption():
    """The signal is not lost either."""
    interrupts, finished = Interrupts(), []

    def undo():
        with interrupts.held():
            with interrupts.held():
                interrupts.receive(signal.SIGHUP)
                finished.append("inner")
            finished.append("outer")

    with pytest.raises(KeyboardInterrupt, match="SIGHUP"):
        undo()
    assert finished == ["inner", "outer"]


def test_an_error_inside_what_is_held_is_not_hidden():
    """Without a signal the error passes as it is."""
    with pytest.raises(ValueError, match="own"), Interrupts().held():
        raise ValueError("own")


def test_signals_do_afterwards_what_they_did_before():
    """Other code's handlers come back, whatever ended the block."""
    before = signal.getsignal(signal.SIGTERM)

    def work():
        with interruptible():
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()

    with pytest.raises(KeyboardInterrupt):
        work()
    assert signal.getsignal(signal.SIGTERM) is before


def test_in_another_thread_nothing_is_changed():
    """Python would refuse to set handlers there; the run works all the same."""
    seen = []

    def enter():
        with interruptible():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]


def test_wherever_a_signal_comes_what_was_done_is_undone():
    """Before, between and after all lines of the way in and out, also those of the library."""
    ended = set()
    for moment in range(400):
        interrupts, state = Interrupts(), []
        interrupted = _interrupted_at(moment, interrupts, state)
        assert state in ([], ["done", "undone"]), moment
        ended.add((interrupted, len(state)))
        if not interrupted:
            break
    assert ended == {(True, 0), (True, 2), (False, 2)}


def _interrupted_at(moment, interrupts, state):
    """Goes through a change and its undoing, with two signals from the given line on."""
    lines = itertools.count()

    def trace(frame, event, _argument):
        if event == "line" and next(lines) == moment:
            interrupts.receive(signal.SIGINT)
        return trace

    def work():
        with interrupts.held():
            try:
                state.append("done")
                with interrupts.released(), interrupts.held():
                    pass
            finally:
                if state:
                    state.append("undone")

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False
