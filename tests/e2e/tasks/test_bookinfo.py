"""Request routing, fault injection, traffic shifting and request timeouts with Bookinfo.

The statements are those of istio.io/latest/docs/tasks/traffic-management: request-routing, fault-injection,
traffic-shifting and request-timeouts, whose manifests are samples/bookinfo/networking of Istio.
"""

import re
import time
from collections import Counter

import httpx
import pytest
from live import steadily

pytestmark = pytest.mark.e2e


def to(host, *routes):
    """A VirtualService for one service of Bookinfo."""
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {host}}}
spec:
  hosts: [{host}]
  http: [{", ".join(routes)}]
"""


def subset(host, name, weight=100):
    """One destination of a route."""
    return f"{{destination: {{host: {host}, subset: {name}}}, weight: {weight}}}"


JASON = "match: [{headers: {end-user: {exact: jason}}}]"
REVIEWS_V2 = to("reviews", f"{{route: [{subset('reviews', 'v2')}]}}")
REVIEWS_BY_USER = to(
    "reviews",
    f"{{{JASON}, route: [{subset('reviews', 'v2')}]}}",
    f"{{route: [{subset('reviews', 'v1')}]}}",
)
UNAVAILABLE = "Sorry, product reviews are currently unavailable for this book."
NO_RATINGS = "Ratings service is currently unavailable"


@pytest.fixture(scope="module")
def page(mesh):
    """Gets the product page as a user who has signed in, or as nobody in particular."""
    with httpx.Client(base_url=mesh.addresses.entry_url, timeout=15.0, trust_env=False) as entry:

        def get(user=""):
            entry.cookies.clear()
            if user:
                signed_in = entry.post("/login", data={"username": user, "passwd": ""})
                assert signed_in.status_code == 302
            answer = entry.get("/productpage")
            assert answer.status_code == 200
            return answer.text

        yield get


@pytest.fixture(scope="module")
def all_v1(mesh, samples):
    """Everything to v1, as the tasks begin."""
    with mesh.applied((samples / "virtual-service-all-v1.yaml").read_text()):
        yield


def stars(text):
    """The colour of the stars on a page: none, black or red."""
    found = re.search(r'color="(\w+)"', text)
    return found[1] if found else "none"


def timed(page, user=""):
    """The page, and the seconds it took."""
    begun = time.monotonic()
    text = page(user)
    return text, time.monotonic() - begun


@pytest.mark.usefixtures("all_v1")
class TestRequestRouting:
    """https://istio.io/latest/docs/tasks/traffic-management/request-routing."""

    def test_all_requests_go_to_version_1(self, page):
        """No matter how often the page is asked for, its reviews have no stars."""
        steadily(lambda: stars(page()) == "none", 10)

    def test_the_user_jason_gets_version_2_and_everybody_else_version_1(self, mesh, page):
        """By the header end-user, which productpage adds for whoever has signed in."""
        with mesh.applied(REVIEWS_BY_USER):
            steadily(lambda: stars(page("jason")) == "black")
            assert {stars(page("jason")) for _ in range(5)} == {"black"}
            assert {stars(page(user)) for user in ("", "julia", "jasonx") for _ in range(3)} == {"none"}


@pytest.mark.usefixtures("all_v1")
class TestFaultInjection:
    """https://istio.io/latest/docs/tasks/traffic-management/fault-injection."""

    def test_a_delay_for_one_user_finds_the_bug_of_bookinfos_timeouts(self, mesh, page):
        """Ratings 7 s late for jason: productpage gives up on reviews after 2 x 3 s, though reviews waits for 10 s."""
        fault = "fault: {delay: {percentage: {value: 100}, fixedDelay: 7s}}"
        late = to(
            "ratings",
            f"{{{JASON}, {fault}, route: [{subset('ratings', 'v1')}]}}",
            f"{{route: [{subset('ratings', 'v1')}]}}",
        )
        with mesh.applied(REVIEWS_BY_USER), mesh.applied(late):
            steadily(lambda: stars(page()) == "none")
            text, took = timed(page, "jason")
            assert UNAVAILABLE in text
            assert 6.0 <= took < 6.8
            text, took = timed(page)
            assert UNAVAILABLE not in text
            assert took < 1.0

    def test_an_abort_for_one_user_is_seen_at_once(self, mesh, page):
        """Jason's page says that ratings are unavailable; nobody else's does."""
        fault = "fault: {abort: {percentage: {value: 100}, httpStatus: 500}}"
        broken = to(
            "ratings",
            f"{{{JASON}, {fault}, route: [{subset('ratings', 'v1')}]}}",
            f"{{route: [{subset('ratings', 'v1')}]}}",
        )
        with mesh.applied(REVIEWS_BY_USER), mesh.applied(broken):
            steadily(lambda: NO_RATINGS in page("jason"))
            text, took = timed(page, "jason")
            assert NO_RATINGS in text
            assert UNAVAILABLE not in text
            assert took < 1.0
            assert NO_RATINGS not in page()
        steadily(lambda: NO_RATINGS not in page("jason"))


@pytest.mark.usefixtures("all_v1")
class TestTrafficShifting:
    """https://istio.io/latest/docs/tasks/traffic-management/traffic-shifting."""

    def test_half_of_the_traffic_moves_and_then_all_of_it(self, mesh, page):
        """Red stars on about half of the pages, then on all."""
        half = f"{{route: [{subset('reviews', 'v1', 50)}, {subset('reviews', 'v3', 50)}]}}"
        with mesh.applied(to("reviews", half)):
            steadily(lambda: {stars(page()) for _ in range(8)} == {"none", "red"}, 1)
            seen = Counter(stars(page()) for _ in range(120))
            assert set(seen) == {"none", "red"}
            assert 37 <= seen["red"] <= 83  # chance leaves it once in 40,000 runs
            mesh.apply(to("reviews", f"{{route: [{subset('reviews', 'v3')}]}}"))
            steadily(lambda: stars(page()) == "red", 8)


@pytest.mark.usefixtures("all_v1")
class TestRequestTimeouts:
    """https://istio.io/latest/docs/tasks/traffic-management/request-timeouts."""

    def test_a_timeout_shorter_than_a_delay_behind_it_ends_the_call(self, mesh, page):
        """Reviews has half a second, ratings is 2 s late: the page comes after 1 s, because it asks twice."""
        late = (
            "{fault: {delay: {percentage: {value: 100}, fixedDelay: 2s}}, "
            + f"route: [{subset('ratings', 'v1')}]}}"
        )
        with mesh.applied(REVIEWS_V2), mesh.applied(to("ratings", late)):
            steadily(lambda: stars(page()) == "black" and timed(page)[1] >= 2.0, 1)
            mesh.apply(to("reviews", f"{{route: [{subset('reviews', 'v2')}], timeout: 0.5s}}"))
            steadily(lambda: UNAVAILABLE in page(), 1)
            text, took = timed(page)
            assert UNAVAILABLE in text
            assert 1.0 <= took < 1.8
