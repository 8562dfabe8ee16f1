"""The rights that experiments need, worked out from their changes, as Roles, and asked for before a run.

They cover what a run does: read the pods, make its changes and undo them, hold the Lease. To see what runs of other
machines left takes the rights in `harness heal --manifest`; a run without them says that it cannot see it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from harness.changes import Attach, Change, Create, Delete, Eviction, Manifest, Patch, Ref, Rotate
from harness.cluster import Cluster
from harness.faults import Fault
from harness.lease import LEASE

_RBAC: Final = "rbac.authorization.k8s.io/v1"


@dataclass(frozen=True, order=True)
class Need:
    """One right.

    Attributes:
        namespace: where, "" for what lies in no namespace.
        group: of the API, "" for the core.
        resource: in the plural, with its subresource: `pods/proxy`.
        verb: as RBAC words it.
        name: of the one object, "" for any.
    """

    namespace: str
    group: str
    resource: str
    verb: str
    name: str = ""

    def __str__(self) -> str:
        what = f"{self.resource}.{self.group}" if self.group else self.resource
        return f"{self.verb} {what}" + (f" in namespace {self.namespace}" if self.namespace else "")


def plural(kind: str) -> str:
    """The resource of a kind, by the rule that Kubernetes' own code generators follow."""
    name = kind.lower()
    if name.endswith("chaos"):  # Chaos Mesh names its resources after the kinds: networkchaos
        return name
    if name.endswith("y") and name[-2] not in "aeiou":
        return f"{name[:-1]}ies"
    return f"{name}es" if name.endswith(("s", "x", "ch", "sh")) else f"{name}s"


def needs(
    changes: Sequence[Change], namespace: str, *, probes: bool = False, fault: Fault | None = None
) -> frozenset[Need]:
    """What it takes to make and undo `changes` in a run that aims at `namespace`.

    Args:
        changes: all that the run changes.
        namespace: that of its target.
        probes: whether it asks pods in plaintext through the API server.
        fault: whose evidence is awaited; some is asked of the agents of sidecars.
    """
    found = {
        Need("", "", "namespaces", "get", "kube-system"),
        Need("", "", "namespaces", "get", namespace),
        Need(namespace, "", "pods", "list"),
        *_verbs(LEASE, "get", "update", "delete", "create"),
    }
    if fault is not None and fault.needs.certificates:
        found |= {
            Need(namespace, "", "pods/proxy", "get"),
            Need(namespace, "", "configmaps", "get", "istio-ca-root-cert"),
        }
    if probes:
        found.add(Need(namespace, "", "pods/proxy", "get"))
    for change in changes:
        found |= _of(change)
    return frozenset(found)


def roles(wanted: Iterable[Need], name: str = "harness") -> tuple[Manifest, ...]:
    """The least Role for each namespace and ClusterRole that give these rights."""
    places: dict[str, dict[tuple[str, str, str], set[str]]] = defaultdict(lambda: defaultdict(set))
    for need in sorted(set(wanted)):
        places[need.namespace][(need.group, need.resource, need.name)].add(need.verb)
    manifests: list[Manifest] = []
    for namespace, rules in sorted(places.items()):
        metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
        kind = "Role" if namespace else "ClusterRole"
        manifests.append(
            {
                "apiVersion": _RBAC,
                "kind": kind,
                "metadata": metadata,
                "rules": [_rule(*item) for item in rules.items()],
            }
        )
    return tuple(manifests)


def missing(cluster: Cluster, wanted: Iterable[Need]) -> tuple[Need, ...]:
    """The rights among these that the credentials in use do not have, as the cluster answers.

    Raises:
        HarnessError: the cluster cannot be asked.
    """
    return tuple(
        need
        for need in sorted(set(wanted))
        if not cluster.allows(need.verb, need.group, need.resource, need.namespace, need.name)
    )


def _of(change: Change) -> set[Need]:
    ref = change.ref
    kept = Ref("v1", "Secret" if isinstance(change, Rotate) else "ConfigMap", ref.namespace or "default", "")
    match change:
        case Create():
            wanted = _verbs(ref, "get", "create", "delete")
        case Patch():
            wanted = _verbs(ref, "get", "update")
        case Eviction():
            wanted = _verbs(ref, "get") | {Need(ref.namespace, "", "pods/eviction", "create")}
        case Attach():
            wanted = _verbs(ref, "get") | {Need(ref.namespace, "", "pods/ephemeralcontainers", "update")}
        case Rotate():
            wanted = _verbs(ref, "get", "update") | _verbs(kept, "get", "create", "delete")
        case Delete() if ref.kind == "Pod":  # its controller brings it back
            wanted = _verbs(ref, "get", "delete")
        case Delete():
            wanted = _verbs(ref, "get", "delete", "create") | _verbs(kept, "get", "create", "delete")
    return wanted


def _verbs(ref: Ref, *verbs: str) -> set[Need]:
    group = ref.api_version.rpartition("/")[0]
    return {Need(ref.namespace, group, plural(ref.kind), verb) for verb in verbs}


def _rule(what: tuple[str, str, str], verbs: set[str]) -> Manifest:
    group, resource, name = what
    rule: Manifest = {"apiGroups": [group], "resources": [resource], "verbs": sorted(verbs)}
    return {**rule, "resourceNames": [name]} if name else rule
