"""Tables: ages as kubectl writes them, and what a pod's columns are made of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.localmesh.api.resources import (
    AUTHORIZATION_POLICIES,
    EVENTS,
    PODS,
    RESOURCES,
    SERVICE_ENTRIES,
    SERVICES,
    WORKLOAD_ENTRIES,
)
from harness.localmesh.api.tables import age, table
from harness.localmesh.objects import timestamp

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (250, "4m10s"),
        (600, "10m"),
        (10_799, "179m"),
        (10_800, "3h"),
        (19_000, "5h16m"),
        (28_800, "8h"),
        (172_800, "2d"),
        (180_000, "2d2h"),
        (691_200, "8d"),
        (63_072_000, "2y"),
    ],
)
def test_ages_are_written_as_kubectl_writes_them(seconds, text):
    """The larger the age, the coarser the unit."""
    assert age(timestamp(NOW - timedelta(seconds=seconds)), NOW) == text


def test_an_age_without_a_beginning_is_unknown():
    """And one in the future is none."""
    assert age("", NOW) == "<unknown>"
    assert age(timestamp(NOW + timedelta(seconds=9)), NOW) == "0s"


def cells(resource, manifest):
    """The row of one object by column."""
    made = table(resource, [{"metadata": {"name": "a"}, **manifest}], "1", NOW)
    names = [column["name"] for column in made["columnDefinitions"]]
    return dict(zip(names, made["rows"][0]["cells"], strict=True))


def test_the_status_of_a_pod_is_the_most_telling_one():
    """The reason of a container before the phase, Terminating before everything."""
    spec = {"containers": [{"name": "a"}, {"name": "b"}]}
    waiting = {"ready": False, "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    status = {
        "phase": "Running",
        "podIP": "127.1.0.1",
        "containerStatuses": [{"ready": True, "restartCount": 1}],
    }
    assert cells(PODS, {"spec": spec, "status": status})["Status"] == "Running"
    status["containerStatuses"].append(waiting)
    row = cells(PODS, {"spec": spec, "status": status})
    assert (row["Ready"], row["Status"], row["Restarts"]) == ("1/2", "CrashLoopBackOff", 4)
    leaving = {"metadata": {"name": "a", "deletionTimestamp": "x"}, "spec": spec, "status": status}
    assert cells(PODS, leaving)["Status"] == "Terminating"


def test_ports_and_addresses_of_a_service_are_shown():
    """Node ports too; a load balancer without address is pending."""
    ports = [{"port": 80, "nodePort": 30080}, {"port": 81, "protocol": "TCP"}]
    row = cells(SERVICES, {"spec": {"type": "LoadBalancer", "clusterIP": "127.5.0.1", "ports": ports}})
    assert row["Port(s)"] == "80:30080/TCP,81/TCP"
    assert (row["Cluster-IP"], row["External-IP"]) == ("127.5.0.1", "<pending>")


def test_an_event_shows_what_it_is_about():
    """And when it was last seen."""
    manifest = {
        "involvedObject": {"kind": "Pod", "name": "a"},
        "lastTimestamp": timestamp(NOW),
        "reason": "Started",
    }
    row = cells(EVENTS, manifest)
    assert (row["Object"], row["Last Seen"], row["Reason"]) == ("pod/a", "0s", "Started")


@given(st.sampled_from(RESOURCES), st.sampled_from([{}, {"status": {}}]))
def test_an_object_without_status_has_a_row_too(resource, extra):
    """Every cell of every kind copes with what is not there yet."""
    template = {"spec": {"containers": []}}
    spec = {"containers": [], "template": template, "selector": {}}
    made = table(resource, [{"metadata": {"name": "a"}, "spec": spec, **extra}], "1", NOW)
    assert len(made["rows"][0]["cells"]) == len(made["columnDefinitions"])


@pytest.mark.parametrize(
    ("resource", "spec", "shown"),
    [
        (
            SERVICE_ENTRIES,
            {"hosts": ["a.test", "b.test"], "location": "MESH_INTERNAL", "resolution": "STATIC"},
            {"Hosts": '["a.test","b.test"]', "Location": "MESH_INTERNAL", "Resolution": "STATIC"},
        ),
        (WORKLOAD_ENTRIES, {"address": "10.0.0.1"}, {"Address": "10.0.0.1"}),
        (AUTHORIZATION_POLICIES, {"action": "DENY"}, {"Action": "DENY"}),
        (AUTHORIZATION_POLICIES, {}, {"Action": ""}),
    ],
)
def test_istios_kinds_have_the_columns_of_their_definitions(resource, spec, shown):
    """What `additionalPrinterColumns` of each says; a field that is not there is an empty cell."""
    item = {"metadata": {"name": "it", "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": spec}
    made = table(resource, [item], "1", datetime.fromisoformat("2026-01-01T00:00:05Z"))
    columns = [column["name"] for column in made["columnDefinitions"]]
    row = dict(zip(columns, made["rows"][0]["cells"], strict=True))
    assert row == {"Name": "it", "Age": "5s", **shown}
