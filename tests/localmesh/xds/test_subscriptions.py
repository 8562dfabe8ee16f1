"""What an Envoy is sent in its stream, and when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.localmesh.xds.encoding import Encoder
from harness.localmesh.xds.model import Snapshot
from harness.localmesh.xds.proto import typed
from harness.localmesh.xds.subscriptions import CLUSTERS, ENDPOINTS, KINDS, LISTENERS, ROUTES, Asked, Stream
from harness.localmesh.xds.subscriptions import Configuration as Plain

CLUSTER = "envoy.config.cluster.v3.Cluster"


class Configuration(Plain):
    """One that is set without more ado."""

    def __init__(self, snapshot, now=0.0):
        super().__init__()
        self.encoder = Encoder()
        self.put(snapshot, now)

    def put(self, snapshot, now=0.0):
        """Makes it that; says whether it is news."""
        return self.set(snapshot, now, self.encoder)


def snapshot(clusters="1s", routes="1", endpoints=("a",), names=("c",)):
    """A snapshot whose clusters and routes say which they are."""
    assignment = "envoy.config.endpoint.v3.ClusterLoadAssignment"
    host = {"name": "v", "domains": [routes]}
    return Snapshot(
        clusters={name: typed(CLUSTER, name=name, connect_timeout=clusters) for name in names},
        endpoints={name: typed(assignment, cluster_name=name) for name in endpoints},
        listeners={"l": typed("envoy.config.listener.v3.Listener", name="l")},
        routes={"r": typed("envoy.config.route.v3.RouteConfiguration", name="r", virtual_hosts=[host])},
        secrets={},
    )


def offers(stream, configuration, now=0.0):
    """What is sent now, by kind."""
    return {offer.kind: offer for offer in stream.offers(configuration, now)}


def ask(stream, kind, names=(), nonce="", *, refused=False, now=0.0):
    """A request arrives."""
    stream.arrived(Asked(kind, tuple(names), nonce, refused), now)


def settled(configuration, names=("a",)):
    """A stream whose Envoy has confirmed all there is."""
    stream = Stream()
    wishes = {CLUSTERS: (), ENDPOINTS: names, LISTENERS: (), ROUTES: ("r",)}
    for kind, wanted in wishes.items():
        ask(stream, kind, wanted)
    agree(stream, configuration, wishes)
    return stream


def agree(stream, configuration, wishes=None, now=0.0):
    """Confirms everything until nothing more is sent; gives what was sent, in that order."""
    wishes = wishes or {ENDPOINTS: ("a",), ROUTES: ("r",)}
    seen = []
    while made := list(stream.offers(configuration, now)):
        for offer in made:
            seen.append((offer.kind, tuple(offer.resources)))
            ask(stream, offer.kind, wishes.get(offer.kind, ()), offer.nonce, now=now)
    return seen


def test_a_first_request_is_answered_at_once_with_what_there_is():
    """Also when that is nothing: an Envoy without clusters has to know it."""
    stream, configuration = Stream(), Configuration(snapshot())
    ask(stream, CLUSTERS)
    assert list(offers(stream, configuration)[CLUSTERS].resources) == ["c"]
    empty = Stream()
    ask(empty, CLUSTERS)
    assert offers(empty, Configuration(snapshot(names=())))[CLUSTERS].resources == {}


def test_an_envoy_that_has_everything_is_sent_nothing_until_there_is_news():
    """And then only what is new."""
    configuration = Configuration(snapshot(endpoints=("a", "b")))
    stream = settled(configuration, ("a", "b"))
    assert offers(stream, configuration) == {}
    assert configuration.put(snapshot(routes="2", endpoints=("a", "b")), 1.0)
    assert agree(stream, configuration, {ENDPOINTS: ("a", "b"), ROUTES: ("r",)}, 1.0) == [(ROUTES, ("r",))]


def test_setting_the_same_snapshot_again_is_no_news():
    """Whoever pushes need not compare."""
    configuration = Configuration(snapshot())
    assert not configuration.put(snapshot(), 1.0)


def test_news_do_not_wait_for_the_answer_to_what_was_sent_before():
    """Envoy confirms clusters only when all are warm: those without endpoints are taken away by the next ones alone."""
    configuration, stream = Configuration(snapshot(names=("c", "gone"), endpoints=())), Stream()
    ask(stream, CLUSTERS)
    first = offers(stream, configuration)[CLUSTERS]
    configuration.put(snapshot(names=("c",), endpoints=()))
    second = offers(stream, configuration)[CLUSTERS]
    assert list(second.resources) == ["c"]
    ask(stream, CLUSTERS, nonce=first.nonce)
    assert not stream.confirmed(configuration)
    ask(stream, CLUSTERS, nonce=second.nonce)
    assert stream.confirmed(configuration)


def test_a_refusal_of_an_older_response_is_one_too():
    """Though the last one is confirmed: what was in it is offered again, with all the rest."""
    configuration = Configuration(snapshot(endpoints=("a", "b")))
    stream = settled(configuration)
    ask(stream, ENDPOINTS, ("a", "b"))
    offer = offers(stream, configuration)[ENDPOINTS]
    ask(stream, ENDPOINTS, ("a", "b"), "an older one", refused=True)
    ask(stream, ENDPOINTS, ("a", "b"), offer.nonce)
    assert not stream.confirmed(configuration)
    assert list(offers(stream, configuration, 1.5)[ENDPOINTS].resources) == ["a", "b"]


def test_an_answer_to_an_older_response_confirms_nothing():
    """Envoy may say which names it wants while a response is on its way to it."""
    configuration = Configuration(snapshot(endpoints=("a", "b")))
    stream = settled(configuration)
    ask(stream, ENDPOINTS, ("a", "b"), "stale")
    offer = offers(stream, configuration)[ENDPOINTS]
    assert list(offer.resources) == ["b"]
    ask(stream, ENDPOINTS, ("a", "b"), "stale")
    assert not stream.confirmed(configuration)
    ask(stream, ENDPOINTS, ("a", "b"), offer.nonce)
    assert stream.confirmed(configuration)


def test_what_is_asked_for_again_after_it_was_dropped_is_sent_again():
    """A cluster that goes and comes back waits for its endpoints."""
    configuration = Configuration(snapshot())
    stream = settled(configuration)
    ask(stream, ENDPOINTS, (), "x")
    ask(stream, ENDPOINTS, ("a",), "x")
    assert list(offers(stream, configuration)[ENDPOINTS].resources) == ["a"]


def test_a_changed_cluster_gets_its_endpoints_again_and_others_do_not():
    """Envoy makes a changed cluster anew, and keeps the old one until the new one has endpoints."""
    configuration = Configuration(snapshot(names=("a", "b"), endpoints=("a", "b")))
    stream = settled(configuration, ("a", "b"))
    changed = snapshot(names=("a", "b"), endpoints=("a", "b"))
    changed.clusters["a"]["connect_timeout"] = "9s"
    configuration.put(changed)
    sent = agree(stream, configuration, {ENDPOINTS: ("a", "b"), ROUTES: ("r",)})
    assert sent == [(CLUSTERS, ("a", "b")), (ENDPOINTS, ("a",))]


def test_changed_listeners_get_their_routes_again():
    """Envoy asks for them anew when a listener names them in another way."""
    configuration = Configuration(snapshot())
    stream = settled(configuration)
    changed = snapshot()
    changed.listeners["l"]["stat_prefix"] = "x"
    configuration.put(changed)
    assert agree(stream, configuration) == [(LISTENERS, ("l",)), (ROUTES, ("r",))]


def test_routes_wait_until_their_clusters_are_confirmed():
    """No route is sent that names a cluster the Envoy may not know yet."""
    stream, configuration = Stream(), Configuration(snapshot())
    ask(stream, CLUSTERS)
    ask(stream, ROUTES, ("r",))
    sent = offers(stream, configuration)
    assert list(sent) == [CLUSTERS]
    ask(stream, CLUSTERS, nonce=sent[CLUSTERS].nonce)
    assert list(offers(stream, configuration)) == [ROUTES]


def test_routes_do_not_wait_for_ever_for_clusters_that_were_refused():
    """After a second they are sent all the same."""
    stream, configuration = Stream(), Configuration(snapshot())
    ask(stream, CLUSTERS)
    ask(stream, ROUTES, ("r",))
    ask(stream, CLUSTERS, nonce=offers(stream, configuration)[CLUSTERS].nonce, refused=True)
    assert ROUTES not in offers(stream, configuration, 0.9)
    assert stream.patience(configuration, 0.9) == pytest.approx(0.1)
    assert ROUTES in offers(stream, configuration, 1.1)


def test_what_was_refused_is_offered_again_after_a_second():
    """What it was refused for (an address in use) may have gone; it must not become a busy loop."""
    stream, configuration = Stream(), Configuration(snapshot())
    ask(stream, CLUSTERS)
    first = offers(stream, configuration)[CLUSTERS]
    ask(stream, CLUSTERS, nonce=first.nonce, refused=True, now=5.0)
    assert not stream.confirmed(configuration)
    assert offers(stream, configuration, 5.5) == {}
    assert stream.patience(configuration, 5.5) == pytest.approx(0.5)
    again = offers(stream, configuration, 6.0)[CLUSTERS]
    assert again.version == first.version
    ask(stream, CLUSTERS, nonce=again.nonce, now=6.0)
    assert stream.confirmed(configuration)
    assert stream.patience(configuration, 6.0) is None


def test_another_configuration_is_offered_at_once_after_a_refusal():
    """Whoever mends a mistake need not wait."""
    stream, configuration = Stream(), Configuration(snapshot())
    ask(stream, CLUSTERS)
    ask(stream, CLUSTERS, nonce=offers(stream, configuration)[CLUSTERS].nonce, refused=True)
    configuration.put(snapshot(clusters="2s"))
    assert CLUSTERS in offers(stream, configuration)


def test_what_is_not_there_yet_is_waited_for():
    """Nothing is said of endpoints that nobody knows; when they come they are sent."""
    configuration = Configuration(snapshot(endpoints=()))
    stream = settled(configuration)
    assert stream.confirmed(configuration)
    configuration.put(snapshot())
    assert not stream.confirmed(configuration)
    assert agree(stream, configuration) == [(ENDPOINTS, ("a",))]


def test_what_is_gone_is_no_reason_to_wait():
    """Endpoints vanish with their cluster, which says so."""
    configuration = Configuration(snapshot())
    stream = settled(configuration)
    configuration.put(snapshot(endpoints=()))
    assert stream.confirmed(configuration)
    assert offers(stream, configuration) == {}


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["1s", "2s", "3s"]), st.sampled_from("12"), st.sets(st.sampled_from("abc"))
        ),
        max_size=8,
    ),
    st.randoms(use_true_random=False),
)
def test_whatever_happens_an_envoy_ends_with_what_it_is_to_have(states, random):
    """Any changes, with answers and refusals at any time between them: it has the last state, and is confirmed."""
    configuration, stream = Configuration(snapshot()), Stream()
    wishes = {CLUSTERS: (), ENDPOINTS: ("a", "b", "c"), LISTENERS: (), ROUTES: ("r",)}
    has, open_offers, now = {}, [], 0.0
    for kind in KINDS[:4]:
        ask(stream, kind, wishes[kind])

    def answer(refuse):
        offer = open_offers.pop(0)
        if not refuse:
            held = {} if offer.kind in (CLUSTERS, LISTENERS) else has.get(offer.kind, {})
            has[offer.kind] = {**held, **{name: item.version for name, item in offer.resources.items()}}
        ask(stream, offer.kind, wishes[offer.kind], offer.nonce, refused=refuse, now=now)

    for clusters, routes, endpoints in states:
        configuration.put(snapshot(clusters, routes, tuple(sorted(endpoints))), now)
        now += 0.4
        open_offers += stream.offers(configuration, now)
        while open_offers and random.random() < 0.7:
            answer(random.random() < 0.3)
    for _ in range(9):
        now += 2.0
        open_offers += stream.offers(configuration, now)
        while open_offers:
            answer(refuse=False)
    assert stream.confirmed(configuration)
    for kind in KINDS[:4]:
        wanted = {name: item.version for name, item in configuration.of(kind).items()}
        assert wanted.items() <= has.get(kind, {}).items()
