"""Workload certificates: renewed in time, under a root that istiod reads when it starts.

The root is in the Secret istio-system/istio-ca-secret, as istiod's self-signed one, and what istiod signs with now is
told in the ConfigMap istio-ca-root-cert of every namespace. As in istio/istio (1.31):

- istiod reads the Secret when it starts, and makes one where there is none (`security/pkg/pki/ca/ca.go`,
  `NewSelfSignedIstioCAOptions`). It does not watch it: while it runs it looks once an hour whether another root is in
  it, and then takes that one (`selfsignedcarootcertrotator.go`; CITADEL_SELF_SIGNED_ROOT_CERT_CHECK_INTERVAL). So a
  root that is replaced is in use after a restart of istiod, or within the hour.
- Of several certificates in its `ca-cert.pem` the first one signs, and all are trusted (`ca.go`,
  `loadSelfSignedCaSecret`).
- A Secret `cacerts` that is there when istiod starts comes before it: the CA that was plugged in, its key, the chain
  above it and the roots that are trusted, of which there may be several (`pilot/pkg/bootstrap/istio_ca.go`,
  `createIstioCA`; with some of its four files only istiod does not start, here it keeps the root it has). Another
  signing CA under the same roots is in use at once; other roots are not before a restart (`handleEvent`).
- A sidecar learns of new roots when its certificate is next renewed: the answer to its request names them, and they
  take the place of those it has trusted (`security/pkg/nodeagent/cache/secretcache.go`, `GenerateSecret`;
  ISTIO_MULTIROOT_MESH, by which istiod tells everybody at once, is off unless it is set). Until both ends of a
  connection have renewed, neither trusts the other, and new connections between them fail.
"""

from __future__ import annotations

import base64
import math
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass

from harness.localmesh import events
from harness.localmesh.api.resources import CONFIG_MAPS, NAMESPACES, SECRETS
from harness.localmesh.ca import Authority, trust
from harness.localmesh.errors import Refused
from harness.localmesh.kinds.istio.meshconfig import AgentSettings
from harness.localmesh.kinds.parse import Manifest
from harness.localmesh.store import Store
from harness.localmesh.workloads import is_terminating
from harness.localmesh.xds.model import ROOT_NAMESPACE, Resource

ROOT_SECRET = "istio-ca-secret"  # noqa: S105 - a name
PLUGGED_SECRET = "cacerts"  # noqa: S105 - as above
ROOT_CONFIG_MAP = "istio-ca-root-cert"
GRACE_RATIO = 0.5
"""Share of its life at which a certificate is renewed: istio-agent's SECRET_GRACE_PERIOD_RATIO."""

_JITTER = 0.01  # SECRET_GRACE_PERIOD_RATIO_JITTER
_KIND = "istio.io/ca-root"
_CERTIFICATE, _KEY, _CHAIN, _TRUSTED = "ca-cert.pem", "ca-key.pem", "cert-chain.pem", "root-cert.pem"
_WITHOUT = ("kube-system", "kube-public", "kube-node-lease")  # istiod leaves these namespaces alone
_CHECK_INTERVAL = 3600.0  # CITADEL_SELF_SIGNED_ROOT_CERT_CHECK_INTERVAL
_NO_WISH = AgentSettings()


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
        self._root = trust(self._issuing.trusted)
        self._given: tuple[str, ...] = ()
        self._is_plugged = False
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
            self._leases.clear()

    @property
    def root(self) -> str:
        """Whom istiod lets sidecars trust now; PEM."""
        return self._issuing.trusted

    def restart(self) -> None:
        """An istiod has started: the next `reconcile` reads the Secret."""
        self._is_starting = True

    def secrets(self, key: str, identity: str, own: AgentSettings = _NO_WISH) -> Mapping[str, Resource]:
        """The SDS resources of the sidecar `key`: the same object until they change; none if frozen.

        `own` is what its agent does otherwise than the mesh's.
        """
        if self.frozen:
            return self._secrets.get(key, _NOTHING)
        lease, now = self._leases.get(key), time.time()
        if lease is None or now >= lease.renew_at:
            lease = self._leases[key] = self._issue(identity, now, own)
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
        if self._is_starting:
            self._start()
        elif self._is_plugged:
            self._watch()
        elif time.monotonic() >= self._check_at and (secret := self._secret(ROOT_SECRET)):
            self._read(secret, _CERTIFICATE, _KEY)
        if time.monotonic() >= self._check_at:
            self._check_at = time.monotonic() + _CHECK_INTERVAL
        self._tell_namespaces()

    def _issue(self, identity: str, now: float, own: AgentSettings) -> _Lease:
        lifetime = own.lifetime or self._lifetime
        ratio = float(own.grace or self._grace) + self._chance.uniform(-_JITTER, _JITTER)
        certificate = self._issuing.certificate(identity, lifetime)
        return _Lease(certificate, self._root, now + lifetime * (1 - ratio), now + lifetime)

    def _start(self) -> None:
        """Takes the root that an istiod finds when it starts; one that finds none makes it."""
        plugged = self._secret(PLUGGED_SECRET)
        self._is_plugged = plugged is not None
        if plugged is not None:
            self._read(plugged, _CERTIFICATE, _KEY, _CHAIN, _TRUSTED)
        elif secret := self._secret(ROOT_SECRET):
            self._read(secret, _CERTIFICATE, _KEY)
        else:
            self._make_root()
        self._check_at = math.inf if self._is_plugged else 0.0
        self._is_first = self._is_starting = False

    def _watch(self) -> None:
        """Takes another CA that is plugged in under the same roots."""
        plugged = self._secret(PLUGGED_SECRET)
        if plugged is not None and _text(plugged, _TRUSTED) == self._issuing.trusted:
            self._read(plugged, _CERTIFICATE, _KEY, _CHAIN, _TRUSTED)

    def _secret(self, name: str) -> Manifest | None:
        try:
            return self._store.get(SECRETS, ROOT_NAMESPACE, name)
        except Refused:
            return None

    def _read(self, secret: Manifest, *fields: str) -> None:
        """Takes the root in a Secret unless it was read before; what is none is told, and changes nothing."""
        given = tuple(_text(secret, field) for field in fields)
        if given == self._given:
            return
        self._given = given
        try:
            if missing := [field for field, text in zip(fields, given, strict=True) if not text.strip()]:
                raise ValueError(f"there is no {' and no '.join(missing)}")
            certificate, key, *more = given
            self._take(Authority.of(certificate, key, **dict(zip(("chain", "trusted"), more, strict=False))))
        except ValueError as error:
            why = f"{' and '.join(fields)} are no root of the mesh, which keeps the one it has: {error}"
            events.complain(self._store, secret, "InvalidRoot", why, by="istiod")

    def _make_root(self) -> None:
        if not self._is_first:  # there was one, and somebody has deleted it
            self._take(Authority(self._lifetime))
        self._given = (self._issuing.root_pem, self._issuing.key_pem)
        data = dict(zip((_CERTIFICATE, _KEY), self._given, strict=True))
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
        self._issuing, self._root = authority, trust(authority.trusted)

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
