"""Processes and sidecars of a running mesh, as the machine knows them."""

from __future__ import annotations

import http.client
import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from kubernetes import client, config

from harness.localmesh.addresses import app_address
from harness.localmesh.launch import Addresses

_TICKS = os.sysconf("SC_CLK_TCK")
_COUNTED = "update_(attempt|success|failure|rejected)|version_text|listener_added|listener_modified"


@dataclass(frozen=True)
class Sidecar:
    """A pod with its Envoy; `admin` is the socket of that one's admin interface."""

    pod: str
    namespace: str
    labels: dict[str, str]
    ip: str
    admin: Path

    @property
    def program(self) -> str:
        """Where its program listens."""
        return app_address(self.ip)

    def updates(self) -> dict[str, str]:
        """Everything by which its Envoy shows that it has got configuration: counters and versions, by name."""
        with _Local(self.admin) as connection:
            connection.request("GET", f"/stats?filter={_COUNTED}", headers={"Host": "envoy"})
            lines = connection.getresponse().read().decode().splitlines()
        return dict(line.rsplit(": ", 1) for line in lines)


def sidecars(addresses: Addresses, namespace: str = "default") -> list[Sidecar]:
    """The pods of `namespace`, all of which have a sidecar."""
    folder = addresses.kubeconfig.parent / "pods"
    admins = {_node_address(path): path.with_name("admin.sock") for path in folder.glob("*/bootstrap.json")}
    with config.new_client_from_config(str(addresses.kubeconfig)) as api:
        pods = client.CoreV1Api(api).list_namespaced_pod(namespace).items
    return [
        Sidecar(
            pod.metadata.name,
            namespace,
            dict(pod.metadata.labels),
            pod.status.pod_ip,
            admins[pod.status.pod_ip],
        )
        for pod in pods
    ]


def mesh_process(addresses: Addresses) -> int:
    """The id of the mesh's own process."""
    state = json.loads((addresses.kubeconfig.parent / "mesh.json").read_text())
    return int(state["pid"])


def cpu_seconds(pid: int) -> float:
    """What a process has computed so far, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def named(text: str, *, variables: bool = False, mention: str = "") -> list[int]:
    """Processes with `text` in their arguments (or variables), whose bootstrap mentions `mention`."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            content = (entry / ("environ" if variables else "cmdline")).read_bytes().decode(errors="replace")
        except OSError:
            continue
        if text in content and (not mention or mention in _bootstrap(content)):
            found.append(int(entry.name))
    return found


def pss(pid: int) -> float:
    """Kilobytes of memory, of what is shared its part."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return float(line.split()[1])
    return 0.0


def _bootstrap(arguments: str) -> str:
    path = next((word for word in arguments.split("\0") if word.endswith("bootstrap.json")), None)
    return Path(path).read_text() if path else ""


def _node_address(bootstrap: Path) -> str:
    node = json.loads(bootstrap.read_text())["node"]["id"]
    return str(node.split("~")[1])


class _Local(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("envoy", timeout=5)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(5)
        self.sock.connect(str(self._path))

    def __enter__(self) -> _Local:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
