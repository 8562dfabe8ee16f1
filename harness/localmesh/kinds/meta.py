"""What the builtin kinds share: metadata, label selectors, and the small types of their fields."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from harness.localmesh.kinds.parse import Kind

Free = dict[str, Any]
"""A part that has no effect here and is therefore not looked into."""

IntOrString = int | str
Natural = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Positive = Annotated[int, Meta(ge=1, le=2**31 - 1)]


class OwnerReference(Kind):
    """metadata.ownerReferences[*]."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool = False
    block_owner_deletion: bool = False


class Metadata(Kind):
    """metadata, of every kind."""

    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    finalizers: tuple[str, ...] = ()
    owner_references: tuple[OwnerReference, ...] = ()
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str = ""
    deletion_timestamp: str = ""
    deletion_grace_period_seconds: int = 0
    managed_fields: tuple[Free, ...] = ()
    # accepted, without effect here
    self_link: str = ""


class Selector(Kind):
    """A label selector."""

    match_labels: dict[str, str] = field(default_factory=dict)
    match_expressions: tuple[SelectorExpression, ...] = ()


class SelectorExpression(Kind):
    """matchExpressions[*]."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[str, ...] = ()
