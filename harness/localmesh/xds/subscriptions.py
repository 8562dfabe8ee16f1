"""What Envoys have asked for and what they have: when to answer a discovery request, and with what. Pure but for time.

Envoy's REST xDS is polled: it asks again as soon as it has an answer. A request that names the version which is
current is therefore kept until there is another one, and the answer then arrives as fast as a push would.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from harness.localmesh.xds.model import Resource, Snapshot

CLUSTERS = "clusters"
SECRETS = "secrets"
_AFTER_CLUSTERS = ("listeners", "routes")
_WHOLE = (CLUSTERS, "listeners")
_OFFERS = 5
_OFFER_AGAIN = 1.0
_PATIENCE = 1.0


class DiscoveryRequest(msgspec.Struct, frozen=True):
    """The part of a DiscoveryRequest that matters: who asks, for what, and what it has."""

    class Node(msgspec.Struct, frozen=True):
        """The Envoy that asks."""

        id: str = ""

    type_url: str = ""
    version_info: str = ""
    resource_names: tuple[str, ...] = ()
    node: Node = msgspec.field(default_factory=Node)


@dataclass(frozen=True)
class Answer:
    """The body of a DiscoveryResponse."""

    version: str
    body: bytes


@dataclass
class _Subscription:
    """One subscription of one Envoy: the version it has confirmed; the one it was sent last, how often, and when."""

    confirmed: str = ""
    sent: str = ""
    times: int = 0
    sent_at: float = 0.0

    def may_send(self, version: str, now: float) -> bool:
        """Whether to offer `version`, once more or for the first time."""
        return version != self.sent or self.times < _OFFERS or now >= self.sent_at + _OFFER_AGAIN

    def send(self, version: str, now: float) -> None:
        """Notes that `version` has been offered."""
        self.times = self.times + 1 if version == self.sent else 1
        self.sent, self.sent_at = version, now


@dataclass
class _Node:
    snapshot: Mapping[str, Mapping[str, Resource]] = field(default_factory=dict)
    content: dict[str, Mapping[str, bytes]] = field(default_factory=dict)
    versions: dict[tuple[str, tuple[str, ...]], str] = field(default_factory=dict)
    subscriptions: dict[tuple[str, tuple[str, ...]], _Subscription] = field(default_factory=dict)
    changed_at: float = 0.0


class Subscriptions:
    """Every Envoy's configuration and how far each has it."""

    def __init__(self) -> None:
        self._nodes: dict[str, _Node] = {}

    def publish(self, snapshots: Mapping[str, Snapshot], now: float) -> set[str]:
        """Makes these snapshots what those Envoys are to have; gives the node ids for which that is anything new.

        A resource that is the very object of the snapshot before, or of another Envoy, is not encoded again.
        """
        shared: dict[int, bytes] = {}
        return {node for node, snapshot in snapshots.items() if self._set(node, snapshot, now, shared)}

    def _set(self, node: str, snapshot: Snapshot, now: float, shared: dict[int, bytes]) -> bool:
        found = self._nodes.setdefault(node, _Node())
        sections = _sections(snapshot)
        changed = [kind for kind, resources in sections.items() if found.snapshot.get(kind) != resources]
        if not changed:
            return False
        for kind in changed:
            before, content = found.snapshot.get(kind, {}), found.content.get(kind, {})
            found.content[kind] = {
                name: content[name] if before.get(name) is item else _encoded(item, shared)
                for name, item in sections[kind].items()
            }
        found.snapshot = sections
        found.versions.clear()
        found.changed_at = now
        return True

    def remove(self, node: str) -> None:
        """Forgets an Envoy."""
        self._nodes.pop(node, None)

    def arrived(self, kind: str, request: DiscoveryRequest, now: float) -> bool:
        """Notes what a new request confirms; says whether it seems to refuse what it was sent before."""
        node = self._nodes.get(request.node.id)
        if node is None:
            return False
        key = (kind, () if kind in _WHOLE else request.resource_names)
        subscription = node.subscriptions.setdefault(key, _Subscription())
        subscription.confirmed = request.version_info
        if not request.version_info:
            # An Envoy that starts again, or makes a cluster anew, begins without a version; not over and over, nor
            # right after it was sent one. A secret that it cannot use it refuses once only, and calls the same one a
            # success when it is offered again.
            often = kind == SECRETS or subscription.times >= _OFFERS
            return often and now < subscription.sent_at + _OFFER_AGAIN
        return subscription.sent not in ("", request.version_info)

    def answer(self, kind: str, request: DiscoveryRequest, now: float) -> Answer | None:
        """The answer to `request` for resources of `kind` ("clusters", "routes", ...); None: not yet.

        Routes and listeners wait until the Envoy has confirmed its clusters (for at most a second, should it have
        refused them), so that no route names a cluster it does not know. A version that it keeps refusing is offered
        once a second only; not at once, because an Envoy that makes a cluster anew asks anew for its endpoints.
        """
        node = self._nodes.get(request.node.id)
        if node is None:
            return None
        key = (kind, () if kind in _WHOLE else request.resource_names)
        subscription = node.subscriptions.setdefault(key, _Subscription())
        version = _version(node, *key)
        if not version and kind not in _WHOLE:
            return None
        if version == request.version_info or self._waits(node, kind, now):
            return None
        if not subscription.may_send(version, now):
            return None
        subscription.send(version, now)
        return Answer(version, _body(version, request.type_url, _chosen(node, *key)))

    def patience(self, kind: str, request: DiscoveryRequest, now: float) -> float | None:
        """Seconds after which to ask `answer` again even without news; None: not before there are some."""
        node = self._nodes.get(request.node.id)
        if node is None:
            return None
        key = (kind, () if kind in _WHOLE else request.resource_names)
        version = _version(node, *key)
        if version == request.version_info or (not version and kind not in _WHOLE):
            return None
        if self._waits(node, kind, now):
            return node.changed_at + _PATIENCE - now
        subscription = node.subscriptions.get(key)
        return max(0.0, subscription.sent_at + _OFFER_AGAIN - now) if subscription else 0.0

    def behind(self) -> tuple[str, ...]:
        """The Envoys that have not confirmed all they are to have, those that have not asked yet among them."""
        return tuple(
            name
            for name, node in self._nodes.items()
            if not node.subscriptions
            or any(
                subscription.confirmed != version
                for key, subscription in node.subscriptions.items()
                if (version := _version(node, *key)) or key[0] in _WHOLE
            )
        )

    def _waits(self, node: _Node, kind: str, now: float) -> bool:
        if kind not in _AFTER_CLUSTERS or now > node.changed_at + _PATIENCE:
            return False
        clusters = node.subscriptions.get((CLUSTERS, ()))
        return clusters is None or clusters.confirmed != _version(node, CLUSTERS, ())


def _sections(snapshot: Snapshot) -> dict[str, Mapping[str, Resource]]:
    return {
        CLUSTERS: snapshot.clusters,
        "endpoints": snapshot.endpoints,
        "listeners": snapshot.listeners,
        "routes": snapshot.routes,
        SECRETS: snapshot.secrets,
    }


def _encoded(resource: Resource, shared: dict[int, bytes]) -> bytes:
    """`resource` as JSON; `shared` knows those encoded for others, by identity, while their snapshots live."""
    known = shared.get(id(resource))
    if known is None:
        known = shared[id(resource)] = msgspec.json.encode(resource)
    return known


def _chosen(node: _Node, kind: str, names: tuple[str, ...]) -> list[bytes]:
    resources = node.content.get(kind, {})
    if kind in _WHOLE:
        return list(resources.values())
    return [resources[name] for name in names if name in resources]


def _version(node: _Node, kind: str, names: tuple[str, ...]) -> str:
    """The version of what a subscription is to have, a hash of its content; "" when that is nothing named."""
    key = (kind, names)
    if key not in node.versions:
        resources = _chosen(node, kind, names)
        content = b"\n".join(resources)
        node.versions[key] = hashlib.sha256(content).hexdigest()[:12] if resources or kind in _WHOLE else ""
    return node.versions[key]


def _body(version: str, type_url: str, resources: list[bytes]) -> bytes:
    return msgspec.json.encode(
        {
            "version_info": version,
            "type_url": type_url,
            "resources": [msgspec.Raw(item) for item in resources],
        }
    )
