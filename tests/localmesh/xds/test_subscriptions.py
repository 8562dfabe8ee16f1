"""When an Envoy's discovery request is answered, and with what."""

import json

from harness.localmesh.xds.model import Snapshot
from harness.localmesh.xds.subscriptions import DiscoveryRequest, Subscriptions

NODE = "sidecar~127.1.1.1~web.default~default.svc.cluster.local"


def snapshot(clusters="1", routes="1", endpoints=("a",)):
    """A snapshot whose clusters and routes say which they are."""
    return Snapshot(
        clusters={"c": {"name": "c", "mark": clusters}},
        endpoints={name: {"cluster_name": name} for name in endpoints},
        listeners={"l": {"name": "l"}},
        routes={"r": {"name": "r", "mark": routes}},
        secrets={},
    )


def request(version="", names=(), node=NODE):
    """What an Envoy that has `version` asks."""
    return DiscoveryRequest("type", version, tuple(names), DiscoveryRequest.Node(node))


def ask(subscriptions, kind, request, now):
    """The answer to a request that has just arrived."""
    subscriptions.arrived(kind, request, 1.0)
    return subscriptions.answer(kind, request, now)


def offered(snapshot_, now=0.0):
    """Subscriptions with that snapshot for NODE."""
    subscriptions = Subscriptions()
    subscriptions.publish({NODE: snapshot_}, now)
    return subscriptions


def test_a_first_request_is_answered_at_once_with_what_there_is():
    """The body is a DiscoveryResponse with version, type and resources."""
    answer = ask(offered(snapshot()), "clusters", request(), 0.0)
    body = json.loads(answer.body)
    assert body == {
        "version_info": answer.version,
        "type_url": "type",
        "resources": [{"name": "c", "mark": "1"}],
    }


def test_an_envoy_that_has_the_current_version_is_kept_waiting_for_the_next():
    """No news is no answer; a change is answered at once."""
    subscriptions = offered(snapshot())
    version = ask(subscriptions, "clusters", request(), 0.0).version
    assert ask(subscriptions, "clusters", request(version), 0.0) is None
    assert subscriptions.publish({NODE: snapshot(clusters="2")}, 1.0)
    assert ask(subscriptions, "clusters", request(version), 1.0).version != version


def test_a_change_of_one_resource_does_not_concern_the_subscriptions_of_others():
    """Routes change, clusters and endpoints stay as they are: only the route subscription has news."""
    subscriptions = offered(snapshot(endpoints=("a", "b")))
    clusters = ask(subscriptions, "clusters", request(), 0.0).version
    endpoints = ask(subscriptions, "endpoints", request(names=["a"]), 0.0).version
    subscriptions.publish({NODE: snapshot(routes="2", endpoints=("a", "b"))}, 1.0)
    assert ask(subscriptions, "clusters", request(clusters), 1.0) is None
    assert ask(subscriptions, "endpoints", request(endpoints, ["a"]), 1.0) is None


def test_setting_the_same_snapshot_again_is_no_news():
    """Whoever pushes need not compare."""
    assert not offered(snapshot()).publish({NODE: snapshot()}, 1.0)


def test_routes_wait_until_their_clusters_are_confirmed():
    """No route is offered that names a cluster the Envoy may not know yet."""
    subscriptions = offered(snapshot())
    clusters = ask(subscriptions, "clusters", request(), 0.0).version
    assert ask(subscriptions, "routes", request(names=["r"]), 0.0) is None
    ask(subscriptions, "clusters", request(clusters), 0.0)
    assert ask(subscriptions, "routes", request(names=["r"]), 0.0) is not None


def test_routes_do_not_wait_for_ever_for_clusters_that_were_refused():
    """After a second they are offered all the same."""
    subscriptions = offered(snapshot())
    ask(subscriptions, "clusters", request(), 0.0)
    assert ask(subscriptions, "routes", request(names=["r"]), 0.9) is None
    assert ask(subscriptions, "routes", request(names=["r"]), 1.1) is not None


def test_a_refused_version_is_offered_again_once_a_second_only():
    """An Envoy that keeps its old version asks again at once; that must not become a busy loop."""
    subscriptions = offered(snapshot())
    offers = [ask(subscriptions, "clusters", request(), 0.0) for _ in range(100)]
    assert 1 < sum(offer is not None for offer in offers) < 10
    assert ask(subscriptions, "clusters", request(), 0.5) is None
    assert ask(subscriptions, "clusters", request(), 1.5)


def test_a_version_that_is_asked_past_has_been_refused():
    """Whoever was sent 2 and still names 1 keeps 1; whoever begins anew, or was sent nothing, refuses nothing."""
    subscriptions = offered(snapshot())
    assert not subscriptions.arrived("clusters", request(), 1.0)
    version = subscriptions.answer("clusters", request(), 0.0).version
    assert not subscriptions.arrived("clusters", request(version), 1.0)
    subscriptions.publish({NODE: snapshot(clusters="2")}, 1.0)
    assert subscriptions.answer("clusters", request(version), 1.0)
    assert subscriptions.arrived("clusters", request(version), 1.0)
    assert not subscriptions.arrived("clusters", request(), 1.0)


def test_an_envoy_that_never_gets_beyond_its_beginning_refuses_too():
    """A new pod whose first configuration is bad has no version to name."""
    subscriptions = offered(snapshot())
    seen = []
    for _ in range(10):
        seen.append(subscriptions.arrived("clusters", request(), 1.0))
        subscriptions.answer("clusters", request(), 1.0)
    assert not seen[0]
    assert seen[-1]


def test_an_envoy_that_is_killed_again_and_again_refuses_nothing():
    """It begins without a version each time, but not right after it was sent one."""
    subscriptions = offered(snapshot())
    for second in range(0, 50, 5):
        assert not subscriptions.arrived("endpoints", request(names=["a"]), float(second))
        assert subscriptions.answer("endpoints", request(names=["a"]), float(second))


def test_looking_again_at_a_waiting_request_confirms_nothing():
    """An old request that still waits must not take back what a newer one has confirmed."""
    subscriptions = offered(snapshot())
    version = ask(subscriptions, "clusters", request(), 0.0).version
    subscriptions.arrived("clusters", request(version), 1.0)
    subscriptions.answer("clusters", request(), 0.0)
    assert subscriptions.behind() == ()


def test_an_unknown_envoy_or_resource_is_kept_waiting():
    """It may be known in a moment."""
    subscriptions = offered(snapshot())
    assert ask(subscriptions, "clusters", request(node="stranger"), 0.0) is None
    assert ask(subscriptions, "endpoints", request(names=["nobody"]), 0.0) is None


def test_an_envoy_is_behind_until_it_has_confirmed_everything():
    """Before its first request, between offer and confirmation, and after each change."""
    subscriptions = offered(snapshot())
    assert subscriptions.behind() == (NODE,)
    version = ask(subscriptions, "clusters", request(), 0.0).version
    assert subscriptions.behind() == (NODE,)
    ask(subscriptions, "clusters", request(version), 0.0)
    assert subscriptions.behind() == ()
    subscriptions.publish({NODE: snapshot(clusters="2")}, 1.0)
    assert subscriptions.behind() == (NODE,)
    subscriptions.remove(NODE)
    assert subscriptions.behind() == ()
