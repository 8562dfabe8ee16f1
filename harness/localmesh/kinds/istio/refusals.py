"""Fields and values of Istio's that the local mesh refuses on purpose, with what to do instead."""

from __future__ import annotations

_FILES = "pods of the local mesh have no files of their own; name a Secret in credentialName"
_TARGETS = "the local mesh has no waypoints and no Gateway API; use a selector"
_TOKENS = "the local mesh does not emulate RequestAuthentication, which this needs"
_ONE_NETWORK = "the local mesh is one network; leave the field out"
_INGRESS = "the local mesh sets up a workload's own ports by its Services; leave the field out"

FIELDS = {
    **dict.fromkeys(("clientCertificate", "privateKey", "caCertificates", "serverCertificate"), _FILES),
    **dict.fromkeys(("caCrl", "tlsCertificates"), _FILES),
    **dict.fromkeys(("targetRef", "targetRefs"), _TARGETS),
    **dict.fromkeys(("requestPrincipals", "notRequestPrincipals"), _TOKENS),
    **dict.fromkeys(("ingress", "inboundConnectionPool", "defaultEndpoint"), _INGRESS),
    "network": _ONE_NETWORK,
    "tunnel": "the local mesh does not emulate tunnels",
    "customTags": "the local mesh puts Istio's own tags on spans only; leave the field out",
    "disableContextPropagation": "the local mesh cannot tell its Envoy; leave the field out",
    "provider": "the local mesh does not emulate external authorizers, which this is for",
    "egressProxy": "the local mesh does not emulate a proxy for unknown hosts; use REGISTRY_ONLY or ALLOW_ANY alone",
    "http2Error": "Istio does not support it; use httpStatus or grpcStatus",
    "exponentialDelay": "Istio does not support it; use fixedDelay",
    "consecutiveErrors": "Istio ignores it; use consecutive5xxErrors or consecutiveGatewayErrors",
    "sourceSubnet": "Istio ignores it; use an AuthorizationPolicy",
    "bind": "the local mesh does not capture traffic, so programs call by way of their proxy; leave the field out",
    "targetPort": "it has no effect here; leave it out",
}
"""By the name of the field; the names are unique enough among Istio's kinds."""

VALUES = {
    "AUTO_PASSTHROUGH": "the local mesh is one cluster; use PASSTHROUGH with tls routes",
    "CUSTOM": "the local mesh does not emulate external authorizers; use ALLOW or DENY",
    "DYNAMIC_DNS": "the local mesh does not emulate it; use NONE, STATIC, DNS or DNS_ROUND_ROBIN",
    "NONE": "leave the field out",
    "IPTABLES": "the local mesh does not capture traffic; leave the field out",
}
"""By the value."""

KINDS = {
    "EnvoyFilter": "the local mesh takes one EnvoyFilter only, an HTTP_FILTER patch that inserts "
    "envoy.filters.http.fault into SIDECAR_INBOUND listeners",
}
"""By the kind of the object, where nothing closer is known about a field or value."""
