"""Bookinfo's ratings: in memory (v1 and the versions that misbehave) and from a database (v2).

As in istio/istio, samples/bookinfo/src/ratings/ratings.js. Half of the requests of v-faulty are answered 503, half of
v-delayed after 7 s; v-unavailable is so every other minute, v-unhealthy every other quarter of an hour, when
its /health answers 500 too. v2 asks MySQL where DB_TYPE is "mysql", else MongoDB; see `database` for what these are.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from harness.localmesh.standins import tcp
from harness.localmesh.standins.client import CallError, address_of
from harness.localmesh.standins.database import QUERY
from harness.localmesh.standins.http import Request, Response
from harness.localmesh.standins.settings import Pod

VERSIONS = ("v1", "v2", "v-faulty", "v-delayed", "v-unavailable", "v-unhealthy")
_SHARE = 0.5  # of the requests that v-faulty and v-delayed treat badly
_DELAY = 7.0
_PERIOD = {"v-unavailable": 60.0, "v-unhealthy": 900.0}
_PATIENCE = 10.0  # seconds for the database, which the original's drivers give, roughly


class Ratings:
    """GET /ratings/{id}, and POST to it to change them while the process lives.

    Args:
        database: gives the two stars of v2, or raises CallError; None in the other versions.
        draw: a number from 0 to 1 for each request.
        clock: seconds since the start.
    """

    def __init__(
        self,
        version: str = "v1",
        database: Database | None = None,
        draw: Callable[[], float] = random.random,
        clock: Callable[[], float] | None = None,
    ) -> None:
        began = time.monotonic()
        self._version = version
        self._database = database
        self._draw = draw
        self._clock = clock or (lambda: time.monotonic() - began)
        self._posted: dict[int, Any] = {}

    async def answer(self, request: Request) -> Response:
        """The stars that two reviewers gave to a book."""
        if request.path == "/health":
            return self._health()
        if not request.path.startswith("/ratings"):
            return Response.json({"error": f"there is nothing at {request.path}"}, 404)
        number = request.path.removeprefix("/ratings/")
        if not (number.isascii() and number.isdecimal() and len(number) < 10):
            return Response.json({"error": "please provide numeric product ID"}, 400)
        return self._post(int(number), request) if request.method == "POST" else await self._get(int(number))

    def _health(self) -> Response:
        if self._version == "v-unhealthy" and self._is_down():
            return Response.json({"status": "Ratings is not healthy"}, 500)
        return Response.json({"status": "Ratings is healthy"})

    def _is_down(self) -> bool:
        period = _PERIOD.get(self._version)
        return period is not None and int(self._clock() / period) % 2 == 1

    def _post(self, book: int, request: Request) -> Response:
        try:
            ratings = json.loads(request.body)
        except ValueError:
            return Response.json({"error": "please provide valid ratings JSON"}, 400)
        if self._database is not None:
            return Response.json({"error": "Post not implemented for database backed ratings"}, 501)
        self._posted[book] = ratings
        return self._local(book)

    async def _get(self, book: int) -> Response:
        if self._database is not None:
            return await self._database.ratings(book)
        if self._is_down() or (self._version == "v-faulty" and self._draw() <= _SHARE):
            return Response.json({"error": "Service unavailable"}, 503)
        if self._version == "v-delayed" and self._draw() <= _SHARE:
            await asyncio.sleep(_DELAY)
        return self._local(book)

    def _local(self, book: int) -> Response:
        return Response.json(
            {"id": book, "ratings": self._posted.get(book, {"Reviewer1": 5, "Reviewer2": 4})}
        )


class Database:
    """The database of v2, where the variables of the original say it is."""

    def __init__(self, pod: Pod, environ: Mapping[str, str]) -> None:
        """Raises ValueError where they say no place."""
        self._mysql = environ.get("DB_TYPE") == "mysql"
        if self._mysql:
            port = environ.get("MYSQL_DB_PORT", "3306")
            url = f"http://{environ.get('MYSQL_DB_HOST', '')}:{port}"
        else:
            place = environ.get("MONGO_DB_URL", "").removeprefix("mongodb://").partition("/")[0]
            url = f"http://{place.rpartition('@')[2]}"
        try:
            self._address = address_of(url)
        except ValueError:
            names = "MYSQL_DB_HOST and MYSQL_DB_PORT" if self._mysql else "MONGO_DB_URL"
            raise ValueError(f"ratings v2 does not know where its database is; set {names}") from None
        self._namespace = pod.namespace
        self._addresses = environ.get("HARNESS_TCP_ADDRESSES", "")

    async def ratings(self, book: int) -> Response:
        """The answer of ratings v2, with the original's text and status where the database fails."""
        try:
            address = tcp.resolve(*self._address, namespace=self._namespace, file=self._addresses)
            line = await tcp.ask(address, QUERY, timeout=_PATIENCE)
            first, second = (int(word) for word in line.split())
        except (CallError, ValueError) as error:
            print(f"stand-in: the database: {error}", file=sys.stderr, flush=True)  # noqa: T201  # a container's log
            # The original forgets the status where MySQL cannot be reached.
            status = 200 if self._mysql else 500
            return Response.json({"error": "could not connect to ratings database"}, status)
        return Response.json({"id": book, "ratings": {"Reviewer1": first, "Reviewer2": second}})
