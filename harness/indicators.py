"""Service level indicators as people name them, from the counters every Istio mesh has (Istio, standard metrics)."""

from __future__ import annotations

import math
import re
from dataclasses import replace

from harness.errors import HarnessError
from harness.slo import Latency, Matcher, Pair, Probe, Ratio, Selector, Throughput, Workloads, flagged

_REQUESTS = "istio_requests_total"
_ANSWERED = Matcher("response_code", "!=", "0")
_UNSERVED = ("NR", "NC")  # response flags: no route, no cluster
_NO_ERROR = (Matcher("response_code", "!~", "5.."), flagged(_UNSERVED, "!~"))
_MATCHER = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"\s*(,|$)')
_WRAPPED = re.compile(r"(sum|rate|irate|increase)\s*\((.*)\)", re.DOTALL)
_PLAIN = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(?:\{(.*)\})?", re.DOTALL)
_RANGE = re.compile(r"(.*)\[[0-9a-z]+\]", re.DOTALL)


def availability(service: str, namespace: str = "default") -> Ratio:
    """Requests to `service`, as its callers' sidecars saw them, that were not answered with a 5xx; `at_least`.

    Requests for which the caller's sidecar had no route or no cluster (flags NR, NC) are failed ones as well. It
    does not know the Service then and counts them by the host that was asked for, so they are told by that. Answers
    to clients that went away (response code 0, flag DC) are left out. Retried attempts count once, by their last
    answer: that is what the callers' sidecars report.
    """
    return Ratio(
        f"availability of {namespace}/{service}",
        _asked(service, namespace),
        _NO_ERROR,
        answers=True,
        unserved=_unserved(service, namespace),
    )


def error_ratio(service: str, namespace: str = "default") -> Ratio:
    """The same requests as `availability`, limited by the share of 5xx; `at_most`."""
    return replace(availability(service, namespace), name=f"errors of {namespace}/{service}", bound="at_most")


def latency(service: str, namespace: str = "default", *, quantile: float) -> Latency:
    """How long requests to `service` took its callers' sidecars, retries included; `at_most` so many seconds.

    The histogram's bounds are Envoy's: 0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000 ms and so on.
    Limits that are one of them waste nothing; events of the bucket that another limit divides speak for neither
    verdict.
    Raises HarnessError for a quantile outside 0 to 1.
    """
    if not 0.0 < quantile <= 1.0:
        raise HarnessError(
            f"The quantile of the latency of {service} is {quantile}; give a fraction, say 0.99."
        )
    buckets = Selector.equal(
        "istio_request_duration_milliseconds_bucket", _labels("source", service, namespace)
    )
    buckets = replace(buckets, matchers=(*buckets.matchers, _ANSWERED))
    return Latency(f"latency of {namespace}/{service}", buckets, quantile)


def retry_amplification(service: str, namespace: str = "default") -> Pair:
    """Attempts that reached `service` for each request that was made to it; `at_most` so many, 1 without any retry.

    Callers' sidecars report a request once, the callee's reports every attempt. Attempts that reached no pod are not
    among them.
    """
    attempts = Selector.equal(_REQUESTS, _labels("destination", service, namespace))
    requests = Selector.equal(_REQUESTS, _labels("source", service, namespace))
    return Pair(f"attempts per request of {namespace}/{service}", attempts, requests, per_good=True)


def ejection(service: str, namespace: str = "default", *, flags: tuple[str, ...] = ("FI", "DI")) -> Ratio:
    """Attempts that reached `service` and met no fault; `at_least`.

    With a fault at some pods of it that hits all they get, these are the attempts that went to the healthy ones:
    without ejection as many meet the fault as these pods have of the whole. `flags` are the response flags
    that mark the fault: FI an abort, DI a delay.
    """
    total = Selector.equal(_REQUESTS, _labels("destination", service, namespace))
    return Ratio(f"attempts at healthy pods of {namespace}/{service}", total, (flagged(flags, "!~"),))


def mtls_share(service: str, namespace: str = "default") -> Ratio:
    """Requests to `service` that came over mutual TLS; `at_least`.

    Asked at the destination: the source always reports "unknown".
    """
    total = Selector.equal(_REQUESTS, _labels("destination", service, namespace))
    good = (Matcher("connection_security_policy", "=", "mutual_tls"),)
    return Ratio(f"mutual TLS of {namespace}/{service}", total, good)


def throughput(service: str, namespace: str = "default", *, offered: float) -> Throughput:
    """Requests to `service` per second that were not answered with a 5xx; `at_least`, of `offered` ones per second.

    Raises HarnessError when nothing is offered.
    """
    if not 0.0 < offered < math.inf:
        raise HarnessError(
            f"The throughput of {service} is measured against {offered} offered requests; give some per second."
        )
    return Throughput(f"throughput of {namespace}/{service}", _asked(service, namespace), _NO_ERROR, offered)


def plaintext_refused(target: Workloads, port: int) -> Probe:
    """Plaintext connections to `port` of every pod of `target` that were refused, as STRICT demands; `at_least`."""
    return Probe(f"plaintext refused by {target}", target, port)


def plaintext_answered(target: Workloads, port: int) -> Probe:
    """Plaintext connections to `port` of every pod of `target` that were answered, by 401 and 403 not; `at_least`.

    For a port that somebody without a sidecar has to reach.
    """
    return Probe(f"plaintext answered by {target}", target, port, wanted="answered")


def promql(name: str, *, good: str, total: str) -> Ratio | Pair:
    """Good events and all events by PromQL; `at_least`.

    Both are selectors of counters, bare or as they stand in dashboards, `sum(rate(selector[5m]))`: events are counted
    from raw samples, so how often and over what time a dashboard looks does not matter. When `good` differs from
    `total` by further matchers only, one query reads both. Raises HarnessError for what is no selector of a counter.
    """
    all_events, good_events = selector(total), selector(good)
    further = tuple(one for one in good_events.matchers if one not in all_events.matchers)
    if good_events.metric == all_events.metric and set(all_events.matchers) <= set(good_events.matchers):
        return Ratio(name, all_events, further)
    return Pair(name, all_events, good_events)


def selector(query: str) -> Selector:
    """The selector of counters in a PromQL query; sum(), rate(), irate() and increase() around it are taken off.

    Raises HarnessError, naming the query, for everything else: its events cannot be counted from raw samples.
    """
    inner = query.strip()
    while wrapped := _WRAPPED.fullmatch(inner):
        inner = wrapped[2].strip()
    if ranged := _RANGE.fullmatch(inner):
        inner = ranged[1].strip()
    plain = _PLAIN.fullmatch(inner)
    if plain is None:
        raise HarnessError(
            f'The query "{query}" is no selector of a counter, bare or within sum(), rate() or increase(): its events'
            " cannot be counted one by one. Give the counter itself."
        )
    return Selector(plain[1], _matchers(query, plain[2] or ""))


def _matchers(query: str, text: str) -> tuple[Matcher, ...]:
    found, position = [], 0
    while text[position:].strip():
        one = _MATCHER.match(text, position)
        if one is None:
            raise HarnessError(f'The query "{query}" has labels that cannot be read: "{text[position:]}".')
        label, operator, value, _ = one.groups()
        value = re.sub(r"\\(.)", lambda escaped: {"n": "\n"}.get(escaped[1], escaped[1]), value)
        found.append(Matcher(label, operator, value))  # type: ignore[arg-type]  # the pattern allows no other
        position = one.end()
    return tuple(found)


def _asked(service: str, namespace: str) -> Selector:
    """The requests to a service that its callers saw answered."""
    total = Selector.equal(_REQUESTS, _labels("source", service, namespace))
    return replace(total, matchers=(*total.matchers, _ANSWERED))


def _unserved(service: str, namespace: str) -> tuple[Selector, ...]:
    """The requests that sidecars could send nowhere: by the Service's short name from its own namespace, or in full."""
    name, qualified = re.escape(service), re.escape(f"{service}.{namespace}")
    marks = (Matcher("reporter", "=", "source"), flagged(_UNSERVED))
    here = Matcher("source_workload_namespace", "=", namespace)
    short = Matcher("destination_service", "=~", rf"{name}(:\d+)?")
    full = Matcher("destination_service", "=~", rf"{qualified}(\.svc(\.cluster\.local)?)?(:\d+)?")
    return Selector(_REQUESTS, (*marks, here, short)), Selector(_REQUESTS, (*marks, full))


def _labels(reporter: str, service: str, namespace: str) -> dict[str, str]:
    return {
        "reporter": reporter,
        "destination_service_name": service,
        "destination_service_namespace": namespace,
    }
