"""Admission of builtin kinds: Istio's samples as they are, defaults, and refusals that name the field."""

from __future__ import annotations

import pytest
import yaml
from admitted import admitted
from support import SAMPLES

from harness.localmesh.api.resources import (
    DEPLOYMENTS,
    NAMESPACES,
    SECRETS,
    SERVICES,
    VIRTUAL_SERVICES,
    by_kind,
)
from harness.localmesh.errors import Refused

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: web, ports: [{containerPort: 80}]}]
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {ports: [{port: 80, name: http}]}
"""


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="Istio's samples are not at hand")
@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_samples_of_istio_are_admitted_as_they_are(path):
    """Every object of the file passes, and passing again changes nothing."""
    for manifest in filter(None, yaml.safe_load_all(path.read_text())):
        resource = by_kind(manifest["apiVersion"], manifest["kind"])
        once = admitted(resource, manifest)
        assert admitted(resource, once, once) == once


def test_a_deployment_gets_the_defaults_of_kubernetes():
    """Replicas, strategy, deadline, restart policy, grace and protocol are filled in."""
    spec = admitted(DEPLOYMENTS, DEPLOYMENT)["spec"]
    assert (spec["replicas"], spec["progressDeadlineSeconds"]) == (1, 600)
    rolling = {"maxSurge": "25%", "maxUnavailable": "25%"}
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": rolling}
    pod = spec["template"]["spec"]
    assert (pod["restartPolicy"], pod["terminationGracePeriodSeconds"]) == ("Always", 30)
    assert pod["containers"][0]["ports"] == [{"containerPort": 80, "protocol": "TCP"}]


def test_a_service_gets_the_defaults_of_kubernetes():
    """Type, protocol and a target port equal to the port."""
    spec = admitted(SERVICES, SERVICE)["spec"]
    assert spec["type"] == "ClusterIP"
    assert spec["ports"] == [{"port": 80, "name": "http", "protocol": "TCP", "targetPort": 80}]


def test_a_secret_stores_plain_strings_as_base64():
    """`stringData` ends up in `data`."""
    manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "stringData": {"a": "b"}}
    secret = admitted(SECRETS, manifest)
    assert secret["data"] == {"a": "Yg=="}
    assert "stringData" not in secret


def test_null_is_the_same_as_absent():
    """`creationTimestamp: null`, as kubectl's dry run prints it, is accepted."""
    manifest = yaml.safe_load(SERVICE)
    manifest["metadata"]["creationTimestamp"] = None
    assert "creationTimestamp" not in admitted(SERVICES, manifest)["metadata"]


def test_a_service_keeps_its_address_when_the_writer_leaves_it_out():
    """And cannot be given another."""
    old = admitted(SERVICES, SERVICE.replace("{ports", "{clusterIP: 127.5.0.1, ports"))
    assert admitted(SERVICES, SERVICE, old)["spec"]["clusterIP"] == "127.5.0.1"
    with pytest.raises(Refused, match=r"spec\.clusterIP: Invalid value: field is immutable"):
        admitted(SERVICES, SERVICE.replace("{ports", "{clusterIP: 127.5.0.2, ports"), old)


def with_part(text, old, new):
    """`text` with a part of it replaced, which must be there."""
    assert old in text
    return text.replace(old, new)


@pytest.mark.parametrize(
    ("old", "new", "code", "message"),
    [
        ("image: web,", "image: web, tty: true,", 400, 'field "spec.template.spec.containers[0].tty"'),
        ("selector:", "preset: true\n  selector:", 400, 'unknown field "spec.preset"'),
        ("name: web, namespace", "nmae: x, name: web, namespace", 400, 'unknown field "metadata.nmae"'),
        ("spec:\n  selector", "sepc: {}\nspec:\n  selector", 400, 'unknown field "sepc"'),
        ("selector:", "replicas: two\n  selector:", 400, "spec.replicas: expected `int`"),
        ("selector:", "replicas: -1\n  selector:", 422, "spec.replicas: must be greater"),
        ("matchLabels: {app: web}", "matchLabels: {app: other}", 422, "does not match template `labels`"),
        ("matchLabels: {app: web}", "matchLabels: {}", 422, "spec.selector: Invalid value: empty"),
        ("image: web,", "", 422, "spec.template.spec.containers[0].image: Required value"),
        ("image: web,", "image: '',", 422, "spec.template.spec.containers[0].image: Required value"),
        ("[{name: web, image: web, ports: [{containerPort: 80}]}]", "[]", 422, "spec.containers: Required value"),
        ("containerPort: 80", "containerPort: 0", 422, "ports[0].containerPort: Invalid value: 0"),
        ("containerPort: 80", "containerPort: 80, protocol: UDP", 422, "protocol: Unsupported value: 'UDP'"),
        ("name: web, namespace", "name: Web, namespace", 422, 'metadata.name: Invalid value: "Web"'),
        ("labels: {app: web}", "labels: {app: 'a b'}", 422, 'labels: Invalid value: "a b"'),
        (
            "containers:",
            "volumes: [{name: c, configMap: {name: c}}]\n      containers:",
            422,
            "volumes[0].configMap.optional: Required value: the local mesh mounts no files",
        ),
        (
            "image: web,",
            "image: web, env: [{name: A, valueFrom: {}}],",
            400,
            'unknown field "spec.template.spec.containers[0].env[0].valueFrom"',
        ),
    ],
)  # fmt: skip
def test_a_refusal_names_the_field(old, new, code, message):
    """Unknown fields and wrong types are a 400, values that are not allowed a 422; both say where."""
    with pytest.raises(Refused) as refused:
        admitted(DEPLOYMENTS, with_part(DEPLOYMENT, old, new))
    assert refused.value.code == code
    assert message in refused.value.message


@pytest.mark.parametrize(
    ("ports", "message"),
    [
        ("[]", "spec.ports: Required value"),
        ("[{port: 70000}]", "spec.ports[0].port: Invalid value: 70000"),
        ("[{port: 80}, {port: 81, name: b}]", "spec.ports[0].name: Required value"),
        ("[{port: 80, name: a}, {port: 81, name: a}]", 'spec.ports[1].name: Duplicate value: "a"'),
        ("[{port: 80, targetPort: 0x11170}]", "spec.ports[0].targetPort: Invalid value: 70000"),
    ],
)
def test_ports_of_a_service_are_checked(ports, message):
    """Numbers, names and duplicates."""
    with pytest.raises(Refused) as refused:
        admitted(SERVICES, SERVICE.replace("[{port: 80, name: http}]", ports))
    assert message in refused.value.message


def test_a_selector_cannot_be_changed():
    """A Deployment keeps the selector it was made with."""
    old = admitted(DEPLOYMENTS, DEPLOYMENT)
    with pytest.raises(Refused, match=r"spec\.selector: Invalid value: field is immutable"):
        admitted(DEPLOYMENTS, DEPLOYMENT.replace("app: web", "app: other"), old)


def test_a_custom_resource_has_no_unknown_section():
    """Beside metadata, spec and status there is nothing."""
    manifest = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "a"},
        "x": 1,
    }
    with pytest.raises(Refused, match='unknown field "x"'):
        admitted(VIRTUAL_SERVICES, manifest)


def test_a_namespace_is_labelled_with_its_name():
    """Selectors of namespaces rely on it."""
    namespace = admitted(NAMESPACES, "{apiVersion: v1, kind: Namespace, metadata: {name: shop}}")
    assert namespace["metadata"]["labels"] == {"kubernetes.io/metadata.name": "shop"}
    assert namespace["status"] == {"phase": "Active"}


@pytest.mark.parametrize(
    ("kind", "rest", "message"),
    [
        (
            "policy/v1 PodDisruptionBudget",
            {"spec": {"minAvailable": 1, "maxUnavailable": 1}},
            "cannot be both set",
        ),
        (
            "policy/v1 PodDisruptionBudget",
            {"spec": {"minAvailable": "101%"}},
            "must not be greater than 100%",
        ),
        (
            "policy/v1 PodDisruptionBudget",
            {"spec": {"minAvailable": "x"}},
            "a number of pods or a percentage",
        ),
        ("v1 Secret", {"data": {"a": "not base64"}}, "data[a]: Invalid value: this is not base64"),
        ("v1 Secret", {"type": "kubernetes.io/tls", "data": {}}, "data[tls.crt]: Required value"),
        ("v1 ConfigMap", {"data": {"a/b": ""}}, "data[a/b]"),
        ("v1 ConfigMap", {"data": {"a": ""}, "binaryData": {"a": ""}}, "duplicate of key"),
        ("v1 ConfigMap", {"data": {"a": "x" * 1_100_000}}, "Too long"),
        ("v1 Node", {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}, "cordon the node"),
        ("coordination.k8s.io/v1 Lease", {"spec": {"leaseDurationSeconds": 0}}, "leaseDurationSeconds"),
        ("coordination.k8s.io/v1 Lease", {"spec": {"renewTime": "now"}}, "must be an RFC 3339 time"),
    ],
)
def test_smaller_kinds_are_validated(kind, rest, message):
    """Each with the field at fault."""
    version, name = kind.split()
    manifest = {
        "apiVersion": version,
        "kind": name,
        "metadata": {"name": "a", "namespace": "default"},
        **rest,
    }
    with pytest.raises(Refused) as refused:
        admitted(by_kind(version, name), manifest)
    assert message in refused.value.message


def test_what_is_immutable_stays():
    """The type of a Secret, and the data of what says so."""
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "a"},
        "data": {"a": "Yg=="},
        "immutable": True,
    }
    old = admitted(SECRETS, secret)
    for change in ({"type": "other"}, {"data": {}}, {"immutable": False}):
        with pytest.raises(Refused, match="immutable"):
            admitted(SECRETS, {**old, **change}, old)
    assert admitted(SECRETS, old, old) == old
