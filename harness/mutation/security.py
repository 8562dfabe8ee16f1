"""What weakens PeerAuthentication, AuthorizationPolicy, Sidecar and Gateway."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from harness.changes import ABSENT, Manifest, Path
from harness.mutation.mutant import Weakening

_LADDER = {"STRICT": ("PERMISSIVE", "DISABLE"), "PERMISSIVE": ("DISABLE",)}
_LOWER = {
    "PERMISSIVE": "plaintext is taken as well as mutual TLS",
    "DISABLE": "nothing but plaintext is taken",
}
_WIDE = ("principals", "namespaces", "serviceAccounts", "hosts", "methods", "paths")


def weaker_peer_authentication(manifest: Manifest, objects: Sequence[Manifest]) -> Iterator[Weakening]:
    """The mode, of the workload and of single ports, which may be dropped as well."""
    spec = manifest.get("spec") or {}
    yield from _modes(("spec", "mtls", "mode"), spec.get("mtls"))
    ports = spec.get("portLevelMtls") or {}
    for port, one in ports.items():
        at: Path = ("spec", "portLevelMtls", port)
        yield from _modes((*at, "mode"), one)
        last = at[:-1] if len(ports) == 1 else at  # an empty map is refused
        yield Weakening(last, ABSENT, f"exception of port {port} dropped", "the port is as all others")


def _modes(path: Path, mtls: Any) -> Iterator[Weakening]:
    mode = (mtls or {}).get("mode", "UNSET")
    for lower in _LADDER.get(mode, ()):
        yield Weakening(path, lower, f"{mode} to {lower}", _LOWER[lower])


def weaker_authorization_policy(manifest: Manifest, objects: Sequence[Manifest]) -> Iterator[Weakening]:
    """Rules dropped, what an ALLOW names widened, a DENY without effect."""
    spec = manifest.get("spec") or {}
    action, rules = spec.get("action", "ALLOW"), spec.get("rules") or []
    for number, rule in enumerate(rules):
        at: Path = ("spec", "rules", number)
        why = "what it denies is allowed" if action == "DENY" else "what it allows is denied"
        yield Weakening(at, ABSENT, f"rule {number} dropped", why)
        if action == "ALLOW":
            yield from _widened(at, rule)
    if action == "DENY":
        why = "what is denied is noted and let pass"
        yield Weakening(("spec", "action"), "AUDIT", "DENY to AUDIT", why)
    if action == "ALLOW" and {} not in rules:
        yield Weakening(("spec", "rules"), [{}], "everything allowed", "everybody may do everything")


def _widened(path: Path, rule: Any) -> Iterator[Weakening]:
    clauses = {"from": "everybody may", "to": "they may do everything", "when": "they always may"}
    for name, why in clauses.items():
        if rule.get(name) and len(rule) > 1:
            yield Weakening((*path, name), ABSENT, f"{name} dropped", why)
    for name, inner in (("from", "source"), ("to", "operation")):
        for number, one in enumerate(rule.get(name) or ()):
            yield from _wider_lists((*path, name, number, inner), one.get(inner) or {})


def _wider_lists(path: Path, clause: Any) -> Iterator[Weakening]:
    for name, values in clause.items():
        if name in _WIDE and "*" not in values:
            yield Weakening((*path, name), ["*"], f"{name} widened to all", "more is allowed than meant")
        elif name.startswith("not") and len(clause) > 1:
            yield Weakening((*path, name), ABSENT, f"{name} dropped", "the exception is allowed, too")


def weaker_sidecar(manifest: Manifest, objects: Sequence[Manifest]) -> Iterator[Weakening]:
    """Its outbound policy opened, and what it may see widened."""
    spec = manifest.get("spec") or {}
    policy = spec.get("outboundTrafficPolicy") or {}
    if policy.get("mode") == "REGISTRY_ONLY":
        why = "hosts that nobody declared are reached"
        mode = ("spec", "outboundTrafficPolicy", "mode")
        yield Weakening(mode, "ALLOW_ANY", "REGISTRY_ONLY to ALLOW_ANY", why)
    for number, listener in enumerate(spec.get("egress") or ()):
        if "*/*" not in listener.get("hosts", ()):
            why, at = "hosts are reached that are not meant to be", ("spec", "egress", number, "hosts")
            yield Weakening(at, ["*/*"], "egress widened to all", why)


def weaker_gateway(manifest: Manifest, objects: Sequence[Manifest]) -> Iterator[Weakening]:
    """TLS at its servers, and the hosts that they take."""
    for number, server in enumerate(manifest["spec"].get("servers") or ()):
        at: Path = ("spec", "servers", number)
        tls = server.get("tls") or {}
        if tls.get("mode") == "MUTUAL":
            why = "callers without a certificate are let in"
            yield Weakening((*at, "tls", "mode"), "SIMPLE", "MUTUAL to SIMPLE", why)
        if tls.get("httpsRedirect"):
            yield Weakening(
                (*at, "tls", "httpsRedirect"), ABSENT, "redirect dropped", "plain HTTP is answered"
            )
        if "minProtocolVersion" in tls:
            why = "older versions of TLS are taken"
            yield Weakening((*at, "tls", "minProtocolVersion"), ABSENT, "minProtocolVersion dropped", why)
        if not {"*", "*/*"} & set(server["hosts"]):
            yield Weakening((*at, "hosts"), ["*"], "hosts widened to all", "other hosts are let in")
