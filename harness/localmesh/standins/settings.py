"""What a stand-in reads from its environment: its pod, and its settings by annotation."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from random import Random
from typing import TypeVar

T = TypeVar("T")

ANNOTATION = "standin.harness.local/"
"""What a setting's annotation begins with."""

_PREFIX = "STANDIN_"
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_QUANTILES = re.compile(r"p50=(\S+)\s+p99=(\S+)")
_P99 = (
    2.3263478740408408  # standard deviations from the median of a normal distribution to its 99th percentile
)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h)", re.ASCII)


class SettingError(Exception):
    """The environment or a setting is wrong; the message is one sentence that names it and what it may be."""


@dataclass(frozen=True)
class Pod:
    """The pod a stand-in runs in: its names, where it listens, and its Envoy as an HTTP proxy (or "")."""

    name: str
    namespace: str
    service: str
    version: str
    host: str
    ports: tuple[int, ...]
    proxy: str

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Pod:
        """The pod as its runner describes it in the environment.

        Raises:
            SettingError: PORTS is not a list of ports, or there are ports and no LISTEN_HOST.
        """
        ports = tuple(_port(part) for part in environ.get("PORTS", "").split(",") if part.strip())
        host = environ.get("LISTEN_HOST", "")
        if ports and not host:
            raise SettingError("LISTEN_HOST is not set; set it to the address to listen on")
        return cls(
            name=environ.get("POD_NAME", ""),
            namespace=environ.get("POD_NAMESPACE", ""),
            service=environ.get("SERVICE_NAME", ""),
            version=environ.get("SERVICE_VERSION", ""),
            host=host,
            ports=ports,
            proxy=environ.get("HTTP_PROXY", ""),
        )


def _port(text: str) -> int:
    if text.strip().isdecimal() and 1 <= int(text) <= 65535:
        return int(text)
    raise SettingError(
        f"PORTS has {text!r}, which is not a port; give numbers from 1 to 65535 separated by commas"
    )


class Settings:
    """The settings of one pod, by name.

    The annotation `standin.harness.local/error-percent` arrives as the variable STANDIN_ERROR_PERCENT.
    """

    def __init__(self, environ: Mapping[str, str], known: Collection[str] = ()) -> None:
        """Take the settings named in `known` ("error-percent").

        Raises:
            SettingError: there is a setting that is not known.
        """
        self._values = {_name(key): value for key, value in environ.items() if key.startswith(_PREFIX)}
        for name in sorted(self._values.keys() - set(known)):
            choice = ", ".join(sorted(known)) or "none"
            raise SettingError(
                f"annotation {ANNOTATION}{name} is not a setting of this stand-in; it has: {choice}"
            )

    def get(self, name: str, parse: Callable[[str], T], default: T) -> T:
        """The setting `name` through `parse`, or `default` when it is not set.

        Raises:
            SettingError: `parse` raised ValueError, whose message says what the value may be.
        """
        if name not in self._values:
            return default
        try:
            return parse(self._values[name].strip())
        except ValueError as error:
            raise SettingError(
                f"annotation {ANNOTATION}{name} is {self._values[name]!r}, which is not valid: {error}"
            ) from None


def variables(annotations: Mapping[str, str]) -> dict[str, str]:
    """The environment in which a pod's settings reach its programs."""
    return {
        _PREFIX + key.removeprefix(ANNOTATION).upper().replace("-", "_"): value
        for key, value in annotations.items()
        if key.startswith(ANNOTATION)
    }


def _name(variable: str) -> str:
    return variable.removeprefix(_PREFIX).lower().replace("_", "-")


def duration(text: str) -> float:
    """Seconds of "5ms", "1.5s" or "1m30s", as Go writes durations; ValueError for anything else."""
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError('give a duration such as "5ms" or "1.5s"')
    return math.fsum(float(number) * _UNITS[unit] for number, unit in parts)


@dataclass(frozen=True)
class Latency:
    """How long answers take, in seconds: drawn evenly from `low` to `high`, or log-normal with that median and p99."""

    low: float = 0.0
    high: float = 0.0
    lognormal: bool = False

    def draw(self, random: Random) -> float:
        """Seconds for one answer."""
        if self.low == self.high:
            return self.low
        if self.lognormal:
            return self.low * math.exp(random.gauss(0.0, math.log(self.high / self.low) / _P99))
        return random.uniform(self.low, self.high)


def latency(text: str) -> Latency:
    """The latency that "5ms", "2ms..8ms" or "p50=5ms p99=80ms" asks for; ValueError for anything else."""
    low, dots, high = text.partition("..")
    quantiles = _QUANTILES.fullmatch(text)
    if quantiles:
        low, high = quantiles.groups()
    try:
        found = Latency(duration(low), duration(high if dots or quantiles else low), bool(quantiles))
    except ValueError:
        raise ValueError(
            'give a duration such as "5ms", a span such as "2ms..8ms", or quantiles such as "p50=5ms p99=80ms"'
        ) from None
    if found.low > found.high:
        raise ValueError("the first duration is longer than the second")
    if found.lognormal and not found.low:
        raise ValueError("give a median longer than 0")
    return found


def percentage(text: str) -> float:
    """A number from 0 to 100; ValueError for anything else."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= 100:
        raise ValueError("give a number from 0 to 100")
    return number


def integer(low: int, high: int) -> Callable[[str], int]:
    """The parser of whole numbers from `low` to `high`; it raises ValueError for anything else."""

    def parse(text: str) -> int:
        if text.isascii() and text.isdecimal() and len(text) < 20 and low <= int(text) <= high:
            return int(text)
        raise ValueError(f"give a whole number from {low} to {high}")

    return parse
