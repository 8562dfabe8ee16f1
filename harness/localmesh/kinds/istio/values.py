"""The values that Istio's kinds share: durations, percentages, ports, names of hosts."""

from __future__ import annotations

import re
from typing import Annotated, Any

from msgspec import Meta

Problem = tuple[str, str]
"""A field, as its path inside the spec, and what is wrong with it."""

Port = Annotated[int, Meta(ge=1, le=65535)]
Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Unsigned = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Unsigned64 = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Percent = Annotated[float, Meta(ge=0, le=100)]
WholePercent = Annotated[int, Meta(ge=0, le=100)]
Labels = dict[str, str]

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_NUMBER = r"(\d+(?:\.\d*)?|\.\d+)"
_TERM = re.compile(_NUMBER + r"(ns|us|µs|ms|s|m|h)", re.ASCII)
_DURATION = re.compile(f"(?:{_TERM.pattern})+", re.ASCII)
_PROTO_DURATION = re.compile(r"\d+(?:\.\d{1,9})?s", re.ASCII)
# The longest duration of Go, in seconds: what istiod could pass on.
_LONGEST = 2**63 / 1e9


class Duration(float):
    """Seconds; written as in Go ("1.5s", "250ms", "1m30s"), whole milliseconds and at least one.

    Both limits are those of Istio's CRDs and webhook (`ValidateDuration`).
    """

    @classmethod
    def read(cls, text: Any) -> Duration:
        """The duration that `text` says; raises ValueError, with an example, for anything else."""
        value = _seconds(text)
        if value < 1e-3:
            raise ValueError(f"{text!r} is too short or too fine; use whole milliseconds, at least 1ms")
        return cls(value)


class DurationOrZero(float):
    """Seconds, as `Duration`, and 0 too, which switches the thing off."""

    @classmethod
    def read(cls, text: Any) -> DurationOrZero:
        """The duration that `text` says; raises ValueError, with an example, for anything else."""
        return cls(0.0 if text == "0" else _seconds(text))


def _seconds(text: Any) -> float:
    if not isinstance(text, str) or not _DURATION.fullmatch(text):
        raise ValueError(f'{text!r} is no duration; write it like "1.5s" or "250ms"')
    value = sum(float(number) * _UNITS[unit] for number, unit in _TERM.findall(text))
    milliseconds = round(value * 1e3, 6)
    if milliseconds != int(milliseconds):
        raise ValueError(f"{text!r} is too short or too fine; use whole milliseconds, at least 1ms")
    if value > _LONGEST:
        raise ValueError(f"{text!r} is longer than any duration can be (292 years)")
    return value


class ProtoDuration(float):
    """Seconds; written as Envoy reads durations: a decimal number and "s", more than zero."""

    @classmethod
    def read(cls, text: Any) -> ProtoDuration:
        """The duration that `text` says; raises ValueError, with an example, for anything else."""
        if not isinstance(text, str) or not _PROTO_DURATION.fullmatch(text) or float(text[:-1]) <= 0:
            raise ValueError(
                f'{text!r} is no duration as Envoy reads it; write seconds like "0.25s", more than 0'
            )
        if float(text[:-1]) > _LONGEST:
            raise ValueError(f"{text!r} is longer than any duration can be (292 years)")
        return cls(text[:-1])


class Protocol(str):
    """The protocol of a port in Istio's own spelling (`pkg/config/protocol/instance.go`), whatever its case was.

    One of "HTTP", "HTTP2", "GRPC", "GRPC-Web", "HTTPS", "TLS", "TCP" and "" (not said). Redis and MySQL are "TCP",
    which is what istiod makes of them unless told otherwise.
    """

    @classmethod
    def read(cls, text: Any) -> Protocol:
        """The protocol that `text` names; raises ValueError, with those there are, for any other."""
        if not isinstance(text, str) or text.lower() not in _PROTOCOLS:
            names = ", ".join(dict.fromkeys(name for name in _PROTOCOLS.values() if name))
            raise ValueError(f"{text!r} is no protocol the local mesh emulates; it has {names}")
        return cls(_PROTOCOLS[text.lower()])

    @property
    def http(self) -> bool:
        """Whether requests are told apart in it."""
        return self in ("HTTP", "HTTP2", "GRPC", "GRPC-Web")

    @property
    def http2(self) -> bool:
        """Whether it is spoken over HTTP/2."""
        return self in ("HTTP2", "GRPC", "GRPC-Web")

    @property
    def tls(self) -> bool:
        """Whether the connection begins with a TLS handshake of the program's own."""
        return self in ("HTTPS", "TLS")


_PROTOCOLS = {
    **{name.lower(): name for name in ("HTTP", "HTTP2", "GRPC", "GRPC-Web", "HTTPS", "TLS", "TCP", "")},
    "redis": "TCP",
    "mysql": "TCP",
}


def decode(kind: type, value: Any) -> Any:
    """For msgspec: the value of a type that JSON does not know."""
    if issubclass(kind, (Duration, DurationOrZero, ProtoDuration, Protocol)):
        return kind.read(value)
    raise NotImplementedError(kind)
