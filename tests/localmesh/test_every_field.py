"""Every field of Istio's kinds that admission takes reaches an Envoy.

Each field of the published definitions (and each value of an enumeration) is set in specs in which it can have an
effect; the translation for at least one proxy of a small mesh must differ from the one without it, or with another
value. What is refused is the subject of `kinds/test_crd_fields.py`.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, get_origin

import msgspec
import pytest
import yaml
from papermesh import VILLAGE, PaperMesh

from harness.localmesh.api.resources import RESOURCES
from harness.localmesh.errors import Refused
from harness.localmesh.kinds.istio.meshconfig import MeshConfig
from harness.localmesh.world import config

HERE = Path(__file__).parent
SCHEMAS = json.loads((HERE / "kinds" / "crds.json").read_text())
GIVEN: dict[str, Any] = yaml.safe_load((HERE / "every_field.yaml").read_text())
POLICY = ("trafficPolicy",)
PORT_POLICY = (*POLICY, "portLevelSettings", "[]")
SUBSET = ("subsets", "[]")

SAMPLES: dict[str, list[Any]] = {
    "string": ["text", "other", "1s", "2s", "http://x", "/x"],
    "integer": [1, 2, 7, 200, 301, 8080, 9000],
    "number": [1.5, 20],
    "boolean": [True, False],
    "object": [{"any": "thing"}],
}
"""By type, the values that are tried where NAMED has none for the name of the field."""

NAMED: dict[str, list[Any]] = {
    "address": ["10.9.0.1", "10.9.0.3", "vm.test"],
    "addresses": ["10.9.0.8", "10.9.0.9"],
    "bind": ["127.0.0.2", "10.9.0.5"],
    "cipherSuites": ["ECDHE-RSA-AES128-GCM-SHA256"],
    "credentialNames": ["one", "two"],
    "credentialName": ["one", "two"],
    "destinationSubnets": ["10.9.0.0/16", "127.8.96.1/32", "127.8.96.1"],
    "exportTo": [".", "*", "other"],
    "expression": ["response.code >= 400", "response.code >= 500"],
    "from": ["r1/*", "r2/*", "r1", "r2"],
    "gateways": ["mesh", "edge", "default/edge"],
    "grpcStatus": ["UNAVAILABLE", "NOT_FOUND"],
    "host": ["a", "b"],
    "hosts": ["one.test", "two.test", "a", "b", "./*", "*/*", "~/*", "other/*"],
    "ipBlocks": ["10.0.0.1", "10.1.0.0/16"],
    "key": ["source.namespace", "source.principal"],
    "labels": ["v1", "v2", "machine", "a", "b"],
    "locality": ["r1/z1", "r2/z3"],
    "matchLabels": ["a", "b"],
    "metric": ["REQUEST_COUNT"],
    "name": ["one", "two", "prometheus", "envoy", "SameSite", "Path", "tcp", "grpc"],
    "namespace": ["default", "other"],
    "notIpBlocks": ["10.0.0.1"],
    "notPorts": ["80"],
    "notRemoteIpBlocks": ["10.0.0.1"],
    "operation": ["UPSERT", "REMOVE"],
    "ports": ["80", "8080"],
    "protocol": ["HTTP", "HTTP2", "GRPC", "TCP", "TLS", "HTTPS"],
    "redirectCode": [302, 308],
    "reportingInterval": ["5s", "10s"],
    "remoteIpBlocks": ["10.0.0.1"],
    "retryOn": ["5xx", "connect-failure"],
    "scheme": ["http", "https"],
    "selector": ["ingressgateway", "nobody"],
    "sniHosts": ["a", "one.test", "two.test"],
    "sourceLabels": ["a", "b"],
    "sourceNamespace": ["default", "other"],
    "subset": ["v1", "v2"],
    "tableSize": [5, 7, 101],
    "to": [10, 60, 100, "r2", "r3"],
    "uri": ["/p", "/q"],
    "verifyCertificateHash": ["ab" * 32],
    "verifyCertificateSpki": ["ab" * 32, "cmFuZG9tcmFuZG9tcmFuZG9tcmFuZG9tcmFuZG8hISE="],
}
KEYS = {"labels": "app", "matchLabels": "app", "sourceLabels": "app", "ports": "http", "selector": "istio"}
"""By the name of a map, the key that is tried when the spec around it has none."""


def _leaves(schema: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The places of a schema that hold plain values; "[]" is an item of a list and "{}" a value of a map."""
    if schema["type"] == "array":
        yield from _leaves(schema["items"], (*path, "[]"))
    elif "additionalProperties" in schema:
        yield from _leaves(schema["additionalProperties"], (*path, "{}"))
    elif schema.get("properties"):
        for name, part in schema["properties"].items():
            yield from _leaves(part, (*path, name))
    else:
        yield path, schema


def _field(path: Iterable[str]) -> str:
    return ".".join(step for step in path if step not in ("[]", "{}"))


def _values(path: tuple[str, ...], schema: Any) -> list[Any]:
    if schema.get("enum"):
        return list(filter(None, schema["enum"]))
    name = next(step for step in reversed(path) if step not in ("[]", "{}"))
    kind = {"string": str, "integer": int, "number": (int, float), "boolean": bool}.get(schema["type"], dict)
    fitting = [value for value in NAMED.get(name, ()) if isinstance(value, kind)]
    return fitting or SAMPLES[schema["type"]]


def _put(around: Any, path: tuple[str, ...], value: Any, name: str = "") -> Any:
    """`around` with `value` at `path`: in the first item of lists, in the first or a usual key of maps."""
    if not path:
        return value
    step, *rest = path
    if step == "[]":
        items = around or [None]
        return [_put(items[0], tuple(rest), value, name), *items[1:]]
    around = around or {}
    key = next(iter(around), KEYS.get(name, "8080")) if step == "{}" else step
    return {**around, key: _put(around.get(key), tuple(rest), value, step if step != "{}" else name)}


def _without(around: Any, path: tuple[str, ...]) -> Any:
    """`around` without what is at `path`."""
    step, *rest = path
    if step == "[]":
        return around and ([_without(around[0], tuple(rest)), *around[1:]] if rest else around[1:])
    key = next(iter(around or {}), "") if step == "{}" else step
    if not around or key not in around:
        return around
    kept = {name: value for name, value in around.items() if name != key}
    return {**around, key: _without(around[key], tuple(rest))} if rest else kept


def _bases(kind: str, path: tuple[str, ...]) -> list[Any]:
    """The specs that a field at `path` is tried in."""
    if kind != "DestinationRule":
        return list(GIVEN[kind])
    place: tuple[str, ...] = ()
    for prefix in ((*SUBSET, *PORT_POLICY), (*SUBSET, *POLICY), PORT_POLICY, POLICY):
        if not place and path[: len(prefix)] == prefix:
            place = prefix
    plain = (
        {"host": "a", "workloadSelector": {"matchLabels": {"app": "a"}}}
        if "workloadSelector" in path
        else {"host": "a"}
    )
    if "subsets" in path:
        plain = {**plain, "subsets": [{"name": "v1", "labels": {"version": "v1"}}]}
    if not place:
        return [plain, {**plain, "trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}}}]
    port = {"port": {"number": 8080}} if "portLevelSettings" in place else {}
    return [_put(plain, place, {**policy, **port}) for policy in GIVEN["POLICIES"]]


def _depth(around: Any, path: tuple[str, ...]) -> int:
    """How many steps of `path` are there."""
    for depth, step in enumerate(path):
        if isinstance(around, list):
            around = around[0] if around else None
        elif isinstance(around, dict):
            around = next(iter(around.values()), None) if step == "{}" else around.get(step)
        if around is None:
            return depth
    return len(path)


class Walk:
    """Tries specs of one kind in the small mesh."""

    def __init__(self, kind: str) -> None:
        self._mesh = PaperMesh(VILLAGE + "---\n" + GIVEN["ROUND"])
        resource = next(item for item in RESOURCES if item.kind == kind)
        self._head = {
            "apiVersion": resource.api_version,
            "kind": kind,
            "metadata": {"name": "it", "namespace": "default"},
        }

    def outcome(self, spec: Any) -> Any:
        """What the proxies are told with an object of that spec; None when it is refused."""
        manifest = {**self._head, "spec": copy.deepcopy(spec)}
        self._mesh.erase(manifest)
        try:
            self._mesh.write(manifest)
        except Refused:
            return None
        return self._mesh.snapshots()

    def fate(
        self, path: tuple[str, ...], values: list[Any], bases: list[Any], *, every: bool
    ) -> tuple[set[int], set[int]]:
        """Which values (by index) are taken, and which have an effect; one is enough unless `every` one counts."""
        taken: set[int] = set()
        effective: set[int] = set()
        for base in sorted(bases, key=lambda base: -_depth(base, path)):
            absent = None
            seen: dict[int, Any] = {}
            for index, value in enumerate(values):
                made = self.outcome(_put(base, path, value))
                if made is not None:
                    absent = absent if seen else self.outcome(_without(base, path))
                    seen[index] = made
                    taken.add(index)
                    # Where the field must be given, values are compared with one another.
                    others = seen.values() if absent is None else [absent]
                    effective |= {one for one, its in seen.items() if any(its != other for other in others)}
                if effective and not every:
                    return taken, effective
            if absent is None and len(seen) == 1 and self._alone(base, path, *seen.values()):
                effective |= seen.keys()
            if taken and effective >= taken:
                break
        return taken, effective

    def _alone(self, base: Any, path: tuple[str, ...], made: Any) -> bool:
        """Whether what holds the field has an effect, if the field must be given and there is one value for it."""
        around = (self.outcome(_without(base, path[:end])) for end in range(len(path) - 1, 0, -1))
        absent = next((outcome for outcome in around if outcome is not None), None)
        return absent is not None and bool(made != absent)


def findings(kind: str) -> set[str]:
    """The fields, and the values of enumerations as "field=value", that are taken and have no effect."""
    walk = Walk(kind)
    found = set()
    for path, schema in _leaves(SCHEMAS[kind]):
        values = _values(path, schema)
        taken, effective = walk.fate(path, values, _bases(kind, path), every="enum" in schema)
        if "enum" in schema:
            found |= {f"{_field(path)}={values[index]}" for index in taken - effective}
        elif taken and not effective:
            found.add(_field(path))
    return found


INEFFECTIVE: dict[str, dict[str, str]] = {
    "AuthorizationPolicy": {"action=ALLOW": "the default"},
    "Gateway": {
        "servers.tls.maxProtocolVersion=TLS_AUTO": "the default",
        "servers.tls.minProtocolVersion=TLS_AUTO": "the default",
        "servers.tls.mode=PASSTHROUGH": "the default",
    },
    "PeerAuthentication": {
        "mtls.mode=PERMISSIVE": "what holds where nothing is said",
        "mtls.mode=UNSET": "inherits, as if it were not there",
        "portLevelMtls.mode=UNSET": "inherits, as if it were not there",
    },
    "ServiceEntry": {"location=MESH_EXTERNAL": "the default"},
    "Sidecar": {
        "egress.captureMode=DEFAULT": "the default",
        "egress.port.name": "a word for people; istiod does not put it anywhere either",
        "egress.port.protocol": "the protocol of the Service's own port counts, of which this is a repetition",
        "outboundTrafficPolicy.mode=ALLOW_ANY": "the mesh's own",
    },
    "Telemetry": {
        "accessLogging.match.mode=CLIENT_AND_SERVER": "the default",
        "metrics.overrides.match.metric=ALL_METRICS": "the default",
        "metrics.overrides.match.mode=CLIENT_AND_SERVER": "the default",
        "metrics.providers.name": "there is one provider, which is the default",
        "tracing.match.mode=CLIENT_AND_SERVER": "the default",
    },
}
"""By kind, the fields (and values) that are taken and change nothing, each with the reason."""


@pytest.mark.parametrize("kind", SCHEMAS)
def test_every_field_that_is_taken_has_an_effect(kind):
    """Something in the configuration of some proxy depends on it, but for the few that have a reason not to."""
    assert findings(kind) == INEFFECTIVE.get(kind, {}).keys()


SETTINGS: dict[str, tuple[Any, ...]] = {
    "outboundTrafficPolicy.mode": ("REGISTRY_ONLY",),
    "enableAutoMtls": (False,),
    "connectTimeout": ("3s",),
    "accessLogFile": ("/dev/stdout",),
    "accessLogEncoding": ("JSON",),
    "localityLbSetting.enabled": (False,),
    "defaultConfig.proxyStatsMatcher.inclusionPrefixes": (["x"],),
    "defaultConfig.proxyStatsMatcher.inclusionSuffixes": (["x"],),
    "defaultConfig.proxyStatsMatcher.inclusionRegexps": (["x"],),
    "defaultConfig.terminationDrainDuration": ("9s",),
    "defaultConfig.proxyMetadata.SECRET_TTL": ("9s",),
    "defaultConfig.proxyMetadata.SECRET_GRACE_PERIOD_RATIO": ("0.3",),
    "defaultProviders.tracing": (["z"],),
    "extensionProviders": ([{"name": "z", "opentelemetry": {"service": "z.z", "port": 4317}}],),
}
"""The mesh-wide settings, each with a value that is not the default."""

REPEATED = frozenset(
    {
        "defaultConfig.holdApplicationUntilProxyStarts",
        "defaultConfig.discoveryAddress",
        "defaultProviders.metrics",
        "enablePrometheusMerge",
        "trustDomain",
        "rootNamespace",
        "ingressControllerMode",
    }
)
"""The settings that Istio's charts write and that say how the local mesh is anyway."""


def _settings(kind: Any, place: str = "") -> Iterator[str]:
    """The fields of a struct and of those inside it, by path."""
    for field in msgspec.structs.fields(kind):
        listed = get_origin(field.type) is tuple
        parts = [] if listed else [field.type, *getattr(field.type, "__args__", ())]
        inner = next(
            (part for part in parts if isinstance(part, type) and issubclass(part, msgspec.Struct)), None
        )
        path = f"{place}{field.encode_name}"
        yield from _settings(inner, f"{path}.") if inner is not None else [path]


def _config(path: str, value: Any) -> Any:
    """What the translation is told when that one setting is given."""
    made = value
    for step in reversed(path.split(".")):
        made = {step: made}
    metadata = {"name": "istio", "namespace": "istio-system"}
    return config({"metadata": metadata, "data": {"mesh": json.dumps(made)}})


def test_every_mesh_wide_setting_is_read():
    """Each differs from the default once it is set, or only repeats how the local mesh is."""
    assert {*_settings(MeshConfig)} == SETTINGS.keys() | REPEATED
    default = config({"metadata": {"name": "istio", "namespace": "istio-system"}})
    for path, values in SETTINGS.items():
        assert _config(path, *values) != default, path


@pytest.mark.parametrize("path", sorted(REPEATED))
def test_a_setting_that_the_mesh_does_not_have_can_only_say_how_it_is(path):
    """Any other value is refused."""
    for value in ("other", ["other"]):
        with pytest.raises(Refused):
            _config(path, value)
