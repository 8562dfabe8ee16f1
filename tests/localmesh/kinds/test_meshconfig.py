"""The mesh-wide settings of Istio's ConfigMap: what is emulated is read, what is not is refused with its path."""

from __future__ import annotations

import pytest

from harness.localmesh.errors import Refused
from harness.localmesh.kinds.istio.meshconfig import is_mesh_config, mesh_config, pod_proxy_config
from harness.localmesh.world import config


def _manifest(text, name="istio", namespace="istio-system"):
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": {"mesh": text},
    }


def test_istios_own_default_is_taken():
    """What Istio's charts write is understood, and means the defaults."""
    text = """
defaultConfig: {discoveryAddress: istiod.istio-system.svc:15012}
defaultProviders: {metrics: [prometheus]}
enablePrometheusMerge: true
rootNamespace: istio-system
trustDomain: cluster.local
"""
    assert config(_manifest(text)) == config(_manifest(""))


def test_settings_reach_the_translation():
    """Outbound mode, access log, certificates and statistics are read."""
    text = """
outboundTrafficPolicy: {mode: REGISTRY_ONLY}
accessLogFile: /dev/stdout
accessLogEncoding: JSON
connectTimeout: 3s
defaultConfig:
  proxyStatsMatcher: {inclusionRegexps: [".*retry.*"]}
  proxyMetadata: {SECRET_TTL: 10s}
  terminationDrainDuration: 2s
"""
    made = config(_manifest(text))
    assert (made.outbound_mode, made.access_log, made.access_log_json) == ("REGISTRY_ONLY", True, True)
    assert (made.connect_timeout, made.certificate_lifetime, made.drain_duration) == (3.0, 10.0, 2.0)
    assert made.stats_regexps == (".*retry.*",)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("enableTracing: true", "data.mesh.enableTracing"),
        ("trustDomain: example.org", "data.mesh.trustDomain"),
        (
            "extensionProviders: [{name: z, zipkin: {service: z.z, port: 9411}}]",
            "data.mesh.extensionProviders[0].zipkin",
        ),
        (
            "extensionProviders: [{name: z, opentelemetry: {service: '*.z', port: 4317}}]",
            "data.mesh.extensionProviders[0].opentelemetry.service",
        ),
        (
            "extensionProviders: [&z {name: z, opentelemetry: {service: a/z.z, port: 4317}}, *z]",
            "data.mesh.extensionProviders",
        ),
        ("defaultConfig: {concurrency: 2}", "data.mesh.defaultConfig.concurrency"),
        ("connectTimeout: soon", "data.mesh.connectTimeout"),
        (
            "defaultConfig: {proxyStatsMatcher: {inclusionRegexps: [a, '(']}}",
            "data.mesh.defaultConfig.proxyStatsMatcher.inclusionRegexps[1]",
        ),
        (
            "defaultConfig: {proxyStatsMatcher: {inclusionPrefixes: ['']}}",
            "data.mesh.defaultConfig.proxyStatsMatcher",
        ),
        (
            "defaultConfig: {proxyMetadata: {SECRET_TTL: 999ms}}",
            "data.mesh.defaultConfig.proxyMetadata.SECRET_TTL",
        ),
        ("- a list", "data.mesh"),
        ("{", "data.mesh"),
    ],
)
def test_what_is_not_emulated_is_refused_with_its_path(text, field):
    """A setting that would be ignored is refused instead."""
    with pytest.raises(Refused) as refused:
        mesh_config(_manifest(text))
    assert refused.value.field == field


def test_only_istios_config_map_is_meant():
    """Another name or namespace is anybody's ConfigMap."""
    assert is_mesh_config(_manifest(""))
    assert not is_mesh_config(_manifest("", name="other"))
    assert not is_mesh_config(_manifest("", namespace="default"))


def _pod(text):
    return {"kind": "Pod", "metadata": {"name": "p", "annotations": {"proxy.istio.io/config": text}}}


def test_a_pod_may_ask_for_a_proxy_of_its_own_kind():
    """The annotation is read as the mesh's settings are; what is not there is None."""
    assert pod_proxy_config(_pod("terminationDrainDuration: 20s")).termination_drain_duration == 20.0
    assert pod_proxy_config(_pod("")).termination_drain_duration is None
    assert pod_proxy_config({"metadata": {}}).proxy_stats_matcher is None
    agent = pod_proxy_config(_pod("proxyMetadata: {SECRET_TTL: 10s}")).proxy_metadata
    assert (agent.lifetime, agent.grace) == (10.0, None)


@pytest.mark.parametrize(
    "text",
    [
        "- x",
        "concurrency: 2",
        "{",
        "proxyStatsMatcher: {inclusionRegexps: ['(']}",
        "proxyMetadata: {SECRET_TTL: 100ms}",
        "proxyMetadata: {SECRET_GRACE_PERIOD_RATIO: '2'}",
        "proxyMetadata: {ISTIO_META_DNS_CAPTURE: 'true'}",
    ],
)
def test_a_pods_wish_that_is_not_emulated_is_refused(text):
    """The annotation is named."""
    with pytest.raises(Refused) as refused:
        pod_proxy_config(_pod(text))
    assert refused.value.field.startswith("metadata.annotations[proxy.istio.io/config]")
