"""The names that istiod gives things.

Source: istio/istio `pilot/pkg/model/service.go` (BuildSubsetKey, BuildDNSSrvSubsetKey).
"""

from __future__ import annotations

BLACK_HOLE = "BlackHoleCluster"
PASSTHROUGH = "PassthroughCluster"
HTTP_PROXY = "http_proxy"
OUTBOUND_PORT = 15001


def outbound_cluster(port: int, subset: str, host: str) -> str:
    """The cluster of a Service's port, or of a subset of it: `outbound|9080|v1|reviews.default.svc.cluster.local`."""
    return f"outbound|{port}|{subset}|{host}"


def inbound_cluster(port: int) -> str:
    """The cluster of the workload's own program."""
    return f"inbound|{port}||"


def sni(cluster: str) -> str:
    """The server name of mTLS connections of `cluster`: `outbound_.9080_.v1_.reviews.default.svc.cluster.local`."""
    return cluster.replace("|", "_.")


def listener(ip: str, port: int) -> str:
    """The name of a listener."""
    return f"{ip}_{port}"


def stat_prefix(direction: str, port: int) -> str:
    """The name of an HTTP connection manager's series; the ";" ends it for Istio's tag extraction."""
    return f"{direction}_0.0.0.0_{port};"


def bracketed(host: str) -> str:
    """`host` as it stands before a port: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host
