"""Admission of pods: probes, hooks, binding, and a status that controllers can read."""

from __future__ import annotations

import pytest
from admitted import admitted

from harness.localmesh.api.resources import PODS
from harness.localmesh.errors import Refused
from harness.localmesh.kinds.admission import admit


def test_a_running_pod_is_bound_once_and_not_changed():
    """The runner may name the node; a new image is refused."""
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "a"},
        "spec": {"containers": [{"name": "a", "image": "a"}]},
    }
    old = admitted(PODS, manifest)
    assert old["spec"]["serviceAccountName"] == "default"
    bound = {**old, "spec": {**old["spec"], "nodeName": "local"}}
    assert admitted(PODS, bound, old) == bound
    changed = {**old, "spec": {**old["spec"], "containers": [{"name": "a", "image": "b"}]}}
    with pytest.raises(Refused, match="does not change running pods"):
        admitted(PODS, changed, old)


@pytest.mark.parametrize(
    ("status", "field"),
    [
        ({"conditions": 5}, "status.conditions"),
        ({"conditions": [{}]}, "status.conditions"),
        ({"readyReplicas": "x"}, "status.readyReplicas"),
        ({"podIP": "x"}, "status.podIP"),
        ([], "status"),
    ],
)
def test_a_status_that_the_controllers_could_not_read_is_refused(status, field):
    """Whoever writes it: types are checked, everything else is the writer's."""
    with pytest.raises(Refused) as refused:
        admit("STATUS", PODS, {"kind": "Pod", "metadata": {"name": "x"}, "status": status or [1]}, None)
    assert refused.value.field.startswith(field)
    admit("STATUS", PODS, {"kind": "Pod", "metadata": {"name": "x"}, "status": {"mine": 1}}, None)


POD = """
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: default}
spec:
  terminationGracePeriodSeconds: 20
  containers: [{name: web, image: web, ports: [{name: http, containerPort: 80}]}]
"""


def test_probes_get_the_defaults_of_kubernetes():
    """Period, timeout, thresholds, path and scheme."""
    text = POD.replace("image: web,", "image: web, readinessProbe: {httpGet: {port: http}},")
    probe = admitted(PODS, text)["spec"]["containers"][0]["readinessProbe"]
    assert probe == {
        "httpGet": {"port": "http", "path": "/", "scheme": "HTTP"},
        "periodSeconds": 10,
        "timeoutSeconds": 1,
        "successThreshold": 1,
        "failureThreshold": 3,
    }


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "image: web,",
            "image: web, livenessProbe: {},",
            "livenessProbe: Required value: must specify a handler",
        ),
        ("image: web,", "image: web, livenessProbe: {exec: {command: [a]}},", "livenessProbe.exec"),
        ("image: web,", "image: web, livenessProbe: {grpc: {port: 1}},", "livenessProbe.grpc"),
        (
            "image: web,",
            "image: web, livenessProbe: {tcpSocket: {port: x}},",
            "no port of the container has this name",
        ),
        (
            "image: web,",
            "image: web, livenessProbe: {tcpSocket: {port: 1}, successThreshold: 2},",
            "must be 1",
        ),
        ("image: web,", "image: web, readinessProbe: {tcpSocket: {port: 0}},", "between 1 and 65535"),
        (
            "image: web,",
            "image: web, readinessProbe: {tcpSocket: {port: 1}, periodSeconds: 0},",
            "periodSeconds",
        ),
        ("image: web,", "image: web, lifecycle: {preStop: {exec: {}}},", "lifecycle.preStop.exec"),
        ("image: web,", "image: web, lifecycle: {postStart: {}},", "lifecycle.postStart"),
        (
            "image: web,",
            "image: web, lifecycle: {preStop: {sleep: {seconds: 30}}},",
            "terminationGracePeriodSeconds (20)",
        ),
        ("  containers", "  affinity: {nodeAffinity: {}}\n  containers", "spec.affinity: Forbidden"),
        (
            "  containers",
            "  topologySpreadConstraints: [{}]\n  containers",
            "spec.topologySpreadConstraints: Forbidden",
        ),
        ("name: http", "name: Http", "spec.containers[0].ports[0].name"),
    ],
)
def test_what_a_pod_may_not_ask_for_is_refused(old, new, message):
    """Handlers that nobody runs, numbers out of range, places that the scheduler does not know."""
    with pytest.raises(Refused) as refused:
        admitted(PODS, POD.replace(old, new, 1))
    assert message in refused.value.message
