"""Which program stands in for a container image: the one table."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.localmesh.errors import Refused
from harness.localmesh.standins import agent, collecting, echo, stress
from harness.localmesh.standins.behaviour import Behaviour
from harness.localmesh.standins.settings import SettingError, Settings, variables

Command = tuple[str, ...]

_STANDINS = "harness.localmesh.standins"
# -P keeps the current directory, where a user's file could take a module's name, out of the import path.
# Other flags (-X frozen_modules=on, -OO, -s, -I) do not make the start measurably faster.
_PYTHON = (sys.executable, "-P", "-m")

_SLEEP = re.compile(r"((/\S*/)?sleep (infinity|inf|\d+[smhd]?))|((/\S*/)?tail -f /dev/null)", re.ASCII)
# How Istio's tasks start kennethreitz/httpbin, on a port of their choice.
_GUNICORN = re.compile(
    r"(?:pipenv run )?gunicorn(?: --access-logfile -)? -b (?:0\.0\.0\.0|\[::\]):(\d+) httpbin:app(?: -k gevent)?",
    re.ASCII,
)

_MONGODB = (("--ipv6", "--bind_ip_all"), ("--bind_ip_all",))
_MYSQL = ("--default-authentication-plugin", "mysql_native_password")

Read = Callable[[Command], Command]
"""Reads a container's command and args as arguments of the stand-in; ValueError, which says what they may be."""


def _only(*good: Command) -> Read:
    """Takes these, and does with them what it does without."""

    def read(asked: Command) -> Command:
        if asked in good:
            return ()
        choice = " or ".join(repr(" ".join(words)) for words in good if words)
        raise ValueError(f"it takes {choice}" if choice else "leave command and args out")

    return read


_nothing = _only(())


def _anything(asked: Command) -> Command:
    return ()


def _sleeping(asked: Command) -> Command:
    if not _SLEEP.fullmatch(" ".join(asked)):
        raise ValueError('it can only sleep: command: ["sleep", "infinity"]')
    return ()


def _idle(asked: Command) -> Command:
    return _sleeping(asked) if asked else ()


def _tcp_echo(asked: Command) -> Command:
    if len(asked) != 2 or not re.fullmatch(r"\d{1,5}(,\d{1,5})*", asked[0], re.ASCII):
        raise ValueError('it needs args: ["PORT,PORT", "PREFIX"]')
    return asked


def _echo(asked: Command) -> Command:
    echo.flags(asked)
    return asked


def _collector(asked: Command) -> Command:
    collecting.flags(asked)
    return asked


def _gunicorn(asked: Command) -> Command:
    started = _GUNICORN.fullmatch(" ".join(asked)) if asked else None
    if asked and not started:
        raise ValueError("it can only be started by gunicorn, as in Istio's tasks")
    return (started[1],) if started else ("80",)


@dataclass(frozen=True)
class _Standin:
    """A module of `standins` with its arguments, and how it reads the container's."""

    command: Command
    read: Read = _nothing


_HTTPBIN = _Standin(("httpbin", "python"), _gunicorn)
_BOOKINFO = {
    "productpage": ("v1", "v-flooding"),
    "details": ("v1", "v2"),
    "ratings": ("v1", "v2", "v-faulty", "v-delayed", "v-unavailable", "v-unhealthy"),
    "reviews": ("v1", "v2", "v3"),
}

# Repository of an image, without registry and tag -> its stand-in; None: no program beside its Envoy.
_IMAGES: Mapping[str, _Standin | None] = {
    "harness/service": _Standin(("service",)),
    **{
        f"istio/examples-bookinfo-{service}-{version}": _Standin(("bookinfo", service, version))
        for service, versions in _BOOKINFO.items()
        for version in versions
    },
    "istio/examples-bookinfo-mongodb": _Standin(("database", "27017"), _only((), *_MONGODB)),
    "istio/examples-bookinfo-mysqldb": _Standin(("database", "3306"), _only((), _MYSQL)),
    "istio/examples-helloworld-v1": _Standin(("helloworld", "v1")),
    "istio/examples-helloworld-v2": _Standin(("helloworld", "v2")),
    "istio/tcp-echo-server": _Standin(("tcpecho",), _tcp_echo),
    "istio/app": _Standin(("echo",), _echo),
    "istio/health": _Standin(("health",)),
    "mccutchen/go-httpbin": _Standin(("httpbin", "go")),
    "kennethreitz/httpbin": _HTTPBIN,
    "kong/httpbin": _HTTPBIN,
    "otel/opentelemetry-collector-contrib": _Standin(("collector",), _collector),
    "fortio/fortio": _Standin(("fortio",), _only((), ("server",))),
    "curlimages/curl": _Standin(("idle",), _idle),
    "library/alpine": _Standin(("idle",), _sleeping),
    "library/busybox": _Standin(("idle",), _sleeping),
    "istio/pilot": _Standin(("idle",), _anything),
    "istio/proxyv2": None,
    "auto": None,
}
# Istio publishes its images under several registries, each with a path of its own.
_ISTIO = ("istio", "release", "istio-release", "testing", "istio-testing")
_PROXY = "istio/proxyv2"
_STRESS = (
    "stress-ng"  # the last part of a repository: several publish it, and all start it with the arguments
)
_FIELD = "spec.template.spec.containers[0]"


def command(image: str, container: Mapping[str, Any]) -> Command | None:
    """The argument vector of the stand-in for `image`; None where the pod is an Envoy alone (a gateway).

    Args:
        image: any reference to the image; its registry, tag and digest do not matter.
        container: the container of the manifest. Its `command` and `args` may say only what the stand-in does:
            the program of curl's image may sleep, tcp-echo is given its ports and its prefix.

    Raises:
        Refused: 422; there is no stand-in for the image, or the container asks for another program in it.
    """
    standin = _standin(image)
    if standin is None:  # a gateway's arguments are those of pilot-agent, whose part the mesh itself plays
        return None
    asked = (*(container.get("command") or ()), *(container.get("args") or ()))
    try:
        arguments = standin.read(asked)
    except ValueError as error:
        field = "command" if container.get("command") else "args"
        why = f'the stand-in for image "{image}" cannot run {" ".join(asked)!r}; {error}'
        raise _invalid(field, why) from None
    module, *fixed = standin.command
    return (*_PYTHON, f"{_STANDINS}.{module}", *fixed, *arguments)


def attached(container: Mapping[str, Any]) -> Command:
    """The argument vector of the stand-in for an ephemeral container.

    Raises:
        Refused: 422; there is none for its image, or it is asked to do something else.
    """
    image, asked = container["image"], tuple(container.get("args") or ())
    repository = _repository(image)
    try:
        if container.get("command"):
            raise ValueError("leave command out, its image knows its program")
        if repository == _PROXY:
            return (*_PYTHON, f"{_STANDINS}.agent", *agent.flags(asked))
        if repository.rpartition("/")[2] == _STRESS:
            stress.flags(asked)
            return (*_PYTHON, f"{_STANDINS}.stress", *asked)
    except ValueError as error:
        field = "command" if container.get("command") else "args"
        why = f'the stand-in for image "{image}" cannot run {" ".join(asked)!r}; {error}'
        raise _invalid(field, why) from None
    why = f'"{image}" has no stand-in as an ephemeral container; there is one for {_PROXY} and {_STRESS}'
    raise _invalid("image", why)


def check_annotations(image: str, container: Mapping[str, Any], annotations: Mapping[str, str]) -> None:
    """Refuses settings that the stand-in for `image` would not start with.

    Raises:
        Refused: 422; an annotation below `standin.harness.local/` is unknown to it or has a wrong value.
    """
    standin = _standin(image)
    environ = variables(annotations)
    if standin is None or not environ:
        return
    ports = tuple(port["containerPort"] for port in container.get("ports") or ())
    try:
        if standin.command == ("service",):
            Behaviour.of(environ, ports)
        else:
            Settings(environ)
    except SettingError as error:
        field = "spec.template.metadata.annotations"
        raise Refused(422, "Invalid", f"{field}: {error}", field) from None


def _standin(image: str) -> _Standin | None:
    repository = _repository(image)
    if repository not in _IMAGES:
        raise _invalid("image", f'"{image}" has no stand-in in the local mesh; there is one for {_choice()}')
    return _IMAGES[repository]


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
    if not owner and f"library/{name}" in _IMAGES:
        owner = "library"
    return f"{owner}/{name}" if owner else name


def _choice() -> str:
    return ", ".join(sorted(_IMAGES))


def _invalid(field: str, why: str) -> Refused:
    return Refused(422, "Invalid", f"{_FIELD}.{field}: {why}", f"{_FIELD}.{field}")
