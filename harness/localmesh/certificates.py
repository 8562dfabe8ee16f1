"""Workload certificates: renewed in time, under a root that can be exchanged while traffic flows.

The root is in the Secret istio-system/istio-ca-secret, as istiod's self-signed one, and what the mesh trusts in the
ConfigMap istio-ca-root-cert of every namespace. When the Secret is replaced (or deleted, which makes a new root):

1. every Envoy is told to trust both roots, certificates still come from the old one;
2. when all have confirmed that, each gets a certificate of the new one, as istio-agent does when the trusted roots
   change (istio/istio `security/pkg/nodeagent/cache/secretcache.go`, `UpdateConfigTrustBundle`);
3. when all have confirmed that too, or the last certificate of the old root has expired, it is not trusted any more.

On a cluster nobody waits in between, and connections fail until every sidecar has followed.
"""

from __future__ import annotations

import base64
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from harness.localmesh import events
from harness.localmesh.api.resources import CONFIG_MAPS, NAMESPACES, SECRETS
from harness.localmesh.ca import Authority, trust
from harness.localmesh.errors import Refused
from harness.localmesh.kinds.parse import Manifest
from harness.localmesh.store import Store
from harness.localmesh.workloads import is_terminating
from harness.localmesh.xds.model import ROOT_NAMESPACE, Resource

ROOT_SECRET = "istio-ca-secret"  # noqa: S105 - a name
ROOT_CONFIG_MAP = "istio-ca-root-cert"
GRACE_RATIO = 0.5
"""Share of its life at which a certificate is renewed: istio-agent's SECRET_GRACE_PERIOD_RATIO."""

_JITTER = 0.01  # SECRET_GRACE_PERIOD_RATIO_JITTER
_KIND = "istio.io/ca-root"
_CERTIFICATE, _KEY = "ca-cert.pem", "ca-key.pem"
_WITHOUT = ("kube-system", "kube-public", "kube-node-lease")  # istiod leaves these namespaces alone
_CONFIRM_WITHIN = 10.0
_LOOK_AGAIN = 0.02


@dataclass(frozen=True)
class _Lease:
    """A certificate in use; times in seconds since the epoch."""

    certificate: Resource
    issuer: str
    renew_at: float
    expires_at: float


class Certificates:
    """The certificates of all sidecars. While `frozen`, none is issued or renewed and no root is exchanged."""

    def __init__(self, store: Store, lifetime: float, chance: random.Random) -> None:
        """Args: lifetime: seconds a certificate is valid; chance: spreads renewals, so that they do not coincide."""
        self._store = store
        self._lifetime = lifetime
        self._grace = GRACE_RATIO
        self._chance = chance
        self._issuing = Authority(lifetime)
        self._incoming: Authority | None = None
        self._outgoing: str | None = None
        self._since = 0.0
        self._seen: tuple[str, str] | None = None
        self._trust = trust(self._issuing.root_pem)
        self._leases: dict[str, _Lease] = {}
        self._secrets: dict[str, Mapping[str, Resource]] = {}
        self.frozen = False

    def set_lifetime(self, lifetime: float, grace: float = GRACE_RATIO) -> None:
        """From now on certificates are valid for `lifetime` seconds, and renewed `grace` of that before their end.

        When that is another lifetime than before, every sidecar gets a new certificate.
        """
        self._grace = grace
        if lifetime != self._lifetime:
            self._lifetime = lifetime
            self._issuing = Authority.of(self._issuing.root_pem, self._issuing.key_pem, lifetime)
            self._leases.clear()

    @property
    def roots(self) -> str:
        """What the mesh trusts: one root certificate, or two while one takes over from the other; PEM."""
        incoming = self._incoming.root_pem if self._incoming else ""
        return self._issuing.root_pem + incoming + (self._outgoing or "")

    def secrets(self, key: str, identity: str) -> Mapping[str, Resource]:
        """The SDS resources of the sidecar `key`: the same object until they change; none if frozen."""
        if self.frozen:
            return self._secrets.get(key, _NOTHING)
        lease, now = self._leases.get(key), time.time()
        if lease is None or now >= lease.renew_at or lease.issuer != self._issuing.root_pem:
            lease = self._leases[key] = self._issue(identity, now)
            self._secrets.pop(key, None)
        found = self._secrets.get(key)
        if found is None or found["ROOTCA"] is not self._trust:
            found = {"default": lease.certificate, "ROOTCA": self._trust}
            self._secrets[key] = found
        return found

    def forget(self, key: str) -> None:
        """Renews nothing for that sidecar any more."""
        self._leases.pop(key, None)
        self._secrets.pop(key, None)

    def patience(self) -> float | None:
        """Seconds until the next renewal is due, or a root is to be looked after; None: no certificate is in use."""
        if self.frozen:
            return None
        if self._incoming is not None or self._outgoing is not None:
            return _LOOK_AGAIN
        now = time.time()
        return min((max(0.0, lease.renew_at - now) for lease in self._leases.values()), default=None)

    def reconcile(self, behind: Callable[[], object]) -> None:
        """Takes an exchange of the root one step further, and tells every namespace what is trusted.

        Args:
            behind: something true as long as an Envoy has not confirmed what `secrets` has given.
        """
        if self.frozen:
            return
        self._see_root()
        if self._incoming is not None:
            if self._confirmed(behind):
                self._outgoing, self._issuing = self._issuing.root_pem, self._incoming
                self._incoming, self._since = None, time.time()
        elif self._outgoing is not None:
            reissued = all(lease.issuer != self._outgoing for lease in self._leases.values())
            if (reissued and not behind()) or time.time() > self._since + self._lifetime:
                self._outgoing = None
                self._trust = trust(self.roots)
        self._tell_namespaces()

    def _confirmed(self, behind: Callable[[], object]) -> bool:
        """Whether every Envoy trusts the new root; one that does not answer is not waited for for ever."""
        return not behind() or time.time() > self._since + _CONFIRM_WITHIN

    def _issue(self, identity: str, now: float) -> _Lease:
        ratio = self._grace + self._chance.uniform(-_JITTER, _JITTER)
        certificate = self._issuing.certificate(identity)
        renew_at = now + self._lifetime * (1 - ratio)
        return _Lease(certificate, self._issuing.root_pem, renew_at, now + self._lifetime)

    def _see_root(self) -> None:
        """Takes a new root from the Secret, or puts one there."""
        if self._incoming is not None or self._outgoing is not None:
            return  # one exchange after the other
        try:
            secret = self._store.get(SECRETS, ROOT_NAMESPACE, ROOT_SECRET)
        except Refused:
            self._make_root()
            return
        given = (_text(secret, _CERTIFICATE), _text(secret, _KEY))
        if given == self._seen:
            return
        self._seen = given
        if given == (self._issuing.root_pem, self._issuing.key_pem):
            return
        try:
            self._begin(Authority.of(*given, self._lifetime))
        except ValueError as error:
            why = f"{_CERTIFICATE} and {_KEY} are no root of the mesh, which keeps the one it has: {error}"
            events.complain(self._store, secret, "InvalidRoot", why, by="istiod")

    def _make_root(self) -> None:
        if self._seen is not None:  # there was one, and somebody has deleted it
            self._begin(Authority(self._lifetime))
        authority = self._incoming or self._issuing
        data = {_CERTIFICATE: authority.root_pem, _KEY: authority.key_pem}
        self._seen = (authority.root_pem, authority.key_pem)
        self._store.create(
            SECRETS,
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": ROOT_SECRET, "namespace": ROOT_NAMESPACE},
                "type": _KIND,
                "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
            },
        )

    def _begin(self, authority: Authority) -> None:
        if authority.root_pem == self._issuing.root_pem:
            return
        self._incoming, self._since = authority, time.time()
        self._trust = trust(self.roots)

    def _tell_namespaces(self) -> None:
        told = {item["metadata"]["namespace"]: item for item in self._store.list(CONFIG_MAPS, where=_is_ours)}
        data = {"root-cert.pem": self.roots}
        for namespace in self._store.list(NAMESPACES):
            name = namespace["metadata"]["name"]
            if name in _WITHOUT or is_terminating(namespace):
                continue
            if name not in told:
                self._store.create(CONFIG_MAPS, _config_map(name, data))
            elif told[name].get("data") != data:
                self._store.update(CONFIG_MAPS, name, ROOT_CONFIG_MAP, lambda old: {**old, "data": data})


_NOTHING: Mapping[str, Resource] = {}


def _is_ours(manifest: Manifest) -> bool:
    return bool(manifest["metadata"]["name"] == ROOT_CONFIG_MAP)


def _config_map(namespace: str, data: Manifest) -> Manifest:
    metadata = {"name": ROOT_CONFIG_MAP, "namespace": namespace, "labels": {"istio.io/config": "true"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def _text(secret: Manifest, name: str) -> str:
    try:
        return base64.b64decode(secret.get("data", {}).get(name, "")).decode()
    except ValueError:
        return ""
