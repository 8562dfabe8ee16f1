"""Istio's Bookinfo sample: `python -m harness.localmesh.standins.bookinfo SERVICE VERSION`.

The four services answer in the shapes of the originals (istio/istio, samples/bookinfo/src) and call each
other as they do, with their timeouts, their single retry of reviews, and the texts of failure that Istio's
documentation quotes. Details and ratings have files of their own. Signing in keeps the user's name in a plain
cookie; productpage passes it on as the header `end-user`, which the routing tasks match.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, quote, unquote

from harness.localmesh.standins import program
from harness.localmesh.standins.bookpage import Part, page, product_page
from harness.localmesh.standins.client import CallError, Client, forwarded
from harness.localmesh.standins.details import Details
from harness.localmesh.standins.http import Handler, Request, Response
from harness.localmesh.standins.ratings import VERSIONS, Database, Ratings
from harness.localmesh.standins.settings import Pod, SettingError, Settings

_PRODUCT = {
    "id": 0,
    "title": "The Comedy of Errors",
    "descriptionHtml": "Two pairs of twins, one town, and nobody who knows which of them has just walked in.",
}
_REVIEWS = {
    "Reviewer1": "I laughed until the second pair of twins came in, and then some more.",
    "Reviewer2": "Great fun from the first mistake to the last; not much beneath it.",
}
_PAGE_TIMEOUT = 3.0  # of every call of productpage
_BLACK_TIMEOUT, _OTHER_TIMEOUT = 10.0, 2.5  # of reviews' call of ratings, by the colour of its stars
_FLOODS = 100
_STARS = {"v1": None, "v2": "black", "v3": "red"}


def _not_found(request: Request) -> Response:
    return Response.json({"error": f"there is nothing at {request.path}"}, 404)


def _number(request: Request, below: str) -> int | None:
    """The number after /`below`/ at the end of the path, if there is one."""
    text = request.path.removeprefix(f"/{below}/")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None


def _health(name: str) -> Response:
    return Response.json({"status": f"{name} is healthy"})


class Reviews:
    """GET /reviews/{id}: v1 without stars, v2 with black ones, v3 with red ones, which ratings gives."""

    def __init__(self, pod: Pod, environ: Mapping[str, str], version: str) -> None:
        self._pod = pod
        self._cluster = environ.get("CLUSTER_NAME", "null")
        color = _STARS[version]
        self._color = (
            environ.get("STAR_COLOR", color or "black") if _is(environ, "ENABLE_RATINGS", color) else None
        )
        self._ratings = _base(environ, "ratings")
        self._client = Client(pod.proxy)

    async def answer(self, request: Request) -> Response:
        """Two reviews of a book, and the name of the pod that gives them."""
        if request.path == "/health":
            return _health("Reviews")
        book = _number(request, "reviews")
        if book is None:
            return _not_found(request)
        stars = await self._stars(book, request)
        reviews: list[dict[str, Any]] = [{"reviewer": name, "text": text} for name, text in _REVIEWS.items()]
        if self._color:
            reviews = [review | {"rating": self._rating(stars, review["reviewer"])} for review in reviews]
        return Response.json(
            {"id": str(book), "podname": self._pod.name, "clustername": self._cluster, "reviews": reviews}
        )

    def _rating(self, stars: Mapping[str, Any], reviewer: str) -> dict[str, Any]:
        if reviewer in stars:
            return {"stars": stars[reviewer], "color": self._color}
        return {"error": "Ratings service is currently unavailable"}

    async def _stars(self, book: int, request: Request) -> Mapping[str, Any]:
        if self._color is None:
            return {}
        url = f"{self._ratings}/ratings/{book}"
        timeout = _BLACK_TIMEOUT if self._color == "black" else _OTHER_TIMEOUT
        status, answer = await _get(self._client, url, forwarded(request), timeout)
        ratings = answer.get("ratings") if status == 200 and isinstance(answer, dict) else None
        return ratings if isinstance(ratings, dict) else {}


class Productpage:
    """The page at /productpage, its API under /api/v1/products, signing in and out, and /metrics.

    `floods`, or the variable FLOOD_FACTOR, is how many times it asks for reviews in vain before it makes the page.
    """

    def __init__(self, pod: Pod, environ: Mapping[str, str], floods: int = 0) -> None:
        self._client = Client(pod.proxy)
        self._bases = {name: _base(environ, name) for name in ("details", "reviews", "ratings")}
        self._floods = _floods(environ, floods)
        self._results: Counter[tuple[str, int]] = Counter()

    async def answer(self, request: Request) -> Response:
        """The page or the part of the API that the path names."""
        routes: dict[str, Callable[[Request], Awaitable[Response]]] = {
            "/productpage": self._page,
            "/login": self._login,
            "/logout": self._logout,
        }
        if route := routes.get(request.path):
            return await route(request)
        if request.path == "/health":
            return Response.text("Product page is healthy", kind="text/html")
        if request.path == "/metrics":
            return self._metrics()
        if request.path in ("/", "/index.html"):
            return _html(page("Bookinfo", '<p><a href="/productpage">The book page</a></p>'))
        if request.path.startswith("/api/v1/products"):
            return await self._api(request)
        return _not_found(request)

    async def _api(self, request: Request) -> Response:
        parts = request.path.removeprefix("/api/v1/products").strip("/").split("/")
        match parts:
            case [""]:
                return Response.json([_PRODUCT])
            case [book]:
                what = "details"
            case [book, "reviews" | "ratings" as what]:
                pass
            case _:
                return _not_found(request)
        status, answer = await self._part(what, quote(unquote(book), safe=""), request)
        return Response.json(answer, status)

    async def _part(self, what: str, book: str, request: Request) -> Part:
        headers = forwarded(request)
        if user := _user(request):
            headers["end-user"] = user
        url = f"{self._bases[what]}/{what}/{book}"
        status, answer = await _get(self._client, url, headers, _PAGE_TIMEOUT)
        # The retry that the fault injection task of the documentation is about.
        if status != 200 and what == "reviews":
            status, answer = await _get(self._client, url, headers, _PAGE_TIMEOUT)
        self._results[what, status] += 1
        if status == 200:
            return 200, answer
        return status, {"error": f"Sorry, product {what} are currently unavailable for this book."}

    async def _page(self, request: Request) -> Response:
        details = await self._part("details", "0", request)
        for _ in range(self._floods):
            await self._part("reviews", "0", request)
        reviews = await self._part("reviews", "0", request)
        return _html(product_page(_PRODUCT, _user(request), details, reviews))

    def _metrics(self) -> Response:
        lines = ["# HELP request_result_total Results of requests", "# TYPE request_result_total counter"]
        for (what, status), count in sorted(self._results.items()):
            labels = f'destination_app="{what}",response_code="{status}"'
            lines.append(f"request_result_total{{{labels}}} {count}")
        return Response.text("\n".join(lines) + "\n")

    async def _login(self, request: Request) -> Response:
        if request.method != "POST":
            return Response.text("sign in with POST\n", 405)
        form = parse_qs(request.body.decode("utf-8", "replace") or request.query)
        user = quote(form.get("username", [""])[0], safe="")
        return _back(request, f"user={user}; Path=/; HttpOnly")

    async def _logout(self, request: Request) -> Response:
        return _back(request, "user=; Path=/; Max-Age=0")


def _user(request: Request) -> str:
    for pair in request.headers.get("cookie", "").split(";"):
        name, _, value = pair.strip().partition("=")
        if name == "user":
            return "".join(char for char in unquote(value) if char.isascii() and char.isprintable())
    return ""


def _back(request: Request, cookie: str) -> Response:
    where = request.headers.get("referer", "/productpage")
    return Response(302, b"", {"location": where, "set-cookie": cookie})


def _html(document: str) -> Response:
    return Response.text(document, kind="text/html")


def _floods(environ: Mapping[str, str], default: int) -> int:
    text = environ.get("FLOOD_FACTOR", str(default))
    try:
        return int(text)
    except ValueError:
        raise SettingError(f"FLOOD_FACTOR is {text!r}; give a whole number") from None


def _is(environ: Mapping[str, str], name: str, default: object) -> bool:
    """Whether a variable says "true", as Java's Boolean.valueOf reads it, or, where it is not set, the default."""
    return environ[name].lower() == "true" if name in environ else bool(default)


def _base(environ: Mapping[str, str], service: str) -> str:
    """Where a service is; the variables are those of the originals."""
    upper = service.upper()
    domain = environ.get("SERVICES_DOMAIN", "")
    host = environ.get(f"{upper}_HOSTNAME", service) + (f".{domain}" if domain else "")
    return f"http://{host}:{environ.get(f'{upper}_SERVICE_PORT', '9080')}"


async def _get(client: Client, url: str, headers: Mapping[str, str], timeout: float) -> Part:
    """Status and JSON of the answer; 500 and None where none came or it is not JSON."""
    try:
        response = await client.get(url, headers=headers, timeout=timeout)
    except CallError as error:
        print(f"stand-in: GET {url}: {error}", file=sys.stderr, flush=True)  # noqa: T201  # a container's log
        return 500, None
    try:
        return response.status, json.loads(response.body)
    except ValueError:
        return (500 if response.status == 200 else response.status), None


def _build(pod: Pod, environ: Mapping[str, str]) -> Handler:
    Settings(environ)
    match sys.argv[1:]:
        case ["productpage", "v1" | "v-flooding" as version]:
            return Productpage(pod, environ, _FLOODS if version == "v-flooding" else 0).answer
        case ["details", "v1" | "v2" as version]:
            return Details(pod, environ, version).answer
        case ["reviews", version] if version in _STARS:
            return Reviews(pod, environ, version).answer
        case ["ratings", version] if version in VERSIONS:
            return Ratings(version, _database(pod, environ) if version == "v2" else None).answer
    raise SettingError(
        "give a service and a version of Bookinfo: productpage v1 or v-flooding, details v1 or v2, "
        f"reviews {', '.join(_STARS)}, ratings {', '.join(VERSIONS)}"
    )


def _database(pod: Pod, environ: Mapping[str, str]) -> Database:
    try:
        return Database(pod, environ)
    except ValueError as error:
        raise SettingError(str(error)) from None


if __name__ == "__main__":
    sys.exit(program.run(_build, (9080,)))
