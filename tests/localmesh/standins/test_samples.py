"""Istio's samples as stand-ins: Bookinfo, helloworld, curl."""

import asyncio
import http.server
import json
import threading
import time
from collections.abc import Iterator

import pytest

from harness.localmesh.standins.http import Request
from harness.localmesh.standins.ratings import Ratings


@pytest.fixture
def shop(start):
    """Starts one of Bookinfo's services, told where its callees are by the variables of the originals."""

    def shop(service, version="v1", **callees):
        places = {}
        for name, program in callees.items():
            host, port = program if isinstance(program, tuple) else program.address
            places[f"{name.upper()}_HOSTNAME"], places[f"{name.upper()}_SERVICE_PORT"] = host, str(port)
        return start("bookinfo", service, version, POD_NAME=f"{service}-{version}-pod", **places)

    return shop


class _Peer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen: list[dict[str, str]]
    status: int

    def do_GET(self):
        self.seen.append({name.lower(): value for name, value in self.headers.items()})
        self.send_response(self.status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *args):
        pass


@pytest.fixture
def peer() -> Iterator[tuple[tuple[str, int], list[dict[str, str]]]]:
    """A service that always fails, its address, and the headers of the requests it got."""
    seen: list[dict[str, str]] = []
    handler = type("Peer", (_Peer,), {"seen": seen, "status": 503})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield ("127.0.0.1", server.server_port), seen
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("version", "color"), [("v1", None), ("v2", "black"), ("v3", "red")])
def test_the_page_shows_which_version_of_reviews_answered(shop, version, color):
    """The pod's name and the colour of the stars are in the HTML."""
    ratings = shop("ratings")
    page = shop(
        "productpage", details=shop("details"), reviews=shop("reviews", version, ratings=ratings)
    ).ask("/productpage")
    assert page.status == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert f"<u>reviews-{version}-pod on cluster null</u>" in page.text
    assert "<h4>Book Details</h4>" in page.text
    if color:
        assert f'<font color="{color}">' in page.text
        assert page.text.count('"glyphicon glyphicon-star"') == 9  # five stars and four, as ratings says
    else:
        assert "<font" not in page.text


def test_the_answers_have_the_shapes_of_the_originals(shop):
    """Details, ratings and reviews are JSON with the fields of Istio's sample."""
    details, ratings = shop("details"), shop("ratings")
    reviews = shop("reviews", "v3", ratings=ratings).ask("/reviews/0").json
    assert set(details.ask("/details/0").json) == {
        "id", "author", "year", "type", "pages", "publisher", "language", "ISBN-10", "ISBN-13"
    }  # fmt: skip
    assert ratings.ask("/ratings/7").json == {"id": 7, "ratings": {"Reviewer1": 5, "Reviewer2": 4}}
    assert set(reviews) == {"id", "podname", "clustername", "reviews"}
    assert [(r["reviewer"], r["rating"]) for r in reviews["reviews"]] == [
        ("Reviewer1", {"stars": 5, "color": "red"}),
        ("Reviewer2", {"stars": 4, "color": "red"}),
    ]


def test_numbers_that_are_none_are_refused(shop):
    """A product that is not a number is answered 400, as in the originals."""
    assert shop("details").ask("/details/x").status == 400
    ratings = shop("ratings")
    assert ratings.ask("/ratings/x").json == {"error": "please provide numeric product ID"}
    assert ratings.ask("/ratings/0", "POST", b"{").status == 400


def test_ratings_that_are_posted_are_kept(shop):
    """The in-memory ratings of the original."""
    ratings = shop("ratings")
    posted = ratings.ask("/ratings/0", "POST", json.dumps({"Reviewer1": 1}).encode())
    assert posted.json == ratings.ask("/ratings/0").json == {"id": 0, "ratings": {"Reviewer1": 1}}


def test_every_service_says_that_it_is_healthy(shop):
    """GET /health."""
    for service in ("productpage", "details", "reviews", "ratings"):
        answer = shop(service).ask("/health")
        assert (answer.status, "is healthy" in answer.text) == (200, True)


def test_the_api_passes_on_what_the_services_say(shop):
    """/api/v1/products and the three parts below it."""
    ratings, details = shop("ratings"), shop("details")
    page = shop("productpage", details=details, reviews=shop("reviews", "v1"), ratings=ratings)
    assert [product["id"] for product in page.ask("/api/v1/products").json] == [0]
    assert page.ask("/api/v1/products/0").json == details.ask("/details/0").json
    assert page.ask("/api/v1/products/0/ratings").json == ratings.ask("/ratings/0").json
    assert page.ask("/api/v1/products/0/reviews").json["podname"] == "reviews-v1-pod"
    assert page.ask("/api/v1/products/0/other").status == 404


def test_failing_reviews_are_asked_twice_and_then_excused(shop, peer):
    """The retry of the original, the page with its two documented texts, and the status in the API."""
    address, seen = peer
    page = shop("productpage", details=shop("details"), reviews=address)
    text = page.ask("/productpage").text
    assert len(seen) == 2
    assert "Error fetching product reviews!" in text
    assert "Sorry, product reviews are currently unavailable for this book." in text
    assert "<h4>Book Details</h4>" in text
    assert page.ask("/api/v1/products/0/reviews").status == 503


def test_failing_details_are_asked_once_and_excused(shop, peer):
    """Only reviews are retried."""
    address, seen = peer
    text = shop("productpage", details=address, reviews=shop("reviews")).ask("/productpage").text
    assert len(seen) == 1
    assert "Error fetching product details!" in text
    assert "Sorry, product details are currently unavailable for this book." in text


def test_reviews_without_ratings_say_so(shop, peer):
    """The page still shows the reviews."""
    reviews = shop("reviews", "v2", ratings=peer[0])
    assert reviews.ask("/reviews/0").json["reviews"][0]["rating"] == {
        "error": "Ratings service is currently unavailable"
    }
    text = shop("productpage", details=shop("details"), reviews=reviews).ask("/productpage").text
    assert "<i>Ratings service is currently unavailable</i>" in text


def test_red_reviews_wait_two_and_a_half_seconds_for_ratings(shop, start):
    """The timeout of the original; black ones wait ten seconds, which nobody's test should."""
    slow = start("service", STANDIN_LATENCY="30s")
    reviews = shop("reviews", "v3", ratings=slow)
    before = time.monotonic()
    assert "error" in reviews.ask("/reviews/0").json["reviews"][0]["rating"]
    assert 2.4 < time.monotonic() - before < 6


def test_a_user_who_signs_in_is_known_to_the_services_until_he_signs_out(shop, peer):
    """Signing in sets a cookie and goes back; the services see the user as `end-user`, which routes can match."""
    address, seen = peer
    page = shop("productpage", details=address, reviews=address)
    signed = page.ask("/login", "POST", b"username=jason%3Cb%3E&passwd=x", referer="/productpage")
    assert (signed.status, signed.headers["location"]) == (302, "/productpage")
    cookie = signed.headers["set-cookie"].split(";")[0]
    text = page.ask("/productpage", cookie=cookie).text
    assert {headers["end-user"] for headers in seen} == {"jason<b>"}
    assert "jason&lt;b&gt; (" in text
    out = page.ask("/logout", cookie=cookie)
    assert (out.status, out.headers["set-cookie"]) == (302, "user=; Path=/; Max-Age=0")
    page.ask("/productpage")
    assert "end-user" not in seen[-1]


def _rate(version, times, draws=()):
    """What a version of ratings answers at those seconds after its start, and its health."""
    drawn, now = iter(draws), [0.0]
    ratings = Ratings(version, draw=lambda: next(drawn), clock=lambda: now[0])

    async def ask(path):
        return (await ratings.answer(Request("GET", path, "", {}, b""))).status

    found = []
    for now[0] in times:
        found.append((asyncio.run(ask("/ratings/0")), asyncio.run(ask("/health"))))
    return found


def test_ratings_that_are_unavailable_are_so_every_other_minute():
    """And always healthy, which is what makes them a puzzle."""
    assert _rate("v-unavailable", [0, 59, 61, 119, 121]) == [
        (200, 200), (200, 200), (503, 200), (503, 200), (200, 200)
    ]  # fmt: skip


def test_ratings_that_are_unhealthy_say_so_every_other_quarter_of_an_hour():
    """Their probe fails with them."""
    assert _rate("v-unhealthy", [0, 901, 1801]) == [(200, 200), (503, 500), (200, 200)]


def test_ratings_that_are_faulty_fail_half_the_time():
    """One draw for each request."""
    assert [status for status, _ in _rate("v-faulty", [0, 0, 0], [0.2, 0.5, 0.51])] == [503, 503, 200]


def test_ratings_that_are_delayed_wait_seven_seconds_half_the_time(shop):
    """Within seven seconds some requests are answered and others are not."""
    ratings = shop("ratings", "v-delayed")
    quick = 0
    for _ in range(40):
        with ratings.connect() as connection:
            connection.settimeout(0.3)
            connection.sendall(b"GET /ratings/0 HTTP/1.0\r\n\r\n")
            try:
                quick += bool(connection.recv(1))
            except TimeoutError:
                break
    assert quick < 40


@pytest.mark.parametrize("kind", ["mongodb", "mysql"])
def test_ratings_v2_ask_their_database(start, free, kind):
    """Both kinds give the ratings of the sample; a database that is gone gives the original's text and status."""
    host, port = start("database").address
    gone, nothing = free()

    def variables(host, port):
        if kind == "mysql":
            return {"DB_TYPE": "mysql", "MYSQL_DB_HOST": host, "MYSQL_DB_PORT": str(port)}
        return {"MONGO_DB_URL": f"mongodb://{host}:{port}/test"}

    ratings = start("bookinfo", "ratings", "v2", **variables(host, port))
    assert ratings.ask("/ratings/7").json == {"id": 7, "ratings": {"Reviewer1": 5, "Reviewer2": 4}}
    assert ratings.ask("/ratings/7", "POST", b"{}").status == 501
    lost = start("bookinfo", "ratings", "v2", **variables(gone, nothing)).ask("/ratings/7")
    assert lost.json == {"error": "could not connect to ratings database"}
    assert lost.status == (200 if kind == "mysql" else 500)


def test_ratings_v2_without_a_database_say_what_to_set(start):
    """At their start."""
    program = start("bookinfo", "ratings", "v2", ready=False)
    assert program.process.wait(15) == 2
    assert "set MONGO_DB_URL" in program.log.read_text()


def test_details_v2_ask_the_book_service_through_the_sidecar(start):
    """The answer has the shape of v1; what is no answer is 400; without DO_NOT_ENCRYPT it does not start."""
    volume = {
        "authors": ["W. S."], "publishedDate": "1595", "printType": "BOOK", "pageCount": 9, "publisher": "P",
        "language": "en", "industryIdentifiers": [
            {"type": "ISBN_10", "identifier": "1"}, {"type": "ISBN_13", "identifier": "2"},
        ],
    }  # fmt: skip
    seen = []

    class Books(_Peer):
        def do_GET(self):
            seen.append(self.path)
            body = json.dumps({"items": [{"volumeInfo": volume}]} if len(seen) == 1 else {}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Books) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        proxy = f"http://127.0.0.1:{server.server_port}"
        details = start("bookinfo", "details", "v2", DO_NOT_ENCRYPT="true", HTTP_PROXY=proxy)
        good, bad = details.ask("/details/3"), details.ask("/details/3")
        details.end()
        server.shutdown()
        thread.join()
    assert seen[0].startswith("http://www.googleapis.com/books/v1/volumes?q=isbn:")
    assert (good.json["id"], good.json["author"], good.json["ISBN-13"], good.json["type"]) == (
        3,
        "W. S.",
        "2",
        "paperback",
    )
    assert bad.status == 400
    encrypted = start("bookinfo", "details", "v2", ready=False)
    assert encrypted.process.wait(15) == 2
    assert "DO_NOT_ENCRYPT=true" in encrypted.log.read_text()


def test_a_flooding_page_asks_for_reviews_again_and_again(shop, start):
    """As often as FLOOD_FACTOR says, and the counter at /metrics tells."""
    address, reviews = shop("details").address, shop("reviews").address
    places = {
        "DETAILS_HOSTNAME": address[0], "DETAILS_SERVICE_PORT": str(address[1]),
        "REVIEWS_HOSTNAME": reviews[0], "REVIEWS_SERVICE_PORT": str(reviews[1]),
    }  # fmt: skip
    page = start("bookinfo", "productpage", "v-flooding", FLOOD_FACTOR="7", **places)
    assert page.ask("/productpage").status == 200
    lines = page.ask("/metrics").text.splitlines()
    assert 'request_result_total{destination_app="reviews",response_code="200"} 8' in lines
    assert 'request_result_total{destination_app="details",response_code="200"} 1' in lines


def test_the_colour_of_the_stars_can_be_another(start, shop):
    """By the variables of the original."""
    host, port = shop("ratings").address
    places = {"RATINGS_HOSTNAME": host, "RATINGS_SERVICE_PORT": str(port)}
    reviews = start("bookinfo", "reviews", "v1", ENABLE_RATINGS="true", STAR_COLOR="blue", **places)
    assert reviews.ask("/reviews/0").json["reviews"][0]["rating"] == {"stars": 5, "color": "blue"}


@pytest.mark.parametrize(
    "arguments", [(), ("reviews",), ("reviews", "v4"), ("ratings", "v3"), ("orders", "v1")]
)
def test_a_service_that_bookinfo_does_not_have_is_refused(start, arguments):
    """One sentence and exit code 2."""
    program = start("bookinfo", *arguments, ready=False)
    assert program.process.wait(15) == 2
    assert "give a service and a version of Bookinfo" in program.log.read_text()


def test_helloworld_says_its_version_and_pod(start):
    """GET /hello, as the sample's own test asks it."""
    program = start("helloworld", "v2", POD_NAME="helloworld-v2-abc")
    assert program.ask("/hello").text == "Hello version: v2, instance: helloworld-v2-abc\n"
    assert program.ask("/other").status == 404


def test_settings_of_another_stand_in_are_refused(start):
    """An annotation that has no effect is an error, not a silence."""
    program = start("helloworld", "v1", ready=False, STANDIN_LATENCY="5ms")
    assert program.process.wait(15) == 2
    assert "standin.harness.local/latency is not a setting of this stand-in" in program.log.read_text()


def test_idle_waits_for_sigterm_and_listens_on_nothing(start, until):
    """A pod of curl: no port, and exit code 0 once it is asked to stop."""
    program = start("idle", ready=False, PORTS="")
    until(lambda: "waits" in program.log.read_text(), "idle waits")
    with pytest.raises(ConnectionRefusedError):
        program.connect()
    assert program.end() == 0


def test_idle_listens_on_ports_it_declares(start):
    """So a pod that declares a port becomes ready; there is nothing to get."""
    program = start("idle")
    assert program.ask("/").status == 404
    assert program.end() == 0
