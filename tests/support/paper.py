"""A cluster on paper: a store with its controllers, and no process anywhere."""

import random
from datetime import UTC, datetime

from harness.localmesh import controllers, nodes
from harness.localmesh.api.resources import DEPLOYMENTS, NAMESPACES, NODES, PODS, REPLICA_SETS
from harness.localmesh.objects import timestamp
from harness.localmesh.store import Store


def deployment(replicas=3, version="v1", strategy=None):
    """A Deployment as admission completes it."""
    template = {
        "metadata": {"labels": {"app": "web", "version": version}},
        "spec": {
            "containers": [{"name": "web", "image": "x", "ports": [{"name": "http", "containerPort": 8080}]}]
        },
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": strategy or {"type": "RollingUpdate", "rollingUpdate": {}},
            "template": template,
        },
    }


class Cluster:
    """A store with its controllers, and a kubelet that starts nothing."""

    def __init__(self):
        self.store = Store()
        self.store.create(
            NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}
        )
        for node in nodes.genesis():
            self.store.create(NODES, node)
        self.chance = random.Random(1)
        self.addresses = 0

    def settle(self, *, ready=True, limit=50):
        """Lets everything come to rest; new pods become ready, deleted ones end."""
        for _ in range(limit):
            before = self.store.revision
            controllers.reconcile(self.store, self.chance)
            for pod in self.store.list(PODS):
                self._keep(pod, ready)
            if self.store.revision == before:
                return
        raise AssertionError("the controllers do not come to rest")

    def step(self):
        """One turn of the controllers, and of nothing else; says when they are needed again."""
        return controllers.reconcile(self.store, self.chance)

    def make_ready(self, pod):
        """Says that the pod serves."""
        self.addresses += 1
        address = f"127.1.{self.addresses // 250}.{self.addresses % 250 + 1}"
        since = timestamp(datetime.now(UTC))
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": since}
        status = {"phase": "Running", "podIP": address, "conditions": [ready]}
        self.store.update(
            PODS, "default", pod["metadata"]["name"], lambda old: {**old, "status": status}, section="status"
        )

    def pods(self, **labels):
        """The pods with these labels."""
        return [p for p in self.store.list(PODS) if labels.items() <= p["metadata"]["labels"].items()]

    def _keep(self, pod, ready):
        metadata = pod["metadata"]
        if "deletionTimestamp" in metadata:
            self.store.remove(PODS, "default", metadata["name"], metadata["uid"])
        elif ready and "status" not in pod:
            self.make_ready(pod)

    def change(self, **fields):
        """Changes fields of the Deployment's spec."""
        self.store.update(
            DEPLOYMENTS, "default", "web", lambda old: {**old, "spec": {**old["spec"], **fields}}
        )

    def deployment(self):
        """The Deployment as it is."""
        return self.store.get(DEPLOYMENTS, "default", "web")

    def sets(self):
        """How many pods each version's ReplicaSet asks for."""
        return {
            item["spec"]["template"]["metadata"]["labels"]["version"]: item["spec"]["replicas"]
            for item in self.store.list(REPLICA_SETS)
        }

    def condition(self, kind):
        """A condition of the Deployment: status and reason."""
        (found,) = (item for item in self.deployment()["status"]["conditions"] if item["type"] == kind)
        return found["status"], found["reason"]
