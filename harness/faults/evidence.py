"""Evidence: what can be seen only if a fault bites. Pure values; whoever observes a run reads them off the mesh."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from harness.changes import Ref
from harness.scene import Pod, Target


@dataclass(frozen=True)
class Share:
    """Of the requests counted under `selector_all`, `percent` are also counted under `selector_hit`.

    Both are labels (compared for equality) of `istio_requests_total`.

    Attributes:
        selector_hit: what the requests carry that the fault hit.
        selector_all: what all of them carry.
        percent: how many of all are to be hit.
        flags: one of these has to be among the response flags of a hit, which Envoy joins with commas.
        partial: the fault is aimed at some of the requests only, which the counters cannot tell from the others: any
            share from more than none up to `percent` is as asked.
        after: seconds from the injection to the full strength of the fault; what is counted before tells nothing about
            the share asked for, since no counter says at which step of the rise a request came.
    """

    momentary: ClassVar[bool] = False
    selector_hit: Mapping[str, str]
    selector_all: Mapping[str, str]
    percent: float
    flags: tuple[str, ...] = ()
    partial: bool = False
    after: float = 0.0


@dataclass(frozen=True)
class Replaced:
    """The pods with these UIDs are gone, and the target had requests to lose before it.

    Its requests are counted under `selector_all`, labels (compared for equality) of `istio_requests_total`.
    """

    momentary: ClassVar[bool] = True
    uids: tuple[str, ...]
    selector_all: Mapping[str, str]

    def without(self, uids: Collection[str]) -> Replaced:
        """The same without these pods, which the cluster did not let go."""
        return replace(self, uids=tuple(uid for uid in self.uids if uid not in uids))


@dataclass(frozen=True)
class Recurring:
    """Pods of the target are gone again and again: those with these UIDs at first, others later.

    The target had requests to lose before, counted under `selector_all` as for `Replaced`.
    """

    momentary: ClassVar[bool] = True
    uids: tuple[str, ...]
    selector_all: Mapping[str, str]


@dataclass(frozen=True)
class Scaled:
    """Of the `before` pods of `workloads`, or besides them, there are `replicas` until the revert, all of them ready.

    With `selector_all`, labels (compared for equality) of `istio_requests_total`, the target must have had requests
    to lose before it; without, nobody has to have asked anything.
    """

    momentary: ClassVar[bool] = False
    workloads: Target
    before: int
    replicas: int
    selector_all: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Restarted:
    """One container of each of these pods was started again, and nothing else of the pods was.

    Attributes:
        container: its name.
        before: how often each container of the pods had been started again before, by the UID of the pod.
        selector_all: labels (compared for equality) of `istio_requests_total`: the requests of the target, which must
            have had some to lose before it.
    """

    momentary: ClassVar[bool] = True
    container: str
    before: Mapping[str, Mapping[str, int]]
    selector_all: Mapping[str, str]


@dataclass(frozen=True)
class Expired:
    """The agent of the pod's sidecar tells that its certificate has expired."""

    def __str__(self) -> str:
        return "have an expired certificate"


@dataclass(frozen=True)
class Reissued:
    """The pod's certificate is of another root than the one with the fingerprint `root`.

    Istiod tells another one in the ConfigMap istio-ca-root-cert, and the certificate was renewed since.
    """

    root: str

    def __str__(self) -> str:
        return "have a certificate of another root"


@dataclass(frozen=True)
class Renewed:
    """The pod's certificate is not the one that it had when it was first looked at."""

    def __str__(self) -> str:
        return "have a new certificate"


@dataclass(frozen=True)
class Recorded:
    """The object `ref` of Chaos Mesh says in its status that it has injected the pod, and all others."""

    ref: Ref

    def __str__(self) -> str:
        return f"are injected by {self.ref}"


@dataclass(frozen=True)
class Running:
    """The ephemeral container of that name runs in the pod."""

    container: str

    def __str__(self) -> str:
        return f"run {self.container}"


@dataclass(frozen=True)
class OnEach:
    """Every one of these pods shows the fault until the revert.

    Attributes:
        pods: the pods.
        witness: how that is seen.
        selector_all: labels (compared for equality) of `istio_requests_total`: the requests of the target, which must
            have had some to lose before it.
        within: seconds that it may take by its nature until it shows.
        momentary: the harm, if there is any, is done on the way there: all that comes from the injection on counts.
    """

    pods: tuple[Pod, ...]
    witness: Expired | Reissued | Renewed | Recorded | Running
    selector_all: Mapping[str, str] = field(default_factory=dict)
    within: float = 0.0
    momentary: bool = False


@dataclass(frozen=True)
class NoEvidence:
    """Nothing was done, so there is nothing to see."""

    momentary: ClassVar[bool] = False


Evidence = Share | Replaced | Recurring | Restarted | Scaled | OnEach | NoEvidence
"""`momentary` is True when harm is done from the very moment of injection on, so that it is counted from there on."""
