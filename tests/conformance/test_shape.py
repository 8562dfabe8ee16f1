"""What is set aside before the comparison, and that nothing else is."""

from __future__ import annotations

from typing import Any

from tests.conformance.forms import acceptable, arriving
from tests.conformance.shape import comparable, routes_of_ports, shape_of_ours, shape_of_theirs, spare

HCM = "envoy.filters.network.http_connection_manager"


def _resources(**kinds: Any) -> dict[str, list[dict[str, Any]]]:
    return {"clusters": [], "endpoints": [], "listeners": [], "routes": [], **kinds}


def _chain(port: int, protocol: str) -> dict[str, Any]:
    return {
        "name": f"0.0.0.0_{port}",
        "filter_chain_match": {"destination_port": port, "transport_protocol": protocol},
        "filters": [{"name": HCM}],
    }


def _listener(name: str, port: int, *chains: dict[str, Any], direction: str = "OUTBOUND") -> dict[str, Any]:
    address = {"socket_address": {"address": "10.1.0.2", "port_value": port}}
    return {"name": name, "address": address, "traffic_direction": direction, "filter_chains": [*chains]}


def test_an_inbound_listener_of_ours_is_istiods_chains_for_its_port() -> None:
    """The order of the chains means nothing; what they match apart from the port has to be equal."""
    theirs = _listener(
        "virtualInbound", 15006, _chain(8080, "tls"), _chain(9000, "tls"), _chain(8080, "raw_buffer")
    )
    ours = _listener(
        "10.1.0.2_8080", 8080, _chain(8080, "raw_buffer"), _chain(8080, "tls"), direction="INBOUND"
    )
    for chain in ours["filter_chains"]:
        del chain["filter_chain_match"]["destination_port"]
    mine = shape_of_ours(_resources(listeners=[ours]), "10.1.0.2", {})
    other = shape_of_theirs(_resources(listeners=[theirs]), {})
    assert mine["inbound/8080"] == other["inbound/8080"]
    assert [*other] == ["inbound/8080", "inbound/9000"]


def test_the_explicit_proxy_is_the_same_listener_at_another_address() -> None:
    """Only name and address are set aside."""
    chain = {"filters": [{"name": HCM, "typed_config": {"stat_prefix": "x"}}]}
    mine = shape_of_ours(_resources(listeners=[_listener("10.1.0.2_15001", 15001, chain)]), "10.1.0.2", {})
    other = shape_of_theirs(_resources(listeners=[_listener("127.0.0.1_15001", 15001, chain)]), {})
    assert mine == other
    assert "listeners/http_proxy" in mine


def test_our_metrics_leave_no_trace() -> None:
    """Access logs, the caller's headers, the filter that reads them, and our namespaces of metadata."""
    cluster = {
        "name": "c",
        "metadata": {"filter_metadata": {"istio": {"services": []}, "destination": {"x": 1}}},
    }
    routes = {
        "name": "http_proxy",
        "request_headers_to_add": [{"header": {"key": "x-envoy-peer-metadata", "value": "v"}}],
    }
    made = shape_of_ours(_resources(clusters=[cluster], routes=[routes]), "10.1.0.2", {})
    assert made["clusters/c"]["metadata"] == {"filter_metadata": {"istio": {"services": []}}}
    assert made["routes/http_proxy"] == {"name": "http_proxy"}


def test_headers_of_a_virtual_service_stay() -> None:
    """Only the headers of our metrics are set aside."""
    asked = [{"header": {"key": "x-user", "value": "v"}}]
    routes = {"name": "http_proxy", "request_headers_to_add": asked}
    assert shape_of_ours(_resources(routes=[routes]), "10.1.0.2", {})["routes/http_proxy"] == routes


def test_an_inbound_port_that_a_service_targets_is_always_compared() -> None:
    """Only a declared port without a Service has no chain of istiod's."""
    mine, other = comparable({"inbound/80": [], "inbound/81": []}, {"inbound/82": []}, spare([80], []))
    assert [*mine] == ["inbound/81"]
    assert [*other] == ["inbound/82"]


def test_of_chains_for_one_server_name_the_first_counts() -> None:
    """Envoy takes no listener with both; a name that only the second has stays."""
    chains = [
        {"filter_chain_match": {"server_names": ["a"]}, "filters": [1]},
        {"filter_chain_match": {"server_names": ["A", "b"]}, "filters": [2]},
        {"filter_chain_match": {"server_names": ["b"]}, "filters": [3]},
    ]
    kept = acceptable({"filter_chains": chains})["filter_chains"]
    assert [(chain["filter_chain_match"]["server_names"], chain["filters"]) for chain in kept] == [
        (["a"], [1]),
        (["b"], [2]),
    ]


def test_chains_for_other_destinations_are_left_out() -> None:
    """Of the others the narrowest comes first, and last what takes the rest unless that is for no known host."""

    def match(prefix: str, length: int) -> dict[str, Any]:
        return {"filter_chain_match": {"prefix_ranges": [{"address_prefix": prefix, "prefix_len": length}]}}

    chains = [
        {**match("10.0.0.0", 8), "filters": ["wide"]},
        {**match("10.1.0.0", 16), "filters": ["narrow"]},
        {**match("10.2.0.0", 16), "filters": ["other"]},
    ]
    listener = {"filter_chains": chains, "default_filter_chain": {"filters": ["rest"]}}
    kept = arriving(listener, "10.1.2.3")["filter_chains"]
    assert kept == [{"filters": ["narrow"]}, {"filters": ["wide"]}, {"filters": ["rest"]}]
    nowhere = {**listener, "default_filter_chain": {"filters": ["BlackHoleCluster"]}}
    assert arriving(nowhere, "10.3.0.0")["filter_chains"] == [{"filters": ["wide"]}]


def test_only_the_refusal_to_call_itself_is_more_than_the_routes_of_single_ports() -> None:
    """A refusal of another authority is a difference, and so is one that does something else."""

    def refusal(authority: str, status: int = 502) -> dict[str, Any]:
        match = {"prefix": "/", "headers": [{"name": ":authority", "string_match": {"exact": authority}}]}
        return {"name": "block_all", "match": match, "direct_response": {"status": status}}

    def found(*routes: dict[str, Any]) -> bool:
        rest = {
            "name": "allow_any",
            "domains": ["*"],
            "routes": [{"route": {"cluster": "PassthroughCluster"}}],
        }
        shape = {
            "routes/http_proxy": {"virtual_hosts": [{**rest, "routes": [*routes, *rest["routes"]]}]},
            "routes/80": {"virtual_hosts": [rest]},
        }
        mine, other = routes_of_ports(shape, "10.1.0.2")
        return mine != other

    assert not found(refusal("10.1.0.2:15001"))
    assert found(refusal("10.1.0.3:15001"))
    assert found(refusal("10.1.0.2:15001", 503))
