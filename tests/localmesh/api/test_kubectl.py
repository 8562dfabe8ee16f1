"""kubectl against a real server: what people type works, and what is refused is explained."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

SAMPLES = Path(__file__).parents[4] / "shared" / "istio-samples"
POD = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {containers: [{name: main, image: web}]}
"""
VIRTUAL_SERVICE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http: [{route: [{destination: {host: reviews}}]}]
"""
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: main, image: web, args: [a]}, {name: other, image: other}]}
"""


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="Istio's samples are not at hand")
def test_the_samples_of_istio_are_applied_twice_and_deleted(kubectl):
    """The second time nothing changes, and nothing is left in the end."""
    files = [f"--filename={path}" for path in sorted(SAMPLES.glob("*.yaml"))]
    assert "unchanged" not in kubectl("apply", *files).stdout
    again = kubectl("apply", *files).stdout.splitlines()
    assert again
    assert all(line.endswith("unchanged") for line in again)
    kubectl("delete", *files)
    assert not kubectl("get", "all,vs,dr,gw,sa", "-A").stdout


def test_tables_have_the_columns_of_kubernetes(kubectl):
    """Of pods, wide too, and of Istio's kinds."""
    kubectl("apply", "-f-", stdin=POD)
    kubectl("apply", "-f-", stdin=VIRTUAL_SERVICE)
    head, row = kubectl("get", "pods", "-o", "wide").stdout.splitlines()
    assert head.split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE"]
    assert row.split()[:4] == ["web", "0/1", "Pending", "0"]
    head, row = kubectl("get", "vs").stdout.splitlines()
    assert head.split() == ["NAME", "GATEWAYS", "HOSTS", "AGE"]
    assert re.match(r'reviews +\["reviews"\] +\d+s', row)


def test_apply_changes_what_changed_and_keeps_what_others_wrote(kubectl):
    """A three-way merge by strategic merge patch: our list elements go, foreign ones stay."""
    kubectl("apply", "-f-", stdin=DEPLOYMENT)
    kubectl("label", "deployment/web", "by=somebody")
    kubectl(
        "apply", "-f-", stdin=DEPLOYMENT.replace(", {name: other, image: other}", "").replace("[a]", "[b]")
    )
    found = json.loads(kubectl("get", "deployment", "web", "-o", "json").stdout)
    assert found["metadata"]["labels"] == {"by": "somebody"}
    containers = found["spec"]["template"]["spec"]["containers"]
    assert [(item["name"], item["args"]) for item in containers] == [("main", ["b"])]


def test_scale_patch_set_image_and_restart_a_deployment(kubectl):
    """Each is one change of the spec."""
    kubectl("apply", "-f-", stdin=DEPLOYMENT)
    kubectl("scale", "deployment/web", "--replicas=3", "--current-replicas=1")
    kubectl("patch", "deployment", "web", "-p", '{"spec": {"progressDeadlineSeconds": 5}}')
    kubectl("set", "image", "deployment/web", "main=web:2")
    kubectl("rollout", "restart", "deployment/web")
    found = json.loads(kubectl("get", "deployment", "web", "-o", "json").stdout)
    assert (found["spec"]["replicas"], found["metadata"]["generation"]) == (3, 5)
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "web:2"


def test_a_pod_is_deleted_at_once_when_forced(kubectl):
    """Kubectl waits for it to be gone."""
    kubectl("apply", "-f-", stdin=POD)
    kubectl("delete", "pod", "web", "--wait=false")
    assert "Terminating" in kubectl("get", "pods").stdout
    kubectl("delete", "pod", "web", "--grace-period=0", "--force")
    assert "No resources found" in kubectl("get", "pods").stderr


def test_pods_are_watched_as_tables(kubectl, cluster, tmp_path):
    """`get --watch` prints a line for each change, under one header."""
    kubectl("apply", "-f-", stdin=POD)
    command = [
        "kubectl",
        "--kubeconfig",
        str(cluster.kubeconfig),
        "get",
        "pods",
        "-w",
        "--cache-dir",
        str(tmp_path),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout.readline().startswith("NAME")
        assert "Pending" in watching.stdout.readline()
        kubectl("delete", "pod", "web", "--wait=false")
        assert "Terminating" in watching.stdout.readline()
        watching.kill()


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (
            POD.replace("image: web", "image: web, stdin: true"),
            'unknown field "spec.containers[0].stdin"',
        ),
        (POD.replace("kind: Pod", "kind: Podd"), 'no matches for kind "Podd" in version "v1"'),
        (VIRTUAL_SERVICE + "  tunnel: []\n", 'The VirtualService "reviews" is invalid: spec.tunnel: '),
        (VIRTUAL_SERVICE.replace("{name", "{namespace: nowhere, name"), 'namespaces "nowhere" not found'),
        (
            DEPLOYMENT.replace("matchLabels: {app", "matchLabels: {x"),
            'The Deployment "web" is invalid: spec.template',
        ),
        ("kind: [", "error"),
    ],
)
def test_a_refusal_is_explained(kubectl, manifest, message):
    """By kind, name and field, each once."""
    done = kubectl("apply", "-f-", stdin=manifest, check=False)
    assert done.returncode
    assert message in done.stderr
    assert done.stderr.count(" is invalid: ") <= 1


def test_server_side_apply_is_refused_and_says_so(kubectl):
    """It is not emulated, so it is not accepted."""
    done = kubectl("apply", "--server-side", "-f-", stdin=POD, check=False)
    assert done.returncode
    assert "does not serve server-side apply" in done.stderr


def test_every_served_kind_is_listed_by_discovery(kubectl):
    """With short names and versions."""
    listed = kubectl("api-resources", "--no-headers").stdout.splitlines()
    found = {line.split()[-1]: line.split() for line in listed}
    assert found["VirtualService"] == [
        "virtualservices",
        "vs",
        "networking.istio.io/v1",
        "true",
        "VirtualService",
    ]
    assert found["EnvoyFilter"][1] == "networking.istio.io/v1alpha3"
    assert found["Namespace"][-2] == "false"


def test_builtin_kinds_are_explained(kubectl):
    """By the fields that the mesh takes."""
    told = kubectl("explain", "deployment.spec.strategy.rollingUpdate").stdout
    assert "maxSurge" in told
    assert "numbers of pods, or percentages" in told
    probe = kubectl("explain", "pods.spec.containers.readinessProbe").stdout
    assert "httpGet" in probe
    assert "grpc" not in probe
