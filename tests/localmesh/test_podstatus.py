"""What the status of a pod says, from its start through its restarts to its end."""

import time
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.localmesh.containers import Container, Stop
from harness.localmesh.podstatus import pending, quality, running

POD = {
    "metadata": {"name": "web-1", "namespace": "shop", "uid": "u"},
    "spec": {"containers": [{"name": "web", "image": "x"}, {"name": "istio-proxy", "image": "y"}]},
}


def containers():
    """The containers of the pod, as they are before they start."""
    return [Container(item, proxy=item["name"] == "istio-proxy") for item in POD["spec"]["containers"]]


def process():
    """A process as far as a container knows of it."""
    return SimpleNamespace(reap=lambda: None)


def conditions(status):
    """Each condition's status."""
    return {item["type"]: item["status"] for item in status["conditions"]}


def test_a_pod_is_ready_when_all_of_its_containers_are():
    """And says which are not as long as they are not."""
    web, proxy = pod = containers()
    for item in pod:
        item.begin(process())
    web.listening = True
    status = running(POD, pod)
    assert conditions(status)["Ready"] == "False"
    (ready,) = (item for item in status["conditions"] if item["type"] == "Ready")
    assert ready["message"] == "containers with unready status: [istio-proxy]"
    proxy.listening = True
    assert conditions(running(POD, pod)) == dict.fromkeys(conditions(status), "True")


def test_a_pod_that_has_not_begun_waits_for_its_containers():
    """Pending, with an address and reasons."""
    status = pending(POD, address="127.1.1.1", started="2026-01-01T00:00:00Z")
    assert (status["phase"], status["podIPs"], status["hostIP"]) == (
        "Pending",
        [{"ip": "127.1.1.1"}],
        "127.0.0.1",
    )
    states = {item["state"]["waiting"]["reason"] for item in status["containerStatuses"]}
    assert states == {"ContainerCreating"}
    assert conditions(status)["PodScheduled"] == "True"
    assert conditions(status)["Ready"] == "False"


def test_a_container_that_has_ended_waits_longer_each_time_and_remembers_how():
    """CrashLoopBackOff with the delay, then running again with its last state."""
    web, _ = pod = containers()
    web.begin(process())
    delays = []
    for _ in range(3):
        web.end(-9)
        web.wait(time.monotonic())
        delays.append(web.delay)
        told = running(POD, pod)["containerStatuses"][0]
        assert told["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        assert told["lastState"]["terminated"]["exitCode"] == 137
        web.begin(process())
    assert delays == sorted(set(delays))
    told = running(POD, pod)["containerStatuses"][0]
    assert "running" in told["state"]
    assert (told["restartCount"], told["lastState"]["terminated"]["reason"]) == (3, "Error")


def test_a_container_that_ends_with_its_pod_is_terminated():
    """With its exit code, and completed when that is 0."""
    web, _ = pod = containers()
    web.begin(process())
    web.end(0)
    state = running(POD, pod)["containerStatuses"][0]["state"]["terminated"]
    assert (state["exitCode"], state["reason"]) == (0, "Completed")


def test_a_restart_begins_its_probes_anew():
    """What was known of the last run says nothing about this one."""
    spec = {"name": "web", "image": "x", "readinessProbe": {}, "startupProbe": {}}
    item = Container(spec, proxy=False)
    item.begin(process())
    item.listening = True
    assert not item.has_started
    item.passed.update(startup=True)
    assert (item.has_started, item.ready) == (True, False)
    item.passed.update(readiness=True)
    assert item.ready
    item.end(1)
    item.begin(process())
    assert not item.ready


def test_a_condition_keeps_its_time_as_long_as_it_keeps_its_status():
    """LastTransitionTime is that of the last change."""
    first = pending(POD, address="127.1.1.1", started="2026-01-01T00:00:00Z")
    for item in first["conditions"]:
        item["lastTransitionTime"] = "2020-01-01T00:00:00Z"
    pod = containers()
    for item in pod:
        item.begin(process())
        item.listening = True
    times = {
        item["type"]: item["lastTransitionTime"]
        for item in running({**POD, "status": first}, pod)["conditions"]
    }
    assert times["PodScheduled"] == "2020-01-01T00:00:00Z"
    assert times["Ready"] > "2020-01-01T00:00:00Z"


@given(st.floats(0, 60), st.floats(0, 60))
def test_the_hook_is_part_of_the_grace_and_leaves_the_program_two_seconds(grace, pre_stop):
    """SIGTERM after the hook, SIGKILL not before SIGTERM, and with no grace both at once."""
    stop = Stop.within(grace, pre_stop, 100.0)
    assert stop.term_at == 100.0 + min(grace, pre_stop)
    assert stop.term_at <= stop.kill_at
    assert stop.kill_at <= 100.0 + grace + 2.0
    if grace == 0:
        assert stop.kill_at == 100.0


@pytest.mark.parametrize(
    ("resources", "wanted"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}, "Burstable"),
    ],
)
def test_the_quality_of_service_follows_from_the_resources(resources, wanted):
    """As in Kubernetes' documentation."""
    assert quality({"spec": {"containers": [{"resources": resources}]}}) == wanted
