"""The rules for the spec of a pod beyond its types, as Kubernetes validates them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from harness.localmesh.kinds import names
from harness.localmesh.kinds.parse import Manifest, invalid

_ENV_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
_PORT_NAME = re.compile(r"(?=.{1,15}$)(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*")
_HANDLERS = ("httpGet", "tcpSocket")
_NOT_SCHEDULED = (
    "the local mesh does not emulate it: its scheduler spreads pods evenly over the nodes, and honours nodeSelector, "
    "nodeName and cordons; leave the field out"
)


def check(manifest: Manifest, spec: Manifest, path: str) -> None:
    """Let the pod spec at `path` of `manifest` pass, or the template's.

    Raises:
        Refused: 422 with the path of the field at fault.
    """
    if path != "spec" and spec.get("ephemeralContainers"):
        raise invalid(manifest, f"{path}.ephemeralContainers", "Forbidden: not allowed in pod templates")
    if not spec["containers"]:
        raise invalid(manifest, f"{path}.containers", "Required value")
    for name in ("affinity", "topologySpreadConstraints"):
        if spec.get(name):
            raise invalid(manifest, f"{path}.{name}", f"Forbidden: {_NOT_SCHEDULED}")
    names.check_labels(manifest, spec.get("nodeSelector") or {}, f"{path}.nodeSelector")
    grace = spec.get("terminationGracePeriodSeconds", 30)
    seen: set[str] = set()
    for field, container in items(f"{path}.containers", spec["containers"]):
        name = container["name"]
        if not names.LABEL.fullmatch(name):
            raise invalid(manifest, f"{field}.name", f'Invalid value: "{name}": {names.LABEL_RULE}')
        if name in seen:
            raise invalid(manifest, f"{field}.name", f'Duplicate value: "{name}"')
        seen.add(name)
        _container(manifest, container, field, grace)


def check_born(pod: Manifest) -> None:
    """Let a new pod pass, unless it brings ephemeral containers.

    Raises:
        Refused: 422; they are put into pods that run.
    """
    if pod["spec"].get("ephemeralContainers"):
        raise invalid(pod, "spec.ephemeralContainers", "Forbidden: cannot be set on create")


def check_attached(new: Manifest, old: Manifest) -> None:
    """Let a pod pass that has got ephemeral containers, as Kubernetes validates them.

    Raises:
        Refused: 422 when one that was there is changed or gone, or a name is taken or is none.
    """
    path, before = "spec.ephemeralContainers", old["spec"].get("ephemeralContainers") or []
    after = new["spec"].get("ephemeralContainers") or []
    if after[: len(before)] != before:
        why = (
            "Forbidden: existing ephemeral containers may not be changed or removed, new ones come after them"
        )
        raise invalid(new, path, why)
    names_of_others = {container["name"] for container in new["spec"]["containers"]}
    seen = set(names_of_others)
    for field, container in items(path, after):
        name, target = container["name"], container.get("targetContainerName", "")
        if not names.LABEL.fullmatch(name):
            raise invalid(new, f"{field}.name", f'Invalid value: "{name}": {names.LABEL_RULE}')
        if name in seen:
            raise invalid(new, f"{field}.name", f'Duplicate value: "{name}"')
        if target and target not in names_of_others:
            raise invalid(new, f"{field}.targetContainerName", f'Not found: "{target}"')
        seen.add(name)


def items(path: str, values: list[Any] | None) -> Iterator[tuple[str, Any]]:
    """Each of `values` with its path."""
    return ((f"{path}[{index}]", value) for index, value in enumerate(values or ()))


def port(manifest: Manifest, number: int, field: str) -> None:
    """Let a port number pass.

    Raises:
        Refused: 422 when it is none.
    """
    if not 1 <= number <= 65535:
        raise invalid(manifest, field, f"Invalid value: {number}: must be between 1 and 65535, inclusive")


def _container(manifest: Manifest, container: Manifest, path: str, grace: int) -> None:
    if not container["image"].strip():
        raise invalid(manifest, f"{path}.image", "Required value")
    _ports(manifest, container, path)
    for field, variable in items(f"{path}.env", container.get("env")):
        if not _ENV_NAME.fullmatch(variable["name"]):
            why = f'Invalid value: "{variable["name"]}": not a valid environment variable name'
            raise invalid(manifest, f"{field}.name", why)
    for name in ("readinessProbe", "livenessProbe", "startupProbe"):
        if (probe := container.get(name)) is not None:
            _probe(manifest, probe, f"{path}.{name}", container)
            if name != "readinessProbe" and probe.get("successThreshold", 1) != 1:
                why = f"Invalid value: {probe['successThreshold']}: must be 1"
                raise invalid(manifest, f"{path}.{name}.successThreshold", why)
    pre_stop = (container.get("lifecycle") or {}).get("preStop")
    if pre_stop is not None and not 0 <= pre_stop["sleep"]["seconds"] <= grace:
        why = f"Invalid value: must be between 0 and terminationGracePeriodSeconds ({grace})"
        raise invalid(manifest, f"{path}.lifecycle.preStop.sleep.seconds", why)


def _ports(manifest: Manifest, container: Manifest, path: str) -> None:
    seen: set[str] = set()
    for field, found in items(f"{path}.ports", container.get("ports")):
        port(manifest, found["containerPort"], f"{field}.containerPort")
        name = found.get("name")
        if not name:
            continue
        if not _PORT_NAME.fullmatch(name):
            why = f'Invalid value: "{name}": must be at most 15 lower case letters, digits and single hyphens'
            raise invalid(manifest, f"{field}.name", why)
        if name in seen:
            raise invalid(manifest, f"{field}.name", f'Duplicate value: "{name}"')
        seen.add(name)


def _probe(manifest: Manifest, probe: Manifest, path: str, container: Manifest) -> None:
    handlers = [name for name in _HANDLERS if name in probe]
    if not handlers:
        raise invalid(manifest, path, "Required value: must specify a handler type, httpGet or tcpSocket")
    if len(handlers) > 1:
        raise invalid(
            manifest, f"{path}.{handlers[1]}", "Forbidden: may not specify more than 1 handler type"
        )
    target, field = probe[handlers[0]]["port"], f"{path}.{handlers[0]}.port"
    if isinstance(target, int):
        port(manifest, target, field)
    elif target not in {item.get("name") for item in container.get("ports") or ()}:
        why = f'Invalid value: "{target}": no port of the container has this name'
        raise invalid(manifest, field, why)
