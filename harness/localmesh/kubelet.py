"""The kubelet's part: every pod of the store has its processes, and its status says how they are.

Runs in the control loop's thread, which must be the main thread (see `process`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from harness.localmesh import events
from harness.localmesh.addresses import Block
from harness.localmesh.api.resources import NODES, PODS
from harness.localmesh.asking import Asking
from harness.localmesh.certificates import Certificates
from harness.localmesh.errors import Refused
from harness.localmesh.kinds.parse import Manifest
from harness.localmesh.objects import containers_of, timestamp, with_section
from harness.localmesh.podrun import PodRun, Surroundings
from harness.localmesh.podstatus import pending, running
from harness.localmesh.scrape import Page
from harness.localmesh.store import Store
from harness.localmesh.workloads import is_terminating
from harness.localmesh.world import locality
from harness.localmesh.xds.model import MeshConfig, Proxy

_LOG = logging.getLogger(__name__)


class Kubelet:
    """Starts, watches, restarts and ends pods.

    Args:
        store: where pods are asked for and their status is told.
        block: gives each pod its address.
        certificates: gives each sidecar its certificate.
        directory: holds a folder for each pod.
        xds_socket: where the Envoys get their configuration.
        stats_token: the token of the sidecars' stats listeners.
        gateway_address: says where a gateway pod listens: the address of its Service.
        wake: makes whoever calls `reconcile` do so.
        settings: gives the mesh-wide settings.
    """

    def __init__(
        self,
        *,
        store: Store,
        block: Block,
        certificates: Certificates,
        directory: Path,
        xds_socket: Path,
        stats_token: str,
        gateway_address: Callable[[Manifest], str],
        wake: Callable[[], None],
        settings: Callable[[], MeshConfig],
    ) -> None:
        self._store = store
        self._block = block
        self._certificates = certificates
        self._directory = directory
        self._given: Mapping[tuple[str, int], int] = {}
        self._asking = Asking(wake)
        self._asking.start()
        self.failures: list[str] = []
        """A sentence for every program that ended before its pod was ready, and every pod that could not start."""
        self._around = Surroundings(
            xds_socket=xds_socket,
            stats_token=stats_token,
            gateway_address=gateway_address,
            asking=self._asking,
            settings=settings,
            given=lambda: self._given,
            tell=partial(events.record, store),
            fail=self.failures.append,
        )
        self._runs: dict[str, PodRun] = {}
        self._folder = 0

    def reconcile(self) -> None:
        """Starts the pods that are new, ends those that are gone, and tells the status of the others."""
        nodes = {node["metadata"]["name"]: node for node in self._store.list(NODES)}
        pods = {pod["metadata"]["uid"]: pod for pod in self._store.list(PODS)}
        for uid in [uid for uid in self._runs if uid not in pods]:
            self._end(self._runs.pop(uid))
        for news in self._asking.news():
            if run := self._runs.get(news.key.partition("/")[0]):
                self._alone(run.pod, run.note, news)
        for uid, pod in pods.items():
            if is_terminating(pod):
                self._alone(pod, self._retire, pod)
            elif uid not in self._runs and pod["spec"].get("nodeName") in nodes:
                self._alone(pod, self._start, pod)
        for uid, run in self._runs.items():
            pod = pods.get(uid, run.pod)
            where = locality(nodes.get(pod["spec"].get("nodeName", "")), pod)
            run.describe(pod["metadata"].get("labels", {}), where)
            run.attach(pod["spec"].get("ephemeralContainers") or ())
            self._alone(run.pod, self._observe, uid, run)

    def reach(self, given: Mapping[tuple[str, int], int]) -> None:
        """Tells all programs at which ports of their pod's address TCP Services are offered, by host and port."""
        if given is self._given:
            return
        self._given = given
        for run in self._runs.values():
            run.reach(given)

    def complain(self, node: str, what: str, words: str) -> None:
        """Tells that the Envoy of that node id has refused its configuration, with its own words."""
        for run in self._runs.values():
            if run.proxy is not None and run.proxy.node == node:
                message = f"Envoy has refused its {what} and keeps the old ones: {words}"
                _LOG.warning("%s: %s", run.title, message)
                events.complain(self._store, run.pod, "ConfigurationRefused", message)

    def proxies(self) -> tuple[Proxy, ...]:
        """The Envoys in operation."""
        found = (run.proxy for run in self._runs.values())
        return tuple(proxy for proxy in found if proxy is not None)

    def pages(self) -> tuple[Page, ...]:
        """The metrics of programs in operation that ask to be scraped."""
        return tuple(run.page for run in self._runs.values() if run.page is not None)

    def pidfds(self) -> tuple[int, ...]:
        """A handle for each process that runs, readable as soon as it ends."""
        return tuple(pidfd for run in self._runs.values() for pidfd in run.pidfds())

    def patience(self) -> float | None:
        """Seconds until `reconcile` is needed even if nothing happens; None: not before something happens."""
        now = time.monotonic()
        times = [at for run in self._runs.values() for at in run.times()]
        return max(0.0, min(times) - now) if times else None

    def logs(self, namespace: str, name: str, container: str) -> bytes:
        """What a container of the pod has printed; "" is the pod's first container.

        Raises:
            Refused: 404 for a pod that does not run, 400 for a container it does not have.
        """
        pod = self._store.get(PODS, namespace, name)
        containers = [item["name"] for item in containers_of(pod)]
        wanted = container or containers[0]
        run = self._runs.get(pod["metadata"]["uid"])
        if wanted not in containers or run is None:
            raise Refused(400, "BadRequest", f"container {wanted} is not valid for pod {name}")
        return run.log(wanted)

    def certificate_expires_at(self, pod: Manifest) -> float | None:
        """When the certificate of the pod's sidecar expires (Unix seconds); None if it has none."""
        return self._certificates.expires_at(pod["metadata"]["uid"])

    def down(self) -> None:
        """Ends every pod at once."""
        for run in self._runs.values():
            run.kill()
        for run in self._runs.values():
            run.end()
        self._runs.clear()
        self._asking.stop()

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
        uid = pod["metadata"]["uid"]
        pod = self._tell(pod, partial(pending, address=address, started=timestamp(datetime.now(UTC))))
        if not pod.get("status", {}).get("podIP"):  # it has been deleted meanwhile
            self._block.free(address)
            return
        self._runs[uid] = PodRun.begin(pod, address, directory, self._around)

    def _observe(self, uid: str, run: PodRun) -> None:
        if run.proxy is not None:
            run.trust(self._certificates.secrets(uid, run.proxy.workload.identity, run.agent))
        run.step(time.monotonic())
        if run.news:
            run.news = False
            run.pod = self._tell(run.pod, partial(running, containers=run.containers))

    def _retire(self, pod: Manifest) -> None:
        metadata = pod["metadata"]
        run = self._runs.get(metadata["uid"])
        if run is not None:
            grace = float(metadata.get("deletionGracePeriodSeconds", 0))
            run.retire(grace, time.monotonic())
        if run is None or run.over:
            if run is not None:
                self._end(self._runs.pop(metadata["uid"]))
            self._store.remove(PODS, metadata["namespace"], metadata["name"], metadata["uid"])

    def _end(self, run: PodRun) -> None:
        run.end()
        self._certificates.forget(run.pod["metadata"]["uid"])
        self._block.free(run.address)

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
