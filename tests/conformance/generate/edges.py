"""Gateways, ServiceEntries, WorkloadEntries and Sidecars, and the policies of security."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.conformance.generate.values import (
    NAMESPACES,
    PORTS,
    Made,
    distinct,
    export_to,
    few,
    labels,
    one_key,
    record,
    some,
)

_server_hosts = distinct(
    "*", "a.example.com", "*.example.com", "ext.example.com", "./*", "shop/*", most=2
).filter(lambda hosts: "*" not in hosts or len(hosts) == 1)
_tls = st.one_of(
    record(
        {"mode": few("SIMPLE"), "credentialName": few("cert", "cert-2")},
        minProtocolVersion=few("TLSV1_2", "TLSV1_3"),
        cipherSuites=few(["ECDHE-ECDSA-AES256-GCM-SHA384"]),
    ),
    record(
        {"mode": few("MUTUAL"), "credentialName": few("cert")},
        subjectAltNames=few(["client.example.com"]),
        maxProtocolVersion=few("TLSV1_3"),
    ),
)
_plain_server = record(
    {
        "port": few(
            {"number": 80, "name": "http", "protocol": "HTTP"},
            {"number": 8080, "name": "web", "protocol": "HTTP2"},
        )
    },
    tls=few({"httpsRedirect": True}),
)
_tls_server = record({"port": few({"number": 443, "name": "https", "protocol": "HTTPS"}), "tls": _tls})
_through_server = record(
    {"port": few({"number": 15443, "name": "tls", "protocol": "TLS"}), "tls": few({"mode": "PASSTHROUGH"})}
)
_tcp_server = record({"port": few({"number": 31400, "name": "tcp", "protocol": "TCP"})})
_server = st.builds(
    lambda server, hosts, rest: {**server, "hosts": hosts, **rest},
    st.one_of(_plain_server, _plain_server, _tls_server, _tls_server, _through_server, _tcp_server),
    _server_hosts,
    record(name=few("one", "two")),
)
gateway: Made = record(
    {
        "selector": few({"istio": "ingressgateway"}),
        "servers": st.lists(
            _server, min_size=1, max_size=3, unique_by=lambda server: server["port"]["number"]
        ),
    }
)
"""The spec of a Gateway."""


def _joined(*parts: dict[str, Any]) -> dict[str, Any]:
    return {key: value for part in parts for key, value in part.items()}


_HTTP_80 = {"number": 80, "name": "http", "protocol": "HTTP"}
_TLS_443 = {"number": 443, "name": "tls", "protocol": "TLS"}
_entry_ports = few(
    [_HTTP_80],
    [_TLS_443],
    [_HTTP_80, {"number": 9443, "name": "https", "protocol": "HTTPS"}],
    [{"number": 7000, "name": "grpc", "protocol": "GRPC"}, {**_HTTP_80, "number": 8000, "targetPort": 8001}],
)
_tcp_ports = few([{"number": 3306, "name": "tcp", "protocol": "TCP", "targetPort": 3307}])
_entry_settings = {
    "location": few("MESH_INTERNAL", "MESH_EXTERNAL"),
    "exportTo": export_to,
    "subjectAltNames": few(["ext.example.com"]),
}
_endpoint = record(
    {"address": few("10.20.0.1", "10.20.0.2")},
    labels=few({"version": "v1"}, {"version": "v2", "app": "vm"}),
    locality=few("west/w1", "east/e1/x"),
    weight=few(1, 7),
    serviceAccount=few("vm"),
)
_ported = record({"address": few("10.20.0.3"), "ports": few({"http": 8081}, {"tcp": 3399})})
_named_endpoint = record(
    {"address": few("one.example.net", "two.example.net")}, locality=few("west/w2"), weight=few(3)
)
_two_hosts = few(["ext.example.com", "api.example.com"], ["api.example.com"])
_where = st.one_of(
    record(
        {"resolution": few("STATIC"), "endpoints": some(st.one_of(_endpoint, _endpoint, _endpoint, _ported))}
    ),
    record(
        {
            "resolution": few("STATIC"),
            "workloadSelector": few({"labels": {"app": "vm"}}, {"labels": {"app": "a"}}),
        }
    ),
    record({"resolution": few("DNS"), "endpoints": some(_named_endpoint)}),
    record({"resolution": few("DNS", "DNS_ROUND_ROBIN", "NONE")}),
)
# Not two: which of them the routes of an HTTP port name is left to chance in istiod.
_addresses = few({}, {"addresses": ["240.1.1.1"]})
service_entry: Made = st.one_of(
    # No addresses with two hosts: which of them istiod gives an address to is left to chance.
    st.builds(_joined, record({"hosts": _two_hosts, "ports": _entry_ports}, **_entry_settings), _where),
    st.builds(
        _joined,
        record(
            {"hosts": few(["ext.example.com"]), "ports": st.one_of(_entry_ports, _tcp_ports)},
            **_entry_settings,
        ),
        _where,
        _addresses,
    ),
    record(
        {"hosts": few(["*.example.org"]), "ports": _entry_ports, "resolution": few("NONE")}, **_entry_settings
    ),
)
"""The spec of a ServiceEntry."""

workload_entry: Made = record(
    {
        "address": few("10.30.0.1", "10.30.0.2"),
        "labels": few({"app": "vm"}, {"app": "vm", "version": "v1"}, {"app": "a"}),
    },
    ports=few({"http": 8085}),
    locality=few("west/w1", "east"),
    weight=few(2),
    serviceAccount=few("vm"),
)
"""The spec of a WorkloadEntry."""

_egress_hosts = distinct(
    "./*",
    "shop/*",
    "*/*",
    "default/a.default.svc.cluster.local",
    "*/ext.example.com",
    "*/*.example.com",
    "./b.shop.svc.cluster.local",
    "~/*",
)
_egress = record({"hosts": _egress_hosts})
_egress_at_port = record(
    {
        "hosts": _egress_hosts,
        "port": few(
            {"number": 80, "protocol": "HTTP", "name": "http"},
            {"number": 8000, "protocol": "HTTP", "name": "web"},
            {"number": 7070, "protocol": "GRPC", "name": "grpc"},
            {"number": 7777, "protocol": "HTTP", "name": "other"},
        ),
    }
)
sidecar: Made = record(
    {
        "egress": st.builds(
            lambda ports, rest: [*ports, *rest],
            st.lists(_egress_at_port, max_size=2, unique_by=lambda egress: egress["port"]["number"]),
            st.lists(_egress, max_size=1),
        ).filter(bool)
    },
    outboundTrafficPolicy=record({"mode": few("ALLOW_ANY", "REGISTRY_ONLY")}),
    workloadSelector=record({"labels": labels}),
)
"""The spec of a Sidecar."""

_FAULT = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"
_HCM = "envoy.filters.network.http_connection_manager"
_share = record({"numerator": few(0, 5, 50), "denominator": few("HUNDRED", "TEN_THOUSAND")})
_inserted_fault = record(
    abort=record({"http_status": few(500, 503), "percentage": _share}),
    delay=record({"fixed_delay": few("1s", "0.25s"), "percentage": _share}),
    headers=some(record({"name": few("x-user")}, string_match=one_key(exact=few("alice"), prefix=few("b")))),
).filter(lambda fault: "abort" in fault or "delay" in fault)


def _patch(fault: dict[str, Any], port: dict[str, Any], *, first: bool) -> dict[str, Any]:
    chain: dict[str, Any] = {"name": _HCM}
    if not first:
        chain["subFilter"] = {"name": "envoy.filters.http.router"}
    listener = {**port, "filterChain": {"filter": chain}}
    value = {"name": "envoy.filters.http.fault", "typed_config": {"@type": _FAULT, **fault}}
    return {
        "applyTo": "HTTP_FILTER",
        "match": {"context": "SIDECAR_INBOUND", "listener": listener},
        "patch": {"operation": "INSERT_FIRST" if first else "INSERT_BEFORE", "value": value},
    }


envoy_filter: Made = record(
    {
        "configPatches": some(
            st.builds(_patch, _inserted_fault, record(portNumber=few(80, 7070, 8080)), first=st.booleans())
        )
    },
    workloadSelector=record({"labels": labels}),
    priority=few(-5, 0, 10),
)
"""The spec of an EnvoyFilter: faults at the callee."""

_modes = record({"mode": few("STRICT", "PERMISSIVE", "DISABLE", "UNSET")})
peer_authentication: Made = st.one_of(
    record(mtls=_modes),
    record(
        {"selector": record({"matchLabels": labels})},
        mtls=_modes,
        portLevelMtls=st.dictionaries(few(*map(str, PORTS.values()), "8080"), _modes, min_size=1, max_size=2),
    ),
)
"""The spec of a PeerAuthentication."""

_principals = distinct("cluster.local/ns/default/sa/a", "*", "*/sa/b", "cluster.local/*")
_source = record(
    principals=_principals,
    notPrincipals=_principals,
    namespaces=distinct(*NAMESPACES, "sh*", "*op"),
    notNamespaces=distinct(*NAMESPACES),
    ipBlocks=few(["10.1.0.0/16"], ["10.1.0.2", "192.168.0.0/24"]),
    notIpBlocks=few(["10.9.0.0/16"]),
    remoteIpBlocks=few(["203.0.113.0/24"]),
    notRemoteIpBlocks=few(["203.0.113.7"]),
).filter(bool)
_accounts = record(
    serviceAccounts=few(["default/a"], ["a"], ["shop/b", "c"]), notServiceAccounts=few(["default/b"])
).filter(bool)
_operation = record(
    hosts=distinct("a", "*.example.com", "A.default*", "*"),
    notHosts=distinct("b"),
    ports=distinct("80", "8080", "9000"),
    notPorts=distinct("7070"),
    methods=distinct("GET", "POST", "*"),
    notMethods=distinct("DELETE", "P*"),
    paths=distinct("/", "/api/*", "*/end", "*", "/users/{*}/x", "/all/{**}"),
    notPaths=distinct("/private", "/p/*"),
).filter(bool)
_keys = {
    "request.headers[x-user]": few("alice", "b*", "*"),
    "source.ip": few("10.1.0.0/16", "10.1.0.9"),
    "remote.ip": few("203.0.113.0/24"),
    "source.namespace": few("default", "sh*"),
    "source.principal": few("cluster.local/ns/default/sa/a", "*"),
    "source.serviceAccount": few("default/a"),
    "destination.ip": few("10.1.0.0/16"),
    "destination.port": few("80", "9000"),
    "connection.sni": few("*.example.com", "a"),
}
_when = st.one_of(
    *(
        record({"key": few(key)}, values=some(values), notValues=some(values)).filter(
            lambda when: len(when) > 1
        )
        for key, values in _keys.items()
    )
)
_rule = record(
    from_=some(one_key(source=st.one_of(_source, _source, _accounts))),
    to=some(one_key(operation=_operation)),
    when=some(_when),
)
authorization_policy: Made = record(
    selector=record({"matchLabels": labels}),
    action=few("ALLOW", "DENY", "AUDIT"),
    rules=some(_rule, 3),
).filter(lambda policy: "rules" in policy or policy.get("action", "ALLOW") == "ALLOW")
"""The spec of an AuthorizationPolicy."""
