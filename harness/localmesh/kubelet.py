"""The kubelet's part: every pod of the store has its processes, and its status says how they are.

Runs in the control loop's thread, which must be the main thread (see `process`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from harness.localmesh import events
from harness.localmesh.addresses import Block, app_address
from harness.localmesh.admission import PROXY, is_gateway
from harness.localmesh.api.resources import NODES, PODS
from harness.localmesh.ca import Authority
from harness.localmesh.errors import MeshError, Refused
from harness.localmesh.kinds.parse import Manifest
from harness.localmesh.objects import timestamp, with_section
from harness.localmesh.podstatus import pending, running
from harness.localmesh.sandbox import Sandbox
from harness.localmesh.store import Store
from harness.localmesh.world import workload
from harness.localmesh.xds.model import Proxy

_RESTART_DELAYS = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_READY_POLL = 0.01
_LOG = logging.getLogger(__name__)


@dataclass
class _Run:
    """A pod in operation, between its start and its end."""

    sandbox: Sandbox
    started: str
    ready: bool = False
    kill_at: float | None = None
    restart_at: dict[str, float] = field(default_factory=dict)
    told: tuple[bool, dict[str, int], frozenset[str]] | None = None


class Kubelet:
    """Starts, watches, restarts and ends pods.

    Args:
        store: where pods are asked for and their status is told.
        block: gives each pod its address.
        authority: signs each sidecar's certificate.
        directory: holds a folder for each pod.
        xds_socket: where the Envoys get their configuration.
        stats_token: the token of the sidecars' stats listeners.
        gateway_address: says where a gateway pod listens: the address of its Service.
    """

    def __init__(
        self,
        *,
        store: Store,
        block: Block,
        authority: Authority,
        directory: Path,
        xds_socket: Path,
        stats_token: str,
        gateway_address: Callable[[Manifest], str],
    ) -> None:
        self._store = store
        self._block = block
        self._authority = authority
        self._directory = directory
        self._xds_socket = xds_socket
        self._stats_token = stats_token
        self._gateway_address = gateway_address
        self._runs: dict[str, _Run] = {}
        self._folder = 0
        self.failures: list[str] = []
        """A sentence for every program that ended before its pod was ready, and every pod that could not start."""

    def reconcile(self) -> None:
        """Starts the pods that are new, ends those that are gone, and tells the status of the others."""
        nodes = {node["metadata"]["name"] for node in self._store.list(NODES)}
        pods = {pod["metadata"]["uid"]: pod for pod in self._store.list(PODS)}
        for uid in [uid for uid in self._runs if uid not in pods]:
            self._end(self._runs.pop(uid))
        for uid, pod in pods.items():
            if "deletionTimestamp" in pod["metadata"]:
                self._alone(pod, self._retire, pod)
            elif uid not in self._runs and pod["spec"].get("nodeName") in nodes:
                self._alone(pod, self._start, pod)
        for run in tuple(self._runs.values()):
            self._alone(run.sandbox.pod, self._observe, run)

    def complain(self, node: str, what: str) -> None:
        """Tells that the Envoy of that node id has refused its configuration, with its own words."""
        for run in self._runs.values():
            proxy = run.sandbox.proxy
            if proxy is not None and proxy.node == node:
                process = run.sandbox.processes.get(PROXY)
                said = process.last_words() if process else ""
                message = f"Envoy has refused its {what} and keeps the old ones: {said}"
                _LOG.warning("%s: %s", run.sandbox.title, message)
                events.complain(self._store, run.sandbox.pod, "ConfigurationRefused", message)

    def proxies(self) -> tuple[Proxy, ...]:
        """The Envoys in operation."""
        found = (run.sandbox.proxy for run in self._runs.values())
        return tuple(proxy for proxy in found if proxy is not None)

    def pidfds(self) -> tuple[int, ...]:
        """A handle for each process that runs, readable as soon as it ends."""
        return tuple(
            process.pidfd
            for run in self._runs.values()
            for process in run.sandbox.processes.values()
            if process.exit_code is None
        )

    def patience(self) -> float | None:
        """Seconds until `reconcile` is needed even if nothing happens; None: not before something happens."""
        now = time.monotonic()
        times = [at for run in self._runs.values() for at in run.restart_at.values()]
        times += [run.kill_at for run in self._runs.values() if run.kill_at is not None]
        waits = [max(0.0, at - now) for at in times]
        if any(not run.ready and not run.restart_at and run.kill_at is None for run in self._runs.values()):
            waits.append(_READY_POLL)
        return min(waits, default=None)

    def logs(self, namespace: str, name: str, container: str) -> bytes:
        """What a container of the pod has printed; "" is the pod's first container.

        Raises:
            Refused: 404 for a pod that does not run, 400 for a container it does not have.
        """
        pod = self._store.get(PODS, namespace, name)
        containers = [item["name"] for item in pod["spec"]["containers"]]
        wanted = container or containers[0]
        run = self._runs.get(pod["metadata"]["uid"])
        if wanted not in containers or run is None:
            raise Refused(400, "BadRequest", f"container {wanted} is not valid for pod {name}")
        return run.sandbox.log(wanted)

    def down(self) -> None:
        """Ends every pod at once."""
        for run in self._runs.values():
            run.sandbox.kill()
        self._runs.clear()

    def _alone(self, pod: Manifest, step: Callable[..., None], *arguments: object) -> None:
        """Takes a step for one pod; what goes wrong with it concerns no other one."""
        try:
            step(*arguments)
        except Exception as error:
            _LOG.exception("Pod %s", pod["metadata"]["name"])
            message = f"{type(error).__name__}: {error}"
            self.failures.append(f"Pod {pod['metadata']['namespace']}/{pod['metadata']['name']}: {message}")
            events.complain(self._store, pod, "Failed", message)

    def _start(self, pod: Manifest) -> None:
        address = self._block.pod()
        self._folder += 1
        directory = self._directory / str(self._folder)
        directory.mkdir(mode=0o700, parents=True)
        started = timestamp(datetime.now(UTC))
        pod = self._tell(pod, partial(pending, address=address, started=started))
        gateway = is_gateway(pod)
        member = workload(pod)
        proxy = None
        if gateway or member.sidecar:
            listen = self._gateway_address(pod) if gateway else address
            proxy = Proxy(member, self._authority.secrets(member.identity), listen, gateway)
        host = app_address(address) if member.sidecar else address
        run = _Run(Sandbox(pod, address, host, directory, proxy), started)
        self._runs[pod["metadata"]["uid"]] = run
        # The proxy first: a program's first call must find it listening, as with Istio's native sidecars.
        containers = sorted(pod["spec"]["containers"], key=lambda item: item["name"] != PROXY)
        for container in containers:
            self._up(run, container)

    def _up(self, run: _Run, container: Manifest) -> None:
        name = container["name"]
        try:
            run.sandbox.up(container, self._xds_socket, self._stats_token)
        except (MeshError, Refused, OSError, ValueError) as error:
            self.failures.append(str(error))
            self._event(run, "Warning", "Failed", str(error))
            run.restart_at[name] = time.monotonic() + _delay(run.sandbox.restarts.get(name, 0))
            run.sandbox.restarts[name] = run.sandbox.restarts.get(name, 0) + 1
            return
        run.restart_at.pop(name, None)
        self._event(run, "Normal", "Started", f"Started container {name}")

    def _observe(self, run: _Run) -> None:
        if run.kill_at is not None:
            return
        now = time.monotonic()
        for container in run.sandbox.pod["spec"]["containers"]:
            name = container["name"]
            process = run.sandbox.processes.get(name)
            if name in run.restart_at:
                if now >= run.restart_at[name]:
                    if process is not None:
                        process.reap()
                        del run.sandbox.processes[name]
                    self._up(run, container)
            elif process is not None and process.exit_code is not None:
                self._ended(run, name, process.exit_code, process.last_words())
        run.ready = not run.restart_at and (run.ready or run.sandbox.listening())
        self._report(run)

    def _ended(self, run: _Run, name: str, code: int, last_words: str) -> None:
        restarts = run.sandbox.restarts.get(name, 0)
        if not run.ready:
            said = f", saying: {last_words}" if last_words else " without a word"
            self.failures.append(
                f"Container {name} of pod {run.sandbox.title} ended with code {code} before the pod was ready{said}; "
                "mend the workload or leave it out."
            )
        self._event(run, "Warning", "BackOff", f"Back-off restarting failed container {name} (code {code})")
        run.sandbox.restarts[name] = restarts + 1
        run.restart_at[name] = time.monotonic() + _delay(restarts)
        run.ready = False

    def _report(self, run: _Run) -> None:
        state = (run.ready, dict(run.sandbox.restarts), frozenset(run.restart_at))
        if state == run.told:
            return
        run.told = state
        ready, restarts, waiting = state
        told = partial(running, ready=ready, restarts=restarts, waiting=waiting, started=run.started)
        run.sandbox.pod = self._tell(run.sandbox.pod, told)

    def _retire(self, pod: Manifest) -> None:
        metadata = pod["metadata"]
        run = self._runs.get(metadata["uid"])
        if run is not None and run.kill_at is None:
            grace = float(metadata.get("deletionGracePeriodSeconds", 0))
            run.kill_at = time.monotonic() + grace
            run.ready = False
            self._event(run, "Normal", "Killing", "Stopping the pod's containers")
        if run is None or run.sandbox.terminate() or time.monotonic() >= (run.kill_at or 0.0):
            if run is not None:
                self._end(self._runs.pop(metadata["uid"]))
            self._store.remove(PODS, metadata["namespace"], metadata["name"], metadata["uid"])

    def _end(self, run: _Run) -> None:
        run.sandbox.kill()
        self._block.free(run.sandbox.address)

    def _tell(self, pod: Manifest, status: Callable[[Manifest], Manifest]) -> Manifest:
        metadata = pod["metadata"]
        try:
            return self._store.update(
                PODS,
                metadata["namespace"],
                metadata["name"],
                lambda now: (
                    with_section(now, "status", {"status": status(now)})
                    if now["metadata"]["uid"] == metadata["uid"]
                    else None
                ),
                section="status",
            )
        except Refused:
            return pod  # deleted meanwhile: the next pass ends it

    def _event(self, run: _Run, kind: str, reason: str, message: str) -> None:
        events.record(self._store, run.sandbox.pod, kind, reason, message)


def _delay(restarts: int) -> float:
    return _RESTART_DELAYS[min(restarts, len(_RESTART_DELAYS) - 1)]
