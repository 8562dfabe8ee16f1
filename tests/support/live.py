"""A mesh as its user has it: kubectl, HTTP through the entry and through sidecars, Prometheus."""

from __future__ import annotations

import contextlib
import json
import shutil
import ssl
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from support import eventually, query

from harness.localmesh.launch import Addresses

OUTBOUND = 15001
TIMEOUT = 15.0

# Nothing here speaks TLS, and a client that prepares for it takes as long as many requests.
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
HTTP = {"http": (8000, 8080)}
"""The one port of a Service: 8000, for which its pods listen at 8080."""


def service(
    name: str, *versions: str, ports: Mapping[str, tuple[int, int]] = HTTP, settings: str = "{}"
) -> str:
    """A ServiceAccount, a Service and a Deployment for each version of the project's general stand-in.

    Args:
        name: of all of them, and the label `app`.
        versions: one Deployment each, with the label `version`; v1 if there are none.
        ports: for each name of a port of the Service its number, and where its pods listen.
        settings: annotations of the pods, as a YAML mapping.
    """
    offered = ", ".join(
        f"{{name: {key}, port: {port}, targetPort: {at}}}" for key, (port, at) in ports.items()
    )
    head = f"""
apiVersion: v1
kind: ServiceAccount
metadata: {{name: {name}}}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec: {{selector: {{app: {name}}}, ports: [{offered}]}}
"""
    listening = ", ".join(f"{{containerPort: {at}}}" for at in sorted({at for _, at in ports.values()}))
    return head + "".join(_deployment(name, version, listening, settings) for version in versions or ("v1",))


def _deployment(name: str, version: str, listening: str, settings: str) -> str:
    return f"""---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}-{version}, labels: {{app: {name}, version: {version}}}}}
spec:
  selector: {{matchLabels: {{app: {name}, version: {version}}}}}
  template:
    metadata:
      labels: {{app: {name}, version: {version}}}
      annotations: {settings}
    spec:
      serviceAccountName: {name}
      terminationGracePeriodSeconds: 1
      containers: [{{name: {name}, image: harness/service, ports: [{listening}]}}]
"""


@dataclass(frozen=True)
class Caller:
    """A program in a pod, as far as the mesh can tell: its requests go through the pod's own sidecar.

    Without a sidecar `ip` is "", and they go straight to where they are sent.
    """

    ip: str = ""
    _clients: list[httpx.Client] = field(default_factory=list)

    def get(self, url: str, timeout: float = TIMEOUT, **headers: str) -> httpx.Response:
        """The answer to GET; `headers` are written with _ for -."""
        return self._client().get(url, headers=_dashed(headers), timeout=timeout)

    def code(self, url: str, **headers: str) -> int:
        """The status of the answer to GET; 0 where the connection ends without one."""
        try:
            return self.get(url, TIMEOUT, **headers).status_code
        except httpx.TransportError:
            return 0

    def codes(self, url: str, times: int, **headers: str) -> Counter[int]:
        """How often each status came in so many requests, one after the other."""
        return Counter(self.code(url, **headers) for _ in range(times))

    def versions(self, url: str, times: int, **headers: str) -> Counter[str]:
        """How often each version of the general stand-in answered; a status stands for an answer of Envoy's own."""
        answers = [self.get(url, TIMEOUT, **headers) for _ in range(times)]
        return Counter(
            answer.json()["version"] if _is_json(answer) else str(answer.status_code) for answer in answers
        )

    def at_once(self, url: str, times: int) -> Counter[int]:
        """How often each status came in so many requests at the same time, each on a connection of its own."""

        def ask(_: int) -> int:
            with self._new() as client:
                return client.get(url, timeout=TIMEOUT).status_code

        with ThreadPoolExecutor(times) as pool:
            return Counter(pool.map(ask, range(times)))

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends its connections."""
        for client in self._clients:
            client.close()

    def _client(self) -> httpx.Client:
        if not self._clients:
            self._clients.append(self._new())
        return self._clients[0]

    def _new(self) -> httpx.Client:
        proxy = f"http://{self.ip}:{OUTBOUND}" if self.ip else None
        return httpx.Client(proxy=proxy, trust_env=False, verify=_NO_TLS)


@dataclass(frozen=True)
class LiveMesh:
    """A mesh that is up. Methods that run kubectl fail the test with what kubectl says."""

    addresses: Addresses
    cache: Path

    def kubectl(self, *arguments: str, given: str = "") -> str:
        """What kubectl prints."""
        done = self._run(arguments, given)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refused(self, *arguments: str, given: str = "") -> str:
        """What kubectl complains about."""
        done = self._run(arguments, given)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def apply(self, text: str, namespace: str = "default") -> str:
        """Applies manifests."""
        return self.kubectl("-n", namespace, "apply", "-f", "-", given=text)

    @contextlib.contextmanager
    def applied(self, text: str, namespace: str = "default") -> Iterator[None]:
        """Manifests that are in force for as long as the block lasts."""
        self.apply(text, namespace)
        try:
            yield
        finally:
            self.kubectl("-n", namespace, "delete", "--ignore-not-found", "-f", "-", given=text)

    @contextlib.contextmanager
    def namespace(self, name: str, *texts: str, injected: bool = True) -> Iterator[str]:
        """A namespace with these objects, once its pods are ready and known, for as long as the block lasts."""
        labels = "{istio-injection: enabled}" if injected else "{}"
        self.apply(f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {labels}}}")
        try:
            self.apply("\n---\n".join(texts), name)
            self.ready(name)
            if injected:
                eventually(lambda: self._all_know_each_other(name))
            yield name
        finally:
            self.kubectl("delete", "namespace", name)

    def ready(self, namespace: str) -> None:
        """Waits until all Deployments of a namespace are."""
        available = ("wait", "--for=condition=Available", "deployment", "--all", "--timeout=30s")
        self.kubectl("-n", namespace, *available)

    def pods(self, namespace: str, labels: str) -> list[dict[str, Any]]:
        """The pods with these labels that are not on their way out."""
        items = json.loads(self.kubectl("-n", namespace, "get", "pods", "-l", labels, "-o", "json"))["items"]
        return [item for item in items if "deletionTimestamp" not in item["metadata"]]

    def caller(self, namespace: str, labels: str) -> Caller:
        """The program of the first such pod."""
        return Caller(self.pods(namespace, labels)[0]["status"]["podIP"])

    def log(self, namespace: str, pod: str, container: str = "istio-proxy") -> list[dict[str, Any]]:
        """The access log of a pod's sidecar, entry by entry."""
        lines = self.kubectl("-n", namespace, "logs", pod, "-c", container).splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def admin(self, pod: Mapping[str, Any], path: str) -> Any:
        """What the admin interface of a pod's Envoy says, as JSON."""
        for bootstrap in self.addresses.kubeconfig.parent.glob("pods/*/bootstrap.json"):
            if f"~{pod['status']['podIP']}~" in json.loads(bootstrap.read_text())["node"]["id"]:
                socket = httpx.HTTPTransport(uds=str(bootstrap.with_name("admin.sock")))
                with httpx.Client(transport=socket) as client:
                    return client.get(f"http://envoy{path}").json()
        raise AssertionError(f"no Envoy for {pod['metadata']['name']}")

    def serial(self, pod: Mapping[str, Any]) -> str:
        """The serial number of the certificate by which a pod's Envoy proves who it is."""
        held = self.admin(pod, "/certs")["certificates"]
        return next(str(item["cert_chain"][0]["serial_number"]) for item in held if item["cert_chain"])

    def total(self, promql: str) -> float:
        """The sum of what Prometheus answers, 0 for nothing."""
        return sum(float(item["value"][1]) for item in query(self.addresses, promql))

    @contextlib.contextmanager
    def mesh_config(self, **changes: Any) -> Iterator[None]:
        """Mesh-wide settings as edited in their ConfigMap, and as before when the block ends."""
        place = ("-n", "istio-system")
        before = self.kubectl(*place, "get", "configmap", "istio", "-o", "jsonpath={.data.mesh}")

        def write(text: str) -> None:
            patch = json.dumps({"data": {"mesh": text}})
            self.kubectl(*place, "patch", "configmap", "istio", "--type=merge", "-p", patch)

        write(yaml.safe_dump({**yaml.safe_load(before), **changes}))
        try:
            yield
        finally:
            write(before)

    def _all_know_each_other(self, namespace: str) -> bool:
        """Whether all sidecars have heard that all pods are ready; Istio tells them a moment after the API does.

        Raises:
            AssertionError: naming who does not know whom.
        """
        pods = self.pods(namespace, "")
        everybody = {pod["status"]["podIP"] for pod in pods}
        for pod in pods:
            known = {
                host["address"]["socket_address"]["address"]
                for cluster in self.admin(pod, "/clusters?format=json")["cluster_statuses"]
                if f".{namespace}.svc." in cluster["name"]
                for host in cluster.get("host_statuses", [])
                if host["health_status"]["eds_health_status"] == "HEALTHY"
            }
            assert everybody <= known, f"{pod['metadata']['name']} does not know {everybody - known}"
        return True

    def _run(self, arguments: tuple[str, ...], given: str) -> subprocess.CompletedProcess[str]:
        program = shutil.which("kubectl")
        if program is None:
            pytest.skip("kubectl is not on PATH")
        argv = [program, "--kubeconfig", str(self.addresses.kubeconfig), "--cache-dir", str(self.cache)]
        return subprocess.run(
            [*argv, *arguments], input=given, capture_output=True, text=True, timeout=60, check=False
        )


def steadily(condition: Callable[[], Any], times: int = 3) -> None:
    """Waits until `condition` holds so many times in a row, as it does once a change has reached everybody."""
    eventually(lambda: all(condition() for _ in range(times)))


def _is_json(answer: httpx.Response) -> bool:
    return str(answer.headers.get("content-type", "")).startswith("application/json")


def _dashed(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
