"""The same said in another form: what Envoy has a newer message for, and clusters without an original destination.

- Envoy warns of the fields of `type: STRICT_DNS` and `LOGICAL_DNS` and of `match_subject_alt_names`, which istiod
  uses; we write the newer ones (`envoy.clusters.dns`, `match_typed_subject_alt_names`).
- istiod tells the hosts of TLS ports at one address apart by their server names; ours have a listener each.
- Of its chains for some destinations (`destinationSubnets`) ours has those for the address of its host.
- A cluster that keeps the address the client connected to (ORIGINAL_DST: headless Services, `resolution: NONE`,
  PassthroughCluster) has nothing to keep without capture. Ours finds the hosts by EDS, by the request or by DNS, and
  with EDS it takes or leaves mTLS for each endpoint, where istiod does it for all.
- Two routes, or two servers of a gateway ("*" and "shop/*"), may be for one server name. istiod's listener then has two
  chains that match the same, for which Envoy refuses it as a whole; ours has the first.
"""

from __future__ import annotations

import ipaddress
from typing import Any

Resource = dict[str, Any]

_DNS = "envoy.clusters.dns"
_TYPED, _UNTYPED = "match_typed_subject_alt_names", "match_subject_alt_names"
_NOWHERE = ("PassthroughCluster", "BlackHoleCluster")
"""Where the connections of no known host go."""
_ANY = ""
"""Stands for all server names."""
_FINDING = (
    "type",
    "lb_policy",
    "least_request_lb_config",
    "round_robin_lb_config",
    "ring_hash_lb_config",
    "maglev_lb_config",
    "cluster_type",
    "eds_cluster_config",
    "load_assignment",
    "original_dst_lb_config",
    "dns_jitter",
    "dns_lookup_family",
    "dns_refresh_rate",
    "respect_dns_ttl",
    "typed_dns_resolver_config",
)


def older(value: Any) -> Any:
    """`value` with the older messages that istiod writes in place of the newer ones."""
    if isinstance(value, list):
        return [older(item) for item in value]
    if not isinstance(value, dict):
        return value
    made = {key: older(item) for key, item in value.items()}
    if _TYPED in made:
        made[_UNTYPED] = [item["matcher"] for item in made.pop(_TYPED)]
    kind = made.get("cluster_type")
    if isinstance(kind, dict) and kind.get("name") == _DNS:
        del made["cluster_type"]
        fields = {key: item for key, item in kind["typed_config"].items() if key != "@type"}
        single = fields.pop("all_addresses_in_single_endpoint", False)
        made |= {"type": "LOGICAL_DNS" if single else "STRICT_DNS", **fields}
    return made


def arriving(listener: Resource, address: str) -> Resource:
    """`listener` without the filter chains for destinations other than `address`, the narrowest destination first.

    Without capture it is known when the listener is made what connections to it are for.
    """
    default = listener.get("default_filter_chain")
    own = [default] if default and not any(name in str(default) for name in _NOWHERE) else []
    chains = [
        _without_ranges(chain)
        for chain in sorted([*listener["filter_chains"], *own], key=lambda item: -_narrowness(item, address))
        if not _ranges(chain) or _narrowness(chain, address) >= 0
    ]
    return {**listener, "filter_chains": chains}


def _ranges(chain: Resource) -> list[Resource]:
    found: list[Resource] = chain.get("filter_chain_match", {}).get("prefix_ranges", [])
    return found


def _narrowness(chain: Resource, address: str) -> int:
    """The length of the longest of its ranges that holds `address`, -1 for none."""
    networks = [
        ipaddress.ip_network(f"{item['address_prefix']}/{item.get('prefix_len', 0)}", strict=False)
        for item in _ranges(chain)
    ]
    return max((item.prefixlen for item in networks if ipaddress.ip_address(address) in item), default=-1)


def _without_ranges(chain: Resource) -> Resource:
    match = chain.get("filter_chain_match", {})
    rest = {key: item for key, item in match.items() if key != "prefix_ranges"}
    made = {key: item for key, item in chain.items() if key != "filter_chain_match"}
    return {**made, "filter_chain_match": rest} if rest else made


def own_listener(listener: Resource, host: str, *, shared: bool) -> Resource:
    """A TCP listener of `host`, and of others at its address if it is `shared`, as if it were for that host alone.

    The chains of the other hosts go, the server name that tells them apart, with what looks for it, and where the
    connections of no known host go.
    """
    made = acceptable(listener)
    chains = made["filter_chains"] = [
        _without_own_name(chain, host)
        for chain in made["filter_chains"]
        if not shared or _is_for(chain, host)
    ]
    made.pop("default_filter_chain", None)
    if not any("server_names" in chain.get("filter_chain_match", {}) for chain in chains):
        made.pop("listener_filters", None)
    return made


def acceptable(listener: Resource) -> Resource:
    """`listener` without the server names, and then chains, that an earlier chain has for the same destinations."""
    taken: set[tuple[str, str]] = set()
    chains = []
    for chain in listener["filter_chains"]:
        match = chain.get("filter_chain_match", {})
        rest = repr({key: item for key, item in match.items() if key != "server_names"})
        names = match.get("server_names", [_ANY])
        free = [name for name in names if (rest, name.lower()) not in taken]
        taken.update((rest, name.lower()) for name in free)
        if free and free != names:
            chains.append({**chain, "filter_chain_match": {**match, "server_names": free}})
        elif free:
            chains.append(chain)
    return {**listener, "filter_chains": chains}


def _is_for(chain: Resource, host: str) -> bool:
    names = chain.get("filter_chain_match", {}).get("server_names")
    return host in names if names else f"|{host}'" in str(chain)


def _without_own_name(chain: Resource, host: str) -> Resource:
    match = chain.get("filter_chain_match", {})
    if match.get("server_names") != [host]:
        return chain
    rest = {key: item for key, item in match.items() if key != "server_names"}
    made = {key: item for key, item in chain.items() if key != "filter_chain_match"}
    return {**made, "filter_chain_match": rest} if rest else made


def is_destination_kept(theirs: Resource) -> bool:
    """Whether istiod's cluster goes where the client has connected to."""
    return theirs.get("type") == "ORIGINAL_DST"


def without_destination(ours: Resource, theirs: Resource) -> tuple[Resource, Resource]:
    """Both clusters without how they find their hosts, where istiod's keeps the destination."""
    one, other = ({key: item for key, item in both.items() if key not in _FINDING} for both in (ours, theirs))
    matches = one.pop("transport_socket_matches", None)
    socket = other.pop("transport_socket", None)
    if matches is not None and socket is not None:
        one["transport_socket"], other["transport_socket"] = matches[0]["transport_socket"], socket
    elif matches is None and socket is not None:
        other["transport_socket"] = socket
    return one, other
