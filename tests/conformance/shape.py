"""Both translations in one shape: what a sidecar without transparent capture does otherwise is set aside.

Everything here is dropped or renamed on purpose; what is left has to be equal.

- Config sources: istiod's sidecars ask their agent for configuration and secrets, ours ask the mesh.
- Metrics: istiod's filter `istio.stats` is not in a plain Envoy; ours are counted by the stats access logger,
  which lives on access logs, a header of the caller's, the filter that reads it and metadata of its own.
- Inbound: istiod has one listener with a filter chain for each port, as iptables redirects all ports to it; ours
  has a listener for each port. The chains are compared. Those for undeclared ports (InboundPassthroughCluster)
  have no counterpart: nothing listens there.
- Inbound clusters: istiod keeps the original destination and leaves from 127.0.0.6; ours go to the program.
- Outbound HTTP: without iptables the program sends to the explicit proxy, which istiod has too when asked
  (`proxyHttpPort`); istiod's listener of each HTTP port differs from that one in name and address only.
- Outbound TCP: the listener has istiod's name; its address is the one given to the workload for it.
- virtualOutbound (15001) is where iptables leads to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Resource = dict[str, Any]
Shape = dict[str, Any]
"""What is compared, by kind and name: "clusters/outbound|80||a.default.svc.cluster.local", "inbound/8080"."""

PROXY_PORT = 15001
MESH = {"proxyHttpPort": PROXY_PORT}
"""The mesh configuration with which istiod builds the explicit proxy."""

_HCM = "envoy.filters.network.http_connection_manager"
_DROPPED = frozenset({"eds_config", "config_source", "sds_config", "access_log", "access_log_options"})
_METADATA = frozenset({"peer", "destination"})
_HEADERS = frozenset({"x-envoy-peer-metadata", "x-envoy-peer-metadata-id"})
_FILTERS = frozenset({"envoy.filters.http.header_to_metadata", "harness.grpc_messages"})
_CAPTURE_CLUSTERS = frozenset({"InboundPassthroughCluster"})
_CAPTURE_LISTENERS = frozenset({"virtualOutbound"})
_WAYS_TO_PROGRAM = ("type", "lb_policy", "load_assignment", "upstream_bind_config", "cleanup_interval")
_PLACE = ("address", "bind_to_port", "listener_filters", "continue_on_listener_filters_timeout")


def shape_of_ours(resources: Mapping[str, Iterable[Resource]], pod: str) -> Shape:
    """The resources of one of our proxies, at the address `pod`, by kind and in istiod's notation."""
    made = dict(_common(resources))
    for listener in map(_plain, resources["listeners"]):
        name, port = listener["name"], listener["address"]["socket_address"]["port_value"]
        if listener.get("traffic_direction") == "INBOUND":
            made[f"inbound/{port}"] = _chains(listener["filter_chains"])
        elif name == f"{pod}_{PROXY_PORT}":
            made["listeners/http_proxy"] = _placeless(listener)
        else:
            made[f"listeners/{name}"] = _placeless(listener)
    return made


def shape_of_theirs(resources: Mapping[str, Iterable[Resource]], *, gateway: bool = False) -> Shape:
    """The resources of one of istiod's proxies, by kind."""
    made = {
        name: item for name, item in _common(resources) if name.partition("/")[2] not in _CAPTURE_CLUSTERS
    }
    for listener in map(_plain, resources["listeners"]):
        name = listener["name"]
        if name == "virtualInbound":
            made |= _inbound(listener["filter_chains"])
        elif name == f"127.0.0.1_{PROXY_PORT}":
            made["listeners/http_proxy"] = _placeless(listener)
        elif gateway or not (name in _CAPTURE_LISTENERS or _is_http(listener)):
            made[f"listeners/{name}"] = _placeless(listener)
    return made


def comparable(ours: Shape, theirs: Shape, declared: Iterable[int]) -> tuple[Shape, Shape]:
    """Both without what the other has no counterpart of.

    These are istiod's routes of single ports where ours has none, as the explicit proxy routes all ports, and
    our inbound side of `declared` ports that no Service targets: istiod leaves these to InboundPassthroughCluster.
    """
    alone = {f"inbound/{port}" for port in declared} | {f"clusters/inbound|{port}||" for port in declared}
    mine = {name: item for name, item in ours.items() if name not in alone or name in theirs}
    kept = {name: item for name, item in theirs.items() if not _is_port_route(name) or name in ours}
    return mine, kept


def _is_port_route(name: str) -> bool:
    kind, _, rest = name.partition("/")
    return kind == "routes" and rest.rpartition(":")[2].isdigit()


def _common(resources: Mapping[str, Iterable[Resource]]) -> Iterator[tuple[str, Any]]:
    for cluster in map(_plain, resources["clusters"]):
        inbound = cluster["name"].startswith("inbound|")
        kept = {key: value for key, value in cluster.items() if not (inbound and key in _WAYS_TO_PROGRAM)}
        yield f"clusters/{cluster['name']}", kept
    for assignment in map(_plain, resources["endpoints"]):
        yield f"endpoints/{assignment['cluster_name']}", assignment
    for routes in map(_plain, resources["routes"]):
        yield f"routes/{routes['name']}", routes


def _plain(value: Any) -> Any:
    """`value` without config sources and what our metrics need."""
    if isinstance(value, list):
        return [_plain(item) for item in value if not _is_telemetry(item)]
    if not isinstance(value, dict):
        return value
    made = {key: _plain(item) for key, item in value.items() if key not in _DROPPED}
    if "filter_metadata" in made:
        kept = {key: item for key, item in made["filter_metadata"].items() if key not in _METADATA}
        made["filter_metadata"] = kept
    return {key: item for key, item in made.items() if not _is_emptied(key, item)}


def _is_emptied(key: str, item: Any) -> bool:
    """Whether nothing is left of a field that held only what our metrics need."""
    return (key == "request_headers_to_add" and item == []) or (
        key == "metadata" and item in ({}, {"filter_metadata": {}})
    )


def _is_telemetry(item: Any) -> bool:
    if not isinstance(item, dict):
        return False
    header = item.get("header")
    return item.get("name") in _FILTERS or (isinstance(header, dict) and header.get("key") in _HEADERS)


def _placeless(listener: Resource) -> Resource:
    kept = {key: value for key, value in listener.items() if key not in _PLACE}
    return kept | {"name": "http_proxy"} if listener["name"].endswith(f"_{PROXY_PORT}") else kept


def _is_http(listener: Resource) -> bool:
    """Whether all that it does with declared traffic is HTTP by a route configuration of its own."""
    filters = [item["name"] for chain in listener.get("filter_chains", ()) for item in chain["filters"]]
    return bool(filters) and all(name == _HCM for name in filters)


def _inbound(chains: Iterable[Resource]) -> Shape:
    ports: dict[int, list[Resource]] = {}
    for chain in chains:
        match = chain.get("filter_chain_match", {})
        if "destination_port" in match and match["destination_port"] != 15006:
            rest = {key: value for key, value in match.items() if key != "destination_port"}
            ports.setdefault(match["destination_port"], []).append({**chain, "filter_chain_match": rest})
    return {f"inbound/{port}": _chains(of_port) for port, of_port in ports.items()}


def _chains(chains: Iterable[Resource]) -> list[Resource]:
    """Filter chains by what they match; Envoy takes the closest match whatever the order."""
    made = [{**chain, "filter_chain_match": chain.get("filter_chain_match", {})} for chain in chains]
    return sorted(made, key=lambda chain: repr(sorted(chain["filter_chain_match"].items())))
