"""Retry policies of routes.

Source: istio/istio `pilot/pkg/networking/core/route/retry/retry.go`. Since Istio 1.24 the default does not retry a
plain 503. Where a route picks hosts by consistent hash, retries go to the same host unless the policy says otherwise.
"""

from __future__ import annotations

from harness.localmesh.kinds.istio.virtualservice import Retries, status_known
from harness.localmesh.xds.model import Resource
from harness.localmesh.xds.proto import duration, extension

_DEFAULT_ON = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
_BY_STATUS = "retriable-status-codes"
_DEFAULT_ATTEMPTS = 2


def retry_policy(retries: Retries | None, *, hashed: bool = False) -> Resource | None:
    """The policy for `retries` of a VirtualService, Istio's default for None, and no policy for 0 attempts.

    Args:
        retries: None when the VirtualService says nothing.
        hashed: the route has one destination, whose hosts are chosen by consistent hash.
    """
    if retries is None:
        retries = Retries(attempts=_DEFAULT_ATTEMPTS)
    if not retries.attempts:
        return None
    policy: Resource = {
        "num_retries": retries.attempts,
        "host_selection_retry_max_attempts": "5",
        **_conditions(retries.retry_on),
    }
    elsewhere = retries.retry_ignore_previous_hosts
    if not hashed if elsewhere is None else elsewhere:
        policy["retry_host_predicate"] = [_previous_hosts()]
    if retries.per_try_timeout is not None:
        policy["per_try_timeout"] = duration(retries.per_try_timeout)
    if retries.backoff is not None:
        policy["retry_back_off"] = {"base_interval": duration(retries.backoff)}
    if retries.retry_remote_localities:
        policy["retry_priority"] = _previous_priorities()
    return policy


def inbound_retry_policy() -> Resource:
    """What a callee's sidecar retries towards its own program (since Istio 1.24)."""
    return {"retry_on": "reset-before-request", "num_retries": 2}


def _conditions(retry_on: str) -> Resource:
    """`retryOn` with numbers of statuses taken out; istiod leaves the comma where nothing else is named."""
    if not retry_on:
        return {"retry_on": _DEFAULT_ON}
    words = [word for word in map(str.strip, retry_on.split(",")) if word]
    codes = [int(word) for word in words if status_known(word)]
    others = ",".join(word for word in words if not status_known(word))
    if codes and _BY_STATUS not in others:
        others += f",{_BY_STATUS}"
    conditions: Resource = {"retry_on": others}
    return {**conditions, "retriable_status_codes": codes} if codes else conditions


def _previous_hosts() -> Resource:
    return extension(
        "envoy.retry_host_predicates.previous_hosts",
        "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
    )


def _previous_priorities() -> Resource:
    return extension(
        "envoy.retry_priorities.previous_priorities",
        "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
        update_frequency=2,
    )
