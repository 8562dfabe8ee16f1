"""How istiod-translate is asked."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.conformance.case import Asked, Case, settled
from tests.conformance.istiod import Istiod

_ECHO = """\
import json, sys
for line in sys.stdin:
    given = {one["key"]: {} for one in json.loads(line)["proxies"]}
    print(json.dumps({"refused": {}, "warned": {}, "proxies": given}), flush=True)
"""


def test_gateways_ask_before_the_sidecars_of_their_namespace(tmp_path: Path) -> None:
    """Whatever their order in the case: what a gateway sees depends on whether one of these has asked."""
    program = tmp_path / "echo"
    program.write_text(f"#!{sys.executable}\n{_ECHO}")
    program.chmod(0o755)
    asked = tuple(Asked(name, gateway=name.startswith("edge")) for name in ("a", "edge-1", "b", "edge-2"))
    case = Case(tuple(settled([_pod(item.pod) for item in asked])), asked)
    with Istiod(program) as istiod:
        answer = istiod.translate(case)
    assert [*answer.proxies] == ["default/edge-1", "default/edge-2", "default/a", "default/b"]


def _pod(name: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
        "spec": {"containers": [{"name": "app", "image": "app"}]},
    }
