"""Faults of the mesh's certificates: they run out, or their root is another. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from harness.changes import Change, Edit, Patch, Ref, Rotate
from harness.errors import HarnessError
from harness.faults.evidence import Expired, OnEach, Reissued
from harness.faults.fault import Fault, counted, need_sidecars
from harness.faults.workloads import RESTARTED, deployments, scaled
from harness.scene import Needs, Pod, Scene, Target


@dataclass(frozen=True)
class _OfCertificates(Fault):
    """What both have in common.

    Attributes:
        within: seconds within which the certificates of the target run out, or are renewed, in any case; a target
            whose certificates are good for longer is refused, since nothing would be seen.
        app: the label app of istiod's pods.
        namespace: where they are.

    Raises:
        HarnessError: `within` is no time.
    """

    within: float = 60.0
    app: str = "istiod"
    namespace: str = "istio-system"

    def __post_init__(self) -> None:
        if not 0 < self.within < float("inf"):
            raise HarnessError(f"{self} within {self.within:g} s cannot be seen; choose more than 0 s.")

    @property
    def needs(self) -> Needs:
        """Istiod's pods, the Deployments behind them, and the certificates of the target."""
        return Needs((self._istiod,), deployments=True, certificates=True)

    @property
    def enters(self) -> tuple[str, ...]:
        """The namespace of the control plane."""
        return (self.namespace,)

    def pods(self, scene: Scene) -> tuple[Pod, ...]:
        """Istiod's and those of the target, although every sidecar of the mesh notices it."""
        mine = scene.other(self._istiod).pods
        return (*mine, *(pod for pod in scene.pods if pod not in mine))

    def harm(self, scene: Scene) -> float:
        """All requests of the target, if the worst comes."""
        return 100.0

    @property
    def _istiod(self) -> Target:
        return Target(self.app, self.namespace)

    def _need_short_lives(self, scene: Scene, what: str) -> None:
        need_sidecars(self, scene)
        if lacking := sorted(pod.name for pod in scene.pods if pod.name not in scene.certificates):
            raise HarnessError(
                f"{self} cannot bite at {scene.target}: the sidecars of {', '.join(lacking)} have no certificate of "
                "istiod; look at their logs."
            )
        longest = max(scene.certificates[pod.name] for pod in scene.pods)
        if longest > self.within:
            raise HarnessError(
                f"{self} cannot be seen at {scene.target}: its certificates are good for {_span(longest)}, and it "
                f"waits {_span(self.within)} {what}; let them live shorter (SECRET_TTL in the proxyMetadata of "
                "MeshConfig's defaultConfig, or in the annotation proxy.istio.io/config of the pods) or raise within."
            )


@dataclass(frozen=True)
class CertificateExpiry(_OfCertificates):
    """The certificates of the target run out, since istiod is gone until the revert and nobody renews them.

    Connections that are open go on; Envoy looks at certificates when it makes one. From then on the callers' sidecars
    refuse what the target shows, and requests that need a new connection fail (503, response flag UF). Sidecars ask
    again and again, so they have new certificates soon after istiod is back (istio/istio
    `security/pkg/nodeagent/cache/secretcache.go`). Whose certificates live as long as the others' has expired ones
    as well: the whole mesh is without istiod.
    """

    def __str__(self) -> str:
        return "certificate expiry"

    def changes(self, scene: Scene) -> tuple[Change, ...]:
        """Istiod's Deployments get no replicas."""
        self._need_short_lives(scene, "for their end")
        return scaled(self, scene.other(self._istiod), 0)

    def evidence(self, scene: Scene) -> OnEach:
        """The agents of the target tell that the certificates have expired."""
        return OnEach(scene.pods, Expired(), counted(scene), self.within)


@dataclass(frozen=True)
class RootRotation(_OfCertificates):
    """The mesh gets another root at once, without a time in which both are trusted, and its old one on the revert.

    Istiod reads the Secret with its root when it starts. A running one looks at `istio-ca-secret` once an hour only
    (istio/istio `security/pkg/pki/ca/selfsignedcarootcertrotator.go`), and does not take another root from `cacerts`
    at all ("Updating new ROOT-CA not supported", `pilot/pkg/bootstrap/istio_ca.go`). So istiod is restarted as well,
    before and after: in either direction the last restart sees the right Secret. A sidecar follows when it renews its
    certificate, and until both ends have followed, new connections between them fail.

    The old root stays in a copy of the Secret in the same namespace; its key is written nowhere else.

    Attributes:
        secret: that holds the root: `istio-ca-secret`, or `cacerts` where the root was plugged in.
    """

    secret: str = "istio-ca-secret"  # noqa: S105 - a name

    def __str__(self) -> str:
        return "root rotation"

    def changes(self, scene: Scene) -> tuple[Change, ...]:
        """A restart of istiod, the new root, and a restart of istiod."""
        self._need_short_lives(scene, "for their renewal")
        behind = deployments(self, scene.other(self._istiod))
        path = ("spec", "template", "metadata", "annotations", RESTARTED)
        before, after = (
            tuple(Patch(item.ref, (Edit(path, value),)) for item in behind)
            for value in (scene.run, f"{scene.run}-rotated")
        )
        return (*before, Rotate(Ref("v1", "Secret", self.namespace, self.secret)), *after)

    def evidence(self, scene: Scene) -> OnEach:
        """Istiod tells another root, and the certificates of the target have been renewed since."""
        return OnEach(scene.pods, Reissued(scene.root), counted(scene), 2 * self.within)


def _span(seconds: float) -> str:
    """A time as people say it."""
    for unit, name in ((3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"
