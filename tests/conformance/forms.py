"""The same said in another form: what Envoy has a newer message for, and clusters without an original destination.

- Envoy warns of the fields of `type: STRICT_DNS` and `LOGICAL_DNS` and of `match_subject_alt_names`, which istiod
  uses; we write the newer ones (`envoy.clusters.dns`, `match_typed_subject_alt_names`).
- A cluster that keeps the address the client connected to (ORIGINAL_DST: headless Services, `resolution: NONE`,
  PassthroughCluster) has nothing to keep without capture. Ours finds the hosts by EDS, by the request or by DNS, and
  with EDS it takes or leaves mTLS for each endpoint, where istiod does it for all.
"""

from __future__ import annotations

from typing import Any

Resource = dict[str, Any]

_DNS = "envoy.clusters.dns"
_TYPED, _UNTYPED = "match_typed_subject_alt_names", "match_subject_alt_names"
_FINDING = (
    "type",
    "lb_policy",
    "cluster_type",
    "eds_cluster_config",
    "load_assignment",
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
