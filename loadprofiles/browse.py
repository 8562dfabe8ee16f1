"""People who look around in a shop: mostly the front page, sometimes a product.

Settings come from the environment, so that a run can be repeated: HARNESS_RATE_PER_USER (requests per second
of one user, an upper bound), HARNESS_SEED and HARNESS_PATHS (comma separated, most frequent first).
"""

import os
import random
import time

from locust import FastHttpUser, task

_PATHS = tuple(os.environ.get("HARNESS_PATHS", "/").split(","))
_SEED = int(os.environ.get("HARNESS_SEED", "0"))
_RATE = float(os.environ.get("HARNESS_RATE_PER_USER", "1"))
_numbers = iter(range(1_000_000))


class Browse(FastHttpUser):
    """One visitor with a random number generator of its own."""

    connection_timeout = 5.0
    network_timeout = 10.0

    def on_start(self) -> None:
        """Seeds the visitor: the n-th one of a run takes the same way in every run.

        Visitors that all came at the same moment would keep asking at the same moments.
        """
        self._random = random.Random(f"{_SEED}/{next(_numbers)}")
        time.sleep(self._random.random() / _RATE)

    def wait_time(self) -> float:
        """Seconds until the next page: visitors ask _RATE times a second on average, each in a rhythm of its own.

        With one rhythm for all, those that were held up together once would ask together ever after.
        """
        pause: float = self._random.uniform(0.5, 1.5) / _RATE
        return max(0.0, self._began + pause - time.monotonic())

    @task
    def look(self) -> None:
        """Gets one page; the first path three times as often as all others together."""
        self._began = time.monotonic()
        first = len(_PATHS) == 1 or self._random.random() < 0.75
        self.client.get(_PATHS[0] if first else self._random.choice(_PATHS[1:]))
