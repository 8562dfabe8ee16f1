"""What weakens a VirtualService."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from harness.changes import ABSENT, Manifest, Path
from harness.mutation.durations import seconds, written
from harness.mutation.hosts import full_host, namespace_of, routes_of, subsets_of
from harness.mutation.mutant import Weakening

# Envoy's `RetryStateImpl::wouldRetryFromReset` counts every reset of a try as a 5xx and as a gateway error, and a
# connection that failed as a reset; so these conditions cover others, and dropping a covered one changes nothing.
_RESETS = frozenset({"reset", "reset-before-request", "connect-failure", "refused-stream"})
_COVERS = {
    "5xx": _RESETS | {"gateway-error"},
    "gateway-error": _RESETS,
    "reset": _RESETS - {"reset"},
}
# istiod's retry.DefaultPolicy: attempts 2, and these conditions, where a route has no retryOn of its own.
_DEFAULT_ON = frozenset({"connect-failure", "refused-stream", "unavailable", "cancelled"})


def weaker_virtual_service(manifest: Manifest, objects: Sequence[Manifest]) -> Iterator[Weakening]:
    """Retries, timeouts, matches, destinations, weights and mirrors of each route."""
    routes = routes_of(manifest)
    for path, route in routes:
        yield from _retries(path, route)
        yield from _timeouts(path, route)
        yield from _destinations(path, route, namespace_of(manifest), objects)
        yield from _mirrors(path, route)
        if len([one for one, _ in routes if one[1] == path[1]]) > 1:
            yield from _matches(path, route)


def _retries(path: Path, route: Any) -> Iterator[Weakening]:
    retries = route.get("retries") or {}
    attempts, at = retries.get("attempts", 0), (*path, "retries")
    if attempts < 1:
        return
    yield Weakening(at, {"attempts": 0}, "retries removed", "what fails once has failed")
    if attempts > 1:
        yield Weakening((*at, "attempts"), 1, "fewer attempts", "what fails twice has failed")
    yield from _conditions((*at, "retryOn"), retries.get("retryOn", ""))
    timeout = seconds(route.get("timeout"))
    if timeout and (seconds(retries.get("backoff")) or 0.0) < timeout:
        why = "the timeout is over before most of the pauses between two tries are"
        yield Weakening((*at, "backoff"), written(timeout), "pauses as long as the timeout", why)


def _conditions(path: Path, text: str) -> Iterator[Weakening]:
    conditions = [one.strip() for one in text.split(",") if one.strip()]
    for one in conditions:
        others = [other for other in conditions if other != one]
        if others and one not in _covered(others):
            why = f"what fails by {one} is not tried again"
            yield Weakening(path, ",".join(others), f"retryOn without {one}", why)
    if _covered(conditions) - _covered(_DEFAULT_ON):
        why = "Istio's default retries connections and refused streams only, no answer with 503"
        yield Weakening(path, ABSENT, "retryOn left to the default", why)


def _covered(conditions: Sequence[str] | frozenset[str]) -> frozenset[str]:
    return frozenset(conditions).union(*(_COVERS.get(one, ()) for one in conditions))


def _timeouts(path: Path, route: Any) -> Iterator[Weakening]:
    timeout = seconds(route.get("timeout"))
    each = seconds((route.get("retries") or {}).get("perTryTimeout"))
    if timeout:
        yield Weakening((*path, "timeout"), ABSENT, "timeout removed", "a caller waits without end")
        yield Weakening(
            (*path, "timeout"), written(10 * timeout), "timeout tenfold", "a caller waits ten times as long"
        )
    if timeout and each and each < timeout:
        why = "there is no time for a second try"
        yield Weakening((*path, "timeout"), written(each), "timeout of one try", why)
    if each:
        at = (*path, "retries", "perTryTimeout")
        why = "one try that hangs takes the time of all"
        yield Weakening(at, ABSENT, "perTryTimeout removed", why)
        if timeout and each < timeout:
            yield Weakening(at, written(2 * timeout), "perTryTimeout beyond the timeout", why)


def _destinations(path: Path, route: Any, namespace: str, objects: Sequence[Manifest]) -> Iterator[Weakening]:
    every = route.get("route") or []
    for number, one in enumerate(every):
        to, at = one["destination"], (*path, "route", number, "destination", "subset")
        if "subset" not in to:
            continue
        others = [
            name for name in subsets_of(full_host(to["host"], namespace), objects) if name != to["subset"]
        ]
        if others:
            yield Weakening(at, others[0], f"subset swapped for {others[0]}", "other pods answer")
            yield Weakening(at, ABSENT, "subset left out", "pods of every subset answer")
    yield from _weights(path, [one.get("weight", 0) for one in every])


def _weights(path: Path, weights: Sequence[int]) -> Iterator[Weakening]:
    total = sum(weights)
    if len(weights) < 2 or not total:
        return
    least = weights.index(min(weights))
    if weights[least] * len(weights) < total:
        at = (*path, "route", least, "weight")
        yield Weakening(
            at, total - weights[least], "weight raised to half", "more requests go there than meant"
        )
    for number, weight in enumerate(weights):
        if 0 < weight < total:
            yield Weakening((*path, "route", number, "weight"), 0, "weight taken", "no request goes there")


def _mirrors(path: Path, route: Any) -> Iterator[Weakening]:
    for name in ("mirror", "mirrors"):
        if route.get(name):
            yield Weakening((*path, name), ABSENT, "mirror removed", "no request is mirrored")
    percent = (route.get("mirrorPercentage") or {}).get("value")
    if percent and route.get("mirror"):
        at = (*path, "mirrorPercentage", "value")
        yield Weakening(at, percent / 10, "a tenth mirrored", "nine of ten mirrored requests are missing")


def _matches(path: Path, route: Any) -> Iterator[Weakening]:
    yield Weakening(path, ABSENT, "route dropped", "its requests go another way")
    if route.get("match"):
        why = "the route takes requests that are meant for those after it"
        yield Weakening((*path, "match"), ABSENT, "match dropped", why)
