"""Query parameters and DeleteOptions, parsed. A parameter that is not known here is refused, never ignored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from harness.localmesh.api import selectors
from harness.localmesh.api.resources import Resource
from harness.localmesh.api.status import bad_request
from harness.localmesh.deletion import Propagation

# Without effect on the meaning of a request.
_COMMON = frozenset(("pretty", "timeout"))
_READ = _COMMON | {"resourceVersion"}
_LIST = _READ | {
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "includeObject",
    "labelSelector",
    "limit",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
    "watch",
}
_WRITE = _COMMON | {"dryRun", "fieldManager", "fieldValidation"}
_DELETE = _COMMON | {"dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy"}
_LOG = _COMMON | {
    "container",
    "follow",
    "limitBytes",
    "previous",
    "sinceSeconds",
    "sinceTime",
    "tailLines",
    "timestamps",
}
_ALLOWED = {
    "get": _READ | {"includeObject"},
    "list": _LIST,
    "create": _WRITE,
    "replace": _WRITE,
    "patch": _WRITE,
    "apply": _WRITE | {"force"},
    "delete": _DELETE,
    "deletecollection": _DELETE | {"fieldSelector", "labelSelector"},
    "log": _LOG,
}
_DELETE_BODY = frozenset(
    (
        "apiVersion",
        "kind",
        "dryRun",
        "gracePeriodSeconds",
        "orphanDependents",
        "preconditions",
        "propagationPolicy",
    )
)


@dataclass(frozen=True)
class Watching:
    """How to watch: after revision `since` (None: begin with what there is), for `timeout` seconds."""

    since: int | None
    timeout: float
    bookmarks: bool
    initial: bool


@dataclass(frozen=True)
class Deleting:
    """How to delete; `grace` in seconds, None for the object's own."""

    grace: float | None
    propagation: Propagation
    uid: str
    revision: str
    dry_run: bool


def check(query: Mapping[str, str], verb: str) -> None:
    """Refuse what `verb` does not take.

    Raises:
        Refused: 400, naming the parameter.
    """
    for name in query:
        if name not in _ALLOWED[verb]:
            raise bad_request(f"query parameter {name!r} is not supported by the local mesh for {verb}")


def dry_run(query: Mapping[str, str]) -> bool:
    """Whether nothing is to be stored.

    Raises:
        Refused: 400 for a value other than `All`.
    """
    return _dry_run([query["dryRun"]] if query.get("dryRun") else [])


def selection(query: Mapping[str, str], resource: Resource) -> selectors.Predicate | None:
    """The predicate of `labelSelector` and `fieldSelector`, None without either.

    Raises:
        Refused: 400 when one cannot be parsed.
    """
    chosen: list[selectors.Predicate] = []
    if text := query.get("labelSelector"):
        chosen.append(selectors.labels(text))
    if text := query.get("fieldSelector"):
        chosen.append(selectors.fields(text, resource))
    return selectors.every(*chosen) if chosen else None


def watching(query: Mapping[str, str]) -> Watching | None:
    """How to watch, None when the request is a plain list.

    Raises:
        Refused: 400 for a malformed value.
    """
    if not flag(query, "watch"):
        return None
    initial = flag(query, "sendInitialEvents")
    if initial and query.get("resourceVersionMatch") != "NotOlderThan":
        raise bad_request("sendInitialEvents: resourceVersionMatch=NotOlderThan is required with it")
    since = revision(query)
    return Watching(
        since=None if initial or not since else since,
        timeout=number(query, "timeoutSeconds") or 3600,
        bookmarks=flag(query, "allowWatchBookmarks"),
        initial=initial,
    )


def exactly(query: Mapping[str, str]) -> int:
    """The revision whose state a list shall show, 0 for the present one.

    Raises:
        Refused: 400 for a match without a revision, or with an unknown name.
    """
    match, asked = query.get("resourceVersionMatch", ""), revision(query)
    if match not in ("", "Exact", "NotOlderThan"):
        raise bad_request(f"resourceVersionMatch: Unsupported value: {match!r}: Exact or NotOlderThan")
    if match and not query.get("resourceVersion"):
        raise bad_request("resourceVersionMatch: Forbidden: it goes with a resourceVersion only")
    if match == "Exact" and not asked:
        raise bad_request('resourceVersionMatch: Forbidden: "Exact" goes with a resourceVersion other than 0')
    return asked if match == "Exact" or (asked and query.get("limit") and not match) else 0


def revision(query: Mapping[str, str]) -> int:
    """`resourceVersion`, 0 when it is absent.

    Raises:
        Refused: 400 when it is no number.
    """
    return number(query, "resourceVersion") or 0


def number(query: Mapping[str, str], name: str) -> int | None:
    """The parameter as a number that is not negative, None when it is absent.

    Raises:
        Refused: 400 when it is something else.
    """
    text = query.get(name, "")
    if text and not (text.isascii() and text.isdigit() and len(text) < 19):
        raise bad_request(f"{name}: Invalid value: {text!r}: must be a number, 0 or greater")
    return int(text) if text else None


def flag(query: Mapping[str, str], name: str) -> bool:
    """The parameter as a boolean, False when it is absent.

    Raises:
        Refused: 400 when it is no boolean.
    """
    text = query.get(name, "false").lower()
    if text not in ("true", "false", "1", "0", "t", "f", ""):
        raise bad_request(f"{name}: Invalid value: {text!r}: must be true or false")
    # As in Kubernetes, a parameter that is there without a value (`?watch`) is set.
    return text in ("true", "1", "t", "")


def deleting(query: Mapping[str, str], body: Any) -> Deleting:
    """The options of a deletion, from its query and its `DeleteOptions`; the body wins.

    Raises:
        Refused: 400 for what is unknown or malformed.
    """
    options = {key: value for key, value in (body or {}).items() if value is not None}
    for key in options:
        if key not in _DELETE_BODY:
            raise bad_request(f"DeleteOptions: field {key!r} is not supported by the local mesh")
    grace = options.get("gracePeriodSeconds", number(query, "gracePeriodSeconds"))
    if grace is not None and (not isinstance(grace, int) or isinstance(grace, bool) or grace < 0):
        raise bad_request(f"gracePeriodSeconds: Invalid value: {grace!r}: must be a number, 0 or greater")
    preconditions = options.get("preconditions") or {}
    if not isinstance(preconditions, dict):
        raise bad_request(f"preconditions: Invalid value: {preconditions!r}: must be an object")
    return Deleting(
        grace=grace,
        propagation=_propagation(query, options),
        uid=preconditions.get("uid") or "",
        revision=preconditions.get("resourceVersion") or "",
        dry_run=_dry_run(options.get("dryRun") or []) or dry_run(query),
    )


def _propagation(query: Mapping[str, str], options: Mapping[str, Any]) -> Propagation:
    policy = options.get("propagationPolicy") or query.get("propagationPolicy")
    orphan = options.get("orphanDependents", flag(query, "orphanDependents"))
    policy = policy or ("Orphan" if orphan else "Background")
    if policy not in get_args(Propagation):
        raise bad_request(f"propagationPolicy: Unsupported value: {policy!r}")
    return cast(Literal["Background", "Foreground", "Orphan"], policy)


def _dry_run(values: Any) -> bool:
    if not isinstance(values, list) or any(value != "All" for value in values):
        raise bad_request(f'dryRun: Unsupported value: {values}: supported values: "All"')
    return bool(values)
