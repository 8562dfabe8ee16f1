"""Prometheus, through prometheus-api-client; every call has a timeout, and errors are one kind.

Nothing there, NaN and zero are three different answers, and "did not answer" is a fourth:
`PrometheusUnavailable`.
"""

from __future__ import annotations

import json
import statistics
from itertools import pairwise
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from harness import clock
from harness.errors import HarnessError
from harness.series import Sample, Series, Window, scrapes
from harness.slo import Selector

_RETRIES = 2
_BACKOFF = 0.1
_CLOCK_READINGS = 5


class PrometheusUnavailable(HarnessError):
    """Prometheus did not answer, or not as it should: no verdict is possible."""


class Prometheus:
    """A Prometheus server, or what speaks its API, at `url`.

    The URL may hold user and password; they are sent as basic authentication and appear in no message.
    `timeout` is in seconds and holds for each try of each call; connections that fail and answers 429, 502,
    503 and 504 are tried three times within less than a second.
    """

    def __init__(self, url: str, *, timeout: float = 5.0) -> None:
        # Imported here: they take 0.1 s, and sessions that ask no Prometheus should not pay for them.
        from prometheus_api_client import PrometheusConnect  # noqa: PLC0415
        from urllib3.util.retry import Retry  # noqa: PLC0415

        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise HarnessError(f'The Prometheus URL "{_clean(url)}" is no http or https URL; correct it.')
        self.url = _clean(url)
        user = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
        codes = (429, 502, 503, 504)
        retry = Retry(
            total=_RETRIES, read=0, backoff_factor=_BACKOFF, status_forcelist=codes, raise_on_status=False
        )
        self._client = PrometheusConnect(url=self.url, auth=user, retry=retry, timeout=timeout)

    def series(self, selector: Selector, *, seconds: float, at: float) -> tuple[Series, ...]:
        """The raw samples of the last `seconds` up to `at` (Unix seconds); empty when there are none.

        Raises PrometheusUnavailable.
        """
        milliseconds = max(1, round(seconds * 1000))
        found = self._ask(f"{selector}[{milliseconds}ms]", at)
        try:
            return tuple(_series(raw) for raw in found)
        except (KeyError, TypeError, ValueError) as error:
            raise PrometheusUnavailable(
                f"{self.url} answered, but not as Prometheus does ({error!r})."
            ) from error

    def clock(self) -> float:
        """What time Prometheus thinks it is (Unix seconds). Raises PrometheusUnavailable."""
        found = self._ask("time()", None)
        try:
            return float(found[1])
        except (IndexError, TypeError, ValueError) as error:
            raise PrometheusUnavailable(
                f"{self.url} answered, but not as Prometheus does ({error!r})."
            ) from error

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def _ask(self, query: str, at: float | None) -> Any:
        from prometheus_api_client.exceptions import PrometheusApiClientException  # noqa: PLC0415
        from requests import RequestException  # noqa: PLC0415

        params = {} if at is None else {"time": f"{at:.3f}"}
        try:
            return self._client.custom_query(query, params)
        except (json.JSONDecodeError, KeyError, TypeError) as error:  # another page, or other JSON
            raise PrometheusUnavailable(
                f"{self.url} answered, but not as Prometheus does ({error!r})."
            ) from error
        except RequestException as error:
            raise PrometheusUnavailable(
                f"Prometheus at {self.url} does not answer: {_cause(error)}."
            ) from error
        except PrometheusApiClientException as error:
            text = str(error)[:200]
            raise PrometheusUnavailable(
                f"Prometheus at {self.url} refused the query {query}: {text}."
            ) from error


def scrape_interval(series: tuple[Series, ...], window: Window) -> float | None:
    """The usual time between two scrapes in seconds; None with fewer than three scrapes in the window."""
    times = scrapes(series, window)
    return statistics.median(after - before for before, after in pairwise(times)) if len(times) > 2 else None


def offset(prometheus: Prometheus) -> float:
    """How many seconds the clock of Prometheus is ahead of ours. Raises PrometheusUnavailable.

    It is asked a few times, and the quickest answer is taken: the answer is wrong by at most half the time that
    it took (as in NTP, RFC 5905), and one that needed a second try or a new connection took long.
    """
    return min(_clock_reading(prometheus) for _ in range(_CLOCK_READINGS))[1]


def _clock_reading(prometheus: Prometheus) -> tuple[float, float]:
    """How long one answer took, and by how much their clock was ahead if both ways took equally long."""
    before = clock.now()
    theirs = prometheus.clock()
    took = clock.now() - before
    return took, theirs - (before + took / 2)


def _series(raw: dict[str, Any]) -> Series:
    return Series(raw["metric"], tuple(Sample(float(at), float(value)) for at, value in raw["values"]))


def _clean(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))


def _cause(error: BaseException) -> str:
    """The innermost cause of a chain of wrapped errors, which is the one that tells something."""
    while error.__context__ is not None or error.__cause__ is not None:
        error = error.__cause__ or error.__context__ or error
    return str(error) or type(error).__name__
