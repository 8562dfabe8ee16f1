"""Endpoints by locality: priorities for failover, weights for distribution."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.localmesh.kinds.istio.destinationrule import Distribute, Failover, LocalityLbSetting
from harness.localmesh.xds.locality import Group, balanced, grouped, matters, within
from harness.localmesh.xds.model import Endpoint, Locality
from harness.localmesh.xds.services import augmented

HERE = Locality("r1", "z1", "s1")
ANYWHERE = LocalityLbSetting()


def _endpoint(where: str, weight: int = 0, **labels: str) -> Endpoint:
    locality = Locality.read(where)
    return Endpoint(
        *("127.0.0.1", 80, augmented(labels, locality), locality, weight, True, "", True, "a", "default")
    )


def _priorities(groups: tuple[Group, ...]) -> dict[str, int]:
    return {str(group.locality): group.priority for group in groups}


def _shares(groups: tuple[Group, ...]) -> dict[str, int]:
    return {str(group.locality): group.weight for group in groups if group.members}


def _balanced(groups, setting, client=HERE, labels=None, *, detecting=True):
    return balanced(groups, setting, client, labels or {}, detecting=detecting)


PLACES = grouped([_endpoint(where) for where in ("r1/z1/s1", "r1/z1/s2", "r1/z2/s1", "r2/z1/s1", "r3/z1/s1")])


def test_endpoints_are_grouped_by_locality_with_the_weight_of_all():
    """An endpoint without a weight counts 1; groups are ordered by the locality's text."""
    groups = grouped([_endpoint("b"), _endpoint("a/z", 3), _endpoint("a/z"), _endpoint("a")])
    assert [(str(group.locality), len(group.members), group.weight) for group in groups] == [
        *(("a", 1, 1), ("a/z", 2, 4), ("b", 1, 1)),
    ]


def test_the_nearest_come_first_once_hosts_can_be_found_failed():
    """Same subzone, zone, region, then all other regions; without outlier detection all are alike."""
    expected = {"r1/z1/s1": 0, "r1/z1/s2": 1, "r1/z2/s1": 2, "r2/z1/s1": 3, "r3/z1/s1": 3}
    assert _priorities(_balanced(PLACES, ANYWHERE)) == expected
    assert set(_priorities(_balanced(PLACES, ANYWHERE, detecting=False)).values()) == {0}
    assert _balanced(PLACES, None) == PLACES


def test_failover_prefers_one_region_to_the_others():
    """The region it goes to stands before the rest; it says nothing for callers from elsewhere."""
    setting = LocalityLbSetting(failover=(Failover(from_="r1", to="r3"),))
    made = _priorities(_balanced(PLACES, setting))
    assert (made["r3/z1/s1"], made["r2/z1/s1"]) == (3, 4)
    away = _priorities(_balanced(PLACES, setting, Locality("r9")))
    assert set(away.values()) == {0}


def test_priorities_have_no_gaps():
    """With endpoints in another region only, these are the first choice."""
    assert _priorities(_balanced(PLACES[3:], ANYWHERE)) == {"r2/z1/s1": 0, "r3/z1/s1": 0}


def test_failover_priority_ranks_endpoints_by_the_labels_they_share_with_the_caller():
    """The first label that differs decides; a label with a value asks for that, whatever the caller's own."""
    groups = grouped(
        [_endpoint("r1", app="a", v="1"), _endpoint("r1", app="a", v="2"), _endpoint("r1", app="b")]
    )
    setting = LocalityLbSetting(failover_priority=("app", "v=2"))
    made = _balanced(groups, setting, labels={"app": "a", "v": "1"})
    ranks = {
        (one.labels["app"], one.labels.get("v")): group.priority for group in made for one in group.members
    }
    assert ranks == {("a", "2"): 0, ("a", "1"): 1, ("b", None): 2}
    assert [group.weight for group in made] == [1, 1, 1]


def test_another_network_is_farther_than_anything_in_ones_own():
    """When the network is the first label, it counts more than all that follow."""
    network = "topology.istio.io/network"
    pairs = [("n1", "r2"), ("n1", "r1"), ("n2", "r2"), ("n2", "r1")]
    groups = grouped([_endpoint(region, **{network: name}) for name, region in pairs])
    setting = LocalityLbSetting(failover_priority=(network, "topology.kubernetes.io/region"))
    made = _balanced(groups, setting, labels={network: "n1", "topology.kubernetes.io/region": "r2"})
    ranks = {
        (one.labels[network], one.locality.region): group.priority for group in made for one in group.members
    }
    assert ranks == {pair: rank for rank, pair in enumerate(pairs)}


def test_failover_refines_failover_priority():
    """Within the same rank of labels, distance counts."""
    groups = grouped([_endpoint("r1/z1/s1", v="2"), _endpoint("r2", v="1"), _endpoint("r3", v="1")])
    failover = (Failover(from_="r1", to="r3"),)
    setting = LocalityLbSetting(failover_priority=("v",), failover=failover)
    assert _priorities(_balanced(groups, setting, labels={"v": "1"})) == {"r3": 0, "r2": 1, "r1/z1/s1": 2}


def test_distribution_gives_each_locality_its_percent_and_others_nothing():
    """Localities that share an entry divide it by weight, rounded up; priorities stay alike."""
    to = {"r1/z1/*": 70, "r2/*": 30}
    setting = LocalityLbSetting(distribute=(Distribute(from_="r1/z1/*", to=to),))
    made = _balanced(PLACES, setting, detecting=False)
    assert _shares(made) == {"r1/z1/s1": 35, "r1/z1/s2": 35, "r2/z1/s1": 30}
    assert set(_priorities(_balanced(PLACES, setting)).values()) == {0}
    assert _balanced(PLACES, setting, Locality("r2")) == PLACES


def test_weights_of_endpoints_count_within_a_share():
    """A locality with twice the weight gets two thirds of the share, rounded up."""
    groups = grouped([_endpoint("r1/z1", 1), _endpoint("r1/z2", 2)])
    setting = LocalityLbSetting(distribute=(Distribute(from_="*", to={"r1/*": 100}),))
    assert _shares(_balanced(groups, setting)) == {"r1/z1": 34, "r1/z2": 67}


@pytest.mark.parametrize(
    ("pattern", "inside"),
    [
        ("*", True),
        ("r1", True),
        ("r1/*", True),
        ("r1/z1", True),
        ("r1/z2", False),
        ("r1/*/s1", True),
        ("r2", False),
    ],
)
def test_a_pattern_may_end_early_and_have_stars(pattern, inside):
    """What is missing at the end is any, as is a star."""
    assert within(HERE, pattern) == inside


_WHERE = st.builds(
    "{}/{}/{}".format, *(st.sampled_from(pair) for pair in (("r1", "r2"), ("z1", "z2"), ("s1", "s2")))
)
_ENDPOINTS = st.lists(st.builds(_endpoint, _WHERE, st.integers(0, 5), v=st.sampled_from("12")), min_size=1)
_SETTINGS = st.sampled_from(
    [
        ANYWHERE,
        LocalityLbSetting(failover=(Failover(from_="r1", to="r2"),)),
        LocalityLbSetting(failover_priority=("v", "topology.kubernetes.io/zone")),
        LocalityLbSetting(failover_priority=("v",), failover=(Failover(from_="r1", to="r2"),)),
    ]
)


@given(_ENDPOINTS, _SETTINGS, _WHERE)
def test_failover_loses_no_endpoint_and_leaves_no_gap(endpoints, setting, where):
    """Whatever the setting, each endpoint is in one group, priorities run from 0, and weights are the members'."""
    client = Locality.read(where)
    made = _balanced(grouped(endpoints), setting, client, {"v": "1"})
    members = [id(member) for group in made for member in group.members]
    assert sorted(members) == sorted(id(endpoint) for endpoint in endpoints)
    assert {group.priority for group in made} == set(range(max(group.priority for group in made) + 1))
    assert all(group.weight == sum(member.weight or 1 for member in group.members) for group in made)


@given(_ENDPOINTS, _WHERE)
def test_the_caller_counts_only_where_it_matters(endpoints, where):
    """Without distribution and outlier detection the result is the same for every caller."""
    groups = grouped(endpoints)
    assert not matters(ANYWHERE, detecting=False)
    assert _balanced(groups, ANYWHERE, Locality.read(where), detecting=False) == groups
    assert replace(groups[0], priority=1) != groups[0]
