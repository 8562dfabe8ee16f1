"""What a container has printed: a part of it, or all of it as it is written."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from harness.localmesh.api import options
from harness.localmesh.api.resources import PODS
from harness.localmesh.api.status import bad_request
from harness.localmesh.errors import Refused
from harness.localmesh.kinds.parse import Manifest
from harness.localmesh.objects import containers_of
from harness.localmesh.store import Store

_POLL = 0.1  # seconds; a person reads along
_UNTIMED = ("sinceSeconds", "sinceTime", "timestamps")


class PodAccess(Protocol):
    """What the API server needs of whoever runs the pods."""

    def logs(self, namespace: str, name: str, container: str) -> bytes:
        """Everything the container has written so far."""

    def certificate_expires_at(self, pod: Manifest) -> float | None:
        """When the certificate of the pod's sidecar expires (Unix seconds); None if it has none."""


@dataclass(frozen=True)
class Log:
    """The log of one container: its last `lines` of what there is (None: all), then at most `limit` bytes in all."""

    pod: Manifest
    container: str
    lines: int | None
    limit: int | None

    def now(self, access: PodAccess) -> bytes:
        """What there is.

        Raises:
            Refused: as `access` does.
        """
        return self._cut(_last_lines(self._read(access), self.lines), 0)

    def follow(self, access: PodAccess, store: Store) -> Iterator[bytes]:
        """What there is, then what is written, until the container ends or the pod is gone.

        An empty frame is a pause in which nothing was written.
        """
        log = self._read(access)
        frame, seen, sent = _last_lines(log, self.lines), len(log), 0
        while True:
            frame = self._cut(frame, sent)
            sent += len(frame)
            yield frame
            if sent == self.limit:
                return
            ended = not self._runs(store)
            try:
                log = self._read(access)
            except Refused:
                return  # the pod is gone, and its log with it
            # Shorter than before: it was emptied for its size, and what is there is new.
            frame, seen = log[seen if len(log) >= seen else 0 :], len(log)
            if ended and not frame:
                return
            if not frame:
                time.sleep(_POLL)

    def _read(self, access: PodAccess) -> bytes:
        metadata = self.pod["metadata"]
        return access.logs(metadata["namespace"], metadata["name"], self.container)

    def _cut(self, frame: bytes, sent: int) -> bytes:
        return frame if self.limit is None else frame[: max(0, self.limit - sent)]

    def _runs(self, store: Store) -> bool:
        """Whether the container that was asked about runs still, and was not started anew."""
        metadata = self.pod["metadata"]
        try:
            now = store.get(PODS, metadata["namespace"], metadata["name"])
        except Refused:
            return False
        same = now["metadata"]["uid"] == metadata["uid"]
        return same and _restarts(now, self.container) == _restarts(self.pod, self.container)


def asked(pod: Manifest, query: Mapping[str, str]) -> Log:
    """The log that `query` asks for.

    Raises:
        Refused: 400 for a container the pod does not have, and for what the mesh does not record.
    """
    container = container_of(pod, query.get("container", ""))
    for name in _UNTIMED:
        if query.get(name, "false").lower() not in ("false", "0", ""):
            why = "the local mesh does not record when a line was written; ask for tailLines instead"
            raise bad_request(f"{name}: {why}")
    if options.flag(query, "previous"):
        if not _restarts(pod, container):
            name = pod["metadata"]["name"]
            raise bad_request(f'previous terminated container "{container}" in pod "{name}" not found')
        raise bad_request("previous: the local mesh keeps one log through restarts; ask without it")
    lines, limit = options.number(query, "tailLines"), options.number(query, "limitBytes")
    if limit == 0:
        raise bad_request("limitBytes: Invalid value: 0: must be greater than 0")
    return Log(pod, container, lines, limit)


def container_of(pod: Manifest, name: str) -> str:
    """The container meant by `name`; "" is the only one, or the one the pod's annotation names.

    Raises:
        Refused: 400 when it is not one of the pod's.
    """
    names = [container["name"] for container in containers_of(pod)]
    pod_name = pod["metadata"]["name"]
    default = (pod["metadata"].get("annotations") or {}).get("kubectl.kubernetes.io/default-container", "")
    name = name or default or (names[0] if len(pod["spec"]["containers"]) == 1 else "")
    if not name:
        listed = " ".join(names)
        raise bad_request(f"a container name must be specified for pod {pod_name}, choose one of: [{listed}]")
    if name not in names:
        raise bad_request(f"container {name} is not valid for pod {pod_name}")
    return name


def _last_lines(log: bytes, count: int | None) -> bytes:
    if count is None:
        return log
    return b"".join(log.splitlines(keepends=True)[-count:]) if count else b""


def _restarts(pod: Manifest, container: str) -> int:
    statuses = pod.get("status", {}).get("containerStatuses") or ()
    return next((int(it.get("restartCount", 0)) for it in statuses if it.get("name") == container), 0)
