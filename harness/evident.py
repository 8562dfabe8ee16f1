"""What a journal keeps of the evidence of a fault: that it showed, where, and that it went on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ShareSeen:
    """Of `total` requests of the target counted in a phase, `hits` carry the mark of the fault."""

    at: float
    phase: str
    hits: int
    total: int


@dataclass(frozen=True)
class ReplacedSeen:
    """Of the pods `asked` for, these are gone; `ready` pods of the target are ready, `before` were.

    Where the proxies of pods are taken, gone are those whose proxy was started again.
    `requests` is how many requests the target was seen to have before they were taken. `settled` says that the
    pods are replaced and that two scrapes have passed since, so that all the harm is counted.
    `spoiled` are pods that have lost what the fault was to leave alone; `times` is how often pods were taken.
    """

    at: float
    asked: tuple[str, ...]
    gone: tuple[str, ...]
    ready: int
    before: int
    requests: int = 0
    settled: bool = False
    spoiled: tuple[str, ...] = ()
    times: int = 1


@dataclass(frozen=True)
class ScaledSeen:
    """Of the pods that the fault leaves `asked` of there are so many, `ready` of them ready, in a phase.

    `requests` is how many requests the target was seen to have before; None when that tells nothing.
    """

    at: float
    phase: str
    asked: int
    present: int
    ready: int
    requests: int | None = None


@dataclass(frozen=True)
class PodsSeen:
    """Of the pods `asked` for, these showed the fault in a phase; `sign` is what they showed.

    `requests` is how many requests the target was seen to have before; None when that tells nothing.
    """

    at: float
    phase: str
    asked: tuple[str, ...]
    shown: tuple[str, ...]
    sign: str
    requests: int | None = None


@dataclass(frozen=True)
class OutsideSeen:
    """The mark of the fault was counted outside its target, where it was not before: at these workloads."""

    at: float
    places: tuple[str, ...]


@dataclass(frozen=True)
class Continued:
    """The fault went on, for the `time`-th time after its injection: changes made, and UIDs of the pods they took."""

    at: float
    time: int
    changes: tuple[str, ...]
    uids: tuple[str, ...] = ()
