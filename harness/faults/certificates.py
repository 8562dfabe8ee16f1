"""Faults of the mesh's certificates: they are renewed, they run out, or their root is another. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.changes import Change, Edit, Patch, Ref, Rotate
from harness.errors import HarnessError
from harness.faults.evidence import Expired, OnEach, Reissued, Renewed
from harness.faults.fault import Fault, Rhythm, counted, need_sidecars
from harness.faults.workloads import RESTARTED, deployments, scaled
from harness.scene import Needs, Pod, Scene, Target


@dataclass(frozen=True)
class _InTime(Fault):
    """What all have in common: certificates that live short enough.

    Attributes:
        within: seconds within which the certificates of the target run out, or are renewed, in any case; a target
            whose certificates are good for longer is refused, since nothing would be seen.

    Raises:
        HarnessError: `within` is no time.
    """

    within: float = 60.0

    def __post_init__(self) -> None:
        if not 0 < self.within < float("inf"):
            raise HarnessError(f"{self} within {self.within:g} s cannot be seen; choose more than 0 s.")

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
class CertificateRenewal(_InTime):
    """The sidecars of the target get new certificates, as they do all the time: nothing is changed for that.

    An agent asks for another one when half of a certificate's life is over (SECRET_GRACE_PERIOD_RATIO), and hands it
    to Envoy, which shows it from the next connection on; those that are open go on (istio/istio
    `security/pkg/nodeagent/cache/secretcache.go`). All requests count from the injection on, so those during the
    renewal do.
    """

    def __str__(self) -> str:
        return "certificate renewal"

    @property
    def needs(self) -> Needs:
        """The certificates of the target."""
        return Needs(certificates=True)

    def changes(self, scene: Scene) -> tuple[Change, ...]:
        """None."""
        self._need_short_lives(scene, "for their renewal")
        return ()

    def evidence(self, scene: Scene) -> OnEach:
        """The agents of the target tell of another certificate than at the beginning."""
        return OnEach(scene.pods, Renewed(), counted(scene), self.within, momentary=True)

    def pods(self, scene: Scene) -> tuple[Pod, ...]:
        """Those of the target."""
        return scene.pods

    def harm(self, scene: Scene) -> float:
        """All requests of the target, if the worst comes."""
        return 100.0


@dataclass(frozen=True)
class _OfIstiod(_InTime):
    """What those have in common for which istiod is touched.

    Attributes:
        app: the label app of istiod's pods.
        namespace: where they are.
    """

    app: str = "istiod"
    namespace: str = "istio-system"

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


@dataclass(frozen=True)
class CertificateExpiry(_OfIstiod):
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
class RootRotation(_OfIstiod):
    """The mesh gets another root, at once or with a time in which both are trusted, and its old one on the revert.

    Istiod reads the Secret with its root when it starts. A running one looks at `istio-ca-secret` once an hour only
    (istio/istio `security/pkg/pki/ca/selfsignedcarootcertrotator.go`), and does not take another root from `cacerts`
    at all ("Updating new ROOT-CA not supported", `pilot/pkg/bootstrap/istio_ca.go`). So istiod is restarted as well,
    before and after: in either direction the last restart sees the right Secret. A sidecar follows when it renews its
    certificate, and until both ends have followed, new connections between them fail.

    With an `overlap` nobody has to refuse anybody: first the new root is trusted beside the old one, which signs; when
    the time is over, and every sidecar has renewed its certificate and so learned of both, the new one signs, and both
    are trusted on. On the revert the old one signs again, and is the only one that is trusted after as much time. All
    requests count from the injection on.

    The old root stays in a copy of the Secret in the same namespace; its key is written nowhere else. That of a new one
    that does not sign yet is nowhere but in this process.

    Attributes:
        secret: that holds the root: `istio-ca-secret`, or `cacerts` where the root was plugged in.
        overlap: seconds for which both roots are trusted before the one that signs is another: enough for a restart of
            istiod, and for a renewal of every certificate in the mesh. 0: the root is replaced at once.

    Raises:
        HarnessError: `overlap` is no time.
    """

    secret: str = "istio-ca-secret"  # noqa: S105 - a name
    overlap: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.overlap < float("inf"):
            raise HarnessError(f"{self} with an overlap of {self.overlap:g} s cannot be; choose 0 s or more.")

    def __str__(self) -> str:
        return "root rotation with overlap" if self.overlap else "root rotation"

    @property
    def lasts(self) -> float:
        """The overlap of the way back."""
        return self.overlap

    @property
    def rhythm(self) -> Rhythm | None:
        """With an overlap it goes on once, when that is over."""
        return Rhythm(self.overlap, times=1) if self.overlap else None

    def changes(self, scene: Scene) -> tuple[Change, ...]:
        """A restart of istiod, the new root or the trust in it, and a restart of istiod."""
        self._need_short_lives(scene, "for their renewal")
        step = Rotate(self._root, "trust", self.overlap) if self.overlap else Rotate(self._root)
        return self._restarting(scene, "", step, "-rotated")

    def further(self, scene: Scene, pods: Sequence[Pod], time: int) -> tuple[Change, ...]:
        """A restart of istiod, the new root, which is trusted by now, to sign, and a restart of istiod."""
        return self._restarting(scene, "-trusted", Rotate(self._root, "sign"), "-signing")

    def evidence(self, scene: Scene) -> OnEach:
        """Istiod tells another root, and the certificates of the target have been renewed since."""
        within = self.overlap + 2 * self.within
        return OnEach(scene.pods, Reissued(scene.root), counted(scene), within, momentary=True)

    @property
    def _root(self) -> Ref:
        return Ref("v1", "Secret", self.namespace, self.secret)

    def _restarting(self, scene: Scene, before: str, step: Rotate, after: str) -> tuple[Change, ...]:
        """A step between two restarts, which are told from all others by these endings."""
        behind = deployments(self, scene.other(self._istiod))
        path = ("spec", "template", "metadata", "annotations", RESTARTED)
        first, last = (
            tuple(Patch(item.ref, (Edit(path, f"{scene.run}{ending}"),)) for item in behind)
            for ending in (before, after)
        )
        return (*first, step, *last)


def _span(seconds: float) -> str:
    """A time as people say it."""
    for unit, name in ((3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"
