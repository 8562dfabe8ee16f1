"""Admission: what may enter the store, and what it looks like then.

Names and labels follow RFC 1123 and 1035 as Kubernetes applies them; what a struct does not hold is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Literal

import msgspec

from harness.localmesh.api.resources import Resource
from harness.localmesh.api.selectors import label_selector
from harness.localmesh.errors import Refused
from harness.localmesh.kinds import defaults, istio, kubernetes
from harness.localmesh.kinds.parse import Kind, Manifest, invalid, unprintable

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUALIFIED = re.compile(
    r"((?=[^/]{1,253}/)[a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_ENV_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
_PERCENT = re.compile(r"[0-9]+%")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>[^`]*)`(?: - at `\$\.?(?P<path>[^`]*)`)?")
_PLACE = re.compile(r" - at `(?:key in )?\$\.?(?P<path>[^`]*)`$")
_CUSTOM = frozenset(("apiVersion", "kind", "metadata", "spec", "status"))
_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character"
)
_LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and "
    "end with an alphanumeric character"
)
_LABEL_1035_RULE = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
    "character, and end with an alphanumeric character"
)
_LABEL_VALUE_RULE = (
    "a valid label must be an empty string or consist of at most 63 alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character"
)
_NAME_RULES = {"namespaces": (_LABEL, _LABEL_RULE), "services": (_LABEL_1035, _LABEL_1035_RULE)}


def admit(
    operation: Literal["CREATE", "UPDATE", "STATUS"], resource: Resource, new: Manifest, old: Manifest | None
) -> Manifest:
    """`new` with its defaults, when it is a valid object of `resource` and may follow `old`.

    Raises:
        Refused: 400 for an unknown field or a wrong type, 422 for a value that is not allowed; the field is named.
    """
    if operation == "STATUS":
        _status(new)
        return new
    if not resource.builtin:
        new = {**new, "metadata": defaults.tidied(new["metadata"])}
        _custom(resource, new)
        return new
    new = defaults.without_nulls(new)
    new["metadata"] = defaults.tidied(new["metadata"])
    _parse(new, resource.version, kubernetes.KINDS[resource.kind])
    _metadata(resource, new)
    for field in unprintable({key: new.get(key) for key in ("metadata", "spec")}, "", allowed="\t\n\r"):
        raise invalid(new, field.lstrip("."), "Invalid value: it holds a control character")
    new = _carried_over(new, old)
    _VALIDATORS.get(resource.kind, _nothing)(new)
    new = defaults.complete(new)
    if operation == "UPDATE" and old is not None:
        _immutable(new, old)
    return new


def _status(manifest: Manifest) -> None:
    try:
        msgspec.convert(manifest.get("status") or {}, kubernetes.Status)
    except msgspec.ValidationError as error:
        text = str(error)
        place = _PLACE.search(text)
        field = "status" + (f".{place['path']}" if place and place["path"] else "")
        raise invalid(manifest, field, _PLACE.sub("", text)) from None


def _custom(resource: Resource, manifest: Manifest) -> None:
    for field in manifest:
        if field not in _CUSTOM:
            raise _unknown(manifest, resource.version, field)
    head = {key: manifest[key] for key in ("apiVersion", "kind")}
    _parse({**head, "metadata": manifest["metadata"]}, resource.version, kubernetes.Custom)
    _metadata(resource, manifest)
    istio.admit(manifest)


def _parse(manifest: Manifest, version: str, into: type[Kind]) -> None:
    try:
        msgspec.convert(manifest, into)
    except msgspec.ValidationError as error:
        text = str(error)
        if unknown := _UNKNOWN.fullmatch(text):
            raise _unknown(manifest, version, _joined(unknown["path"], unknown["name"])) from None
        place = _PLACE.search(text)
        field = place["path"] if place else ""
        why = _PLACE.sub("", text)
        if required := re.fullmatch(r"Object missing required field `(.*)`", why):
            raise invalid(manifest, _joined(field, required[1]), "Required value") from None
        if why.startswith("Invalid enum value"):
            raise invalid(manifest, field, f"Unsupported value: {why[19:]}") from None
        message = f"{_cannot_be_handled(manifest, version)}: {field}: {why[0].lower()}{why[1:]}"
        raise Refused(400, "BadRequest", message, field) from None


def _unknown(manifest: Manifest, version: str, field: str) -> Refused:
    return Refused(
        400,
        "BadRequest",
        f'{_cannot_be_handled(manifest, version)}: strict decoding error: unknown field "{field}" '
        "(Kubernetes does not know it, or the local mesh does not emulate it)",
        field,
    )


def _cannot_be_handled(manifest: Manifest, version: str) -> str:
    kind = manifest["kind"]
    return f'{kind} in version "{version}" cannot be handled as a {kind}'


def _joined(path: str | None, name: str) -> str:
    return f"{path}.{name}" if path else name


def _metadata(resource: Resource, manifest: Manifest) -> None:
    metadata = manifest["metadata"]
    name = metadata.get("name", "")
    if not name:
        raise invalid(manifest, "metadata.name", "Required value: name or generateName is required")
    pattern, rule = _NAME_RULES.get(resource.plural, (_SUBDOMAIN, _SUBDOMAIN_RULE))
    if not pattern.fullmatch(name):
        raise invalid(manifest, "metadata.name", f'Invalid value: "{name}": {rule}')
    _labels(manifest, metadata.get("labels") or {}, "metadata.labels")
    for key in metadata.get("annotations") or {}:
        if not _QUALIFIED.fullmatch(key.lower()):
            raise invalid(manifest, "metadata.annotations", f'Invalid value: "{key}": not a qualified name')


def _labels(manifest: Manifest, labels: dict[str, str], field: str) -> None:
    for key, value in labels.items():
        if not _QUALIFIED.fullmatch(key):
            raise invalid(manifest, field, f'Invalid value: "{key}": not a qualified name')
        if not _LABEL_VALUE.fullmatch(value):
            raise invalid(manifest, field, f'Invalid value: "{value}": {_LABEL_VALUE_RULE}')


def _nothing(manifest: Manifest) -> None:
    """Most kinds have no rule beyond their types."""


def _pod(manifest: Manifest) -> None:
    _pod_spec(manifest, manifest["spec"], "spec")


def _pod_spec(manifest: Manifest, spec: Manifest, path: str) -> None:
    if not spec["containers"]:
        raise invalid(manifest, f"{path}.containers", "Required value")
    if spec.get("terminationGracePeriodSeconds", 0) < 0:
        raise invalid(manifest, f"{path}.terminationGracePeriodSeconds", "must be greater than or equal to 0")
    names: set[str] = set()
    for field, container in _items(f"{path}.containers", spec["containers"]):
        if not _LABEL.fullmatch(container["name"]):
            raise invalid(manifest, f"{field}.name", f'Invalid value: "{container["name"]}": {_LABEL_RULE}')
        if container["name"] in names:
            raise invalid(manifest, f"{field}.name", f'Duplicate value: "{container["name"]}"')
        names.add(container["name"])
        _container(manifest, container, field)


def _container(manifest: Manifest, container: Manifest, path: str) -> None:
    if not container["image"].strip():
        raise invalid(manifest, f"{path}.image", "Required value")
    for field, port in _items(f"{path}.ports", container.get("ports")):
        _port(manifest, port["containerPort"], f"{field}.containerPort")
    for field, variable in _items(f"{path}.env", container.get("env")):
        if not _ENV_NAME.fullmatch(variable["name"]):
            why = f'Invalid value: "{variable["name"]}": not a valid environment variable name'
            raise invalid(manifest, f"{field}.name", why)


def _items(path: str, values: list[Any] | None) -> Iterator[tuple[str, Any]]:
    return ((f"{path}[{index}]", value) for index, value in enumerate(values or ()))


def _port(manifest: Manifest, port: int, field: str) -> None:
    if not 1 <= port <= 65535:
        raise invalid(manifest, field, f"Invalid value: {port}: must be between 1 and 65535, inclusive")


def _workload(manifest: Manifest) -> None:
    spec = manifest["spec"]
    if spec.get("replicas", 1) < 0:
        raise invalid(manifest, "spec.replicas", "must be greater than or equal to 0")
    if spec.get("replicas", 1) > _MOST_PODS:
        raise invalid(manifest, "spec.replicas", f"the local mesh has addresses for {_MOST_PODS} pods")
    template = spec["template"]
    _pod_spec(manifest, template["spec"], "spec.template.spec")
    if template["spec"].get("restartPolicy", "Always") != "Always":
        raise invalid(manifest, "spec.template.spec.restartPolicy", 'Unsupported value: must be "Always"')
    extra = template.get("metadata", {}).keys() - {"labels", "annotations", "name", "creationTimestamp"}
    if extra:
        raise invalid(
            manifest, f"spec.template.metadata.{min(extra)}", "a pod template has labels and annotations only"
        )
    for key in template.get("metadata", {}).get("annotations") or {}:
        if not _QUALIFIED.fullmatch(key.lower()):
            raise invalid(
                manifest,
                "spec.template.metadata.annotations",
                f'Invalid value: "{key}": not a qualified name',
            )
    labels = template.get("metadata", {}).get("labels") or {}
    _labels(manifest, labels, "spec.template.metadata.labels")
    selector = spec["selector"]
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        raise invalid(manifest, "spec.selector", "Invalid value: empty selector is invalid for deployment")
    if not label_selector(selector).match(labels):
        why = f"Invalid value: {labels}: `selector` does not match template `labels`"
        raise invalid(manifest, "spec.template.metadata.labels", why)


def _deployment(manifest: Manifest) -> None:
    _workload(manifest)
    strategy = manifest["spec"].get("strategy") or {}
    rolling = strategy.get("rollingUpdate") or {}
    if rolling and strategy.get("type") == "Recreate":
        why = "Forbidden: may not be specified when strategy `type` is 'Recreate'"
        raise invalid(manifest, "spec.strategy.rollingUpdate", why)
    for name, value in rolling.items():
        if not (_PERCENT.fullmatch(value) if isinstance(value, str) else value >= 0):
            why = f"Invalid value: {value!r}: a number of pods or a percentage like 25%"
            raise invalid(manifest, f"spec.strategy.rollingUpdate.{name}", why)
    if rolling and all(
        str(rolling.get(name, "25%")) in ("0", "0%") for name in ("maxSurge", "maxUnavailable")
    ):
        why = "Invalid value: 0: may not be 0 when `maxSurge` is 0"
        raise invalid(manifest, "spec.strategy.rollingUpdate.maxUnavailable", why)


def _service(manifest: Manifest) -> None:
    spec = manifest["spec"]
    if not spec.get("ports") and spec.get("clusterIP") != "None":
        raise invalid(manifest, "spec.ports", "Required value")
    seen: dict[str, set[Any]] = {"name": set(), "port": set()}
    for field, port in _items("spec.ports", spec.get("ports")):
        _port(manifest, port["port"], f"{field}.port")
        if isinstance(target := port.get("targetPort", 0), int) and target:
            _port(manifest, target, f"{field}.targetPort")
        if len(spec["ports"]) > 1 and not port.get("name"):
            raise invalid(manifest, f"{field}.name", "Required value")
        for key, values in seen.items():
            if (value := port.get(key)) in values:
                raise invalid(manifest, f"{field}.{key}", f'Duplicate value: "{value}"')
            values.add(value)


def _carried_over(new: Manifest, old: Manifest | None) -> Manifest:
    """A Service keeps its address when the writer leaves it out, as with `kubectl replace`."""
    if old is None or new["kind"] != "Service":
        return new
    kept = {key: old["spec"][key] for key in ("clusterIP", "clusterIPs") if key in old["spec"]}
    return {**new, "spec": {**kept, **new["spec"]}}


def _immutable(new: Manifest, old: Manifest) -> None:
    match new["kind"]:
        case "Deployment" | "ReplicaSet" if new["spec"]["selector"] != old["spec"]["selector"]:
            raise invalid(new, "spec.selector", "Invalid value: field is immutable")
        case "Service" if old["spec"].get("clusterIP") not in (None, "", new["spec"].get("clusterIP")):
            raise invalid(new, "spec.clusterIP", "Invalid value: field is immutable")
        case "Pod" if _unbound(new, old) != old["spec"]:
            why = "Forbidden: the local mesh does not change running pods; change the Deployment or create a new pod"
            raise invalid(new, "spec", why)


def _unbound(new: Manifest, old: Manifest) -> Manifest:
    if "nodeName" in old["spec"]:
        return dict(new["spec"])
    return {key: value for key, value in new["spec"].items() if key != "nodeName"}


_MOST_PODS = 24_000
_VALIDATORS: dict[str, Callable[[Manifest], None]] = {
    "Pod": _pod,
    "Deployment": _deployment,
    "ReplicaSet": _workload,
    "Service": _service,
}
