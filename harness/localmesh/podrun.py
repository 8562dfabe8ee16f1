"""One pod in operation: its containers from their start to their end.

A pod with a sidecar ends as with Istio's native sidecars (istio/istio `pkg/envoy/agent.go`, `Agent.Run`, fourth way):
as soon as it is deleted, its proxy begins to drain, which asks clients to go elsewhere and refuses nobody; its programs
get SIGTERM after their preStop hooks; and the proxy ends when they have ended. A gateway's proxy has no program to wait
for: it drains and ends after `terminationDrainDuration` (the third way).
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

from harness.localmesh.addresses import app_address
from harness.localmesh.admission import PROXY, is_gateway
from harness.localmesh.asking import Asking, News
from harness.localmesh.containers import Container, Stop
from harness.localmesh.errors import MeshError, Refused
from harness.localmesh.kinds.istio.meshconfig import AgentSettings, pod_proxy_config
from harness.localmesh.kinds.parse import Manifest
from harness.localmesh.probes import probes_of
from harness.localmesh.process import Process
from harness.localmesh.sandbox import Sandbox
from harness.localmesh.scrape import Page, page
from harness.localmesh.world import workload
from harness.localmesh.xds.bootstrap import Stats
from harness.localmesh.xds.model import Locality, MeshConfig, Proxy, Resource

_LAST_WORDS = (
    0.25  # for what the programs have said last to pass through the proxy; kubelet takes up to a second
)
_NOT_RUN = 127  # the shell's code for a command that cannot be run


class Tell(Protocol):
    """Records an event about a pod."""

    def __call__(self, about: Manifest, kind: str, reason: str, message: str) -> None:
        """`kind` is "Normal" or "Warning"."""


@dataclass(frozen=True)
class Surroundings:
    """What all pods need to run."""

    xds_socket: Path
    stats_token: str
    gateway_address: Callable[[Manifest], str]
    asking: Asking
    settings: Callable[[], MeshConfig]
    given: Callable[[], Mapping[tuple[str, int], int]]
    tell: Tell
    fail: Callable[[str], None]

    def stats(self, pod: Manifest) -> Stats:
        """Which of Envoy's own series the pod's proxy keeps: as its annotation says, else the mesh."""
        own, config = pod_proxy_config(pod).proxy_stats_matcher, self.settings()
        if own is not None:
            return Stats(own.inclusion_prefixes, own.inclusion_suffixes, own.inclusion_regexps)
        return Stats(config.stats_prefixes, config.stats_suffixes, config.stats_regexps)

    def drain_seconds(self, pod: Manifest) -> float:
        """For how long a gateway's proxy drains before it ends (`terminationDrainDuration`)."""
        own = pod_proxy_config(pod).termination_drain_duration
        return self.settings().drain_duration if own is None else own


@dataclass
class PodRun:
    """A pod in operation, between its start and its end. `news` says that its status is to be told."""

    pod: Manifest
    address: str
    containers: list[Container]
    news: bool
    _sandbox: Sandbox
    _around: Surroundings
    _retired: bool = False
    _proxy_until: float | None = None
    _keys: dict[str, int] = field(default_factory=dict)

    @classmethod
    def begin(cls, pod: Manifest, address: str, directory: Path, around: Surroundings) -> PodRun:
        """Starts a pod that has got its address, its files in `directory`."""
        gateway, member = is_gateway(pod), workload(pod)
        proxy = None
        if gateway or member.sidecar:
            listen = around.gateway_address(pod) if gateway else address
            proxy = Proxy(member, {}, listen, gateway)
        host = app_address(address) if member.sidecar else address
        # The proxy first: a program's first call must find it listening, as with Istio's native sidecars.
        specs = pod["spec"]["containers"]
        containers = [
            Container(item, proxy=gateway or (member.sidecar and item["name"] == PROXY)) for item in specs
        ]
        run = cls(pod, address, containers, True, Sandbox(pod, address, host, directory, proxy), around)
        run.reach(around.given())
        for container in sorted(containers, key=lambda item: not item.proxy):
            run._up(container)
        return run

    def reach(self, given: Mapping[tuple[str, int], int]) -> None:
        """Tells its programs at which ports of its address its sidecar offers TCP Services."""
        self._sandbox.write_addresses(given)

    def attach(self, specs: Sequence[Manifest]) -> None:
        """Starts the ephemeral containers that the pod has got since."""
        if len(specs) == sum(item.ephemeral for item in self.containers) or self._retired:
            return
        known = {item.name for item in self.containers}
        for spec in specs:
            if spec["name"] not in known:
                item = Container(spec, proxy=False, ephemeral=True)
                self.containers.append(item)
                self._up(item)

    @property
    def title(self) -> str:
        """The pod as people call it: namespace/name."""
        return self._sandbox.title

    @cached_property
    def agent(self) -> AgentSettings:
        """What its agent does otherwise than the mesh's; it is told when it starts."""
        return pod_proxy_config(self.pod).proxy_metadata

    @property
    def proxy(self) -> Proxy | None:
        """Its Envoy."""
        return self._sandbox.proxy

    @property
    def page(self) -> Page | None:
        """The metrics of its program, if it asks to be scraped."""
        return page(self._sandbox.pod, self._sandbox.host)

    @property
    def over(self) -> bool:
        """Whether it has been asked to end and all of its processes have."""
        return self._retired and not any(item.runs for item in self.containers)

    def trust(self, secrets: Mapping[str, Resource]) -> None:
        """Gives the Envoy these secrets."""
        if self.proxy is not None and self.proxy.secrets is not secrets:
            self._sandbox.proxy = replace(self.proxy, secrets=secrets)

    def describe(self, labels: Mapping[str, str], where: Locality) -> None:
        """Notes the labels of the pod and its locality; both may change while it runs."""
        proxy = self.proxy
        if proxy is not None and (proxy.workload.labels != labels or proxy.workload.locality != where):
            known = replace(proxy.workload, labels=labels, locality=where)
            self._sandbox.proxy = replace(proxy, workload=known)

    def pidfds(self) -> Iterator[int]:
        """A handle for each process that runs."""
        return (item.process.pidfd for item in self.containers if item.process is not None)

    def times(self) -> Iterator[float]:
        """When `step` is needed even if nothing happens (monotonic)."""
        for item in self.containers:
            if item.restart_at is not None:
                yield item.restart_at
            if item.stop is not None and item.runs:
                yield item.stop.kill_at if item.stop.asked else item.stop.term_at
        if self._proxy_until is not None:
            yield self._proxy_until

    def log(self, container: str) -> bytes:
        """What the container has printed so far."""
        return self._sandbox.log(container)

    def note(self, news: News) -> None:
        """Takes what has been found out about one of the containers; what concerns an earlier run of it is old."""
        for item in self.containers:
            if item.runs and self._key(item) == news.key:
                if news.kind == "listening":
                    item.listening = self.news = True
                    self._ask(item)
                else:
                    self._judge(item, news)

    def step(self, now: float) -> None:
        """Restarts what is due, ends what is asked to end, and notes what has ended."""
        for item in self.containers:
            if item.process is not None and item.process.exit_code is not None:
                self._ended(item, item.process, item.process.exit_code, now)
            elif item.restart_at is not None and now >= item.restart_at and not self._retired:
                self._up(item)
            elif item.process is not None and item.stop is not None:
                _press(item.process, item.stop, now)
        self._see_proxy_out(now)

    def retire(self, grace: float, now: float) -> None:
        """Asks the pod to end within `grace` seconds; asked again, a shorter grace counts."""
        if not self._retired:
            self._begin_end(grace, now)
        for item in self.containers:
            if item.stop is not None:
                item.stop.kill_at = min(item.stop.kill_at, max(now + grace, item.stop.term_at))

    def kill(self) -> None:
        """Ends all of its processes at once, without waiting for them."""
        for item in self.containers:
            if item.process is not None:
                item.process.signal(signal.SIGKILL)

    def end(self) -> None:
        """Ends all of its processes at once and removes its files."""
        self.kill()
        for item in self.containers:
            self._around.asking.forget(self._key(item))
            if item.process is not None:
                item.end(-signal.SIGKILL)
        self._sandbox.remove()

    def _up(self, item: Container) -> None:
        try:
            process = self._started(item)
        except (MeshError, Refused, OSError, ValueError) as error:
            self._tell("Warning", "Failed", str(error))
            if item.ephemeral:
                item.end(_NOT_RUN)
            else:
                self._around.fail(str(error))
                item.wait(time.monotonic())
        else:
            item.begin(process)
            self._keys[item.name] = self._keys.get(item.name, 0) + 1
            self._tell("Normal", "Started", f"Started container {item.name}")
            self._around.asking.await_listening(self._key(item), self._sandbox.places(item.spec))
        self.news = True

    def _started(self, item: Container) -> Process:
        if item.ephemeral:
            return self._sandbox.attach(item.spec)
        probes_of(item.spec)
        around = self._around
        return self._sandbox.up(item.spec, around.xds_socket, around.stats_token, around.stats(self.pod))

    def _key(self, item: Container) -> str:
        """Names this run of the container."""
        return f"{self.pod['metadata']['uid']}/{item.name}/{self._keys.get(item.name, 0)}"

    def _ask(self, item: Container) -> None:
        """Begins with the probes that are due: while there is a startup probe, with that alone."""
        probes = probes_of(item.spec)
        kinds = ["startup"] if not item.passed.get("startup", True) else ["liveness", "readiness"]
        for kind, probe in probes.items():
            if kind in kinds:
                self._around.asking.probe(self._key(item), kind, probe, self._sandbox.host)

    def _judge(self, item: Container, news: News) -> None:
        if news.kind == "listening":
            return
        if news.failure:
            self._tell("Warning", "Unhealthy", f"{news.kind.capitalize()} probe failed: {news.failure}")
        if news.state is None:
            return
        item.passed[news.kind] = news.state
        self.news = True
        if news.kind == "startup" and news.state:
            self._ask(item)
        elif news.kind != "readiness" and not news.state and item.stop is None:
            probe = probes_of(item.spec)[news.kind]
            grace = probe.grace if probe.grace is not None else _grace(self.pod)
            item.stop = Stop.within(grace, item.pre_stop, time.monotonic())
            message = f"Container {item.name} failed {news.kind} probe, will be restarted"
            self._tell("Normal", "Killing", message)

    def _ended(self, item: Container, process: Process, code: int, now: float) -> None:
        last_words, was_asked = process.last_words(), item.stop is not None
        had_started = item.has_started
        self._around.asking.forget(self._key(item))
        item.end(code)
        self.news = True
        if self._retired or item.ephemeral:
            return
        if not had_started and not was_asked:
            said = f", saying: {last_words}" if last_words else " without a word"
            self._around.fail(
                f"Container {item.name} of pod {self.title} ended with code {code} before the pod was ready{said}; "
                "mend the workload or leave it out."
            )
        item.wait(now)
        message = f"Back-off restarting failed container {item.name} in pod {self.title} (code {code})"
        self._tell("Warning", "BackOff", message)

    def _begin_end(self, grace: float, now: float) -> None:
        self._retired = self.news = True
        for item in self.containers:
            item.restart_at = None
            if not item.runs:
                continue
            self._tell("Normal", "Killing", f"Stopping container {item.name}")
            if item.proxy:
                self._around.asking.drain(self._sandbox.admin)
                wait = self._around.drain_seconds(self.pod) if self.proxy and self.proxy.gateway else grace
                item.stop = Stop(now + min(wait, grace), now + grace)
            else:
                item.stop = Stop.within(grace, item.pre_stop, now)

    def _see_proxy_out(self, now: float) -> None:
        """A sidecar ends when its programs have, once what they said last has passed through."""
        if not self._retired or self.proxy is None or self.proxy.gateway:
            return
        if any(item.runs for item in self.containers if not item.proxy):
            return
        if self._proxy_until is None:
            self._proxy_until = now + _LAST_WORDS
        if now >= self._proxy_until:
            for item in self.containers:
                if item.process is not None:
                    item.process.signal(signal.SIGKILL)

    def _tell(self, kind: str, reason: str, message: str) -> None:
        self._around.tell(self.pod, kind, reason, message)


def _press(process: Process, stop: Stop, now: float) -> None:
    if now >= stop.kill_at:
        process.signal(signal.SIGKILL)
    elif now >= stop.term_at and not stop.asked:
        stop.asked = True
        process.signal(signal.SIGTERM)


def _grace(pod: Manifest) -> float:
    return float(pod["spec"].get("terminationGracePeriodSeconds", 30))
