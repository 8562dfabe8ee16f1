"""Which program stands in for a container image: the one table."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.localmesh.errors import Refused
from harness.localmesh.standins import echo
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

_MYSQL = ("--default-authentication-plugin", "mysql_native_password")

Read = Callable[[Command], Command | None]
"""Reads a container's command and args: the arguments they are for the stand-in, or None where it cannot do that."""


def _nothing(asked: Command) -> Command | None:
    return None if asked else ()


def _anything(asked: Command) -> Command | None:
    return ()


def _sleeping(asked: Command) -> Command | None:
    return () if _SLEEP.fullmatch(" ".join(asked)) else None


def _idle(asked: Command) -> Command | None:
    return () if not asked else _sleeping(asked)


def _tcp_echo(asked: Command) -> Command | None:
    good = len(asked) == 2 and re.fullmatch(r"\d{1,5}(,\d{1,5})*", asked[0], re.ASCII)
    return asked if good else None


def _echo(asked: Command) -> Command | None:
    try:
        echo.flags(asked)
    except ValueError:
        return None
    return asked


def _mongodb(asked: Command) -> Command | None:
    return () if set(asked) <= {"--ipv6", "--bind_ip_all"} else None


def _mysql(asked: Command) -> Command | None:
    return () if asked in ((), _MYSQL) else None


def _gunicorn(asked: Command) -> Command | None:
    if not asked:
        return ("80",)
    started = _GUNICORN.fullmatch(" ".join(asked))
    return (started[1],) if started else None


def _fortio(asked: Command) -> Command | None:
    return () if asked in ((), ("server",)) else None


@dataclass(frozen=True)
class _Standin:
    """A module of `standins` with its arguments, how it reads the container's, and what these may be, for people."""

    command: Command
    read: Read = _nothing
    takes: str = "leave command and args out"


_IDLE = _Standin(("idle",), _idle, "it can only sleep")
_SLEEPER = _Standin(("idle",), _sleeping, 'it can only sleep: command: ["sleep", "infinity"]')
_HTTPBIN = _Standin(
    ("httpbin", "python"), _gunicorn, "it can only be started by gunicorn as in Istio's tasks"
)
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
    "istio/examples-bookinfo-mongodb": _Standin(
        ("database", "27017"), _mongodb, "it takes --bind_ip_all and --ipv6"
    ),
    "istio/examples-bookinfo-mysqldb": _Standin(("database", "3306"), _mysql, f"it takes {' '.join(_MYSQL)}"),
    "istio/examples-helloworld-v1": _Standin(("helloworld", "v1")),
    "istio/examples-helloworld-v2": _Standin(("helloworld", "v2")),
    "istio/tcp-echo-server": _Standin(("tcpecho",), _tcp_echo, 'it needs args: ["PORT,PORT", "PREFIX"]'),
    "istio/app": _Standin(("echo",), _echo, "it takes --port, --grpc, --tcp and --version"),
    "istio/health": _Standin(("health",)),
    "mccutchen/go-httpbin": _Standin(("httpbin", "go")),
    "kennethreitz/httpbin": _HTTPBIN,
    "kong/httpbin": _HTTPBIN,
    "fortio/fortio": _Standin(("fortio",), _fortio, 'it can only serve: args: ["server"]'),
    "curlimages/curl": _IDLE,
    "library/alpine": _SLEEPER,
    "library/busybox": _SLEEPER,
    "istio/pilot": _Standin(("idle",), _anything, "it can only idle"),
    "istio/proxyv2": None,
    "auto": None,
}
# Istio publishes its images under several registries, each with a path of its own.
_ISTIO = ("istio", "release", "istio-release", "testing", "istio-testing")
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
    arguments = standin.read(asked)
    if arguments is None:
        field = "command" if container.get("command") else "args"
        raise _invalid(
            field, f'the stand-in for image "{image}" cannot run {" ".join(asked)!r}; {standin.takes}'
        )
    module, *fixed = standin.command
    return (*_PYTHON, f"{_STANDINS}.{module}", *fixed, *arguments)


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
