"""Which mTLS mode applies where: PeerAuthentication at mesh, namespace, workload and port level.

Source: istio/istio `pilot/pkg/model/authentication.go`, `pilot/pkg/security/authn/policy_applier.go`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from harness.localmesh.xds.model import ROOT_NAMESPACE, PeerAuthentication

Policy = PeerAuthentication
UNKNOWN = ""
"""No policy says anything."""


def by_age(policies: Iterable[Policy]) -> list[Policy]:
    """`policies`, oldest first."""
    return sorted(policies, key=lambda item: (item.created, item.name, item.namespace, item.uid))


def namespace_mode(policies: Sequence[Policy], namespace: str) -> str:
    """The mode of the namespace or mesh: STRICT, PERMISSIVE, DISABLE, or UNKNOWN when neither has a policy."""
    mesh = _wide(policies, ROOT_NAMESPACE)
    mesh_mode = UNKNOWN if mesh is None else (_mode(mesh) or "PERMISSIVE")
    own = _wide(policies, namespace) if namespace != ROOT_NAMESPACE else None
    if own is None:
        return mesh_mode
    return _mode(own) or mesh_mode or "PERMISSIVE"


def mode(policies: Sequence[Policy], namespace: str, labels: Mapping[str, str], port: int) -> str:
    """The effective mode of a workload's port: STRICT, PERMISSIVE or DISABLE.

    A policy for the workload beats one for its namespace beats one for the mesh; UNSET inherits; port levels
    are keyed by the workload's port. The oldest policy of a scope wins. A policy with a selector in the root
    namespace counts for workloads of the root namespace only.
    """
    inherited = namespace_mode(policies, namespace) or "PERMISSIVE"
    for policy in by_age(policies):
        wanted = _selector(policy)
        if policy.namespace == namespace and wanted and wanted.items() <= labels.items():
            if namespace == ROOT_NAMESPACE:
                continue
            inherited = _mode(policy) or inherited
            level = policy.spec.port_level_mtls.get(str(port))
            return (level.mode if level and level.mode != "UNSET" else "") or inherited
    return inherited


def disables(policy: Policy) -> bool:
    """Whether mTLS is disabled for anything by this policy."""
    levels = [level.mode for level in policy.spec.port_level_mtls.values()]
    return "DISABLE" in (_mode(policy), *levels)


def _selector(policy: Policy) -> Mapping[str, str]:
    return policy.spec.selector.match_labels if policy.spec.selector else {}


def _mode(policy: Policy) -> str:
    given = policy.spec.mtls.mode if policy.spec.mtls else "UNSET"
    return "" if given == "UNSET" else given


def _wide(policies: Sequence[Policy], namespace: str) -> Policy | None:
    """The oldest policy of `namespace` without a selector."""
    return next(
        (item for item in by_age(policies) if item.namespace == namespace and not _selector(item)), None
    )
