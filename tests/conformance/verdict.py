"""One case through both translations."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.conformance import ours
from tests.conformance.case import Asked, Case, Manifest
from tests.conformance.compare import Difference, differences
from tests.conformance.istiod import Answer as Theirs
from tests.conformance.istiod import Istiod, IstiodError
from tests.conformance.known import reason
from tests.conformance.shape import MESH, comparable, routes_of_ports, shape_of_ours, shape_of_theirs, spare


@dataclass(frozen=True)
class Outcome:
    """What came of a case.

    `resources` were compared; `unexplained` are the differences that are not known, `known` the number of those
    that are; `refused` is why our admission refused objects that istiod's does not, by "Kind namespace/name". What
    either refuses is left out on both sides.
    """

    resources: int
    unexplained: tuple[Difference, ...]
    known: int
    refused: Mapping[str, str]


def judge(istiod: Istiod, case: Case) -> Outcome:
    """Both answers to `case`, compared."""
    _, refused = ours.admitted(case.manifests)
    left_out = [item for item in case.istio() if _name(item) in refused]
    asked_for = tuple(asked for asked in case.proxies if f"Pod {asked.key}" not in refused)
    case = replace(case, manifests=_without(case, refused), proxies=asked_for)
    try:
        theirs = istiod.translate(replace(case, mesh={**MESH, **case.mesh}), left_out)
    except IstiodError as error:
        return Outcome(0, (Difference("case", "accepted", str(error)),), 0, refused)
    found = [
        Difference(f"admission/{name}", "accepted", f"refused: {why}")
        for name, why in theirs.refused.items()
        if name not in refused
    ]
    refused = {name: why for name, why in refused.items() if name not in theirs.refused}
    resources = 0
    # What istiod refuses it does not translate.
    try:
        mine = ours.translate(replace(case, manifests=_without(case, theirs.refused)))
    except Exception as error:  # whatever it is: istiod has an answer, so ours has to have one
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}:{place.lineno} {place.name}"
        return Outcome(0, (Difference(f"translation/{where}", repr(error), "an answer"),), 0, refused)
    for asked in case.proxies:
        count, unlike = _of_proxy(istiod, case, asked, mine, theirs)
        resources += count
        found += unlike
    unexplained = tuple(item for item in found if reason(item) is None)
    return Outcome(resources, unexplained, len(found) - len(unexplained), refused)


def _of_proxy(
    istiod: Istiod, case: Case, asked: Asked, mine: ours.Answer, theirs: Theirs
) -> tuple[int, list[Difference]]:
    """How many resources of the proxy were compared, and how they differ."""
    try:
        written = {kind: istiod.written([*items.values()]) for kind, items in mine.proxies[asked.key].items()}
    except IstiodError as error:
        return 0, [Difference(f"{asked.key}: written", str(error), "")]
    pod = case.pod(asked)
    declared = [
        port["containerPort"]
        for container in pod["spec"]["containers"]
        for port in container.get("ports", ())
    ]
    tcp = mine.tcp[asked.key]
    places: dict[str, list[str]] = {}
    for item in tcp:
        for name in item.names:
            places.setdefault(name, []).append(item.place)
    given = {item.given: item.place for item in tcp}
    shared = {place for hosts in places.values() if len(hosts) > 1 for place in hosts}
    shape = shape_of_ours(written, pod["status"]["podIP"], given, shared)
    its = shape_of_theirs(theirs.proxies[asked.key], places, gateway=asked.gateway)
    one, other = comparable(shape, its, spare(declared, [item.place for item in tcp if item.headless]))
    if not asked.gateway:
        proxy, ports = routes_of_ports(shape, pod["status"]["podIP"])
        one, other = {**one, **proxy}, {**other, **ports}
    return len(one.keys() | other.keys()), list(_prefixed(asked, one, other))


def _prefixed(asked: Asked, one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[Difference]:
    for name in sorted(one.keys() | other.keys()):
        if name not in one:
            yield Difference(name, f"(missing, for {asked.key})", "(there)")
        elif name not in other:
            yield Difference(name, f"(there, for {asked.key})", "(missing)")
        else:
            yield from differences(one[name], other[name], name)


def _without(case: Case, refused: Mapping[str, str]) -> tuple[Manifest, ...]:
    return tuple(item for item in case.manifests if _name(item) not in refused)


def _name(manifest: Manifest) -> str:
    metadata = manifest["metadata"]
    return f"{manifest['kind']} {metadata.get('namespace', '')}/{metadata['name']}"
