"""What the objects of the store mean to istiod's part."""

import pytest

from harness.localmesh.world import workload
from harness.localmesh.xds.model import Locality

NODE = {
    "metadata": {
        "labels": {"topology.kubernetes.io/region": "home", "topology.kubernetes.io/zone": "east"},
    }
}


@pytest.mark.parametrize(
    ("labels", "where"),
    [
        ({}, Locality("home", "east")),
        ({"istio-locality": "home.north"}, Locality("home", "north")),
        ({"istio-locality": "away.west.cellar"}, Locality("away", "west", "cellar")),
    ],
    ids=["its node's", "two parts", "three parts"],
)
def test_a_pod_is_where_its_label_says_or_else_its_node(labels, where):
    """The label istio-locality, dots for slashes, comes before the labels of the node."""
    pod = {
        "metadata": {"name": "shop-1", "namespace": "shop", "labels": labels},
        "spec": {"containers": [{"name": "shop"}]},
        "status": {"podIP": "127.8.0.1"},
    }
    assert workload(pod, NODE).locality == where
