"""What Envoy itself says of configurations, many at a time: `envoy --mode validate` on one static configuration."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.localmesh import programs
from harness.localmesh.xds.bootstrap import bootstrap
from harness.localmesh.xds.model import Proxy, Resource, Snapshot, Workload
from harness.localmesh.xds.proto import extension

_NOBODY = Workload("n", "n", "n", "127.0.0.1", "127.0.0.1", {}, "n", (), True, True)
_LIMIT = 120.0


@dataclass(frozen=True)
class Piece:
    """A cluster, listener, route table or secret, and where it comes from; `endpoints` are those of an EDS cluster."""

    kind: str
    resource: Resource
    origin: Any
    endpoints: Resource | None = None


class Pieces:
    """Collects what has not been collected before; equal resources count once."""

    def __init__(self) -> None:
        self._seen: dict[Any, Any] = {}
        self._written: set[str] = set()
        self.collected: list[Piece] = []

    def add(self, made: Snapshot, origin: Any) -> None:
        """Everything of a snapshot that is new."""
        taken = [json.dumps(item["address"]) for item in made.listeners.values()]
        assert len(set(taken)) == len(taken), f"two listeners have the same address after {origin}"
        for name, resource in made.clusters.items():
            self._add(Piece("cluster", resource, origin, made.endpoints.get(name)))
        for kind, resources in (
            ("listener", made.listeners),
            ("route", made.routes),
            ("secret", made.secrets),
        ):
            for resource in resources.values():
                self._add(Piece(kind, resource, origin))

    def _add(self, piece: Piece) -> None:
        key = (id(piece.resource), id(piece.endpoints))
        if key in self._seen:
            return
        self._seen[key] = piece  # kept, so that no other resource can get its id
        written = json.dumps([piece.resource, piece.endpoints], sort_keys=True)
        if written not in self._written:
            self._written.add(written)
            self.collected.append(piece)


def rejected(pieces: Sequence[Piece], folder: Path) -> list[tuple[Piece, str]]:
    """The pieces that Envoy does not take, each with what it says."""
    said = _validate(pieces, folder)
    if said is None:
        return []
    if len(pieces) == 1:
        return [(pieces[0], said)]
    half = len(pieces) // 2
    return rejected(pieces[:half], folder) + rejected(pieces[half:], folder)


def _validate(pieces: Iterable[Piece], folder: Path) -> str | None:
    path = folder / "validated.json"
    path.write_text(json.dumps(_static(pieces)))
    command = [programs.envoy(), "--mode", "validate", "-c", str(path), "-l", "error"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT, check=False)
    return None if done.returncode == 0 else done.stdout + done.stderr


def _static(pieces: Iterable[Piece]) -> Resource:
    made = bootstrap(
        Proxy(_NOBODY, {}, "127.0.0.1"),
        admin_socket=Path("admin"),
        xds_socket=Path("xds"),
        stats_token="none",
    )
    stream = made.pop("dynamic_resources")["ads_config"]
    static = made["static_resources"]
    for number, piece in enumerate(pieces):
        if piece.kind == "cluster":
            static["clusters"].append(_cluster(piece, number))
        elif piece.kind == "secret":
            static["clusters"].append(_holder(piece.resource, number))
        else:
            own = _plain(piece.resource) if piece.kind == "listener" else _carrier(piece.resource)
            place = {"address": f"127.1.{number // 250}.{number % 250 + 1}", "port_value": 1}
            static["listeners"].append(
                {**own, "name": f"{own['name']}#{number}", "address": {"socket_address": place}}
            )
    return _asking_alone(made, stream)


def _asking_alone(value: Any, stream: Resource) -> Any:
    """`value` with a stream of its own for whatever shares one: static clusters come before the shared one."""
    if isinstance(value, dict):
        if value.get("ads") == {}:
            value = {"api_config_source": stream, "resource_api_version": "V3"}
        return {name: _asking_alone(item, stream) for name, item in value.items()}
    return [_asking_alone(item, stream) for item in value] if isinstance(value, list) else value


def _cluster(piece: Piece, number: int) -> Resource:
    """With its endpoints in it, as nobody would bring them."""
    made = {**_plain(piece.resource), "name": f"{piece.resource['name']}#{number}"}
    if made.get("type") == "EDS":
        made["type"] = "STATIC"
        del made["eds_cluster_config"]
        assignment = _plain(piece.endpoints or {"endpoints": []})
        made["load_assignment"] = {**assignment, "cluster_name": made["name"]}
    return made


def _carrier(table: Resource) -> Resource:
    """A listener with a route table in it."""
    router = extension("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router")
    manager = extension(
        "envoy.filters.network.http_connection_manager",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="carrier",
        route_config={**_plain(table), "validate_clusters": False},
        http_filters=[router],
    )
    return {"name": "carrier", "filter_chains": [{"filters": [manager]}]}


def _holder(secret: Resource, number: int) -> Resource:
    """A cluster whose connections use the secret."""
    common: dict[str, Any] = {}
    if "tls_certificate" in secret:
        common["tls_certificates"] = [secret["tls_certificate"]]
    else:
        common["validation_context"] = secret["validation_context"]
    socket = extension(
        "envoy.transport_sockets.tls",
        "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        common_tls_context=common,
    )
    return {"name": f"secret#{number}", "connect_timeout": "1s", "transport_socket": socket}


def _plain(resource: Resource) -> Resource:
    return {key: value for key, value in resource.items() if key != "@type"}
