"""A block of loopback addresses of the mesh's own, so that several meshes run side by side.

127.N.0.0/16 belongs to the mesh that holds a socket bound to 127.N.255.254:15999: the kernel is the registry, and gives
the block back when the mesh ends, however it ends.

::

    127.N.0.1      the API server          127.N.96.1 and up    cluster IPs of Services
    127.N.0.2      Prometheus              127.N.128.1 and up   the program of each pod
    127.N.1.1      and up: pods            (pod 127.N.a.b has its program on 127.N.(a+128).b)
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

from harness.localmesh.errors import MeshError

_CLAIM_PORT = 15999
_POD_NETS = range(1, 96)
_SERVICE_NETS = range(96, 128)
_APP_OFFSET = 128


@dataclass
class Block:
    """127.N.0.0/16, held until `release`."""

    number: int
    _claim: socket.socket
    _pods: set[str] = field(default_factory=set)
    _last: tuple[int, int] = (1, 0)

    @property
    def api(self) -> str:
        """The address of the API server."""
        return f"127.{self.number}.0.1"

    @property
    def prometheus(self) -> str:
        """The address of Prometheus."""
        return f"127.{self.number}.0.2"

    def pod(self) -> str:
        """A pod address not in use; used ones come round again as late as possible, as in a real pod network."""
        for _ in range(len(_POD_NETS) * 254):
            self._last = _after(self._last, _POD_NETS)
            address = f"127.{self.number}.{self._last[0]}.{self._last[1]}"
            if address not in self._pods:
                self._pods.add(address)
                return address
        raise MeshError("All pod addresses of this mesh are in use; take some pods down.")

    def free(self, pod: str) -> None:
        """Gives a pod's address back."""
        self._pods.discard(pod)

    def service(self, taken: set[str]) -> str:
        """A cluster IP that is not in `taken`."""
        for net in _SERVICE_NETS:
            for host in range(1, 255):
                address = f"127.{self.number}.{net}.{host}"
                if address not in taken:
                    return address
        raise MeshError("All cluster IPs of this mesh are in use; delete some Services.")

    def release(self) -> None:
        """Gives the block back."""
        self._claim.close()


def app_address(pod: str) -> str:
    """Where the program of the pod at `pod` listens."""
    _, block, net, host = pod.split(".")
    return f"127.{block}.{int(net) + _APP_OFFSET}.{host}"


def claim() -> Block:
    """The first free block of 127.16.0.0/16 to 127.250.0.0/16.

    Raises:
        MeshError: none is free, or the system has no 127.0.0.0/8 (macOS has 127.0.0.1 only).
    """
    for number in range(16, 251):
        claimed = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            claimed.bind((f"127.{number}.255.254", _CLAIM_PORT))
            claimed.listen(1)
        except OSError:
            claimed.close()
            continue
        return Block(number, claimed)
    raise MeshError(
        "No block of loopback addresses is free: 127.16.0.0/16 to 127.250.0.0/16 are all held by meshes, "
        "or this system has no 127.0.0.0/8; take a mesh down (harness down) or run on Linux."
    )


def _after(last: tuple[int, int], nets: range) -> tuple[int, int]:
    net, host = last
    if host < 254:
        return net, host + 1
    return (net + 1 if net + 1 in nets else nets.start), 1
