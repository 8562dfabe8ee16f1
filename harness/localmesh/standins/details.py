"""Bookinfo's details: of its own knowledge (v1), or from a book service on the internet (v2).

As in istio/istio, samples/bookinfo/src/details/details.rb.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from harness.localmesh.standins.client import CallError, Client, forwarded
from harness.localmesh.standins.http import Request, Response
from harness.localmesh.standins.settings import Pod, SettingError

_FACTS = {
    "author": "William Shakespeare",
    "year": 1595,
    "type": "paperback",
    "pages": 200,
    "publisher": "PublisherA",
    "language": "English",
    "ISBN-10": "1234567890",
    "ISBN-13": "123-1234567890",
}
_BOOKS = "http://www.googleapis.com/books/v1/volumes?q=isbn:0486424618"
_BOOKS_TIMEOUT = 5.0


class Details:
    """GET /details/{id}: the facts about a book; those of v2 come from a book service on the internet.

    v2 asks it without TLS, which is the sidecar's business, and only with DO_NOT_ENCRYPT=true.
    """

    def __init__(self, pod: Pod, environ: Mapping[str, str], version: str) -> None:
        self._external = environ.get("ENABLE_EXTERNAL_BOOK_SERVICE", str(version == "v2").lower()) == "true"
        if self._external and environ.get("DO_NOT_ENCRYPT") != "true":
            raise SettingError("details v2 calls the book service without TLS only; set DO_NOT_ENCRYPT=true")
        self._client = Client(pod.proxy)

    async def answer(self, request: Request) -> Response:
        """The facts, or why there are none."""
        if request.path == "/health":
            return Response.json({"status": "Details is healthy"})
        if not request.path.startswith("/details"):
            return Response.json({"error": f"there is nothing at {request.path}"}, 404)
        number = request.path.removeprefix("/details/")
        if not (number.isascii() and number.isdecimal() and len(number) < 10):
            return Response.json({"error": "please provide numeric product id"}, 400)
        book = int(number)
        if not self._external:
            return Response.json({"id": book, **_FACTS})
        try:
            return Response.json({"id": book, **await self._fetch(forwarded(request))})
        except (CallError, ValueError, LookupError, TypeError) as error:
            return Response.json({"error": str(error)}, 400)

    async def _fetch(self, headers: Mapping[str, str]) -> dict[str, Any]:
        response = await self._client.get(_BOOKS, headers=headers, timeout=_BOOKS_TIMEOUT)
        book = json.loads(response.body)["items"][0]["volumeInfo"]
        isbns = {entry["type"]: entry["identifier"] for entry in book["industryIdentifiers"]}
        return {
            "author": book["authors"][0],
            "year": book["publishedDate"],
            "type": "paperback" if book["printType"] == "BOOK" else "unknown",
            "pages": book["pageCount"],
            "publisher": book["publisher"],
            "language": "English" if book["language"] == "en" else "unknown",
            "ISBN-10": isbns["ISBN_10"],
            "ISBN-13": isbns["ISBN_13"],
        }
