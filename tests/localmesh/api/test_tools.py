"""Tools that others wrote, unmodified: Chaos Toolkit's Kubernetes extension and kr8s find pods and kill them.

Each runs in a process of its own, as its users run it: both keep their connection in module globals.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from harness.localmesh import workloads
from harness.localmesh.api.resources import DEPLOYMENTS, NODES, PODS

SPEC = {"nodeName": "local", "containers": [{"name": "main", "image": "web"}]}
PODS_OF_SHOP = [
    {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": app}},
        "spec": SPEC,
    }
    for name, app in (("front-1", "front"), ("front-2", "front"), ("back-1", "back"))
]
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "front", "namespace": "default", "labels": {"app": "front"}},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "front"}},
        "template": {
            "metadata": {"labels": {"app": "front"}},
            "spec": {"containers": [{"name": "main", "image": "web"}]},
        },
    },
}


@pytest.fixture
def shop(cluster):
    """Three running pods, and a Deployment."""
    conditions = [{"type": kind, "status": "True"} for kind in ("Ready", "ContainersReady")]
    status = {"phase": "Running", "conditions": conditions}
    for pod in PODS_OF_SHOP:
        cluster.store.replace(PODS, {**cluster.store.create(PODS, pod), "status": status}, section="status")
    cluster.store.create(DEPLOYMENTS, DEPLOYMENT)
    return cluster


@pytest.fixture
def python(cluster, tmp_path):
    """Runs a program that prints JSON, with KUBECONFIG set; fails the test when the program fails."""

    def run(program):
        environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig), "HOME": str(tmp_path)}
        command = [sys.executable, "-W", "ignore", "-c", program]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, env=environment, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def left(cluster):
    """The pods that nobody has deleted."""
    return [
        pod["metadata"]["name"]
        for pod in cluster.store.list(PODS)
        if "deletionTimestamp" not in pod["metadata"]
    ]


@pytest.mark.skipif(not find_spec("chaosk8s"), reason="chaostoolkit-kubernetes is not installed")
def test_chaos_toolkit_finds_and_kills_pods(shop, python):
    """Its probes count them, its action deletes one of those it selects."""
    found = python(
        "import json\n"
        "from chaosk8s.pod.probes import all_pods_healthy, count_pods, pods_in_phase\n"
        "from chaosk8s.pod.actions import terminate_pods\n"
        "before = count_pods(label_selector='app=front', phase='Running')\n"
        "running = pods_in_phase(label_selector='app=front', phase='Running')\n"
        "terminate_pods(label_selector='app=front', rand=True, qty=1, grace_period=0, ns='default')\n"
        "print(json.dumps([before, running, bool(all_pods_healthy('default')), count_pods('app=front')]))"
    )
    assert found == [2, True, True, 1]
    assert len(left(shop)) == 2
    assert "back-1" in left(shop)


@pytest.mark.skipif(not find_spec("chaosk8s"), reason="chaostoolkit-kubernetes is not installed")
def test_chaos_toolkit_scales_cordons_and_drains(shop, python):
    """A Deployment scaled, a node cordoned and emptied by evictions, whose pods end here at once."""
    end = "terminationGracePeriodSeconds"
    owner = {
        **workloads.owner_reference(shop.store.get(DEPLOYMENTS, "default", "front")),
        "kind": "ReplicaSet",
    }
    for pod in shop.store.list(PODS):
        shop.store.delete(PODS, "default", pod["metadata"]["name"], grace=0)
        metadata = {
            **PODS_OF_SHOP[0]["metadata"],
            "name": pod["metadata"]["name"],
            "ownerReferences": [owner],
        }
        shop.store.create(PODS, {**PODS_OF_SHOP[0], "metadata": metadata, "spec": {**SPEC, end: 0}})
    done = python(
        "import json\n"
        "from chaosk8s.deployment.actions import scale_deployment\n"
        "from chaosk8s.node.actions import cordon_node, drain_nodes, uncordon_node\n"
        "scale_deployment('front', 5, ns='default')\n"
        "cordon_node('local')\n"
        "uncordon_node('local')\n"
        "print(json.dumps(drain_nodes(name='local', timeout=10)))"
    )
    assert done
    assert shop.store.get(DEPLOYMENTS, "default", "front")["spec"]["replicas"] == 5
    assert shop.store.get(NODES, "", "local")["spec"]["unschedulable"] is True
    assert left(shop) == []


@pytest.mark.skipif(not find_spec("kr8s"), reason="kr8s is not installed")
def test_kr8s_finds_and_kills_pods(shop, python):
    """It lists them by label, reads one, deletes one, and patches a Deployment."""
    found = python(
        "import json, kr8s\n"
        "from kr8s.objects import Deployment, Pod\n"
        "names = sorted(pod.name for pod in kr8s.get('pods', label_selector={'app': 'front'}))\n"
        "pod = Pod.get('front-1')\n"
        "ready = pod.ready()\n"
        "pod.delete(force=True)\n"
        "gone = not pod.exists()\n"
        "deployment = Deployment.get('front')\n"
        "deployment.patch({'spec': {'replicas': 3}})\n"
        "print(json.dumps([names, ready, gone, deployment.replicas]))"
    )
    assert found == [["front-1", "front-2"], True, True, 3]
    assert left(shop) == ["back-1", "front-2"]
