"""Pushes the configuration: what the mesh should be, to every Envoy that it concerns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from harness.localmesh.xds.memo import Memo
from harness.localmesh.xds.model import Mesh, Proxy
from harness.localmesh.xds.server import ConfigurationServer
from harness.localmesh.xds.snapshot import translated
from harness.localmesh.xds.view import Views

_DEBOUNCE_AFTER = 0.1
_DEBOUNCE_MAX = 10.0


class Publisher:
    """Keeps every proxy's configuration at what the mesh is.

    A changed Istio object or Service is pushed at once. Changed endpoints are pushed when they have been quiet for
    100 ms, at the latest after 10 s, as istiod does (PILOT_DEBOUNCE_AFTER, PILOT_DEBOUNCE_MAX): a killed pod gets
    requests for a moment here too, which is what retries and outlier detection are for.
    """

    def __init__(self, read: Callable[[], Mesh], server: ConfigurationServer) -> None:
        """Args: read: gives the mesh as it is now, the same object while nothing changes; server: serves the Envoys."""
        self._read = read
        self._server = server
        self._memo = Memo()
        self._wanted = Mesh()
        self._pushed: Mesh | None = None
        self._proxies: tuple[Proxy, ...] = ()
        self.given: Mapping[tuple[str, int], int] = {}
        """The ports at which sidecars offer TCP Services, by host and port."""
        self._first_change = 0.0
        self._last_change: float | None = None

    def push(self, proxies: tuple[Proxy, ...]) -> None:
        """Pushes what has changed since the last push and is due; `proxies` are all Envoys there are."""
        due = self._due_mesh()
        if due is self._pushed and proxies == self._proxies:
            return
        known = {proxy.node: proxy for proxy in self._proxies}
        new = [proxy for proxy in proxies if due is not self._pushed or known.get(proxy.node) != proxy]
        gone = known.keys() - {proxy.node for proxy in proxies}
        self._pushed, self._proxies = due, proxies
        if new or gone:
            views = Views(due, self._memo)
            self.given = views.given
            self._server.publish({proxy.node: translated(views.of(proxy)) for proxy in new}, gone)

    def patience(self) -> float | None:
        """Seconds until a push is due, or None when none is."""
        if self._last_change is None:
            return None
        return max(0.0, self._due(self._last_change) - time.monotonic())

    def _due_mesh(self) -> Mesh:
        now = time.monotonic()
        mesh = self._read()
        if self._pushed is None:
            self._wanted = mesh
            return mesh
        if mesh.workloads is not self._wanted.workloads:
            self._first_change = now if self._last_change is None else self._first_change
            self._last_change = now
        self._wanted = mesh
        if self._last_change is not None and now >= self._due(self._last_change):
            self._last_change = None
        if self._last_change is None:
            return mesh
        held = replace(mesh, workloads=self._pushed.workloads)
        return self._pushed if held == self._pushed else held

    def _due(self, last_change: float) -> float:
        return min(last_change + _DEBOUNCE_AFTER, self._first_change + _DEBOUNCE_MAX)
