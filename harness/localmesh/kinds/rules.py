"""The rules for each builtin kind beyond its types, as Kubernetes validates them.

Sources: kubernetes/kubernetes `pkg/apis/{core,apps,policy,coordination}/validation`, and the API reference, v1.32.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from harness.localmesh.api.selectors import label_selector
from harness.localmesh.kinds import names, podrules
from harness.localmesh.kinds.parse import Manifest, invalid

_MOST_PODS = 24_000
_LARGEST_DATA = 1024 * 1024
_KEY = re.compile(r"(?!\.\.?$)[-._a-zA-Z0-9]{1,253}")
_PERCENT = re.compile(r"[0-9]{1,9}%")
# What the data of a Secret of that type must hold.
_SECRET_KEYS = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}


def check(manifest: Manifest) -> None:
    """Let `manifest` of a builtin kind pass when it meets the rules of its kind.

    Raises:
        Refused: 422 with the field at fault.
    """
    if rule := _RULES.get(manifest["kind"]):
        rule(manifest)


def check_change(new: Manifest, old: Manifest) -> None:
    """Let `new` follow `old`, unless a field changed that never may.

    Raises:
        Refused: 422 with the field at fault.
    """
    match new["kind"]:
        case "Deployment" | "ReplicaSet" if new["spec"]["selector"] != old["spec"]["selector"]:
            raise invalid(new, "spec.selector", "Invalid value: field is immutable")
        case "Service" if old["spec"].get("clusterIP") not in (None, "", new["spec"].get("clusterIP")):
            raise invalid(new, "spec.clusterIP", "Invalid value: field is immutable")
        case "Pod" if _unbound(new, old) != old["spec"]:
            why = "Forbidden: the local mesh does not change running pods; change the Deployment or create a new pod"
            raise invalid(new, "spec", why)
        case "Secret" if new["type"] != old["type"]:
            raise invalid(new, "type", "Invalid value: field is immutable")
    if new["kind"] in ("Secret", "ConfigMap") and old.get("immutable"):
        for field in ("data", "binaryData", "immutable"):
            if new.get(field) != old.get(field):
                raise invalid(new, field, "Forbidden: field is immutable when `immutable` is set")


def _pod(manifest: Manifest) -> None:
    podrules.check(manifest, manifest["spec"], "spec")


def _workload(manifest: Manifest) -> None:
    spec = manifest["spec"]
    if spec.get("replicas", 1) < 0:
        raise invalid(manifest, "spec.replicas", "must be greater than or equal to 0")
    if spec.get("replicas", 1) > _MOST_PODS:
        raise invalid(manifest, "spec.replicas", f"the local mesh has addresses for {_MOST_PODS} pods")
    template = spec["template"]
    podrules.check(manifest, template["spec"], "spec.template.spec")
    if template["spec"].get("restartPolicy", "Always") != "Always":
        raise invalid(manifest, "spec.template.spec.restartPolicy", 'Unsupported value: must be "Always"')
    metadata = template.get("metadata", {})
    extra = metadata.keys() - {"labels", "annotations", "name", "creationTimestamp"}
    if extra:
        raise invalid(
            manifest, f"spec.template.metadata.{min(extra)}", "a pod template has labels and annotations only"
        )
    names.check_annotations(manifest, metadata.get("annotations") or {}, "spec.template.metadata.annotations")
    labels = metadata.get("labels") or {}
    names.check_labels(manifest, labels, "spec.template.metadata.labels")
    selector = spec["selector"]
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        raise invalid(manifest, "spec.selector", "Invalid value: empty selector is invalid for deployment")
    _selector(manifest, selector, "spec.selector")
    if not label_selector(selector).match(labels):
        why = f"Invalid value: {labels}: `selector` does not match template `labels`"
        raise invalid(manifest, "spec.template.metadata.labels", why)


def _deployment(manifest: Manifest) -> None:
    _workload(manifest)
    spec = manifest["spec"]
    if spec.get("progressDeadlineSeconds", 600) <= spec.get("minReadySeconds", 0):
        why = (
            f"Invalid value: {spec.get('progressDeadlineSeconds', 600)}: must be greater than minReadySeconds"
        )
        raise invalid(manifest, "spec.progressDeadlineSeconds", why)
    strategy = spec.get("strategy") or {}
    rolling = strategy.get("rollingUpdate") or {}
    if rolling and strategy.get("type") == "Recreate":
        why = "Forbidden: may not be specified when strategy `type` is 'Recreate'"
        raise invalid(manifest, "spec.strategy.rollingUpdate", why)
    for name, value in rolling.items():
        _share(manifest, value, f"spec.strategy.rollingUpdate.{name}", most=name == "maxUnavailable")
    if rolling and all(
        str(rolling.get(name, "25%")).strip("0%") == "" for name in ("maxSurge", "maxUnavailable")
    ):
        why = "Invalid value: 0: may not be 0 when `maxSurge` is 0"
        raise invalid(manifest, "spec.strategy.rollingUpdate.maxUnavailable", why)


def _share(manifest: Manifest, value: int | str, field: str, *, most: bool) -> None:
    """A number of pods or a percentage, which is 100 at `most`."""
    if not (_PERCENT.fullmatch(value) if isinstance(value, str) else 0 <= value < 2**31):
        raise invalid(manifest, field, f"Invalid value: {value!r}: a number of pods or a percentage like 25%")
    if most and isinstance(value, str) and int(value.rstrip("%")) > 100:
        raise invalid(manifest, field, f'Invalid value: "{value}": must not be greater than 100%')


def _selector(manifest: Manifest, selector: Manifest, field: str) -> None:
    names.check_labels(manifest, selector.get("matchLabels") or {}, f"{field}.matchLabels")
    for path, item in podrules.items(f"{field}.matchExpressions", selector.get("matchExpressions")):
        names.check_labels(manifest, {item["key"]: ""}, f"{path}.key")
        if bool(item.get("values")) != (item["operator"] in ("In", "NotIn")):
            why = "Invalid value: In and NotIn take values, Exists and DoesNotExist take none"
            raise invalid(manifest, f"{path}.values", why)


def _service(manifest: Manifest) -> None:
    spec = manifest["spec"]
    if not spec.get("ports") and spec.get("clusterIP") != "None":
        raise invalid(manifest, "spec.ports", "Required value")
    names.check_labels(manifest, spec.get("selector") or {}, "spec.selector")
    seen: dict[str, set[Any]] = {"name": set(), "port": set()}
    for field, port in podrules.items("spec.ports", spec.get("ports")):
        podrules.port(manifest, port["port"], f"{field}.port")
        if isinstance(target := port.get("targetPort", 0), int) and target:
            podrules.port(manifest, target, f"{field}.targetPort")
        if len(spec["ports"]) > 1 and not port.get("name"):
            raise invalid(manifest, f"{field}.name", "Required value")
        for key, values in seen.items():
            if (value := port.get(key)) in values:
                raise invalid(manifest, f"{field}.{key}", f'Duplicate value: "{value}"')
            values.add(value)


def _config_map(manifest: Manifest) -> None:
    data, binary = manifest.get("data") or {}, manifest.get("binaryData") or {}
    _keys(manifest, data, "data")
    _keys(manifest, binary, "binaryData")
    for key in data.keys() & binary.keys():
        raise invalid(manifest, f"data[{key}]", "Invalid value: duplicate of key present in binaryData")
    size = sum(len(value.encode()) for value in data.values()) + _decoded(manifest, binary, "binaryData")
    if size > _LARGEST_DATA:
        raise invalid(manifest, "data", f"Too long: may not be more than {_LARGEST_DATA} bytes")


def _secret(manifest: Manifest) -> None:
    data, plain = manifest.get("data") or {}, manifest.get("stringData") or {}
    _keys(manifest, data, "data")
    _keys(manifest, plain, "stringData")
    if _decoded(manifest, data, "data") + sum(len(it.encode()) for it in plain.values()) > _LARGEST_DATA:
        raise invalid(manifest, "data", f"Too long: may not be more than {_LARGEST_DATA} bytes")
    for key in _SECRET_KEYS.get(manifest.get("type", ""), ()):
        if key not in data and key not in plain:
            raise invalid(manifest, f"data[{key}]", "Required value")
    if manifest.get("type") == "kubernetes.io/service-account-token":
        why = "Unsupported value: the local mesh gives no tokens to service accounts"
        raise invalid(manifest, "type", why)


def _keys(manifest: Manifest, data: dict[str, str], field: str) -> None:
    for key in data:
        if not _KEY.fullmatch(key):
            why = f'Invalid value: "{key}": a valid config key must consist of alphanumeric characters, '
            raise invalid(manifest, f"{field}[{key}]", why + "'-', '_' or '.'")


def _decoded(manifest: Manifest, data: dict[str, str], field: str) -> int:
    """The size of the base64 values of `data` when decoded."""
    size = 0
    for key, value in data.items():
        try:
            size += len(base64.b64decode(value.replace("\n", "").replace("\r", ""), validate=True))
        except (binascii.Error, ValueError):
            raise invalid(manifest, f"{field}[{key}]", "Invalid value: this is not base64") from None
    return size


def _budget(manifest: Manifest) -> None:
    spec = manifest.get("spec") or {}
    if "minAvailable" in spec and "maxUnavailable" in spec:
        raise invalid(manifest, "spec", "Invalid value: minAvailable and maxUnavailable cannot be both set")
    for name in ("minAvailable", "maxUnavailable"):
        if name in spec:
            _share(manifest, spec[name], f"spec.{name}", most=True)
    _selector(manifest, spec.get("selector") or {}, "spec.selector")


def _lease(manifest: Manifest) -> None:
    spec = manifest.get("spec") or {}
    for name in ("acquireTime", "renewTime"):
        try:
            at = datetime.fromisoformat(spec[name]) if spec.get(name) else None
        except ValueError:
            at = datetime.min
        if at is not None and at.tzinfo is None:
            raise invalid(
                manifest, f"spec.{name}", f'Invalid value: "{spec[name]}": must be an RFC 3339 time'
            )


def _node(manifest: Manifest) -> None:
    if (manifest.get("spec") or {}).get("taints"):
        why = "Forbidden: the local mesh does not emulate taints; cordon the node, or label it and use nodeSelector"
        raise invalid(manifest, "spec.taints", why)


def _unbound(new: Manifest, old: Manifest) -> Manifest:
    if "nodeName" in old["spec"]:
        return dict(new["spec"])
    return {key: value for key, value in new["spec"].items() if key != "nodeName"}


_RULES: dict[str, Callable[[Manifest], None]] = {
    "Pod": _pod,
    "Deployment": _deployment,
    "ReplicaSet": _workload,
    "Service": _service,
    "ConfigMap": _config_map,
    "Secret": _secret,
    "PodDisruptionBudget": _budget,
    "Lease": _lease,
    "Node": _node,
}
