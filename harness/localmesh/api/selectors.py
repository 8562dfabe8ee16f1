"""Label and field selectors: text in, predicates over manifests out. Pure.

Grammar: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.localmesh.api.resources import Resource
from harness.localmesh.api.status import bad_request
from harness.localmesh.kinds.parse import Manifest

Predicate = Callable[[Manifest], bool]
"""Whether a manifest is selected."""

_KEY = r"[A-Za-z0-9](?:[-A-Za-z0-9_./]*[A-Za-z0-9])?"
_VALUE = r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?)?"
_REQUIREMENT = re.compile(
    rf"""\s*(?:
        (?P<absent>!)\s*(?P<absent_key>{_KEY})
      | (?P<set_key>{_KEY})\s+(?P<set>in|notin)\s*\((?P<members>\s*{_VALUE}(?:\s*,\s*{_VALUE})*\s*)\)
      | (?P<key>{_KEY})\s*(?P<operator>==|=|!=)\s*(?P<value>{_VALUE})
      | (?P<present_key>{_KEY})
    )\s*(?:,|$)""",
    re.VERBOSE,
)
_FIELD = re.compile(r"\s*(?P<path>[A-Za-z0-9.]+)\s*(?P<operator>==|=|!=)\s*(?P<value>[^,]*?)\s*(?:,|$)")
_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}


@dataclass(frozen=True)
class Requirement:
    """One condition on a label; `operator` is one of `in`, `notin`, `exists`, `!`.

    As in Kubernetes, `notin` holds for objects that lack the label.
    """

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether `labels` meet the condition."""
        match self.operator:
            case "in":
                return labels.get(self.key) in self.values
            case "notin":
                return labels.get(self.key) not in self.values
            case "exists":
                return self.key in labels
            case _:
                return self.key not in labels


@dataclass(frozen=True)
class Labels:
    """A label selector: every requirement holds. Without requirements it selects everything."""

    requirements: tuple[Requirement, ...]

    def __call__(self, manifest: Manifest) -> bool:
        """Whether the labels of `manifest` meet every requirement."""
        return self.match(manifest["metadata"].get("labels") or {})

    def match(self, labels: Mapping[str, str]) -> bool:
        """Whether `labels` meet every requirement."""
        return all(requirement.holds(labels) for requirement in self.requirements)


def labels(text: str) -> Labels:
    """The selector written as `text` (`app=web,tier in (a, b),!legacy`).

    Raises:
        Refused: 400 when `text` cannot be parsed.
    """
    requirements = []
    position = 0
    while position < len(text):
        match = _REQUIREMENT.match(text, position)
        if not match:
            raise bad_request(f"unable to parse requirement: {text[position:]!r} in labelSelector {text!r}")
        requirements.append(_requirement(match))
        position = match.end()
    return Labels(tuple(requirements))


def label_selector(selector: Mapping[str, Any]) -> Labels:
    """The selector written as a `LabelSelector` object (`matchLabels`, `matchExpressions`)."""
    equal = [
        Requirement(key, "in", frozenset([value]))
        for key, value in (selector.get("matchLabels") or {}).items()
    ]
    expressions = [
        Requirement(item["key"], _OPERATORS[item["operator"]], frozenset(item.get("values") or ()))
        for item in selector.get("matchExpressions") or ()
    ]
    return Labels((*equal, *expressions))


def fields(text: str, resource: Resource) -> Predicate:
    """The field selector written as `text` (`status.phase!=Running,spec.nodeName=x`) for objects of `resource`.

    Raises:
        Refused: 400 when `text` cannot be parsed or `resource` cannot be selected by that field.
    """
    conditions = []
    position = 0
    while position < len(text):
        match = _FIELD.match(text, position)
        if not match:
            raise bad_request(f"invalid field selector {text!r}; no operator found in {text[position:]!r}")
        if match["path"] not in ("metadata.name", "metadata.namespace", *resource.fields):
            raise bad_request(f"field label not supported: {match['path']}")
        conditions.append(_condition(match["path"], match["value"], match["operator"] != "!="))
        position = match.end()
    return every(*conditions)


def every(*predicates: Predicate) -> Predicate:
    """The predicate that holds when all of `predicates` do."""
    return lambda manifest: all(predicate(manifest) for predicate in predicates)


def _requirement(match: re.Match[str]) -> Requirement:
    if match["absent"]:
        return Requirement(match["absent_key"], "!")
    if match["set"]:
        members = frozenset(member.strip() for member in match["members"].split(","))
        return Requirement(match["set_key"], match["set"], members)
    if match["operator"]:
        operator = "notin" if match["operator"] == "!=" else "in"
        return Requirement(match["key"], operator, frozenset([match["value"]]))
    return Requirement(match["present_key"], "exists")


def _condition(path: str, value: str, equal: bool) -> Predicate:
    steps = path.split(".")
    return lambda manifest: (_at(manifest, steps) == value) is equal


def _at(manifest: Any, steps: list[str]) -> str:
    for step in steps:
        manifest = manifest.get(step) if isinstance(manifest, dict) else None
    return "" if manifest is None else str(manifest)
