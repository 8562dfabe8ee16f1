"""Both translations in one shape: what a sidecar without transparent capture does otherwise is set aside.

Everything here is dropped or renamed on purpose; what is left has to be equal.

What is only said in another form is in `forms`.

- Config sources: istiod's sidecars ask their agent for configuration and secrets, ours ask the mesh.
- Metrics: istiod's filter `istio.stats` is not in a plain Envoy; ours are counted by the stats access logger,
  which lives on access logs, a header of the caller's, the filter that reads it and metadata of its own.
- Inbound: istiod has one listener with a filter chain for each port, as iptables redirects all ports to it; ours
  has a listener for each port. The chains are compared. Those for undeclared ports (InboundPassthroughCluster)
  have no counterpart: nothing listens there.
- Inbound clusters: istiod keeps the original destination and leaves from 127.0.0.6; ours go to the program.
- Outbound HTTP: without iptables the program sends to the explicit proxy, which istiod has too when asked
  (`proxyHttpPort`); istiod's listener of each HTTP port differs from that one in name and address only.
- Outbound routes: istiod makes those of the explicit proxy for port 0, with clusters `outbound|0|…` that do not
  exist wherever a VirtualService names no port. Its route configurations of single ports are compared with those that
  we make for the comparison, and the routes of our explicit proxy with ours of single ports.
- Outbound TCP: the listener has istiod's name; its address is the one given to the workload for it.
- virtualOutbound (15001) is where iptables leads to. It has a chain that ends what the proxy is asked to pass to itself
  (`virtualOutbound-blackhole`); our explicit proxy has a route for that, which no table of a single port has.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any

from tests.conformance.forms import (
    acceptable,
    arriving,
    is_destination_kept,
    older,
    own_listener,
    without_destination,
)

Resource = dict[str, Any]
Shape = dict[str, Any]
"""What is compared, by kind and name: "clusters/outbound|80||a.default.svc.cluster.local", "inbound/8080"."""

PROXY_PORT = 15001
MESH = {"proxyHttpPort": PROXY_PORT}
"""The mesh configuration with which istiod builds the explicit proxy."""

_PROXY_ROUTES = "routes/http_proxy"
_HCM = "envoy.filters.network.http_connection_manager"
_DROPPED = frozenset({"eds_config", "config_source", "sds_config", "access_log", "access_log_options"})
_METADATA = frozenset({"peer", "destination"})
_HEADERS = frozenset({"x-envoy-peer-metadata", "x-envoy-peer-metadata-id"})
_FILTERS = frozenset({"envoy.filters.http.header_to_metadata", "harness.grpc_messages"})
_CAPTURE_CLUSTERS = frozenset({"InboundPassthroughCluster"})
_CAPTURE_LISTENERS = frozenset({"virtualOutbound"})
_WAYS_TO_PROGRAM = ("type", "lb_policy", "load_assignment", "upstream_bind_config", "cleanup_interval")
_PLACE = ("name", "address", "bind_to_port")


def shape_of_ours(
    resources: Mapping[str, Iterable[Resource]],
    pod: str,
    given: Mapping[int, str],
    shared: Container[str] = (),
) -> Shape:
    """The resources, in istiod's notation, of our proxy at the address `pod`, by kind.

    `given` is the "host:port" of TCP Services by the port that their listener has; those of `shared` share one of
    istiod's listeners with others.
    """
    made = dict(_common(resources))
    for listener in map(_plain, resources["listeners"]):
        name, port = listener["name"], listener["address"]["socket_address"]["port_value"]
        if listener.get("traffic_direction") == "INBOUND":
            made[f"inbound/{port}"] = _chains(listener["filter_chains"])
        elif name == f"{pod}_{PROXY_PORT}":
            made["listeners/http_proxy"] = _placeless(listener)
        else:
            place = given.get(port)
            own = _placeless(listener, place, shared=place in shared)
            if own["filter_chains"]:
                made[f"listeners/{place or name}"] = own
    return made


def shape_of_theirs(
    resources: Mapping[str, Iterable[Resource]], places: Mapping[str, Iterable[str]], *, gateway: bool = False
) -> Shape:
    """The resources of one of istiod's proxies, by kind; `places` are the "host:port" for names of TCP listeners.

    A headless Service has a listener for each of its pods; the first one is compared.
    """
    made = {
        name: item for name, item in _common(resources) if name.partition("/")[2] not in _CAPTURE_CLUSTERS
    }
    for listener in map(_plain, resources["listeners"]):
        name = listener["name"]
        if name == "virtualInbound":
            made |= _inbound(listener["filter_chains"])
        elif name == f"127.0.0.1_{PROXY_PORT}":
            made["listeners/http_proxy"] = _placeless(listener)
        elif name in places:
            hosts = [*places[name]]
            there = arriving(listener, name.rpartition("_")[0])
            for place in hosts:
                own = _placeless(there, place, shared=len(hosts) > 1)
                if own["filter_chains"]:
                    made.setdefault(f"listeners/{place}", own)
        elif gateway or not (name in _CAPTURE_LISTENERS or _is_http(listener)):
            made[f"listeners/{name}"] = acceptable(_placeless(listener)) if gateway else _placeless(listener)
    return made


def comparable(ours: Shape, theirs: Shape, spare: Container[str]) -> tuple[Shape, Shape]:
    """Both without what the other has no counterpart of.

    These are the routes of both explicit proxies (see `routes_of_ports`), our routes of ports that no Service has,
    and what of `spare` only ours has.
    """
    mine = {
        name: item
        for name, item in ours.items()
        if name != _PROXY_ROUTES and (name in theirs or not (name in spare or _is_port_route(name)))
    }
    other = {name: item for name, item in theirs.items() if name != _PROXY_ROUTES}
    for name, item in theirs.items():
        if name.startswith("clusters/") and name in mine and is_destination_kept(item):
            mine[name], other[name] = without_destination(mine[name], item)
            mine.pop(f"endpoints/{item['name']}", None)
    return mine, other


def spare(declared: Iterable[int], headless: Iterable[str]) -> set[str]:
    """What ours may have and istiod not.

    Args:
        declared: the ports of the pod's containers; where no Service targets one istiod leaves it to
            InboundPassthroughCluster.
        headless: the "host:port" of headless TCP Services; istiod has listeners for their other pods only, ours one
            for the Service, with or without pods.
    """
    inbound = {name for port in declared for name in (f"inbound/{port}", f"clusters/inbound|{port}||")}
    return inbound | {f"listeners/{place}" for place in headless}


def routes_of_ports(ours: Shape, pod: str) -> tuple[Shape, Shape]:
    """The routes of our explicit proxy at the address `pod`, and the same put together from those of single ports.

    The explicit proxy's refusal to call itself is set aside.
    """
    proxy = ours.get(_PROXY_ROUTES, {"virtual_hosts": []})
    tables = {name: item for name, item in ours.items() if _is_port_route(name)}
    hosts = {host["name"]: host for table in tables.values() for host in table["virtual_hosts"]}
    there = {host["name"]: _portless(_open(host, f"{pod}:{PROXY_PORT}")) for host in proxy["virtual_hosts"]}
    expected = {name: _portless(host) for name, host in hosts.items()}
    return {_PROXY_ROUTES: there}, {_PROXY_ROUTES: expected}


def _open(host: Resource, own: str) -> Resource:
    """A virtual host without the route that refuses what is asked of `own`, the address of the proxy itself."""
    match = {"prefix": "/", "headers": [{"name": ":authority", "string_match": {"exact": own}}]}
    refusal = {"name": "block_all", "match": match, "direct_response": {"status": 502}}
    return {**host, "routes": [route for route in host["routes"] if route != refusal]}


def _portless(host: Resource) -> Resource:
    """A virtual host with its domains as they are without ports."""
    port = host["name"].rpartition(":")[2]
    domains = {domain.removesuffix(f":{port}") for domain in host["domains"]}
    return {**host, "domains": sorted(domains)}


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
    """`value` without config sources and what our metrics need, in Envoy's older forms."""
    return older(_stripped(value))


def _stripped(value: Any) -> Any:
    if isinstance(value, list):
        return [_stripped(item) for item in value if not _is_telemetry(item)]
    if not isinstance(value, dict):
        return value
    made = {key: _stripped(item) for key, item in value.items() if key not in _DROPPED}
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


def _placeless(listener: Resource, place: str | None = None, *, shared: bool = False) -> Resource:
    """`listener` without its address; what it has for the host of `place` where it is a TCP listener."""
    made = {key: value for key, value in listener.items() if key not in _PLACE}
    return own_listener(made, place.rpartition(":")[0], shared=shared) if place else made


def _is_http(listener: Resource) -> bool:
    """Whether all that it does with declared traffic is HTTP by a route configuration of its own."""
    filters = [item["name"] for chain in listener.get("filter_chains", ()) for item in chain["filters"]]
    return bool(filters) and all(name == _HCM for name in filters)


def _inbound(chains: Iterable[Resource]) -> Shape:
    ports: dict[int, list[Resource]] = {}
    for chain in chains:
        match = chain.get("filter_chain_match", {})
        if "destination_port" in match and not chain["name"].startswith("virtualInbound"):
            rest = {key: value for key, value in match.items() if key != "destination_port"}
            ports.setdefault(match["destination_port"], []).append({**chain, "filter_chain_match": rest})
    return {f"inbound/{port}": _chains(of_port) for port, of_port in ports.items()}


def _chains(chains: Iterable[Resource]) -> list[Resource]:
    """Filter chains by what they match; Envoy takes the closest match whatever the order."""
    made = [{**chain, "filter_chain_match": chain.get("filter_chain_match", {})} for chain in chains]
    return sorted(made, key=lambda chain: repr(sorted(chain["filter_chain_match"].items())))
