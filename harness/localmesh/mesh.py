"""The local mesh as a whole: API server, controllers, kubelet, configuration and Prometheus in one control loop."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import random
import secrets
import select
import shutil
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.localmesh import addresses, controllers, genesis, programs, scrape
from harness.localmesh.admission import guarded_store
from harness.localmesh.api.resources import DEPLOYMENTS, GATEWAYS, PODS, SERVICES, by_kind
from harness.localmesh.api.server import Server
from harness.localmesh.asking import accepts
from harness.localmesh.ca import Authority
from harness.localmesh.certificates import Certificates
from harness.localmesh.errors import MeshError
from harness.localmesh.kinds.parse import Manifest
from harness.localmesh.kubeconfig import write_kubeconfig
from harness.localmesh.kubelet import Kubelet
from harness.localmesh.launch import Addresses
from harness.localmesh.manifests import load, read
from harness.localmesh.process import Process
from harness.localmesh.publisher import Publisher
from harness.localmesh.workloads import is_ready
from harness.localmesh.world import World
from harness.localmesh.xds.model import ROOT_NAMESPACE, Proxy
from harness.localmesh.xds.server import ConfigurationServer

_UP_WITHIN = 60.0
_POLL = 0.01
_STROLL = 0.1
_AFTER_FAILURE = 0.5
_CERTIFICATE = 86_400.0
_API_CERTIFICATE = 365 * 86_400.0
_LOG_LIMIT = 10 << 20
_LOG_CHECK = 10.0
_LOG = logging.getLogger(__name__)


class LocalMesh:
    """A mesh in this process and its children. All but `stop` must be called from the main thread.

    Args:
        directory: a folder of its own, for its files.
        announce: told what is being done, in short sentences.
        seed: names the pods.
    """

    def __init__(
        self,
        directory: Path,
        announce: Callable[[str], None],
        seed: int = 0,
    ) -> None:
        self._directory = directory
        self._announce = announce
        self._chance = random.Random(seed)
        self._stopping = False
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._block = addresses.claim()
        self._store = guarded_store(self._block)
        self._store.subscribe(self._nudge)
        self._stats_token = secrets.token_urlsafe(32)
        # Not the mesh's own, whose root can be exchanged: the kubeconfig holds this one for good.
        self._authority = Authority(_API_CERTIFICATE)
        self._world = World(self._store)
        self._certificates = Certificates(self._store, _CERTIFICATE, self._chance)
        self._configuration = ConfigurationServer(directory / "xds.sock", self._nudge)
        self._publisher = Publisher(self._world.mesh, self._configuration)
        self._kubelet = Kubelet(
            store=self._store,
            block=self._block,
            certificates=self._certificates,
            directory=directory / "pods",
            xds_socket=directory / "xds.sock",
            stats_token=self._stats_token,
            gateway_address=self._gateway_address,
            wake=self._nudge,
            settings=lambda: self._world.mesh().config,
        )
        self._settled, self._next_step = 0, math.inf
        self._targets: tuple[tuple[Proxy, ...], tuple[scrape.Page, ...]] = (), ()
        self._prometheus: Process | None = None
        self._istiods: frozenset[str] = frozenset()
        self._is_up = False
        self._trimmed_at = 0.0
        self._server: Server | None = None

    def up(self, manifests: Sequence[Path]) -> Addresses:
        """Brings everything up and returns when traffic can flow: pods ready, entry open, Prometheus answering.

        Raises:
            MeshError: something is missing, is refused or does not start; `down` is still to be called.
        """
        documents = read(manifests)
        programs.envoy()
        prometheus = programs.prometheus()
        for manifest in genesis.objects():
            resource = by_kind(manifest["apiVersion"], manifest["kind"])
            if resource is not None:
                self._store.create(resource, manifest)
        load(self._store, documents)
        self._announce(f"{len(documents)} objects taken, starting {_count(self._wanted_pods(), 'pod')}")
        self._configuration.start()
        password = secrets.token_urlsafe(32)
        port = _free_port(self._block.prometheus)
        self._scrape = scrape.prepare(
            prometheus,
            address=self._block.prometheus,
            port=port,
            password=password,
            stats_token=self._stats_token,
            directory=self._directory / "prometheus",
        )
        self._prometheus = self._scrape()
        kubeconfig = self._serve()
        entry = self._entry()
        # Without a Gateway the ingress gateway listens to nobody, as in Istio.
        open_entry = [entry] if self._store.list(GATEWAYS) else []
        self._await_ready(*open_entry, (self._block.prometheus, port))
        prometheus_url = f"http://{scrape.USER}:{password}@{self._block.prometheus}:{port}"
        return Addresses(kubeconfig, f"http://{entry[0]}:{entry[1]}", prometheus_url)

    def run(self) -> None:
        """Runs the mesh until `stop`."""
        self._is_up = True
        while not self._stopping:
            try:
                self._turn()
            except Exception:
                # A mistake of ours about one object must not take everybody's mesh down; the log has it.
                _LOG.exception("The control loop failed in one turn and goes on")
                self._sleep(_AFTER_FAILURE)

    def stop(self) -> None:
        """Makes `run` return; may be called from any thread and from a signal handler."""
        self._stopping = True
        self._nudge()

    def _nudge(self) -> None:
        os.eventfd_write(self._wake, 1)

    def down(self) -> None:
        """Ends every process of the mesh and removes its files. Twice is harmless."""
        if self._server is not None:
            self._server.stop()
            self._server = None
        self._kubelet.down()
        self._configuration.stop()
        if self._prometheus is not None:
            self._prometheus.reap()
            self._prometheus = None
        self._block.release()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _turn(self, patience: float | None = None) -> None:
        """One turn of the control loop: every part takes a step, then waits until there is something to do."""
        next_step = self._settle()
        self._attend_istiod()
        settings = self._world.mesh().config
        self._certificates.set_lifetime(settings.certificate_lifetime, settings.certificate_grace)
        self._certificates.reconcile()
        self._kubelet.reconcile()
        for node, kind, words in self._configuration.refusals():
            self._kubelet.complain(node, kind, words)
        self._keep_prometheus()
        proxies = self._kubelet.proxies()
        if not self._certificates.frozen:
            self._publisher.push(proxies)
            self._kubelet.reach(self._publisher.given)
        targets = proxies, self._kubelet.pages()
        if targets != self._targets:
            self._targets = targets
            scrape.write_targets(self._directory / "prometheus", *targets)
        self._trim_logs()
        waits = [self._kubelet.patience(), self._certificates.patience(), next_step, patience, _LOG_CHECK]
        if not self._certificates.frozen:
            waits.append(self._publisher.patience())
        self._sleep(min((wait for wait in waits if wait is not None), default=None))

    def _trim_logs(self) -> None:
        """Empties what containers have logged beyond 10 MiB, where Kubernetes too begins a new file.

        Everybody appends, so the next line stands at the beginning; sidecars log every request.
        """
        now = time.monotonic()
        if now < self._trimmed_at + _LOG_CHECK:
            return
        self._trimmed_at = now
        for path in (self._directory / "pods").glob("*/*.log"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_size > _LOG_LIMIT:
                    os.truncate(path, 0)

    def _settle(self) -> float | None:
        """Lets the controllers take a step unless they have seen all there is; gives the seconds until the next."""
        now, seen = time.monotonic(), self._store.revision
        if seen != self._settled or now >= self._next_step:
            wait = controllers.reconcile(self._store, self._chance)
            # What they have written themselves makes them look again.
            self._settled, self._next_step = seen, math.inf if wait is None else now + wait
        return None if self._next_step == math.inf else max(0.0, self._next_step - now)

    def _attend_istiod(self) -> None:
        """Sees whether there is an istiod: without one the proxies keep what they have, certificates as well.

        While the mesh comes up its first istiod is not waited for: that would only delay everybody's configuration.
        One that was not there before has just started, and reads the root of the mesh.
        """
        ready = frozenset(
            pod["metadata"]["uid"]
            for pod in self._store.list(PODS, ROOT_NAMESPACE)
            if pod["metadata"].get("labels", {}).get("app") == genesis.ISTIOD and is_ready(pod)
        )
        self._certificates.frozen = self._is_up and not ready
        if ready - self._istiods:
            self._certificates.restart()
        self._istiods = ready

    def _keep_prometheus(self) -> None:
        """Starts Prometheus again when it has ended; its data are still there."""
        if self._prometheus is not None and self._prometheus.exit_code is not None and self._is_up:
            _LOG.warning("Prometheus ended with code %s and is started again", self._prometheus.exit_code)
            self._prometheus.reap()
            self._prometheus = self._scrape()

    def _sleep(self, seconds: float | None) -> None:
        poll = select.poll()
        watched = [self._prometheus.pidfd] if self._prometheus else []
        for handle in (self._wake, *watched, *self._kubelet.pidfds()):
            poll.register(handle, select.POLLIN)
        # Rounded up: rounding down would spin through the last fraction of a millisecond.
        poll.poll(None if seconds is None else math.ceil(seconds * 1000))
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)

    def _await_ready(self, *places: tuple[str, int]) -> None:
        deadline = time.monotonic() + _UP_WITHIN
        told, pause = -1, _POLL
        while not self._stopping:
            self._turn(pause)
            if self._kubelet.failures:
                raise MeshError(self._kubelet.failures[0])
            if self._prometheus is not None and self._prometheus.exit_code is not None:
                why = self._prometheus.last_words()
                raise MeshError(f"Prometheus ended with code {self._prometheus.exit_code}, saying: {why}")
            pods = self._store.list(PODS)
            ready = sum(map(is_ready, pods))
            if ready != told:
                told = ready
                self._announce(f"{ready} of {_count(self._wanted_pods(), 'pod')} ready")
            all_ready = ready >= self._wanted_pods()
            # News of pods wake the loop; that an Envoy has confirmed its configuration or a port is open does not.
            pause = _POLL if all_ready else _STROLL
            silent = [place for place in places if not accepts(place)] if all_ready else places
            settled = self._publisher.patience() is None and not silent and not self._configuration.behind()
            if all_ready and settled:
                return
            if time.monotonic() > deadline:
                raise MeshError(self._late(pods, silent))
        raise MeshError("The mesh was stopped before it was up.")

    def _late(self, pods: Sequence[Manifest], silent: Sequence[tuple[str, int]]) -> str:
        late = [
            f"pod {pod['metadata']['namespace']}/{pod['metadata']['name']}"
            for pod in pods
            if not is_ready(pod)
        ]
        late += [f"{address}:{port} (is port {port} in use by another program?)" for address, port in silent]
        return f"Not ready after {_UP_WITHIN:.0f} s: {', '.join(late)}; look at its log in {self._directory}."

    def _wanted_pods(self) -> int:
        owned = sum(item["spec"].get("replicas", 1) for item in self._store.list(DEPLOYMENTS))
        bare = sum(not pod["metadata"].get("ownerReferences") for pod in self._store.list(PODS))
        return int(owned + bare)

    def _serve(self) -> Path:
        chain, key = self._authority.issue(address=self._block.api)
        folder = self._directory / "api"
        folder.mkdir(mode=0o700)
        certificate_file, key_file = folder / "certificate.pem", folder / "key.pem"
        for file, text in ((certificate_file, chain), (key_file, key)):
            file.touch(mode=0o600)
            file.write_text(text)
        token = secrets.token_urlsafe(32)
        self._server = Server(
            self._store,
            self._block.api,
            token=token,
            certificate=certificate_file,
            key=key_file,
            pods=self._kubelet,
        )
        self._server.start()
        return write_kubeconfig(
            self._directory / "kubeconfig",
            server=f"https://{self._block.api}:{self._server.port}",
            authority=self._authority.root_pem,
            token=token,
        )

    def _gateway_address(self, pod: Manifest) -> str:
        """The address of the first Service that selects the pod: where a gateway listens instead of on its own."""
        metadata = pod["metadata"]
        for service in self._store.list(SERVICES, metadata["namespace"]):
            selector = service["spec"].get("selector") or {}
            if selector and selector.items() <= metadata.get("labels", {}).items():
                return str(service["spec"]["clusterIP"])
        return str(pod["status"]["podIP"])

    def _entry(self) -> tuple[str, int]:
        """Where traffic comes in: the ingress gateway's address and the port of the first Gateway bound to it."""
        service = self._store.get(SERVICES, ROOT_NAMESPACE, genesis.GATEWAY)
        ports = {port["port"]: port["targetPort"] for port in service["spec"]["ports"]}
        for gateway in self._store.list(GATEWAYS):
            if gateway["spec"].get("selector", {}).get("istio") == "ingressgateway":
                number = gateway["spec"]["servers"][0]["port"]["number"]
                return service["spec"]["clusterIP"], ports.get(number, number)
        return service["spec"]["clusterIP"], genesis.GATEWAY_PORT


def _free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
