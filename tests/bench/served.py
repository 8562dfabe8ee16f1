"""How long a change takes until sidecars serve it."""

from __future__ import annotations

import http.client
import json
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kubernetes import client

from harness.localmesh.launch import Addresses
from tests.bench.machine import Sidecar

_PAUSE = 0.002

Change = Callable[[int], None]
"""Makes the host of a `Mark` answer with that number."""


@dataclass(frozen=True)
class Mark:
    """A VirtualService of `namespace` by which `host` answers with a number, at the sidecars of `export_to`."""

    addresses: Addresses
    namespace: str
    host: str
    export_to: str = "."

    def rule(self, number: int) -> dict[str, Any]:
        """The VirtualService with that number."""
        answer = {"status": 200, "body": {"string": f"{number}"}}
        return {
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "metadata": {"name": f"mark-{self.host.partition('.')[0]}", "namespace": self.namespace},
            "spec": {
                "hosts": [self.host],
                "exportTo": [self.export_to],
                "http": [{"directResponse": answer}],
            },
        }

    def kubectl(self, number: int) -> None:
        """Makes or changes it as people do."""
        argv = ["kubectl", "--kubeconfig", str(self.addresses.kubeconfig), "apply", "-f", "-"]
        text = json.dumps(self.rule(number))
        subprocess.run(argv, input=text, text=True, check=True, stdout=subprocess.DEVNULL)

    def patch(self, api: client.CustomObjectsApi, number: int) -> None:
        """Changes it as programs do, once it is there."""
        rule = self.rule(number)
        api.patch_namespaced_custom_object(
            "networking.istio.io",
            "v1",
            self.namespace,
            "virtualservices",
            rule["metadata"]["name"],
            {"spec": rule["spec"]},
            _content_type="application/merge-patch+json",
        )


def served(sidecars: Sequence[Sidecar], authority: str, change: Change, times: int) -> list[float]:
    """Milliseconds from the start of each change until the last sidecar serves it.

    The measuring is part of it: one pass over 40 sidecars takes this process some 10 ms.
    """
    connections = [http.client.HTTPConnection(item.ip, 15001, timeout=5) for item in sidecars]
    change(0)
    _await(connections, authority, "0", [])
    taken = []
    for number in range(1, times + 1):
        ends: list[float] = []
        watching = threading.Thread(target=_await, args=(connections, authority, f"{number}", ends))
        watching.start()
        begun = time.monotonic()
        change(number)
        watching.join()
        taken.append((ends[0] - begun) * 1000)
    for connection in connections:
        connection.close()
    return taken


def _await(
    connections: Sequence[http.client.HTTPConnection], authority: str, wanted: str, ends: list[float]
) -> None:
    """Notes when the last sidecar serves `wanted`.

    One is asked until it does, so that asking takes little of the machine; then the others are, all at once.
    """
    for group in (connections[:1], connections[1:]):
        waiting = list(group)
        while waiting:
            for connection in waiting:
                connection.request("GET", f"http://{authority}/mark", headers={"Host": authority})
            answers = [connection.getresponse().read().decode() for connection in waiting]
            waiting = [item for item, answer in zip(waiting, answers, strict=True) if answer != wanted]
            time.sleep(_PAUSE if waiting else 0)
    ends.append(time.monotonic())
