"""istiod's own answer to a case, from a process that runs istiod's code."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.conformance.case import Asked, Case, Manifest

Resource = dict[str, Any]

PROGRAM = Path(os.environ.get("ISTIOD_TRANSLATE", ".cache/istiod-translate"))
"""Where `make conformance` puts the program."""

_LIFE = 250
"""Cases after which a new process takes over: istiod's registries leave some memory behind with each."""


class IstiodError(Exception):
    """istiod could not translate a case; the message is what it says."""


@dataclass(frozen=True)
class Answer:
    """What istiod says to a case.

    `refused` and `warned` are what its validation webhook says, by "Kind namespace/name"; what it refuses is not
    part of the translation. `proxies` is what each Envoy gets, by its key: "clusters", "endpoints", "listeners"
    and "routes", each resource as protobuf's JSON with the names of the .proto files, in istiod's order.
    """

    proxies: Mapping[str, Mapping[str, list[Resource]]]
    refused: Mapping[str, str]
    warned: Mapping[str, str]


class Istiod:
    """A running istiod-translate (tests/conformance/istiod), to be used in a `with` statement."""

    def __init__(self, program: Path) -> None:
        """Starts `program`.

        Raises:
            OSError: it cannot be started.
        """
        self._program = program
        self._cases = 0
        self._process = _started(program)
        self._written: dict[str, Resource] = {}

    def translate(self, case: Case, reviewed: Iterable[Manifest] = ()) -> Answer:
        """What istiod makes of `case`; the Istio objects `reviewed` are validated and nothing else.

        Raises:
            IstiodError: istiod cannot read the case or panicked, or the process is gone.
        """
        self._cases += 1
        if self._cases % _LIFE == 0:
            self._stop()
            self._process = _started(self._program)
            self._written.clear()
        answer = self._ask({**_question(case), "reviewed": _documents(reviewed)})
        return Answer(answer.get("proxies", {}), answer["refused"], answer["warned"])

    def written(self, resources: Sequence[Resource]) -> list[Resource]:
        """`resources`, each with its `@type`, written as istiod's are: no defaults, one notation for each value.

        What is the same in several proxies and cases is asked once.

        Raises:
            IstiodError: one of them is no resource of Envoy's: an unknown field, a value out of its range.
        """
        texts = [json.dumps(resource) for resource in resources]
        new = {text: item for text, item in zip(texts, resources, strict=True) if text not in self._written}
        answer = self._ask({"resources": [*new.values()]}) if new else {"resources": []}
        for text, made in zip(new, answer["resources"], strict=True):
            if "error" in made:
                asked = new[text]
                raise IstiodError(f"{asked.get('name', asked.get('cluster_name'))}: {made['error']}")
            self._written[text] = made["resource"]
        return [self._written[text] for text in texts]

    def _ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise IstiodError(
                f"istiod-translate ended with exit code {self._process.wait()}; see its standard error"
            )
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise IstiodError(answer["error"])
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=10)
        self._process.stdout.close()


def _started(program: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )


def _question(case: Case) -> Mapping[str, Any]:
    """`case` as a line of the program's input.

    Gateways ask first: once a sidecar of a namespace has asked, istiod gives a gateway there the Services that this
    one sees, also those that are only a route's destination (istio/istio `pilot/pkg/model/push_context.go`,
    doGetSidecarScope), so that the order of connections would decide.
    """
    return {
        "kubernetes": _documents(case.kubernetes()),
        "config": _documents(case.istio()),
        "mesh": dict(case.mesh),
        "proxies": [
            _proxy(case, asked) for asked in sorted(case.proxies, key=lambda asked: not asked.gateway)
        ],
    }


def _documents(manifests: Iterable[Manifest]) -> str:
    return "\n---\n".join(json.dumps(manifest) for manifest in manifests)


def _proxy(case: Case, asked: Asked) -> Mapping[str, Any]:
    pod = case.pod(asked)
    metadata = pod["metadata"]
    return {
        "key": asked.key,
        "id": asked.pod,
        "type": "router" if asked.gateway else "sidecar",
        "ip": pod["status"]["podIP"],
        "namespace": asked.namespace,
        "labels": metadata.get("labels", {}),
        "serviceAccount": pod["spec"]["serviceAccountName"],
        "metadata": {
            "NODE_NAME": pod["spec"].get("nodeName", ""),
            "ANNOTATIONS": metadata.get("annotations", {}),
        },
    }
