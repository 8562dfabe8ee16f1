"""The defaults Kubernetes fills in for its own kinds. Pure: a manifest in, a new one out."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from harness.localmesh.kinds.parse import Manifest

_CONTAINER = {
    "imagePullPolicy": "IfNotPresent",
    "resources": {},
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
}
_PROBE = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
_POD = {
    "restartPolicy": "Always",
    "terminationGracePeriodSeconds": 30,
    "dnsPolicy": "ClusterFirst",
    "schedulerName": "default-scheduler",
    "securityContext": {},
}
_DEPLOYMENT = {"replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600}
_SERVICE = {"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster"}


def without_nulls(value: Any) -> Any:
    """`value` without the members of its objects that are null, which to Kubernetes are absent."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def tidied(metadata: Manifest) -> Manifest:
    """`metadata` without its empty parts, which to Kubernetes are absent too."""
    return {key: value for key, value in without_nulls(metadata).items() if value not in ({}, [], "")}


def complete(manifest: Manifest) -> Manifest:
    """A valid `manifest` of a builtin kind with the defaults of that kind."""
    return _DEFAULTS.get(manifest["kind"], _as_it_is)(manifest)


def _as_it_is(manifest: Manifest) -> Manifest:
    return manifest


def _with_pod(manifest: Manifest) -> Manifest:
    spec = {**manifest["spec"]}
    account = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
    spec["serviceAccountName"] = spec["serviceAccount"] = account
    # A pod of Kubernetes always has volumes, one with its token at least: clients rely on the list being there.
    spec.setdefault("volumes", [])
    return _born_as(manifest, _pod(spec), {"phase": "Pending", "qosClass": "BestEffort"})


def _deployment(manifest: Manifest) -> Manifest:
    spec = {**_DEPLOYMENT, **manifest["spec"]}
    spec["strategy"] = _strategy(spec.get("strategy") or {})
    return {**manifest, "spec": _with_template(spec)}


def _replica_set(manifest: Manifest) -> Manifest:
    return {**manifest, "spec": _with_template({"replicas": 1, **manifest["spec"]})}


def _with_service(manifest: Manifest) -> Manifest:
    return _born_as(manifest, _service(manifest["spec"]), {"loadBalancer": {}})


def _born_as(manifest: Manifest, spec: Manifest, status: Manifest) -> Manifest:
    return {**manifest, "spec": spec, "status": manifest.get("status") or status}


def _pod(spec: Manifest) -> Manifest:
    filled = {**_POD, **spec, "containers": [_container(container) for container in spec["containers"]]}
    if attached := spec.get("ephemeralContainers"):
        filled["ephemeralContainers"] = [_container(container) for container in attached]
    return filled


def _container(container: Manifest) -> Manifest:
    complete = {**_CONTAINER, **container}
    if "ports" in container:
        complete["ports"] = [{"protocol": "TCP", **port} for port in container["ports"]]
    for name in ("readinessProbe", "livenessProbe", "startupProbe"):
        if name in container:
            complete[name] = _probe(container[name])
    return complete


def _probe(probe: Manifest) -> Manifest:
    complete = {**_PROBE, **probe}
    if "httpGet" in probe:
        complete["httpGet"] = {"path": "/", "scheme": "HTTP", **probe["httpGet"]}
    return complete


def _with_template(spec: Manifest) -> Manifest:
    template = spec["template"]
    return {**spec, "template": {**template, "spec": _pod(template["spec"])}}


def _strategy(strategy: Manifest) -> Manifest:
    kind = strategy.get("type") or "RollingUpdate"
    if kind == "Recreate":
        return {"type": kind}
    rolling = {"maxSurge": "25%", "maxUnavailable": "25%", **(strategy.get("rollingUpdate") or {})}
    return {"type": kind, "rollingUpdate": rolling}


def _service(spec: Manifest) -> Manifest:
    complete = {**_SERVICE, **spec}
    if "ports" in spec:
        complete["ports"] = [
            {"protocol": "TCP", **port, "targetPort": port.get("targetPort") or port["port"]}
            for port in spec["ports"]
        ]
    return complete


def _namespace(manifest: Manifest) -> Manifest:
    metadata = manifest["metadata"]
    labels = {**metadata.get("labels", {}), "kubernetes.io/metadata.name": metadata["name"]}
    return {
        **manifest,
        "metadata": {**metadata, "labels": labels},
        "status": manifest.get("status") or {"phase": "Active"},
    }


def _secret(manifest: Manifest) -> Manifest:
    plain = {
        key: base64.b64encode(value.encode()).decode()
        for key, value in manifest.get("stringData", {}).items()
    }
    rest = {key: value for key, value in manifest.items() if key != "stringData"}
    return {"type": "Opaque", **rest, "data": {**manifest.get("data", {}), **plain}}


_DEFAULTS: dict[str, Callable[[Manifest], Manifest]] = {
    "Pod": _with_pod,
    "Deployment": _deployment,
    "ReplicaSet": _replica_set,
    "Service": _with_service,
    "Namespace": _namespace,
    "Secret": _secret,
}
