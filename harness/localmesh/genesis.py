"""What a mesh holds before anybody asks for anything: its namespaces, its nodes and its ingress gateway."""

from __future__ import annotations

import yaml

from harness.localmesh import nodes
from harness.localmesh.admission import PILOT_IMAGE, PROXY_IMAGE
from harness.localmesh.kinds.istio import meshconfig
from harness.localmesh.kinds.parse import Manifest
from harness.localmesh.xds.bootstrap import OBSERVED
from harness.localmesh.xds.model import ROOT_NAMESPACE, TRUST_DOMAIN

GATEWAY = "istio-ingressgateway"
ISTIOD = "istiod"
"""The Deployment that stands for the control plane: without a ready pod of it, configuration and certificates freeze.

The work itself is done by this process; the pod only waits.
"""

GATEWAY_PORT = 8080
"""Where the gateway listens for its Service's port 80, as in Istio's own charts."""

_GATEWAY_TLS_PORT = 8443
_COLLECTOR = "opentelemetry-collector.observability.svc.cluster.local"
_GATEWAY_LABELS = {"app": GATEWAY, "istio": "ingressgateway"}


def objects() -> tuple[Manifest, ...]:
    """The first objects of every mesh, in the order in which they are made."""
    return (
        _namespace("default", injected=True),
        _namespace("kube-system"),
        _namespace(ROOT_NAMESPACE),
        *nodes.genesis(),
        _istiod(),
        _mesh_config(),
        _in_root("v1", "ServiceAccount"),
        _in_root("v1", "Service")
        | {
            "spec": {
                "type": "LoadBalancer",
                "selector": _GATEWAY_LABELS,
                "ports": [
                    {"name": "http2", "port": 80, "targetPort": GATEWAY_PORT},
                    {"name": "https", "port": 443, "targetPort": _GATEWAY_TLS_PORT},
                    {"name": "tcp", "port": 31400, "targetPort": 31400},
                ],
            }
        },
        _in_root("apps/v1", "Deployment")
        | {
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": _GATEWAY_LABELS},
                "template": {
                    "metadata": {"labels": _GATEWAY_LABELS},
                    "spec": {
                        "serviceAccountName": GATEWAY,
                        "containers": [{"name": "istio-proxy", "image": PROXY_IMAGE}],
                    },
                },
            }
        },
    )


def _namespace(name: str, *, injected: bool = False) -> Manifest:
    labels = {"kubernetes.io/metadata.name": name}
    if injected:
        labels["istio-injection"] = "enabled"
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def _mesh_config() -> Manifest:
    """The mesh-wide settings, to be changed as in Istio: `kubectl edit configmap istio -n istio-system`.

    Unlike in Istio's default profile access logs are on, and proxies keep the series that experiments look at. The
    provider of spans is that of its demo profile; it gets none before a Telemetry names it.
    """
    settings = {
        "accessLogFile": "/dev/stdout",
        "accessLogEncoding": "JSON",
        "defaultConfig": {"proxyStatsMatcher": {"inclusionRegexps": list(OBSERVED)}},
        "defaultProviders": {"metrics": ["prometheus"]},
        "enablePrometheusMerge": True,
        "extensionProviders": [
            {"name": "otel-tracing", "opentelemetry": {"service": _COLLECTOR, "port": 4317}}
        ],
        "rootNamespace": ROOT_NAMESPACE,
        "trustDomain": TRUST_DOMAIN,
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": meshconfig.NAME, "namespace": ROOT_NAMESPACE},
        "data": {meshconfig.KEY: yaml.safe_dump(settings, sort_keys=False)},
    }


def _istiod() -> Manifest:
    labels = {"app": ISTIOD, "istio": "pilot"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": ISTIOD, "namespace": ROOT_NAMESPACE, "labels": labels},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels, "annotations": {"sidecar.istio.io/inject": "false"}},
                "spec": {"containers": [{"name": "discovery", "image": PILOT_IMAGE}]},
            },
        },
    }


def _in_root(api_version: str, kind: str) -> Manifest:
    metadata = {"name": GATEWAY, "namespace": ROOT_NAMESPACE, "labels": _GATEWAY_LABELS}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}
