"""Readiness, liveness and startup probes: what they ask, and what their answers add up to. Pure.

Source: kubernetes/kubernetes `pkg/kubelet/prober`, and
https://kubernetes.io/docs/tasks/configure-pod-container/configure-liveness-readiness-startup-probes/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from harness.localmesh.errors import MeshError
from harness.localmesh.kinds.parse import Manifest

Kind = Literal["startup", "liveness", "readiness"]
"""What a probe decides: whether the program has started, whether it lives, whether it gets traffic."""

KINDS: tuple[Kind, ...] = ("startup", "liveness", "readiness")


@dataclass(frozen=True)
class Probe:
    """One probe, times in seconds. `path` is None for a TCP probe, which is content with a connection."""

    port: int
    path: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    initial_delay: float = 0.0
    period: float = 10.0
    timeout: float = 1.0
    success_threshold: int = 1
    failure_threshold: int = 3
    grace: float | None = None

    @classmethod
    def of(cls, container: Manifest, kind: Kind) -> Probe | None:
        """The probe of that kind of a container, with Kubernetes' defaults; None: it has none.

        Raises:
            MeshError: it is neither httpGet by http nor tcpSocket, or names a port that the container does not have.
        """
        field = f"{kind}Probe"
        spec = container.get(field)
        if spec is None:
            return None
        get = spec.get("httpGet")
        asked = get or spec.get("tcpSocket")
        if not asked or asked.get("host") or (get and get.get("scheme", "HTTP") != "HTTP"):
            raise MeshError(
                f"Container {container['name']}: {field} is neither httpGet by HTTP nor tcpSocket to the pod itself; "
                "the local mesh has no other probes."
            )
        headers = tuple((item["name"], item.get("value", "")) for item in asked.get("httpHeaders") or ())
        return cls(
            port=_port(container, asked["port"], field),
            path=(get.get("path") or "/") if get else None,
            headers=headers,
            initial_delay=float(spec.get("initialDelaySeconds") or 0),
            period=float(spec.get("periodSeconds") or cls.period),
            timeout=float(spec.get("timeoutSeconds") or cls.timeout),
            success_threshold=spec.get("successThreshold") or cls.success_threshold,
            failure_threshold=spec.get("failureThreshold") or cls.failure_threshold,
            grace=spec.get("terminationGracePeriodSeconds"),
        )


def probes_of(container: Manifest) -> Mapping[Kind, Probe]:
    """The probes of a container by kind.

    Raises:
        MeshError: as `Probe.of`.
    """
    found = {kind: Probe.of(container, kind) for kind in KINDS}
    return {kind: probe for kind, probe in found.items() if probe is not None}


@dataclass
class Streak:
    """What a row of answers to one probe adds up to: True, False, or None as long as there are too few."""

    probe: Probe
    state: bool | None = None
    _last: bool | None = None
    _times: int = 0

    def note(self, success: bool) -> bool | None:
        """Takes one answer; returns the new state when it changes, else None."""
        self._times = self._times + 1 if success == self._last else 1
        self._last = success
        enough = self.probe.success_threshold if success else self.probe.failure_threshold
        if self._times < enough or self.state == success:
            return None
        self.state = success
        return success


def request(probe: Probe, host: str) -> bytes:
    """The HTTP request of a probe, as kubelet sends it."""
    given = {name.lower() for name, _ in probe.headers}
    own = (("Host", f"{host}:{probe.port}"), ("User-Agent", "kube-probe/1.32"), ("Accept", "*/*"))
    headers = [*(item for item in own if item[0].lower() not in given), *probe.headers]
    lines = [f"GET {probe.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join((*lines, "Connection: close", "", "")).encode("latin-1", "replace")


def judge(status_line: bytes) -> str:
    """What is wrong with the first line of an answer, or "": 200 to 399 is a success; redirects are not followed."""
    parts = status_line.split()
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/") or not parts[1].isdigit():
        return f"malformed HTTP response {status_line[:60].decode('latin-1').strip()!r}"
    code = int(parts[1])
    return "" if 200 <= code < 400 else f"HTTP probe failed with statuscode: {code}"


def _port(container: Manifest, port: int | str, field: str) -> int:
    if isinstance(port, int):
        return port
    for item in container.get("ports") or ():
        if item.get("name") == port:
            return int(item["containerPort"])
    raise MeshError(
        f"Container {container['name']}: {field} asks the port {port!r}, which is the name of none of its ports."
    )
