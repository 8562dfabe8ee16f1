"""Kinds of Kubernetes that the mesh knows by name and does not emulate: none exists, and none can be made.

They are served so that tools which list them find none, and so that whoever creates one reads why it is refused;
an unknown path would only say that nothing is there.
"""

from __future__ import annotations

from harness.localmesh.api.messages import Request, Response
from harness.localmesh.api.resources import RESOURCES, Resource
from harness.localmesh.api.status import forbidden, no_such_method, not_found
from harness.localmesh.errors import Refused

_INSTEAD = "the workloads of the local mesh are Deployments, ReplicaSets and pods"
_ROLES = "the token of the local mesh may do everything, and nobody else has one"
_STORAGE = "the programs of the local mesh keep their files to themselves"


_Reasons = dict[Resource, str]


def _kinds(
    group: str, version: str, why: str, *kinds: tuple[str, str, str], namespaced: bool = True
) -> _Reasons:
    return {
        Resource(group, version, plural, kind, namespaced, (short,) if short else ()): why
        for plural, kind, short in kinds
    }


_ABSENT: _Reasons = {
    **_kinds(
        "apps",
        "v1",
        _INSTEAD,
        ("statefulsets", "StatefulSet", "sts"),
        ("daemonsets", "DaemonSet", "ds"),
        ("controllerrevisions", "ControllerRevision", ""),
    ),
    **_kinds("", "v1", _INSTEAD, ("replicationcontrollers", "ReplicationController", "rc")),
    **_kinds("batch", "v1", _INSTEAD, ("jobs", "Job", ""), ("cronjobs", "CronJob", "cj")),
    **_kinds(
        "autoscaling",
        "v2",
        "nothing here measures the load of pods; scale the Deployment",
        ("horizontalpodautoscalers", "HorizontalPodAutoscaler", "hpa"),
    ),
    **_kinds(
        "networking.k8s.io",
        "v1",
        "nothing here would enforce it; use an AuthorizationPolicy or a PeerAuthentication",
        ("networkpolicies", "NetworkPolicy", "netpol"),
    ),
    **_kinds(
        "networking.k8s.io",
        "v1",
        "no ingress controller is here; use a Gateway and a VirtualService",
        ("ingresses", "Ingress", "ing"),
    ),
    **_kinds(
        "rbac.authorization.k8s.io", "v1", _ROLES, ("roles", "Role", ""), ("rolebindings", "RoleBinding", "")
    ),
    **_kinds(
        "rbac.authorization.k8s.io",
        "v1",
        _ROLES,
        ("clusterroles", "ClusterRole", ""),
        ("clusterrolebindings", "ClusterRoleBinding", ""),
        namespaced=False,
    ),
    **_kinds("", "v1", _STORAGE, ("persistentvolumeclaims", "PersistentVolumeClaim", "pvc")),
    **_kinds("", "v1", _STORAGE, ("persistentvolumes", "PersistentVolume", "pv"), namespaced=False),
    **_kinds(
        "",
        "v1",
        "the local mesh does not limit what pods use",
        ("resourcequotas", "ResourceQuota", "quota"),
        ("limitranges", "LimitRange", "limits"),
    ),
    **_kinds(
        "authentication.k8s.io",
        "v1",
        "the one token of the local mesh is the kubeconfig's, and it tells nobody about it",
        ("tokenreviews", "TokenReview", ""),
        namespaced=False,
    ),
    **_kinds(
        "authorization.k8s.io",
        "v1",
        _ROLES,
        ("subjectaccessreviews", "SubjectAccessReview", ""),
        namespaced=False,
    ),
}

ABSENT = tuple(_ABSENT)
"""Every such kind."""


def answer(request: Request, resource: Resource, name: str) -> Response:
    """What a request that would write an object of an absent kind is told.

    Raises:
        Refused: 403 with the reason and the kinds there are for a new object, 404 for one that is not there.
    """
    if request.method == "POST" or "apply-patch" in request.media_type:
        raise refusal(resource, name)
    if name:
        raise not_found(resource, name)
    raise no_such_method()


def refusal(resource: Resource, name: str = "") -> Refused:
    """Why none of `resource` can be made."""
    kinds = ", ".join(sorted(item.kind for item in RESOURCES if item.builtin and not item.derived))
    why = f"the local mesh does not emulate {resource.kind}: {_ABSENT[resource]} (it has {kinds})"
    return forbidden(resource, name, why)
