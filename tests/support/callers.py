"""What a pod gets of a mesh made of a few objects: clusters and endpoints without Envoys."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from harness.localmesh.xds import model
from harness.localmesh.xds.view import View, Views

CALLEE = "callee.default.svc.cluster.local"
PLAIN = f"outbound|8080||{CALLEE}"
OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
UNLIMITED = 2**32 - 1
NO_MTLS = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: default}
spec: {mtls: {mode: DISABLE}}
"""


def view_of(
    build: SimpleNamespace,
    *texts: str,
    services: Any = None,
    workloads: Any = (),
    gateway: bool = False,
    locality: str = "",
    **mesh: Any,
) -> View:
    """What a pod of `app: client` sees; a Service `callee` is there unless `services` are others."""
    where = model.Locality.read(locality)
    client = build.workload("client", "127.9.0.1", "127.9.1.1", locality=where, service_account="me")
    known = (build.service("callee"),) if services is None else services
    made = build.with_rules(model.Mesh(services=known, workloads=(client, *workloads), **mesh), *texts)
    return Views(made).of(model.Proxy(client, {}, client.ip, gateway))


def rule(policy: str, subsets: str = "[]", host: str = "callee", more: str = "") -> str:
    """A DestinationRule with that traffic policy and these subsets."""
    return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: callee, namespace: default}}
spec:
  host: {host}
  {more}
  trafficPolicy: {policy}
  subsets: {subsets}
"""


def entry(
    resolution: str,
    more: str = "",
    ports: str = "[{number: 80, name: http, protocol: HTTP}]",
    host: str = "ext.example.com",
) -> str:
    """A ServiceEntry."""
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: ext, namespace: default}}
spec:
  hosts: ["{host}"]
  resolution: {resolution}
  ports: {ports}
  {more}
"""


def context(cluster: Any) -> Any:
    """The TLS context of a cluster that has one for all endpoints."""
    return cluster["transport_socket"]["typed_config"]


def options(cluster: Any) -> Any:
    """The HTTP protocol options of a cluster."""
    made = dict(cluster["typed_extension_protocol_options"][OPTIONS])
    del made["@type"]
    return made


def addresses(assignment: Any) -> Any:
    """The addresses of a load assignment, by locality."""
    return [
        host["endpoint"]["address"]["socket_address"]["address"]
        for group in assignment["endpoints"]
        for host in group["lb_endpoints"]
    ]
