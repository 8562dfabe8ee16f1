"""The processes of one pod: its programs and its Envoy, what they share and how they are started."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.localmesh import images, programs
from harness.localmesh.admission import PROXY
from harness.localmesh.asking import Place
from harness.localmesh.errors import MeshError
from harness.localmesh.kinds.parse import Manifest
from harness.localmesh.process import Process, start
from harness.localmesh.standins.settings import variables
from harness.localmesh.xds.bootstrap import STATS_PORT, Stats, bootstrap
from harness.localmesh.xds.model import Proxy
from harness.localmesh.xds.names import OUTBOUND_PORT


@dataclass
class Sandbox:
    """What the processes of a pod share. `proxy` is None for a pod without a sidecar.

    `address` is the pod's IP; `host` is where its programs listen, the same address when there is no sidecar.
    """

    pod: Manifest
    address: str
    host: str
    directory: Path
    proxy: Proxy | None

    @property
    def title(self) -> str:
        """The pod as people call it: namespace/name."""
        return f"{self.pod['metadata']['namespace']}/{self.pod['metadata']['name']}"

    @property
    def admin(self) -> Path:
        """The socket of its Envoy's admin interface."""
        return self.directory / "admin.sock"

    def places(self, container: Manifest) -> tuple[Place, ...]:
        """Where the container accepts connections once it has started, the last to come up first."""
        if not self._is_proxy(container["name"]) or self.proxy is None:
            return tuple((self.host, port["containerPort"]) for port in container.get("ports", ()))
        stats = (self.proxy.listen, STATS_PORT)
        if self.proxy.gateway:
            return (stats,)
        return (*((self.address, port) for port in self._ports()), (self.address, OUTBOUND_PORT), stats)

    def up(self, container: Manifest, xds_socket: Path, stats_token: str, stats: Stats) -> Process:
        """Starts one container's process.

        Raises:
            MeshError: a port it needs is in use by another program.
        """
        name = container["name"]
        self._check_ports(name)
        if self.proxy is not None and images.command(container["image"], container) is None:
            argv, env = self._envoy(xds_socket, stats_token, stats), {"PATH": os.environ.get("PATH", "")}
        else:
            argv, env = self._program(container), self._environment(container)
        return start(f"{self.title}/{name}", argv, env=env, log=self.directory / f"{name}.log")

    def attach(self, container: Manifest) -> Process:
        """Starts an ephemeral container's process."""
        env = self._environment(container) | {"HARNESS_PROXY_ADMIN": str(self.admin)}
        name = container["name"]
        log = self.directory / f"{name}.log"
        return start(f"{self.title}/{name}", images.attached(container), env=env, log=log)

    def write_addresses(self, given: Mapping[tuple[str, int], int]) -> None:
        """Writes where its programs reach TCP Services: the address for each host and port, as JSON."""
        if self.proxy is None or self.proxy.gateway:
            given = {}
        places = {f"{host}:{port}": f"{self.address}:{number}" for (host, port), number in given.items()}
        draft = self.directory / "tcp.json.new"
        draft.write_text(json.dumps(places))
        draft.replace(self._addresses)

    @property
    def _addresses(self) -> Path:
        return self.directory / "tcp.json"

    def remove(self) -> None:
        """Removes its files."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def log(self, container: str) -> bytes:
        """What the container has printed so far."""
        try:
            return (self.directory / f"{container}.log").read_bytes()
        except FileNotFoundError:
            return b""  # it has not been started yet

    def _ports(self) -> tuple[int, ...]:
        """The container ports of its programs."""
        return tuple(
            port["containerPort"]
            for container in self.pod["spec"]["containers"]
            if container["name"] != PROXY
            for port in container.get("ports", ())
        )

    def _is_proxy(self, name: str) -> bool:
        return self.proxy is not None and (self.proxy.gateway or name == PROXY)

    def _check_ports(self, name: str) -> None:
        proxied = self._is_proxy(name)
        ports = (STATS_PORT,) if self.proxy and self.proxy.gateway else self._ports()
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

    def _envoy(self, xds_socket: Path, stats_token: str, stats: Stats) -> tuple[str, ...]:
        if self.proxy is None:
            raise AssertionError("a pod without a sidecar has no Envoy")
        path = self.directory / "bootstrap.json"
        self.admin.unlink(missing_ok=True)
        content = bootstrap(
            self.proxy,
            admin_socket=self.admin,
            xds_socket=xds_socket,
            stats_token=stats_token,
            stats=stats,
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
            *("--file-flush-interval-msec", "1000"),
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
        return {
            "PATH": os.environ.get("PATH", ""),
            **{item["name"]: item.get("value", "") for item in container.get("env", ())},
            **variables(metadata.get("annotations", {})),
            "HARNESS_TCP_ADDRESSES": str(self._addresses),
            "LISTEN_HOST": self.host,
            "PORTS": ",".join(ports),
            "HTTP_PROXY": f"http://{self.address}:{OUTBOUND_PORT}" if self.proxy else "",
            "POD_NAME": metadata["name"],
            "POD_NAMESPACE": metadata["namespace"],
            "SERVICE_NAME": labels.get("app", ""),
            "SERVICE_VERSION": labels.get("version", ""),
        }
