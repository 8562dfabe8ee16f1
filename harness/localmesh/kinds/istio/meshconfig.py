"""MeshConfig: the mesh-wide settings, as YAML under `mesh` in the ConfigMap `istio` of `istio-system`, as in Istio.

What only repeats how the local mesh is (`trustDomain: cluster.local`) may stand there; everything else that is not in
a struct is refused with its path.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import yaml
from msgspec import Meta, field

from harness.localmesh.kinds.istio.rules.common import is_name, regex_problems, repeated
from harness.localmesh.kinds.istio.values import Duration, Port, Problem, Unsigned, decode
from harness.localmesh.kinds.parse import Kind, Manifest, invalid, parse

NAMESPACE = "istio-system"
NAME = "istio"
"""Where istiod looks for it."""

KEY = "mesh"
ANNOTATION = "proxy.istio.io/config"
"""The annotation by which a pod's proxy differs from the mesh's."""

_SHORTEST_LIFETIME = 1.0
_RATIO = r"^0?\.\d+$"
_PLACE = f"metadata.annotations[{ANNOTATION}]"

T = TypeVar("T", bound=Kind)


class OutboundTrafficPolicy(Kind):
    """What becomes of requests to hosts that no Service has."""

    mode: Literal["ALLOW_ANY", "REGISTRY_ONLY"] = "REGISTRY_ONLY"


class Locality(Kind):
    """Whether endpoints that are near are preferred."""

    enabled: bool = True


class StatsMatcher(Kind):
    """Which of Envoy's own statistics are kept, beside those that Istio always keeps."""

    inclusion_prefixes: tuple[str, ...] = ()
    inclusion_suffixes: tuple[str, ...] = ()
    inclusion_regexps: tuple[str, ...] = ()


class ProxyMetadata(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Settings of Istio's agent: how long a workload's certificate is valid, and when it is renewed."""

    lifetime: Duration = field(default=Duration(86_400.0), name="SECRET_TTL")
    grace: Annotated[str, Meta(pattern=_RATIO)] = field(default="0.5", name="SECRET_GRACE_PERIOD_RATIO")


class AgentSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Those of them that one pod's agent has otherwise."""

    lifetime: Duration | None = field(default=None, name="SECRET_TTL")
    grace: Annotated[str, Meta(pattern=_RATIO)] | None = field(default=None, name="SECRET_GRACE_PERIOD_RATIO")


class ProxyConfig(Kind):
    """The settings of every proxy."""

    proxy_stats_matcher: StatsMatcher | None = None
    termination_drain_duration: Duration = Duration(5.0)
    hold_application_until_proxy_starts: Literal[True] = True
    proxy_metadata: ProxyMetadata = ProxyMetadata()
    discovery_address: Literal["", "istiod.istio-system.svc:15012"] = ""


class PodProxyConfig(Kind):
    """What a pod's annotation `proxy.istio.io/config` may say instead of the mesh's `defaultConfig`."""

    proxy_stats_matcher: StatsMatcher | None = None
    termination_drain_duration: Duration | None = None
    proxy_metadata: AgentSettings = AgentSettings()
    hold_application_until_proxy_starts: Literal[True] = True


class OpenTelemetry(Kind):
    """A collector that takes spans by gRPC: `service` is a host, or "namespace/host"."""

    service: str
    port: Port
    max_tag_length: Unsigned = 0


class ExtensionProvider(Kind):
    """Who gets the spans, under a name that a Telemetry may give."""

    name: Annotated[str, Meta(min_length=1)]
    opentelemetry: OpenTelemetry


class DefaultProviders(Kind):
    """Who gets what no Telemetry sends elsewhere: metrics only Prometheus, spans the first that is named."""

    metrics: tuple[Literal["prometheus"], ...] = ()
    tracing: tuple[str, ...] = ()


class MeshConfig(Kind):
    """The settings, with Istio's defaults."""

    outbound_traffic_policy: OutboundTrafficPolicy = OutboundTrafficPolicy(mode="ALLOW_ANY")
    enable_auto_mtls: bool = True
    connect_timeout: Duration = Duration(10.0)
    access_log_file: Literal["", "/dev/stdout"] = ""
    access_log_encoding: Literal["TEXT", "JSON"] = "TEXT"
    locality_lb_setting: Locality = Locality()
    default_config: ProxyConfig = ProxyConfig()
    default_providers: DefaultProviders = DefaultProviders()
    extension_providers: tuple[ExtensionProvider, ...] = ()
    enable_prometheus_merge: bool = True
    trust_domain: Literal["cluster.local"] = "cluster.local"
    root_namespace: Literal["istio-system"] = "istio-system"
    ingress_controller_mode: Literal["OFF"] = "OFF"


def pod_proxy_config(pod: Manifest) -> PodProxyConfig:
    """What a pod, or a pod template, wants its proxy to have.

    Raises:
        Refused: 422 when the annotation is no YAML, or has a field that is unknown, malformed or not emulated.
    """
    metadata = pod.get("metadata") or {}
    return _read(pod, (metadata.get("annotations") or {}).get(ANNOTATION, ""), _PLACE, PodProxyConfig)


def is_mesh_config(manifest: Manifest) -> bool:
    """Whether `manifest`, a ConfigMap, is the one with the mesh-wide settings."""
    metadata = manifest["metadata"]
    return bool(metadata.get("name") == NAME and metadata.get("namespace") == NAMESPACE)


def mesh_config(manifest: Manifest) -> MeshConfig:
    """The settings of that ConfigMap.

    Raises:
        Refused: 422 when they are no YAML, or have a field that is unknown, malformed or not emulated.
    """
    return _read(manifest, (manifest.get("data") or {}).get(KEY, ""), f"data.{KEY}", MeshConfig)


def _read(manifest: Manifest, text: str, place: str, kind: type[T]) -> T:
    try:
        settings: Any = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise invalid(manifest, place, f"it is no YAML: {error}") from None
    if not isinstance(settings, dict):
        raise invalid(manifest, place, "it must be a mapping of settings")
    made = parse({**manifest, place: settings}, place, kind, decode)
    for field_, why in _problems(made):
        raise invalid(manifest, f"{place}.{field_}", why)
    return made


def _problems(made: Kind) -> Iterator[Problem]:
    """What Envoy would not start with, or a certificate cannot say."""
    config, place = (made.default_config, "defaultConfig.") if isinstance(made, MeshConfig) else (made, "")
    matcher = config.proxy_stats_matcher if isinstance(config, (ProxyConfig, PodProxyConfig)) else None
    if matcher and "" in (*matcher.inclusion_prefixes, *matcher.inclusion_suffixes):
        yield (
            f"{place}proxyStatsMatcher",
            "an empty prefix or suffix is none; use inclusionRegexps: ['.*'] for all",
        )
    for index, regex in enumerate(matcher.inclusion_regexps if matcher else ()):
        yield from regex_problems(f"{place}proxyStatsMatcher.inclusionRegexps[{index}]", regex)
    agent = config.proxy_metadata if isinstance(config, (ProxyConfig, PodProxyConfig)) else None
    if agent and agent.lifetime is not None and agent.lifetime < _SHORTEST_LIFETIME:
        yield f"{place}proxyMetadata.SECRET_TTL", "certificates know whole seconds only; use 1s or more"
    if isinstance(made, MeshConfig):
        yield from _provider_problems(made.extension_providers)


def _provider_problems(providers: tuple[ExtensionProvider, ...]) -> Iterator[Problem]:
    """What Istio's webhook holds against them (`validateExtensionProvider`)."""
    if (twice := repeated(provider.name for provider in providers)) is not None:
        yield "extensionProviders", f"the name {twice!r} is given twice"
    for index, provider in enumerate(providers):
        namespace, _, host = provider.opentelemetry.service.rpartition("/")
        if not is_name(host) or "/" in namespace:
            yield (
                f"extensionProviders[{index}].opentelemetry.service",
                f"{provider.opentelemetry.service!r} is neither the full name of a host nor namespace/host",
            )
