"""Signals end a run in order: the first one interrupts, what is being undone is finished first."""

import os
import signal
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
