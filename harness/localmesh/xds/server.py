"""Serves every Envoy its configuration over a unix socket, by the aggregated discovery service, as istiod does.

The socket's folder is its owner's only, so no token is needed.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import grpc

from harness.localmesh.xds import encoding
from harness.localmesh.xds.model import Snapshot
from harness.localmesh.xds.subscriptions import KINDS, Asked, Configuration, Offer, Stream

_SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
_METHOD = "StreamAggregatedResources"
_SOON = 0.01
_TYPE_URLS = dict(
    zip(
        KINDS,
        (
            "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            "type.googleapis.com/envoy.config.listener.v3.Listener",
            "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        ),
        strict=True,
    )
)
_OF_URL = {url: kind for kind, url in _TYPE_URLS.items()}


class ConfigurationServer:
    """The xDS server; its methods may be called from any thread between `start` and `stop`."""

    def __init__(self, path: Path, on_refusal: Callable[[], None] = lambda: None) -> None:
        """Args: path: of the socket, at most 107 characters; on_refusal: called when there are new `refusals`.

        The socket's folder must be private.
        """
        self._path = path
        self._on_refusal = on_refusal
        self._configurations: dict[str, Configuration] = {}
        self._encoder = encoding.Encoder()
        self._streams: dict[str, _Connected] = {}
        self._refusals: set[tuple[str, str, str]] = set()
        self._thread = threading.Thread(target=self._run, name="xds", daemon=True)
        self._listening = threading.Event()

    def start(self) -> None:
        """Listens when it returns."""
        self._loop = asyncio.new_event_loop()
        self._thread.start()
        self._listening.wait()

    def stop(self) -> None:
        """Ends every connection. Twice is harmless."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopped.set)
            self._thread.join()

    def publish(self, snapshots: Mapping[str, Snapshot], gone: Collection[str] = ()) -> None:
        """Makes these snapshots, by node id, what those Envoys are to have, and forgets those that are gone."""
        self._loop.call_soon_threadsafe(self._set, dict(snapshots), tuple(gone))

    def behind(self) -> tuple[str, ...]:
        """The node ids of the Envoys that have not confirmed all they are to have."""

        async def ask() -> tuple[str, ...]:
            return tuple(node for node in self._configurations if not self._confirmed(node))

        return asyncio.run_coroutine_threadsafe(ask(), self._loop).result(timeout=10.0)

    def refusals(self) -> set[tuple[str, str, str]]:
        """Which Envoys (by node id) have refused what kind of resource since the last call, in their words."""
        refused, self._refusals = self._refusals, set()
        return refused

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._stopped = asyncio.Event()
        server = grpc.aio.server()
        method: Any = grpc.stream_stream_rpc_method_handler(
            self._stream,
            request_deserializer=encoding.message("envoy.service.discovery.v3.DiscoveryRequest").FromString,
            response_serializer=lambda response: response.SerializeToString(),
        )
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, {_METHOD: method}),))
        server.add_insecure_port(f"unix:{self._path}")
        await server.start()
        self._listening.set()
        await self._stopped.wait()
        await server.stop(None)

    def _set(self, snapshots: Mapping[str, Snapshot], gone: Collection[str]) -> None:
        for node in gone:
            self._configurations.pop(node, None)
        now = time.monotonic()
        for node, snapshot in snapshots.items():
            known = self._configurations.get(node, Configuration())
            try:
                news = known.set(snapshot, now, self._encoder)
            except ValueError as error:
                self._refused(node, "resources", f"they cannot be encoded: {error}")
                continue
            self._configurations[node] = known
            if news and node in self._streams:
                self._streams[node].news.set()

    def _confirmed(self, node: str) -> bool:
        connected = self._streams.get(node)
        return connected is not None and connected.stream.confirmed(self._configurations[node])

    async def _stream(self, requests: AsyncIterator[Any], _: Any) -> AsyncIterator[Any]:
        """One Envoy's stream: what it asks is noted as it comes, what there is for it is sent as it is there."""
        first = await anext(requests)
        connected = _Connected(first.node.id)
        self._streams[connected.node] = connected
        self._arrived(connected, first)
        reading = asyncio.ensure_future(self._read(connected, requests))
        try:
            while not reading.done():
                configuration = self._configurations.get(connected.node)
                connected.news.clear()
                patience = None
                if configuration is not None:
                    for offer in connected.stream.offers(configuration, time.monotonic()):
                        yield _response(offer)
                    patience = connected.stream.patience(configuration, time.monotonic())
                await connected.wait(patience)
        finally:
            reading.cancel()
            if self._streams.get(connected.node) is connected:
                del self._streams[connected.node]

    async def _read(self, connected: _Connected, requests: AsyncIterator[Any]) -> None:
        try:
            async for request in requests:
                self._arrived(connected, request)
        finally:
            connected.news.set()

    def _arrived(self, connected: _Connected, request: Any) -> None:
        kind = _OF_URL.get(request.type_url)
        if kind is None:
            return  # Envoy asks for nothing else by this configuration
        refused = request.HasField("error_detail")
        connected.stream.arrived(
            Asked(kind, tuple(request.resource_names), request.response_nonce, refused), time.monotonic()
        )
        if refused:
            self._refused(connected.node, kind, request.error_detail.message.strip())
        connected.news.set()

    def _refused(self, node: str, kind: str, words: str) -> None:
        self._refusals.add((node, kind, words))
        self._on_refusal()


class _Connected:
    """A stream that is open, and whether there is anything new for it."""

    def __init__(self, node: str) -> None:
        self.node = node
        self.stream = Stream()
        self.news = asyncio.Event()

    async def wait(self, patience: float | None) -> None:
        """Until there are news, at most `patience` seconds."""
        try:
            async with asyncio.timeout(None if patience is None else patience + _SOON):
                await self.news.wait()
        except TimeoutError:
            return


def _response(offer: Offer) -> Any:
    return encoding.message("envoy.service.discovery.v3.DiscoveryResponse")(
        version_info=offer.version,
        type_url=_TYPE_URLS[offer.kind],
        nonce=offer.nonce,
        resources=[item.message for item in offer.resources.values()],
    )
