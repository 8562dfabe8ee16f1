"""What several test files need, and what is no fixture."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from tenacity import Retrying, retry_if_exception_type, retry_if_result, stop_after_delay, wait_fixed

from harness.localmesh.launch import Addresses

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT.parent / "shared" / "istio-samples"
HARNESS = Path(sys.executable).with_name("harness")

ONE_POD = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}%s}
    spec: {containers: [{name: web, image: harness/service, ports: [{name: http, containerPort: %d}]}]}
"""


def eventually(condition: Callable[[], Any], within: float = 15.0) -> Any:
    """The first truthy value of `condition`, which may raise AssertionError until then."""
    retry = retry_if_exception_type((AssertionError, httpx.HTTPError)) | retry_if_result(
        lambda value: not value
    )
    return Retrying(stop=stop_after_delay(within), wait=wait_fixed(0.02), retry=retry, reraise=True)(
        condition
    )


def query(addresses: Addresses, promql: str) -> list[dict[str, Any]]:
    """What Prometheus answers to an instant query."""
    answer = httpx.get(f"{addresses.prometheus_url}/api/v1/query", params={"query": promql}, timeout=5.0)
    answer.raise_for_status()
    result: list[dict[str, Any]] = answer.json()["data"]["result"]
    return result


def processes(folder):
    """Every process that names the folder in its arguments."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                arguments = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(folder).encode() in arguments and int(entry.name) != os.getpid():
                found.append(entry.name)
    return found
