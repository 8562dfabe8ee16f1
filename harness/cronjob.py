"""The manifest of a CronJob that heals a cluster from inside: whatever has outlived its claim is undone."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final

import yaml

from harness.changes import Manifest
from harness.leftovers import KINDS
from harness.rbac import plural

_NAME: Final = "harness-heal"
_NAMESPACE: Final = "default"
_ACCOUNT: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
_RBAC: Final = "rbac.authorization.k8s.io"


def cronjob(image: str) -> str:
    """All it takes as YAML, to be piped into `kubectl apply -f -`; `image` is one with the harness in it."""
    where = {"name": _NAME, "namespace": _NAMESPACE}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": where}
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": where, "data": {"config": _kubeconfig()}}
    role = {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": _NAME},
        "rules": _rules(),
    }
    binding = {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": _NAME},
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": _NAME},
        "subjects": [{"kind": "ServiceAccount", **where}],
    }
    return yaml.safe_dump_all([account, config, role, binding, _job(where, image)], sort_keys=False)


def _job(where: dict[str, str], image: str) -> Manifest:
    container = {
        "name": "heal",
        "image": image,
        "command": ["harness", "heal", "--kubeconfig", "/etc/harness/config"],
        "env": [{"name": "XDG_STATE_HOME", "value": "/state"}],
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/harness"},
            {"name": "state", "mountPath": "/state"},
        ],
        "resources": {"requests": {"cpu": "50m", "memory": "96Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True},
    }
    pod = {
        "serviceAccountName": _NAME,
        "restartPolicy": "Never",
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": _NAME}}, {"name": "state", "emptyDir": {}}],
    }
    # without a sidecar: it would keep the Job from ending
    template = {"metadata": {"labels": {"sidecar.istio.io/inject": "false"}}, "spec": pod}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": where,
        "spec": {
            "schedule": "* * * * *",
            "concurrencyPolicy": "Forbid",
            "jobTemplate": {"spec": {"backoffLimit": 0, "activeDeadlineSeconds": 300, "template": template}},
        },
    }


def _kubeconfig() -> str:
    """What names the cluster from inside, with the token of the account, which the kubelet renews."""
    content: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "inside",
        "clusters": [
            {
                "name": "inside",
                "cluster": {
                    "server": "https://kubernetes.default.svc",
                    "certificate-authority": f"{_ACCOUNT}/ca.crt",
                },
            }
        ],
        "users": [{"name": "inside", "user": {"tokenFile": f"{_ACCOUNT}/token"}}],
        "contexts": [{"name": "inside", "context": {"cluster": "inside", "user": "inside"}}],
    }
    return yaml.safe_dump(content, sort_keys=False)


def _rules() -> list[Manifest]:
    groups: dict[str, list[str]] = defaultdict(list)
    for version, kind in KINDS:
        groups[version.rpartition("/")[0]].append(plural(kind))
    verbs = ["get", "list", "create", "update", "delete"]
    return [
        {"apiGroups": [group], "resources": sorted(resources), "verbs": verbs}
        for group, resources in groups.items()
    ]
