"""What Envoys have asked for and what they have: what to send each, and when. Pure but for time.

Envoy's aggregated discovery service (ADS), state of the world, as istiod speaks it: one stream for each Envoy; every
kind of resource has a subscription in it, and every response is confirmed or refused by a request that names it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from harness.localmesh.xds.encoding import Encoded, Encoder
from harness.localmesh.xds.model import Resource, Snapshot

CLUSTERS, ENDPOINTS, LISTENERS, ROUTES, SECRETS = "clusters", "endpoints", "listeners", "routes", "secrets"
KINDS = (CLUSTERS, ENDPOINTS, LISTENERS, ROUTES, SECRETS)
"""In the order in which they are sent: nothing names what is not there yet."""

_AFTER_CLUSTERS = (LISTENERS, ROUTES)
_WHOLE = (CLUSTERS, LISTENERS)
_NAMES = {CLUSTERS: (ENDPOINTS, SECRETS), LISTENERS: (ROUTES, SECRETS)}
_OFFER_AGAIN = 1.0
_PATIENCE = 1.0


@dataclass(frozen=True)
class Asked:
    """The part of a DiscoveryRequest that matters: of what kind, which names, the response it answers, and how."""

    kind: str
    names: tuple[str, ...] = ()
    nonce: str = ""
    refused: bool = False


@dataclass(frozen=True)
class Offer:
    """A response to be sent: resources of `kind`, by name."""

    kind: str
    version: str
    nonce: str
    resources: Mapping[str, Encoded]


@dataclass
class _Subscription:
    """One kind in one stream: the names asked for, and the versions sent last and confirmed, by name."""

    names: tuple[str, ...] = ()
    sent: dict[str, str] = field(default_factory=dict)
    confirmed: dict[str, str] | None = None
    nonce: str = ""
    refused_at: float | None = None

    def offered(self, versions: dict[str, str], nonce: str) -> None:
        """Notes that these were sent."""
        self.sent, self.nonce, self.refused_at = versions, nonce, None

    def forget(self, names: Iterable[str]) -> None:
        """Makes these be sent again."""
        for name in names:
            self.sent.pop(name, None)


class Stream:
    """What one Envoy has asked for in one stream, and has been sent. It begins with nothing."""

    def __init__(self) -> None:
        self._subscriptions: dict[str, _Subscription] = {}
        self._nonces = 0

    def arrived(self, asked: Asked, now: float) -> None:
        """Notes a request: which names are wanted now, and what it says to something that was sent.

        One that does not answer the last response confirms nothing; a refusal is one, whatever it answers.
        """
        subscription = self._subscriptions.setdefault(asked.kind, _Subscription())
        if asked.kind not in _WHOLE:
            subscription.forget(set(subscription.names).difference(asked.names))
        subscription.names = asked.names
        if asked.refused:
            subscription.refused_at = now
        elif asked.nonce == subscription.nonce:
            subscription.confirmed = dict(subscription.sent)

    def offers(self, configuration: Configuration, now: float) -> Iterator[Offer]:
        """What to send now, whether or not what was sent before is confirmed, as istiod does.

        Envoy confirms its clusters only when all of them are warm; one whose endpoints are gone already will never be,
        and only the next clusters can take it away (`ClusterManagerImpl::updateClusterCounts`).

        Routes and listeners wait until the Envoy has confirmed its clusters (for at most a second, should it have
        refused them), so that no route names a cluster it does not know. What it has refused it is offered again once
        a second only. Of clusters and listeners all are sent, as the protocol asks; of the others what is new, and
        what a changed cluster or listener names, because Envoy makes it anew and waits for those.
        """
        for kind, subscription in self._ordered():
            if self._held(kind, configuration, now):
                continue
            versions = _versions(kind, subscription, configuration)
            again = subscription.refused_at is not None and now >= subscription.refused_at + _OFFER_AGAIN
            changed = _changed(kind, versions, subscription)
            if not (changed or again or (kind in _WHOLE and not subscription.nonce)):
                continue
            whole = kind in _WHOLE or subscription.refused_at is not None
            self._remake(kind, changed)
            self._nonces += 1
            subscription.offered(versions, f"{self._nonces}")
            resources = configuration.of(kind)
            sent = {name: resources[name] for name in (versions if whole else changed)}
            yield Offer(kind, _digest(versions), subscription.nonce, sent)

    def patience(self, configuration: Configuration, now: float) -> float | None:
        """Seconds after which to ask for `offers` again even without news; None: not before there are some."""
        due = [
            subscription.refused_at + _OFFER_AGAIN
            for subscription in self._subscriptions.values()
            if subscription.refused_at is not None
        ]
        if any(self._held(kind, configuration, now) for kind in self._subscriptions):
            due.append(configuration.changed_at + _PATIENCE)
        return max(0.0, min(due) - now) if due else None

    def confirmed(self, configuration: Configuration) -> bool:
        """Whether the Envoy has confirmed all it is to have."""
        return CLUSTERS in self._subscriptions and not any(
            _unconfirmed(kind, subscription, configuration)
            for kind, subscription in self._subscriptions.items()
        )

    def _ordered(self) -> Iterator[tuple[str, _Subscription]]:
        return ((kind, self._subscriptions[kind]) for kind in KINDS if kind in self._subscriptions)

    def _held(self, kind: str, configuration: Configuration, now: float) -> bool:
        if kind not in _AFTER_CLUSTERS or now > configuration.changed_at + _PATIENCE:
            return False
        clusters = self._subscriptions.get(CLUSTERS)
        return clusters is None or _unconfirmed(CLUSTERS, clusters, configuration)

    def _remake(self, kind: str, changed: Collection[str]) -> None:
        """What resources of `kind` name is sent again when those change."""
        for other in _NAMES.get(kind, ()):
            if found := self._subscriptions.get(other):
                found.forget(changed if other == ENDPOINTS else found.names)


class Configuration:
    """What one Envoy is to have: its snapshot, as it is sent."""

    def __init__(self) -> None:
        self.changed_at = 0.0
        """When it changed last."""
        self._snapshot: Mapping[str, Mapping[str, Resource]] = {}
        self._encoded: dict[str, dict[str, Encoded]] = {}

    def of(self, kind: str) -> Mapping[str, Encoded]:
        """Its resources of `kind` by name."""
        return self._encoded.get(kind, {})

    def set(self, snapshot: Snapshot, now: float, encoder: Encoder) -> bool:
        """Makes `snapshot` what the Envoy is to have; says whether that is anything new.

        Raises ValueError, and leaves everything as it was, if it has something that cannot be encoded.
        """
        sections = _sections(snapshot)
        changed = {}
        for kind, resources in sections.items():
            before, known = self._snapshot.get(kind), self._encoded.get(kind, {})
            if before != resources:
                changed[kind] = {
                    name: known[name] if before and before.get(name) is item else encoder.encoded(item)
                    for name, item in resources.items()
                }
        if changed:
            self._encoded |= changed
            self._snapshot, self.changed_at = sections, now
        return bool(changed)


def _sections(snapshot: Snapshot) -> dict[str, Mapping[str, Resource]]:
    return {
        CLUSTERS: snapshot.clusters,
        ENDPOINTS: snapshot.endpoints,
        LISTENERS: snapshot.listeners,
        ROUTES: snapshot.routes,
        SECRETS: snapshot.secrets,
    }


def _versions(kind: str, subscription: _Subscription, configuration: Configuration) -> dict[str, str]:
    """The versions of what is there of what the subscription asks for, by name."""
    resources = configuration.of(kind)
    names = resources if kind in _WHOLE else (name for name in subscription.names if name in resources)
    return {name: resources[name].version for name in names}


def _changed(kind: str, versions: Mapping[str, str], subscription: _Subscription) -> set[str]:
    """The names of what is new; that endpoints and the like are gone Envoy learns from what named them."""
    sent = subscription.sent
    changed = {name for name, version in versions.items() if sent.get(name) != version}
    return changed | (sent.keys() - versions.keys()) if kind in _WHOLE else changed


def _unconfirmed(kind: str, subscription: _Subscription, configuration: Configuration) -> bool:
    if subscription.refused_at is not None:
        return True
    versions, confirmed = _versions(kind, subscription, configuration), subscription.confirmed
    if kind in _WHOLE or confirmed is None:
        return confirmed != versions and (kind in _WHOLE or bool(versions))
    return any(confirmed.get(name) != version for name, version in versions.items())


def _digest(versions: Mapping[str, str]) -> str:
    """The version of resources with these: the same for the same content, so that it can be compared."""
    text = "\n".join(f"{name} {version}" for name, version in versions.items())
    return hashlib.sha256(text.encode()).hexdigest()[:12]
