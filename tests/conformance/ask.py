"""`python -m tests.conformance.ask FILE...`: what istiod sends for the manifests in these files, as JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

from tests.conformance.case import Asked, Case, Manifest, read, settled
from tests.conformance.istiod import PROGRAM, Istiod


def main() -> None:
    """Prints istiod's translation of manifests for the pods asked, or for all of them."""
    given = _arguments()
    manifests, mesh = read(*given.files)
    labels = dict(label.split("=", 1) for label in given.labels.split(",") if label)
    if given.ip or (labels and not _carrying(settled(manifests), given.ns, labels)):
        manifests.append(_made_up(given.ns, labels, given.ip))
    objects = settled(manifests)
    asked = tuple(
        Asked(pod, namespace, given.gateway) for namespace, pod in _carrying(objects, given.ns, labels)
    )
    with Istiod(given.program) as istiod:
        answer = istiod.translate(Case(objects, asked, {**mesh, **yaml.safe_load(given.mesh)}))
    for name, reason in answer.refused.items():
        sys.stderr.write(f"istiod refuses {name}: {reason}\n")
    json.dump(answer.proxies, sys.stdout, indent=1)
    sys.stdout.write("\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.ask", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, help="manifests; Deployments become pods, and so on")
    parser.add_argument("--ns", default="default", help="the namespace of the pods asked for")
    parser.add_argument(
        "--labels", default="", help="their labels as a=b,c=d; a pod is made up if none has them"
    )
    parser.add_argument("--ip", help="the address of a pod to make up with these labels")
    parser.add_argument(
        "--gateway", action="store_true", help="the pods asked for are gateways, not sidecars"
    )
    parser.add_argument("--mesh", default="{}", help="istiod's mesh configuration as JSON or YAML")
    parser.add_argument("--program", type=Path, default=PROGRAM, help="istiod-translate")
    return parser.parse_args()


def _carrying(
    objects: Iterable[Manifest], namespace: str, labels: Mapping[str, str]
) -> list[tuple[str, str]]:
    """The pods of `namespace` with `labels`, as (namespace, name)."""
    metadata = [item["metadata"] for item in objects if item["kind"] == "Pod"]
    return [
        (namespace, item["name"])
        for item in metadata
        if item["namespace"] == namespace and labels.items() <= item.get("labels", {}).items()
    ]


def _made_up(namespace: str, labels: Mapping[str, str], address: str | None) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "asked", "namespace": namespace, "labels": dict(labels)},
        "spec": {"containers": [{"name": "asked", "image": "asked"}]},
        "status": {"podIP": address or "10.2.0.1"},
    }


if __name__ == "__main__":
    main()
