"""How a Deployment gets from one template or size to another."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from paper import Cluster, deployment

from harness.localmesh import progress, rollout
from harness.localmesh.api.resources import DEPLOYMENTS, EVENTS, PODS, REPLICA_SETS
from harness.localmesh.rollout import Family
from harness.localmesh.workloads import first_to_go, template_hash

REVISION = "deployment.kubernetes.io/revision"
ROLLING = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


@pytest.fixture
def cluster():
    """A cluster on paper with three pods of version v1."""
    made = Cluster()
    made.store.create(DEPLOYMENTS, deployment(3, strategy=ROLLING))
    made.settle()
    return made


def update(cluster, version):
    """Gives the Deployment the template of another version, as `kubectl apply` would."""
    cluster.change(template=deployment(3, version)["spec"]["template"])


def revisions(cluster):
    """The revision of each version's ReplicaSet."""
    return {
        item["spec"]["template"]["metadata"]["labels"]["version"]: item["metadata"]["annotations"][REVISION]
        for item in cluster.store.list(REPLICA_SETS)
    }


def test_each_template_is_a_revision_and_the_deployment_carries_the_newest(cluster):
    """What `kubectl rollout history` lists."""
    update(cluster, "v2")
    cluster.settle()
    assert revisions(cluster) == {"v1": "1", "v2": "2"}
    assert cluster.deployment()["metadata"]["annotations"][REVISION] == "2"


def test_going_back_makes_the_old_replica_set_the_newest_revision(cluster):
    """`kubectl rollout undo` writes the old template; no third ReplicaSet comes of it."""
    update(cluster, "v2")
    cluster.settle()
    update(cluster, "v1")
    cluster.settle()
    assert revisions(cluster) == {"v1": "3", "v2": "2"}
    assert cluster.sets() == {"v1": 3, "v2": 0}
    (first,) = (item for item in cluster.store.list(REPLICA_SETS) if item["spec"]["replicas"])
    assert first["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"] == "1"


def test_a_change_cause_goes_along_with_its_revision(cluster):
    """The Deployment's annotations are copied to its ReplicaSet, but not those about itself."""
    own = {"kubernetes.io/change-cause": "because", "kubectl.kubernetes.io/last-applied-configuration": "{}"}

    def annotate(old):
        kept = {**old["metadata"]["annotations"], **own}
        return {**old, "metadata": {**old["metadata"], "annotations": kept}}

    cluster.store.update(DEPLOYMENTS, "default", "web", annotate)
    cluster.settle()
    (found,) = cluster.store.list(REPLICA_SETS)
    assert found["metadata"]["annotations"]["kubernetes.io/change-cause"] == "because"
    assert "kubectl.kubernetes.io/last-applied-configuration" not in found["metadata"]["annotations"]


def test_old_replica_sets_beyond_the_limit_are_removed_oldest_first(cluster):
    """RevisionHistoryLimit counts those without pods."""
    cluster.change(revisionHistoryLimit=1)
    for version in ("v2", "v3", "v4"):
        update(cluster, version)
        cluster.settle()
    assert cluster.sets() == {"v3": 0, "v4": 3}


def test_a_paused_rollout_does_not_look_at_the_template_but_scales(cluster):
    """Nothing new is started until it is resumed."""
    cluster.change(paused=True)
    update(cluster, "v2")
    cluster.change(replicas=5)
    cluster.settle()
    assert cluster.sets() == {"v1": 5}
    assert cluster.condition("Progressing") == ("Unknown", "DeploymentPaused")
    cluster.change(paused=False)
    cluster.settle()
    assert cluster.sets() == {"v1": 0, "v2": 5}
    assert cluster.condition("Progressing") == ("True", "NewReplicaSetAvailable")


def test_a_change_of_size_amid_a_rollout_is_shared_in_proportion():
    """Kubernetes' own example: 10 pods, 3 surge, 2 unavailable, scaled to 15 when the new version does not start."""
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}
    cluster = Cluster()
    cluster.store.create(DEPLOYMENTS, deployment(10, strategy=rolling))
    cluster.settle()
    update(cluster, "v2")
    cluster.settle(ready=False)
    assert cluster.sets() == {"v1": 8, "v2": 5}
    cluster.change(replicas=15)
    cluster.step()
    assert cluster.sets() == {"v1": 11, "v2": 7}


def test_pods_that_never_served_are_replaced_before_those_that_do(cluster):
    """A rollout out of a broken version costs no pod that serves."""
    update(cluster, "v2")
    cluster.settle(ready=False)
    update(cluster, "v3")
    cluster.step()
    cluster.step()
    assert cluster.sets()["v1"] == 3
    cluster.settle(ready=False)
    assert cluster.sets() == {"v1": 3, "v2": 0, "v3": 1}


def test_a_pod_counts_as_available_once_it_has_been_ready_long_enough(cluster):
    """MinReadySeconds holds the rollout back, and says when to look again."""
    cluster.change(minReadySeconds=60)
    update(cluster, "v2")
    cluster.settle()
    assert cluster.sets() == {"v1": 3, "v2": 1}
    assert 50 < cluster.step() <= 60


def test_a_rollout_that_does_not_get_on_is_said_to_be_late(cluster):
    """The condition that makes `kubectl rollout status` give up."""
    update(cluster, "v2")
    cluster.settle(ready=False)
    family = Family.of(cluster.deployment(), cluster.store.list(REPLICA_SETS))
    now = datetime.now(UTC)
    assert 590 < progress.late_in(family, now) <= 600
    late = progress.status(family, now + timedelta(seconds=602))["conditions"][1]
    assert (late["status"], late["reason"]) == ("False", "ProgressDeadlineExceeded")
    assert cluster.condition("Available") == ("True", "MinimumReplicasAvailable")


def test_a_rollout_in_progress_and_its_end_are_told_apart(cluster):
    """Created, on the way, done."""
    assert cluster.condition("Progressing") == ("True", "NewReplicaSetAvailable")
    update(cluster, "v2")
    cluster.step()
    cluster.step()
    assert cluster.condition("Progressing") == ("True", "NewReplicaSetCreated")
    cluster.settle()
    assert cluster.condition("Progressing") == ("True", "NewReplicaSetAvailable")


def test_pods_that_come_and_go_are_no_rollout(cluster):
    """A killed pod makes the Deployment less available, not progressing."""
    for pod in cluster.pods()[:2]:
        cluster.store.delete(PODS, "default", pod["metadata"]["name"], grace=0)
    cluster.settle(ready=False)
    assert cluster.condition("Progressing") == ("True", "NewReplicaSetAvailable")
    assert cluster.condition("Available") == ("False", "MinimumReplicasUnavailable")
    assert cluster.deployment()["status"]["unavailableReplicas"] == 2


def test_each_change_of_size_is_told_as_an_event(cluster):
    """In the words that `kubectl describe deployment` shows."""
    update(cluster, "v2")
    cluster.settle()
    told = [item["message"] for item in cluster.store.list(EVENTS) if item["reason"] == "ScalingReplicaSet"]
    hashed = template_hash(cluster.deployment())
    assert f"Scaled up replica set web-{hashed} from 0 to 1" in told


def test_values_left_out_make_no_other_template():
    """A client that reads a template and writes it back leaves empty values out."""
    bare, full = deployment(), deployment()
    full["spec"]["template"]["spec"]["containers"][0] |= {"resources": {}, "args": []}
    assert template_hash(bare) == template_hash(full)
    bare["spec"]["template"]["spec"]["containers"][0]["image"] = "y"
    assert template_hash(bare) != template_hash(full)


def candidate(name, *, node="a", phase="Running", ready="2026-01-01T00:00:00Z", restarts=0, cost="0"):
    """A pod as scaling down looks at it; `ready` is since when, or None."""
    condition = {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": ready}
    return {
        "metadata": {"name": name, "annotations": {"controller.kubernetes.io/pod-deletion-cost": cost}},
        "spec": {"nodeName": node} if node else {},
        "status": {
            "phase": phase,
            "conditions": [condition],
            "containerStatuses": [{"restartCount": restarts}],
        },
    }


def test_scaling_down_takes_pods_in_the_order_of_kubernetes():
    """From the pod that is worth least to the one that is worth most; of two equal ones the younger goes first."""
    wanted = [
        candidate("unassigned", node="", phase="Pending", ready=None),
        candidate("pending", node="b", phase="Pending", ready=None),
        candidate("not-ready", node="c", ready=None),
        candidate("cheap", node="d", cost="-5"),
        candidate("crowded", node="e"),
        candidate("crowded-too", node="e", ready="2025-01-01T00:00:00Z"),
        candidate("just-ready", node="f", ready="2026-06-01T00:00:00Z"),
        candidate("restarted", node="g", restarts=3),
        candidate("younger", node="h"),
        candidate("older", node="i"),
        candidate("dear", node="j", cost="7"),
    ]
    shuffled = sorted(wanted, key=lambda pod: (pod["metadata"]["name"] == "younger", pod["metadata"]["name"]))
    assert [pod["metadata"]["name"] for pod in first_to_go(shuffled)] == [
        pod["metadata"]["name"] for pod in wanted
    ]


@pytest.mark.parametrize("replicas", [0, 1, 4, 7])
def test_percentages_round_as_in_kubernetes(replicas):
    """The surge up, what may be missing down; where both are nothing, one pod may be missing."""
    family = Family.of(deployment(replicas), [])
    surge, unavailable = family.bounds
    assert surge == -(-replicas // 4)
    assert unavailable == (replicas // 4 if surge else min(1, replicas))


def test_any_sequence_of_changes_ends_with_the_last_one():
    """Whatever happens in between, in the end there are as many pods of the last version as asked for."""
    chance = random.Random(7)
    for _ in range(15):
        cluster = Cluster()
        cluster.store.create(DEPLOYMENTS, deployment(3))
        for _ in range(chance.randrange(1, 6)):
            for _ in range(chance.randrange(4)):
                cluster.step()
            update(cluster, chance.choice(("v1", "v2", "v3")))
            cluster.change(replicas=chance.randrange(6), paused=chance.random() < 0.2)
        cluster.change(paused=False)
        cluster.settle()
        wanted, version = cluster.deployment()["spec"]["replicas"], revision_label(cluster)
        assert len(cluster.pods()) == len(cluster.pods(version=version)) == wanted
        assert not rollout.plan(
            Family.of(cluster.deployment(), cluster.store.list(REPLICA_SETS)), old_pods=False
        )


def revision_label(cluster):
    """The version in the Deployment's template."""
    return cluster.deployment()["spec"]["template"]["metadata"]["labels"]["version"]
