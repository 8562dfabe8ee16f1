"""Retries, timeouts and the faults that they are to see. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from harness.caveats import Caveat
from harness.faults import Abort, Delay, Nothing
from harness.preflight.policies import policies, seconds
from harness.preflight.premises import Premises

_DEFAULT = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
"""What istiod retries where `retryOn` is not given (istio/istio `pilot/pkg/networking/core/route/retry/retry.go`)."""

_GRPC = {"cancelled": 1, "deadline-exceeded": 4, "resource-exhausted": 8, "internal": 13, "unavailable": 14}
"""The gRPC statuses that Envoy retries by name (Envoy, `x-envoy-retry-grpc-on`)."""


def fault_before_policy(premises: Premises) -> Iterator[Caveat]:
    """A fault in the caller's sidecar, on a route that carries the policy: the fault filter acts before the router."""
    fault = premises.experiment.fault
    ours = isinstance(fault, Abort | Delay) and fault.at == "caller"
    for route in premises.routes:
        standing = bool(route.content.get("fault"))
        if route.policies and (ours or standing):
            what = " and ".join(route.policies)
            yield Caveat(
                "fault-before-policy",
                "refuse",
                f"the {'fault' if standing else str(fault)} acts before the router of the same route, so its {what} "
                "never see it",
                route.at("fault" if standing else route.policies[0]),
                'put the fault at the callee (at="callee")' if ours else "take the fault out of the route",
            )
    if ours:
        for policy in policies(premises):
            if policy.get("outlierDetection") is not None:
                yield Caveat(
                    "fault-before-policy",
                    "warn",
                    f"{fault} never leaves the caller, so outlier detection never counts it",
                    policy.at("outlierDetection"),
                    'put the fault at the callee (at="callee") to see pods ejected',
                )


def uncovered_code(premises: Premises) -> Iterator[Caveat]:
    """Retries that do not repeat what the fault answers."""
    fault = premises.experiment.fault
    if not isinstance(fault, Abort) or fault.at == "caller":
        return
    what = str(fault.status) if fault.status is not None else f"gRPC status {fault.grpc_status}"
    for route in premises.routes:
        words = str(route.retries.get("retryOn") or _DEFAULT)
        if not route.retries or retries_on(words, status=fault.status, grpc_status=fault.grpc_status):
            continue
        given = f'retryOn "{words}"' if route.retries.get("retryOn") else "Istio's default retryOn"
        yield Caveat(
            "uncovered-code",
            "warn",
            f"{given} does not cover {what}, so no retry ever answers this fault",
            route.at("retries", "retryOn"),
            f"add {_word_for(fault)} to it, or abort with a status that it covers",
        )


def tries_beyond_timeout(premises: Premises) -> Iterator[Caveat]:
    """Tries that take longer together than the whole request may."""
    if isinstance(premises.experiment.fault, Nothing):
        return
    for route in premises.routes:
        timeout = seconds(route.content.get("timeout"))
        each = seconds(route.retries.get("perTryTimeout"))
        if not timeout or not each:
            continue
        tries = 1 + int(route.retries["attempts"])
        if tries * each <= timeout * (1 + 1e-9):
            continue
        whole = int(timeout / each + 1e-9)
        yield Caveat(
            "tries-beyond-timeout",
            "warn",
            f"{tries} tries (attempts: {tries - 1}, and the first) of {each:g} s each take {tries * each:g} s, and the "
            f"request may take {timeout:g} s: of tries that hang, {whole or 'not even 1'} of {tries} come to an end",
            route.at("retries", "perTryTimeout"),
            f"let a try take {timeout / tries:.3g} s at most, raise timeout, or lower attempts",
        )


def retries_on(words: str, *, status: int | None, grpc_status: int | None) -> bool:
    """Whether a `retryOn` covers an answer with an HTTP status, or with a gRPC status.

    As in Envoy (`x-envoy-retry-on`); a number stands for that status, as istiod reads it.
    """
    given = {word.strip() for word in words.split(",")}
    if status is None:
        return any(_GRPC.get(word) == grpc_status for word in given)
    ranges = {"5xx": range(500, 600), "gateway-error": range(502, 505), "retriable-4xx": range(409, 410)}
    return str(status) in given or any(status in ranges.get(word, ()) for word in given)


def _word_for(fault: Abort) -> str:
    if fault.status is not None:
        return f'"{fault.status}"'
    names = [name for name, status in _GRPC.items() if status == fault.grpc_status]
    return f'"{names[0]}"' if names else "what Envoy can retry (no word covers this status)"
