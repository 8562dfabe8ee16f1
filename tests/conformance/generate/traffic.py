"""VirtualServices and DestinationRules, of every field."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.conformance.generate.values import (
    GATEWAYS,
    NAMESPACES,
    OUTSIDE,
    PORTS,
    SUBSETS,
    Made,
    distinct,
    durations,
    export_to,
    few,
    filled,
    header_names,
    hosts,
    labels,
    one_key,
    percents,
    record,
    some,
    string_match,
)

_numbers = few(*PORTS.values())
_full = f"{NAMESPACES[0]}/{GATEWAYS[0]}"
# Not one Gateway by both of its names: istiod's gateway has all routes twice then, which makes no difference.
_gateways = distinct("mesh", *GATEWAYS, _full, most=2).filter(lambda names: {GATEWAYS[0], _full} - {*names})
_destination = record({"host": hosts}, subset=few(*SUBSETS), port=record({"number": _numbers}))
_header_values = st.dictionaries(header_names, few("1", "two", "%START_TIME%", "a b"), min_size=1, max_size=2)
_headers = record(
    request=record(
        set=st.one_of(
            _header_values, few({"Host": "other.example.com"}, {":authority": "third.example.com"})
        ),
        add=_header_values,
        remove=distinct("x-user", "x-old"),
    ),
    response=record(set=_header_values, add=_header_values, remove=distinct("x-user", "server")),
)

_match = record(
    uri=string_match,
    scheme=one_key(exact=few("http", "https")),
    method=one_key(exact=few("GET", "POST"), regex=few("GET|PUT")),
    authority=one_key(exact=few("a", "a.default"), prefix=few("a."), regex=few(".*\\.example\\.com")),
    headers=st.dictionaries(
        header_names, st.one_of(string_match, few({"regex": ".*"}, {})), min_size=1, max_size=2
    ),
    withoutHeaders=st.dictionaries(
        header_names, st.one_of(string_match, few({"regex": ".*"}, {})), min_size=1, max_size=1
    ),
    queryParams=st.dictionaries(few("q", "page"), string_match, min_size=1, max_size=2),
    port=_numbers,
    sourceLabels=labels,
    sourceNamespace=few(*NAMESPACES),
    gateways=_gateways,
    ignoreUriCase=st.booleans(),
    name=few("first", "second"),
    statPrefix=few("stats"),
)

_retries = record(
    {"attempts": few(1, 2, 5)},
    perTryTimeout=durations,
    retryOn=few("5xx", "gateway-error,connect-failure", "503,reset", "retriable-4xx,409,unavailable", "1000"),
    retryRemoteLocalities=st.booleans(),
    retryIgnorePreviousHosts=st.booleans(),
    backoff=few("0.1s", "1s"),
)
_fault = record(
    delay=record({"fixedDelay": durations}, percentage=percents),
    abort=st.one_of(
        record({"httpStatus": few(400, 503, 555)}, percentage=percents),
        record({"grpcStatus": few("UNAVAILABLE", "NOT_FOUND")}, percentage=percents),
    ),
).filter(bool)
_cors = record(
    allowOrigins=some(one_key(exact=few("https://a.com", "*"), prefix=few("https://"), regex=few(".*"))),
    allowMethods=distinct("GET", "POST", "PUT"),
    allowHeaders=distinct("x-user", "content-type"),
    exposeHeaders=distinct("x-out"),
    maxAge=durations,
    allowCredentials=st.booleans(),
    unmatchedPreflights=few("FORWARD", "IGNORE"),
)
_mirrors = few({}, {"mirror": {"host": "b"}, "mirrorPercentage": {"value": 30}}).flatmap(
    lambda one: (
        st.just(one)
        if one
        else record(mirrors=some(record({"destination": _destination}, percentage=percents)))
    )
)
_rewrite = st.one_of(
    record(uri=few("/", "/new", "/new/"), authority=few("rewritten.example.com")).filter(bool),
    record(
        {"uriRegexRewrite": few({"match": "^/a/(.*)$", "rewrite": "/b/\\1"})},
        authority=few("rewritten.example.com"),
    ),
)
_routed = st.one_of(
    some(record({"destination": _destination}, headers=_headers), most=1),
    st.lists(
        record({"destination": _destination, "weight": few(0, 1, 30, 70, 100)}, headers=_headers),
        min_size=2,
        max_size=3,
    ).filter(lambda routes: any(route["weight"] for route in routes)),
)
_redirect = st.one_of(
    record(
        uri=few("/elsewhere", "/"),
        authority=few("new.example.com"),
        scheme=few("https", "http"),
        redirectCode=few(301, 302, 307, 308),
        port=few(8443, 80),
    ),
    record(
        authority=few("new.example.com"),
        derivePort=few("FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"),
        redirectCode=few(303),
        scheme=few("https"),
    ),
).filter(bool)
_direct = record(
    {"status": few(200, 404, 503)},
    body=st.one_of(record({"string": few("no", "gone")}), record({"bytes": few("bm8=")})),
)
_matches = record(match=some(_match), name=few("one", "two"))
_settings = record(
    rewrite=_rewrite,
    timeout=durations,
    retries=st.one_of(_retries, few({"attempts": 0})),
    fault=_fault,
    corsPolicy=_cors,
    headers=_headers,
)
_answer = st.one_of(
    st.builds(lambda route, rest, mirrors: {"route": route, **rest, **mirrors}, _routed, _settings, _mirrors),
    st.builds(
        lambda redirect, headers: {"redirect": redirect, **headers}, _redirect, record(headers=_headers)
    ),
    st.builds(
        lambda direct, headers: {"directResponse": direct, **headers}, _direct, record(headers=_headers)
    ),
)
_delegate = record(
    {"delegate": record({"name": few("delegate-1", "delegate-2")}, namespace=few(*NAMESPACES))}
)


def _rule(match: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    return {**match, **answer}


_http = st.builds(_rule, _matches, st.one_of(_answer, _answer, _answer, _delegate))
_tcp_route = st.one_of(
    some(record({"destination": _destination}), most=1),
    st.lists(record({"destination": _destination, "weight": few(1, 50)}), min_size=2, max_size=2),
)
_tcp = record(
    {"route": _tcp_route},
    match=some(
        record(
            port=_numbers,
            destinationSubnets=few(["10.96.0.0/16"], ["10.0.0.1"]),
            sourceLabels=labels,
            gateways=_gateways,
            sourceNamespace=few(*NAMESPACES),
        )
    ),
)
_tls = record(
    {
        "route": _tcp_route,
        "match": some(
            record(
                {"sniHosts": distinct("ext.example.com", "api.example.com", "deep.example.org")},
                port=few(443, 9443),
                sourceLabels=labels,
                gateways=_gateways,
                sourceNamespace=few(*NAMESPACES),
            )
        ),
    }
)

_own_tls = record(
    {
        "route": _tcp_route,
        "match": some(record({"sniHosts": few(["a.default.svc.cluster.local"])}, port=few(443))),
    }
)
virtual_service: Made = st.one_of(
    record(
        {
            "hosts": distinct("a", "b", "c", "b.shop.svc.cluster.local", *OUTSIDE, most=2),
            "http": some(_http, 3),
        },
        gateways=_gateways,
        exportTo=export_to,
    ),
    record({"hosts": few(["*"]), "http": some(_http, 3), "gateways": distinct(*GATEWAYS)}),
    record(
        {"hosts": distinct("a", "b", "ext.example.com", most=2), "tcp": some(_tcp, 3)},
        gateways=_gateways,
        exportTo=export_to,
    ),
    record(
        {"hosts": few(["ext.example.com", "api.example.com", "*.example.org"]), "tls": some(_tls)},
        gateways=_gateways,
    ),
    record({"hosts": few(["a.default.svc.cluster.local"]), "tls": some(_own_tls)}, gateways=_gateways),
)
"""The spec of a VirtualService."""

delegated: Made = record({"http": some(st.builds(_rule, _matches, _answer))}, exportTo=export_to)
"""The spec of a VirtualService that others delegate to."""

_cookie = record(
    {"name": few("session")},
    path=few("/"),
    ttl=few("0s", "30s"),
    attributes=few([{"name": "SameSite", "value": "Lax"}, {"name": "Secure"}]),
)
_hash_key = one_key(
    httpHeaderName=header_names,
    httpCookie=_cookie,
    useSourceIp=few(True),
    httpQueryParameterName=few("q"),
)
_hash = st.builds(
    lambda key, ring: {**key, **ring},
    _hash_key,
    few(
        {},
        {"ringHash": {"minimumRingSize": 4096}},
        {"ringHash": {}},
        {"maglev": {"tableSize": 65537}},
        {"maglev": {}},
        {"minimumRingSize": 128},
    ),
)
_locality = st.one_of(
    record(
        {
            "distribute": few(
                [{"from": "west/*", "to": {"west/w1/*": 80, "east/*": 20}}],
                [
                    {"from": "west/w1/*", "to": {"west/w2/*": 33, "east/e1/*": 67}},
                    {"from": "*", "to": {"*": 100}},
                ],
            )
        }
    ),
    record({"failover": few([{"from": "west", "to": "east"}])}, enabled=st.booleans()),
    record({"failoverPriority": few(["version"], ["topology.kubernetes.io/region", "app=a"])}),
    record({"enabled": st.booleans()}),
)
_warmup = record({"duration": few("10s", "60s")}, minimumPercent=few(5, 50), aggression=few(1, 2.5))
_balancer = st.one_of(
    record(
        {"simple": few("ROUND_ROBIN", "LEAST_REQUEST", "RANDOM", "LEAST_CONN")},
        localityLbSetting=_locality,
        warmup=_warmup,
    ),
    record({"simple": few("PASSTHROUGH")}),
    record({"simple": few("UNSPECIFIED")}, warmupDurationSecs=few("30s")),
    record({"consistentHash": _hash}, localityLbSetting=_locality),
    record({"localityLbSetting": _locality}),
)
_pool = filled(
    tcp=filled(
        maxConnections=few(1, 100),
        connectTimeout=few("0.03s", "5s"),
        tcpKeepalive=record(probes=few(3), time=few("7200s"), interval=few("75s")),
        maxConnectionDuration=few("1h0m0s"),
        idleTimeout=few("60s"),
    ),
    http=filled(
        http1MaxPendingRequests=few(1, 50),
        http2MaxRequests=few(1, 1000),
        maxRequestsPerConnection=few(1, 10),
        maxRetries=few(1, 5),
        idleTimeout=few("30s"),
        h2UpgradePolicy=few("DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"),
        useClientProtocol=st.booleans(),
        maxConcurrentStreams=few(10),
    ),
)
_outlier = record(
    splitExternalLocalOriginErrors=st.booleans(),
    consecutiveLocalOriginFailures=few(0, 3),
    consecutiveGatewayErrors=few(0, 4),
    consecutive5xxErrors=few(0, 7),
    interval=few("1s", "5m0s"),
    baseEjectionTime=few("30s", "900s"),
    maxEjectionPercent=few(0, 10, 100),
    minHealthPercent=few(0, 50),
)
_tls_settings = st.one_of(
    record({"mode": few("DISABLE")}),
    record(
        {"mode": few("ISTIO_MUTUAL")},
        sni=few("some.sni"),
        subjectAltNames=few(["spiffe://cluster.local/ns/x/sa/y"]),
    ),
    record({"mode": few("SIMPLE")}, sni=few("some.sni"), subjectAltNames=few(["ext.example.com"])),
    record({"mode": few("SIMPLE"), "insecureSkipVerify": few(True)}, sni=few("some.sni")),
    record(
        {"mode": few("SIMPLE", "MUTUAL"), "credentialName": few("client-cert")},
        sni=few("some.sni"),
        subjectAltNames=few(["ext.example.com", "api.example.com"]),
    ),
    record({"mode": few("MUTUAL"), "credentialName": few("client-cert"), "insecureSkipVerify": few(True)}),
)
_blocks = {
    "loadBalancer": _balancer,
    "connectionPool": _pool,
    "outlierDetection": _outlier,
    "tls": _tls_settings,
}
_budget = record(percent=few(1, 25.5), minRetryConcurrency=few(1, 10))
_policy = filled(
    **_blocks,
    portLevelSettings=st.lists(
        record({"port": record({"number": _numbers})}, **_blocks).filter(lambda level: len(level) > 1),
        min_size=1,
        max_size=2,
        unique_by=lambda level: level["port"]["number"],
    ),
    retryBudget=_budget,
    proxyProtocol=record(version=few("V1", "V2")),
)
_subset = record(
    {"name": few(*SUBSETS), "labels": few({"version": "v1"}, {"version": "v2"}, {"app": "a"})},
    trafficPolicy=_policy,
)

destination_rule: Made = st.builds(
    lambda rule, subsets: {**rule, **subsets},
    record(
        {"host": st.one_of(hosts, few("*.example.org", "*.shop.svc.cluster.local", "*.example.com"))},
        trafficPolicy=_policy,
        exportTo=export_to,
        workloadSelector=record({"matchLabels": labels}),
    ).map(lambda rule: {**rule, "exportTo": ["."]} if "workloadSelector" in rule else rule),
    record(subsets=st.lists(_subset, min_size=1, max_size=2, unique_by=lambda subset: subset["name"])),
)
"""The spec of a DestinationRule."""
