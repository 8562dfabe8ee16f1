"""The time of day, unmoved by whoever sets the clock: read once at the start of the process, and counted on from there.

So what one process writes down is in the order in which it was done, and a time limit is as long as it says.
"""

from __future__ import annotations

import time

_EPOCH = time.time() - time.monotonic()


def now() -> float:
    """Seconds since the epoch; never earlier than what it said before."""
    return _EPOCH + time.monotonic()
