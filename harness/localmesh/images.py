"""Which program stands in for a container image: the one table."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any

from harness.localmesh.errors import Refused

Command = tuple[str, ...]

_STANDINS = "harness.localmesh.standins"
# -P keeps the current directory, where a user's file could take a module's name, out of the import path.
# Other flags (-X frozen_modules=on, -OO, -s, -I) do not make the start measurably faster.
_PYTHON = (sys.executable, "-P", "-m")

# Repository of an image, without registry and tag -> module and arguments; None: no program beside its Envoy.
_IMAGES: Mapping[str, Command | None] = {
    "harness/service": ("service",),
    "istio/examples-bookinfo-productpage-v1": ("bookinfo", "productpage", "v1"),
    "istio/examples-bookinfo-details-v1": ("bookinfo", "details", "v1"),
    "istio/examples-bookinfo-ratings-v1": ("bookinfo", "ratings", "v1"),
    "istio/examples-bookinfo-reviews-v1": ("bookinfo", "reviews", "v1"),
    "istio/examples-bookinfo-reviews-v2": ("bookinfo", "reviews", "v2"),
    "istio/examples-bookinfo-reviews-v3": ("bookinfo", "reviews", "v3"),
    "istio/examples-helloworld-v1": ("helloworld", "v1"),
    "istio/examples-helloworld-v2": ("helloworld", "v2"),
    "curlimages/curl": ("idle",),
    "istio/pilot": ("idle",),
    "istio/proxyv2": None,
    "auto": None,
}
# Istio publishes its images under several registries, each with a path of its own.
_ISTIO = ("istio", "release", "istio-release", "istio-testing")
_SLEEP = re.compile(r"(/\S*/)?sleep (infinity|\d+[smhd]?)", re.ASCII)
_FIELD = "spec.template.spec.containers[0]"


def command(image: str, container: Mapping[str, Any]) -> Command | None:
    """The argument vector of the stand-in for `image`; None where the pod is an Envoy alone (a gateway).

    Args:
        image: any reference to the image; its registry, tag and digest do not matter.
        container: the container of the manifest. It may set `command` and `args` only where the stand-in
            does what they say: the program of curl's image may sleep, which is all it does here.

    Raises:
        Refused: 422; there is no stand-in for the image, or the container asks for another program in it.
    """
    repository = _repository(image)
    if repository not in _IMAGES:
        raise _invalid("image", f'"{image}" has no stand-in in the local mesh; there is one for {_choice()}')
    standin = _IMAGES[repository]
    asked = " ".join([*(container.get("command") or ()), *(container.get("args") or ())])
    if standin is None:  # a gateway's arguments are those of pilot-agent, whose part the mesh itself plays
        return None
    if asked and not (standin == ("idle",) and _SLEEP.fullmatch(asked)):
        field = "command" if container.get("command") else "args"
        raise _invalid(
            field, f'the stand-in for image "{image}" cannot run {asked!r}; leave command and args out'
        )
    module, *arguments = standin
    return (*_PYTHON, f"{_STANDINS}.{module}", *arguments)


def _repository(image: str) -> str:
    """The part of an image reference that names what is in it, with Istio's registries as one."""
    path = image.partition("@")[0]
    directory, slash, name = path.rpartition("/")
    name = name.partition(":")[0]
    parts = directory.split("/") if slash else []
    if parts and (parts[0] == "localhost" or "." in parts[0] or ":" in parts[0]):  # a registry's host
        parts = parts[1:]
    owner = parts[-1] if parts else ""
    if owner in _ISTIO or (not owner and f"istio/{name}" in _IMAGES):
        owner = "istio"
    return f"{owner}/{name}" if owner else name


def _choice() -> str:
    return ", ".join(sorted(_IMAGES))


def _invalid(field: str, why: str) -> Refused:
    return Refused(422, "Invalid", f"{_FIELD}.{field}: {why}", f"{_FIELD}.{field}")
