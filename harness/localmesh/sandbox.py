"""The processes of one pod: its programs and its Envoy, started and ended together."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
from dataclasses import dataclass, field
from pathlib import Path

from harness.localmesh import images, programs
from harness.localmesh.admission import PROXY
from harness.localmesh.errors import MeshError
from harness.localmesh.kinds.parse import Manifest
from harness.localmesh.process import Process, start
from harness.localmesh.xds.bootstrap import STATS_PORT, bootstrap
from harness.localmesh.xds.model import Proxy
from harness.localmesh.xds.names import OUTBOUND_PORT

_SETTING = "standin.harness.local/"


@dataclass
class Sandbox:
    """A pod's processes by container name. `proxy` is None for a pod without a sidecar.

    `address` is the pod's IP; `host` is where its programs listen, the same address when there is no sidecar.
    """

    pod: Manifest
    address: str
    host: str
    directory: Path
    proxy: Proxy | None
    processes: dict[str, Process] = field(default_factory=dict)
    restarts: dict[str, int] = field(default_factory=dict)

    @property
    def uid(self) -> str:
        """The UID of the pod it belongs to."""
        return str(self.pod["metadata"]["uid"])

    @property
    def title(self) -> str:
        """The pod as people call it: namespace/name."""
        return f"{self.pod['metadata']['namespace']}/{self.pod['metadata']['name']}"

    def ports(self) -> tuple[int, ...]:
        """The container ports of its programs."""
        return tuple(
            port["containerPort"]
            for container in self.pod["spec"]["containers"]
            if container["name"] != PROXY
            for port in container.get("ports", ())
        )

    def up(self, container: Manifest, xds_socket: Path, stats_token: str) -> Process:
        """Starts one container's process.

        Raises:
            MeshError: a port it needs is in use by another program.
        """
        name = container["name"]
        self._check_ports(name)
        if self.proxy is not None and images.command(container["image"], container) is None:
            argv, env = self._envoy(xds_socket, stats_token), {"PATH": os.environ.get("PATH", "")}
        else:
            argv, env = self._program(container), self._environment(container)
        process = start(f"{self.title}/{name}", argv, env=env, log=self.directory / f"{name}.log")
        self.processes[name] = process
        return process

    def terminate(self) -> bool:
        """Asks its programs to end (SIGTERM), and says whether they have; Envoy stays up for them until `kill`."""
        programs = [process for name, process in self.processes.items() if not self._is_proxy(name)]
        for process in programs:
            process.signal(signal.SIGTERM)
        return all(process.exit_code is not None for process in programs)

    def kill(self) -> None:
        """Ends everything at once (SIGKILL) and removes its files."""
        for process in self.processes.values():
            process.signal(signal.SIGKILL)
        for process in self.processes.values():
            process.reap()
        self.processes.clear()
        shutil.rmtree(self.directory, ignore_errors=True)

    def listening(self) -> bool:
        """Whether every process runs and every port, the program's and the proxy's, accepts connections."""
        if any(process.exit_code is not None for process in self.processes.values()):
            return False
        places = [(self.host, port) for port in self.ports()]
        if self.proxy is not None:
            places.append((self.proxy.listen, STATS_PORT))
            if not self.proxy.gateway:
                places += [(self.address, port) for port in (OUTBOUND_PORT, *self.ports())]
        return all(accepts(place) for place in places)

    def log(self, container: str) -> bytes:
        """What the container has printed so far."""
        return (self.directory / f"{container}.log").read_bytes()

    def _is_proxy(self, name: str) -> bool:
        return self.proxy is not None and (self.proxy.gateway or name == PROXY)

    def _check_ports(self, name: str) -> None:
        proxied = self._is_proxy(name)
        ports = (STATS_PORT,) if self.proxy and self.proxy.gateway else self.ports()
        address = self.proxy.listen if proxied and self.proxy else self.host
        for port in ports:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if proxied:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                try:
                    probe.bind((address, port))
                except OSError as error:
                    raise MeshError(
                        f"Pod {self.title} cannot listen on {address}:{port} ({error.strerror}): another program holds "
                        f"port {port}, perhaps on all addresses; end it (ss -ltnp 'sport = :{port}') or choose another "
                        f"containerPort for container {name}."
                    ) from None

    def _envoy(self, xds_socket: Path, stats_token: str) -> tuple[str, ...]:
        if self.proxy is None:
            raise AssertionError("a pod without a sidecar has no Envoy")
        path = self.directory / "bootstrap.json"
        admin = self.directory / "admin.sock"
        admin.unlink(missing_ok=True)
        content = bootstrap(
            self.proxy,
            admin_socket=admin,
            xds_socket=xds_socket,
            stats_token=stats_token,
        )
        path.write_text(json.dumps(content))
        path.chmod(0o600)
        return (
            programs.envoy(),
            *("-c", str(path)),
            *("--concurrency", "1"),
            "--use-dynamic-base-id",
            # As pilot-agent starts it; with the default, a changed listener is felt seconds late.
            *("--drain-strategy", "immediate", "--drain-time-s", "45"),
            *("-l", "warning", "--component-log-level", "misc:error"),
        )

    def _program(self, container: Manifest) -> tuple[str, ...]:
        command = images.command(container["image"], container)
        if command is None:
            raise MeshError(
                f"Container {container['name']} of pod {self.title} is a proxy beside other containers; "
                "leave it out, the mesh adds the sidecar itself."
            )
        return command

    def _environment(self, container: Manifest) -> dict[str, str]:
        metadata = self.pod["metadata"]
        labels = metadata.get("labels", {})
        ports = [str(port["containerPort"]) for port in container.get("ports", ())]
        settings = {
            f"STANDIN_{key.removeprefix(_SETTING).upper().replace('-', '_')}": value
            for key, value in metadata.get("annotations", {}).items()
            if key.startswith(_SETTING)
        }
        return {
            "PATH": os.environ.get("PATH", ""),
            **{item["name"]: item.get("value", "") for item in container.get("env", ())},
            **settings,
            "LISTEN_HOST": self.host,
            "PORTS": ",".join(ports),
            "HTTP_PROXY": f"http://{self.address}:{OUTBOUND_PORT}" if self.proxy else "",
            "POD_NAME": metadata["name"],
            "POD_NAMESPACE": metadata["namespace"],
            "SERVICE_NAME": labels.get("app", ""),
            "SERVICE_VERSION": labels.get("version", ""),
        }


def accepts(place: tuple[str, int]) -> bool:
    """Whether something accepts connections at that address and port."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(place) == 0
