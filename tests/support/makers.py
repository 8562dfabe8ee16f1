"""Makers of workloads, Services and meshes for tests of the translation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import yaml

from harness.localmesh.kinds import istio
from harness.localmesh.xds import model

_FIELDS = {
    "VirtualService": ("virtual_services", model.VirtualService, istio.VirtualService),
    "DestinationRule": ("destination_rules", model.DestinationRule, istio.DestinationRule),
    "PeerAuthentication": ("peer_authentications", model.PeerAuthentication, istio.PeerAuthentication),
    "Gateway": ("gateways", model.Gateway, istio.Gateway),
    "AuthorizationPolicy": (
        "authorization_policies",
        model.AuthorizationPolicy,
        istio.AuthorizationPolicy,
    ),
    "ServiceEntry": ("service_entries", model.ServiceEntry, istio.ServiceEntry),
    "WorkloadEntry": ("workload_entries", model.WorkloadEntry, istio.WorkloadEntry),
    "Sidecar": ("sidecars", model.Sidecar, istio.Sidecar),
    "Telemetry": ("telemetries", model.Telemetry, istio.Telemetry),
    "EnvoyFilter": ("envoy_filters", model.EnvoyFilter, istio.EnvoyFilter),
}


def with_rules(mesh: model.Mesh, *texts: str) -> model.Mesh:
    """`mesh` with the admitted objects of YAML `texts`; a later object is younger."""
    for text in texts:
        for manifest in filter(None, yaml.safe_load_all(text)):
            istio.admit(manifest)
            name, wrap, kind = _FIELDS[manifest["kind"]]
            metadata = manifest["metadata"]
            there = getattr(mesh, name)
            created = metadata.get("creationTimestamp", f"2026-01-01T00:00:{len(there):02}Z")
            uid = f"{metadata.get('namespace', 'default')}/{metadata['name']}"
            made = wrap(
                metadata["name"],
                metadata.get("namespace", "default"),
                created,
                uid,
                istio.spec_of(manifest, kind),
            )
            mesh = replace(mesh, **{name: (*there, made)})
    return mesh


def workload(name: str, ip: str, app_ip: str | None = None, **settings: Any) -> model.Workload:
    """A ready pod of Deployment `name` with the label `app` and one HTTP port 8080, unless `settings` differ."""
    version = settings.pop("version", "v1")
    app = settings.pop("app", name)
    defaults: dict[str, Any] = {
        "name": f"{name}-{version}-1",
        "namespace": "default",
        "owner": f"{name}-{version}",
        "ip": ip,
        "app_ip": app_ip or ip,
        "labels": {"app": app, "version": version},
        "service_account": app,
        "ports": (("http", 8080),),
        "ready": True,
        "sidecar": app_ip is not None,
    }
    return model.Workload(**{**defaults, **settings})


def service(name: str, ip: str = "10.0.0.1", **settings: Any) -> model.Service:
    """A Service `name` with port 8080 for the pods labelled `app: <name>`, unless `settings` differ."""
    namespace = settings.get("namespace", "default")
    defaults: dict[str, Any] = {
        "host": f"{name}.{namespace}.svc.cluster.local",
        "name": name,
        "namespace": namespace,
        "created": "2026-01-01T00:00:00Z",
        "addresses": (ip,),
        "ports": (model.ServicePort("http", 8080, 8080, "http"),),
        "selector": {"app": name},
    }
    return model.Service(**{**defaults, **settings})
