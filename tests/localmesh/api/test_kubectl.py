"""kubectl against a real server: what people type works, and what is refused is explained."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
from support import SAMPLES

from harness.localmesh import disruption
from harness.localmesh.api.resources import PODS

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


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="Istio's samples are not at hand")
def test_the_samples_are_applied_on_the_server_side(kubectl):
    """The second time nothing changes; what was applied on the client side before is taken over without conflict."""
    files = [f"--filename={path}" for path in sorted(SAMPLES.glob("*.yaml"))]
    kubectl("apply", "--server-side", *files)
    before = versions(kubectl)
    kubectl("apply", "--server-side", *files)
    assert versions(kubectl) == before
    kubectl("delete", *files)
    kubectl("apply", *files)
    kubectl("apply", "--server-side", *files)


def versions(kubectl):
    """The resourceVersion of every workload and route."""
    listed = kubectl("get", "deploy,svc,vs,dr", "-o", "jsonpath={.items[*].metadata.resourceVersion}")
    return listed.stdout


def test_server_side_apply_keeps_owners_apart(kubectl):
    """A conflict names field and owner; --force-conflicts takes the field over, and the first one lets go of it."""
    kubectl("apply", "--server-side", "-f-", stdin=DEPLOYMENT)
    wanted = DEPLOYMENT.replace("[a]", "[b]").replace(", {name: other, image: other}", "")
    other = ("apply", "--server-side", "--field-manager=other", "-f-")
    done = kubectl(*other, stdin=wanted, check=False)
    conflict = 'conflict with "kubectl": .spec.template.spec.containers[name="main"].args'
    assert done.returncode
    assert f"Apply failed with 1 conflict: {conflict}" in done.stderr
    kubectl(*other, "--force-conflicts", stdin=wanted)
    kubectl(
        "apply",
        "--server-side",
        "-f-",
        stdin=DEPLOYMENT.replace("args: [a]", "tty: false").replace(", tty: false", ""),
    )
    found = json.loads(kubectl("get", "deployment", "web", "-o", "json", "--show-managed-fields").stdout)
    containers = found["spec"]["template"]["spec"]["containers"]
    assert [(item["name"], item.get("args")) for item in containers] == [("main", ["b"]), ("other", None)]
    managers = {(item["manager"], item["operation"]) for item in found["metadata"]["managedFields"]}
    assert managers == {("kubectl", "Apply"), ("other", "Apply")}


def test_a_scaled_deployment_is_a_conflict_for_its_applier(kubectl):
    """The replicas belong to whoever scaled last."""
    kubectl(
        "apply",
        "--server-side",
        "-f-",
        stdin=DEPLOYMENT.replace("spec:\n  sel", "spec:\n  replicas: 1\n  sel"),
    )
    kubectl("scale", "deployment/web", "--replicas=3")
    done = kubectl(
        "apply",
        "--server-side",
        "-f-",
        stdin=DEPLOYMENT.replace("spec:\n  sel", "spec:\n  replicas: 1\n  sel"),
        check=False,
    )
    assert 'with subresource "scale" using apps/v1: .spec.replicas' in done.stderr
    kubectl("apply", "--server-side", "-f-", stdin=DEPLOYMENT)
    assert kubectl("get", "deploy", "web", "-o", "jsonpath={.spec.replicas}").stdout == "3"


@pytest.mark.parametrize("side", ["--server-side=false", "--server-side"])
def test_diff_shows_what_apply_would_change(kubectl, side):
    """And changes nothing."""
    kubectl("apply", side, "-f-", stdin=DEPLOYMENT)
    assert not kubectl("diff", side, "-f-", stdin=DEPLOYMENT).stdout
    done = kubectl("diff", side, "-f-", stdin=DEPLOYMENT.replace("[a]", "[b]"), check=False)
    assert done.returncode == 1, done.stderr
    assert "+        - b" in done.stdout
    assert not kubectl("diff", side, "-f-", stdin=DEPLOYMENT).stdout


def test_objects_are_created_by_commands(kubectl):
    """Whose bodies are protobuf."""
    kubectl("create", "configmap", "settings", "--from-literal=a=b", "--from-literal=c=")
    kubectl("create", "secret", "generic", "key", "--from-literal=a=b")
    kubectl("create", "deployment", "web", "--image=web", "--replicas=0", "--port=80", "--", "run", "it")
    kubectl("create", "namespace", "shop")
    kubectl("create", "serviceaccount", "robot", "-n", "shop")
    kubectl("create", "service", "clusterip", "web", "--tcp=80:8080")
    kubectl("create", "poddisruptionbudget", "web", "--selector=app=web", "--max-unavailable=0")
    kubectl("run", "bare", "--image=web", "--env=A=b", "--labels=app=web")
    kubectl("expose", "pod", "bare", "--port=80", "--name=front")
    assert kubectl("get", "cm", "settings", "-o", "jsonpath={.data}").stdout == '{"a":"b","c":""}'
    assert kubectl("get", "secret", "key", "-o", "jsonpath={.data.a}").stdout == "Yg=="
    deployment = json.loads(kubectl("get", "deploy", "web", "-o", "json").stdout)["spec"]
    assert deployment["replicas"] == 0
    assert deployment["template"]["spec"]["containers"][0]["command"] == ["run", "it"]
    assert kubectl("get", "svc", "web", "-o", "jsonpath={.spec.ports[0].targetPort}").stdout == "8080"
    assert kubectl("get", "pdb", "web", "-o", "jsonpath={.spec.maxUnavailable}").stdout == "0"


def test_metadata_is_changed_by_commands(kubectl):
    """Label, annotate, edit, patch; a cordon on a node."""
    kubectl("apply", "-f-", stdin=POD)
    kubectl("label", "pod", "web", "tier=front")
    assert kubectl("label", "pod", "web", "tier=back", check=False).returncode
    kubectl("label", "pod", "web", "tier=back", "--overwrite")
    kubectl("label", "pod", "web", "tier-")
    kubectl("annotate", "pod", "web", "note=something said")
    kubectl(
        "patch", "pod", "web", "--type=json", '-p=[{"op": "add", "path": "/metadata/labels/x", "value": "y"}]'
    )
    labels = kubectl("get", "pod", "web", "-o", "jsonpath={.metadata.labels}").stdout
    assert json.loads(labels) == {"app": "web", "x": "y"}
    kubectl("cordon", "local")
    assert "Ready" not in kubectl("get", "nodes").stdout.split()
    assert ",SchedulingDisabled" in kubectl("get", "nodes").stdout
    kubectl("uncordon", "local")
    assert "SchedulingDisabled" not in kubectl("get", "nodes").stdout


def test_what_is_not_emulated_is_refused_with_the_reason(kubectl):
    """Kinds, commands in containers, taints, metrics; lists of what cannot be are empty."""
    job = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: x}\nspec: {template: {}}"
    for side in ("--server-side", "--server-side=false"):
        done = kubectl("apply", side, "-f-", stdin=job, check=False)
        assert "the local mesh does not emulate Job" in done.stderr
        assert "it has ConfigMap, Deployment" in done.stderr
        assert '""' not in done.stderr
    assert "No resources found" in kubectl("get", "networkpolicies,hpa,statefulsets,jobs", "-A").stderr
    kubectl("apply", "-f-", stdin=POD)
    refused = kubectl("exec", "web", "--", "ls", check=False).stderr
    assert "runs no commands" in refused
    assert "curl -x http://POD_IP:15001" in refused
    assert (
        "does not emulate taints" in kubectl("taint", "node", "local", "a=b:NoSchedule", check=False).stderr
    )
    assert "Metrics API not available" in kubectl("top", "pods", check=False).stderr


def test_what_the_token_may_do_is_answered(kubectl):
    """Everything that there is, and nothing else."""
    assert kubectl("auth", "can-i", "delete", "pods").stdout == "yes\n"
    assert kubectl("auth", "can-i", "create", "pods/eviction").stdout == "yes\n"
    done = kubectl("auth", "can-i", "get", "widgets", check=False)
    assert (done.returncode, done.stdout) == (1, "no - the local mesh has no widgets\n")
    assert "virtualservices.networking.istio.io" in kubectl("auth", "can-i", "--list").stdout
    assert "mesh-user" in kubectl("auth", "whoami").stdout


def test_a_drain_waits_for_the_budget(kubectl, cluster):
    """The node is cordoned, pods without a budget go, the others stay while it says so."""
    kubectl("apply", "-f-", stdin=POD.replace("spec: {", "spec: {nodeName: local, "))
    kubectl("create", "pdb", "web", "--selector=app=web", "--min-available=1")
    ready(cluster)
    drain = ("drain", "local", "--force", "--timeout=1s", "--grace-period=0")
    done = kubectl(*drain, check=False)
    assert done.returncode
    assert "Cannot evict pod as it would violate the pod's disruption budget." in done.stderr
    kubectl("patch", "pdb", "web", "--type=merge", "-p", '{"spec": {"minAvailable": 0}}')
    disruption.reconcile(cluster.store)
    assert "pod/web evicted" in kubectl(*drain).stdout
    assert not cluster.store.list(PODS)


def ready(cluster):
    """Every pod is ready, and the budgets know it."""
    condition = {"conditions": [{"type": "Ready", "status": "True"}], "phase": "Running"}
    for pod in cluster.store.list(PODS):
        cluster.store.replace(PODS, {**pod, "status": condition}, section="status")
    disruption.reconcile(cluster.store)


def test_logs_are_followed_until_the_container_ends(kubectl, cluster, tmp_path):
    """What is there comes at once, what is written later as it is written."""
    kubectl("apply", "-f-", stdin=POD)
    place = ("default", "web", "main")
    cluster.pods.written[place] = b"one\ntwo\n"
    assert kubectl("logs", "web", "--tail=1").stdout == "two\n"
    command = [
        "kubectl",
        "--kubeconfig",
        str(cluster.kubeconfig),
        "logs",
        "-f",
        "web",
        "--cache-dir",
        str(tmp_path),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as following:
        assert [following.stdout.readline() for _ in range(2)] == ["one\n", "two\n"]
        cluster.pods.written[place] += b"three\n"
        assert following.stdout.readline() == "three\n"
        kubectl("delete", "pod", "web", "--grace-period=0", "--force")
        assert following.stdout.readline() == ""
        assert following.wait(timeout=20) == 0
    assert "not found" in kubectl("logs", "web", check=False).stderr


def test_logs_are_refused_for_what_was_not_recorded(kubectl, cluster):
    """Times of lines, and the log of a run before the last."""
    kubectl("apply", "-f-", stdin=POD)
    assert "does not record when" in kubectl("logs", "web", "--since=1m", check=False).stderr
    assert 'previous terminated container "main"' in kubectl("logs", "web", "-p", check=False).stderr


def test_lists_come_in_parts(kubectl):
    """A chunk at a time, nothing twice, nothing left out."""
    for number in range(7):
        kubectl("create", "configmap", f"c{number}")
    found = kubectl("get", "cm", "--chunk-size=2", "-o", "name").stdout.split()
    assert found == [f"configmap/c{number}" for number in range(7)]


def test_a_condition_is_waited_for(kubectl, cluster):
    """By `kubectl wait`, and the deletion too."""
    kubectl("apply", "-f-", stdin=POD)
    ready(cluster)
    assert "condition met" in kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=5s").stdout
    done = kubectl("wait", "--for=condition=Absent", "pod/web", "--timeout=1s", check=False)
    assert "timed out" in done.stderr
    kubectl("delete", "pod", "web", "--grace-period=0", "--force")
    kubectl("wait", "--for=delete", "pod/web", "--timeout=5s")


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
