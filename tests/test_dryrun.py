"""A plan says what a fault would do, to whom, and what would prove it, and writes nothing."""

import pytest
import yaml

from harness.dryrun import plan
from harness.errors import HarnessError
from harness.experiment import Experiment
from harness.faults import Abort, BadConfig, BlastRadius, PodKill, ProxyKill, Stress, Target
from harness.indicators import availability
from harness.load import Load
from harness.rbac import Need
from harness.slo import SLO

UP = SLO("up", availability("payments", "shop"), at_least=0.9)
ATTACH = Need("shop", "", "pods/ephemeralcontainers", "update")


@pytest.fixture
def planned(cluster, kube_api):
    """The plan of a fault on a pod of payments, as YAML, and the rights that it takes."""
    proxy = {"name": "istio-proxy", "image": "istio/proxyv2"}
    kube_api.put(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "p-1", "namespace": "shop", "uid": "u1", "labels": {"app": "payments"}},
            "spec": {"containers": [{"name": "app"}, proxy]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        }
    )
    names = (("Pod", "pods"), ("Pod", "pods/ephemeralcontainers"))
    listed = [{"kind": kind, "name": name, "namespaced": True} for kind, name in names]

    def discovery(request):
        return kube_api.reply(200, {"resources": listed}) if request.path == "/api/v1" else None

    kube_api.before = discovery

    def make(fault, **limits):
        radius = BlastRadius(**({"max_pods": 12} | limits))
        chosen = Experiment([UP], Target("payments", "shop"), fault, Load("browse", rate=1), radius)
        made = plan(chosen, cluster, run="r", seed=1)
        assert kube_api.writes() == []
        return yaml.safe_load(made.text), made.needs

    return make


def test_a_container_that_would_be_put_into_a_pod_is_shown_whole(planned):
    """With its image and its arguments, and the right that it takes."""
    text, needs = planned(ProxyKill())
    [change] = text["changes"]
    assert change["attach"] == "Pod shop/p-1"
    assert change["container"]["args"] == ["request", "POST", "quitquitquit"]
    assert text["evidence"] == {"pods": ["u1"], "whose container is started again": "istio-proxy"}
    assert ATTACH in needs
    text, needs = planned(Stress())
    assert text["evidence"] == {"pods that": "run harness-r-stress", "all of": ["p-1"]}
    assert ATTACH in needs


def test_a_fault_that_would_go_on_says_how_often_and_how_far(planned):
    """The radius counts all of it."""
    text, _ = planned(PodKill(every=5), seconds=52)
    assert text["and again"] == "every 5 s"
    assert text["radius"]["pods"] == "11 of at most 12"
    assert text["evidence"]["and again"] == "until the revert"


def test_a_plan_that_would_be_refused_is_refused(planned):
    """In the same words as the run."""
    with pytest.raises(HarnessError, match="would last for 30 s, whatever happens"):
        planned(Stress(), seconds=20)
    with pytest.raises(HarnessError, match="takes 60 s to come to what was asked"):
        planned(Abort(503, ramp=60))
    metadata = {"name": "token", "namespace": "shop"}
    with pytest.raises(HarnessError, match="Secret shop/token cannot be changed") as refused:
        planned(
            BadConfig(
                {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"a": "hush"}}
            )
        )
    assert "hush" not in str(refused.value)
