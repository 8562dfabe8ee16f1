"""Workload certificates: renewed in time, under a root that istiod reads when it starts.

The root is in the Secret istio-system/istio-ca-secret, as istiod's self-signed one, and what istiod signs with now is
told in the ConfigMap istio-ca-root-cert of every namespace. As in istio/istio (1.31):

- istiod reads the Secret when it starts, and makes one where there is none (`security/pkg/pki/ca/ca.go`,
  `NewSelfSignedIstioCAOptions`). It does not watch it: while it runs it looks once an hour whether another root is in
  it, and then takes that one (`selfsignedcarootcertrotator.go`; CITADEL_SELF_SIGNED_ROOT_CERT_CHECK_INTERVAL). So a
  root that is replaced is in use after a restart of istiod, or within the hour.
- A sidecar learns of it when its certificate is next renewed: the answer to its request names the root, which takes
  the place of the one it has trusted (`security/pkg/nodeagent/cache/secretcache.go`, `GenerateSecret`;
  ISTIO_MULTIROOT_MESH, by which istiod tells everybody at once, is off unless it is set). Until both ends of a
  connection have renewed, neither trusts the other, and new connections between them fail.
"""

from __future__ import annotations

import base64
import random
import time
from collections.abc import Mapping
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
_CHECK_INTERVAL = 3600.0  # CITADEL_SELF_SIGNED_ROOT_CERT_CHECK_INTERVAL


@dataclass(frozen=True)
class _Lease:
    """A certificate in use; times in seconds since the epoch."""

    certificate: Resource
    root: Resource
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
        self._root = trust(self._issuing.root_pem)
        self._is_first = self._is_starting = True
        self._check_at = 0.0
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
    def root(self) -> str:
        """The root certificate that istiod signs with now; PEM."""
        return self._issuing.root_pem

    def restart(self) -> None:
        """An istiod has started: the next `reconcile` reads the Secret."""
        self._is_starting = True

    def secrets(self, key: str, identity: str) -> Mapping[str, Resource]:
        """The SDS resources of the sidecar `key`: the same object until they change; none if frozen."""
        if self.frozen:
            return self._secrets.get(key, _NOTHING)
        lease, now = self._leases.get(key), time.time()
        if lease is None or now >= lease.renew_at:
            lease = self._leases[key] = self._issue(identity, now)
            self._secrets[key] = {"default": lease.certificate, "ROOTCA": lease.root}
        return self._secrets[key]

    def expires_at(self, key: str) -> float | None:
        """When the certificate of the sidecar `key` expires (Unix seconds); None if it has none."""
        lease = self._leases.get(key)
        return lease.expires_at if lease else None

    def forget(self, key: str) -> None:
        """Renews nothing for that sidecar any more."""
        self._leases.pop(key, None)
        self._secrets.pop(key, None)

    def patience(self) -> float | None:
        """Seconds until the next renewal is due, or the root is to be looked at; None if frozen."""
        if self.frozen:
            return None
        now = time.time()
        renewals = (lease.renew_at - now for lease in self._leases.values())
        return max(0.0, min((*renewals, self._check_at - time.monotonic())))

    def reconcile(self) -> None:
        """Reads the root if istiod would do so now, and tells every namespace which one there is."""
        if self.frozen:
            return
        if self._is_starting or time.monotonic() >= self._check_at:
            self._read_root()
            self._check_at = time.monotonic() + _CHECK_INTERVAL
            self._is_first = self._is_starting = False
        self._tell_namespaces()

    def _issue(self, identity: str, now: float) -> _Lease:
        ratio = self._grace + self._chance.uniform(-_JITTER, _JITTER)
        renew_at = now + self._lifetime * (1 - ratio)
        return _Lease(self._issuing.certificate(identity), self._root, renew_at, now + self._lifetime)

    def _read_root(self) -> None:
        """Takes the root that is in the Secret; an istiod that starts without one makes it."""
        try:
            secret = self._store.get(SECRETS, ROOT_NAMESPACE, ROOT_SECRET)
        except Refused:
            if self._is_starting:
                self._make_root()
            return
        given = (_text(secret, _CERTIFICATE), _text(secret, _KEY))
        if given == (self._issuing.root_pem, self._issuing.key_pem):
            return
        try:
            self._take(Authority.of(*given, self._lifetime))
        except ValueError as error:
            why = f"{_CERTIFICATE} and {_KEY} are no root of the mesh, which keeps the one it has: {error}"
            events.complain(self._store, secret, "InvalidRoot", why, by="istiod")

    def _make_root(self) -> None:
        if not self._is_first:  # there was one, and somebody has deleted it
            self._take(Authority(self._lifetime))
        data = {_CERTIFICATE: self._issuing.root_pem, _KEY: self._issuing.key_pem}
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

    def _take(self, authority: Authority) -> None:
        self._issuing, self._root = authority, trust(authority.root_pem)

    def _tell_namespaces(self) -> None:
        told = {item["metadata"]["namespace"]: item for item in self._store.list(CONFIG_MAPS, where=_is_ours)}
        data = {"root-cert.pem": self.root}
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
