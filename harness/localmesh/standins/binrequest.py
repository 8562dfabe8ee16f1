"""What httpbin reads from a request: its parts as JSON shows them, and its parameters within their limits."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode, urlsafe_b64encode
from binascii import Error as BinasciiError
from random import Random
from typing import Any
from urllib.parse import parse_qs, unquote

from harness.localmesh.standins import settings
from harness.localmesh.standins.http import Request

MAX_DURATION = 10.0
"""Seconds a request may ask for."""
MAX_SIZE = 1024 * 1024
"""Bytes a request may ask for."""

_MAPPED = dict[str, list[str]]


class BadRequest(Exception):
    """The request asks for what it cannot have; the message says what, for the client."""

    def __init__(self, detail: str, status: int = 400) -> None:
        super().__init__(detail)
        self.status = status


class Ask:
    """One request; where `plain`, headers and arguments are shown as text instead of lists."""

    def __init__(self, request: Request, *, plain: bool) -> None:
        self.request = request
        self.segments = [unquote(part) for part in request.path.removeprefix("/").split("/")]
        self._plain = plain

    def header(self, name: str) -> str:
        """A header, "" where it is not there."""
        return self.request.headers.get(name, "")

    def headers(self) -> dict[str, Any]:
        """All headers, with names as Go writes them."""
        found: _MAPPED = {}
        for name, value in self.request.fields:
            found.setdefault("-".join(part.capitalize() for part in name.split("-")), []).append(value)
        found = dict(sorted(found.items()))
        return {name: ",".join(values) for name, values in found.items()} if self._plain else dict(found)

    def args(self) -> _MAPPED:
        """The query."""
        return parse_qs(self.request.query, keep_blank_values=True)

    def arg(self, name: str) -> str:
        """The first value of a parameter of the query, "" where it is not there."""
        return self.args().get(name, [""])[0]

    def origin(self) -> str:
        """Where the request comes from, as the proxies before us say."""
        return self.header("x-forwarded-for").partition(",")[0].strip() or self.request.client

    def base(self) -> str:
        """Scheme and authority that the client has asked."""
        return f"{self.header('x-forwarded-proto') or 'http'}://{self.header('host')}"

    def seen(self, *, body: bool = False, method: bool = False, **more: Any) -> dict[str, Any]:
        """The request, with its body if there may be one."""
        seen: dict[str, Any] = {"args": self._shown(self.args()), "headers": self.headers()}
        if method or not self._plain:
            seen["method"] = self.request.method
        seen["origin"] = self.origin()
        query = f"?{self.request.query}" if self.request.query else ""
        seen["url"] = self.base() + self.request.path + query
        return seen | (self._body() if body else {}) | more

    def _shown(self, values: _MAPPED) -> dict[str, Any]:
        if self._plain:
            return {name: found[0] if len(found) == 1 else found for name, found in values.items()}
        return dict(values)

    def _body(self) -> dict[str, Any]:
        body = self.request.body
        kind = self.header("content-type").partition(";")[0].strip()
        data = body.decode("utf-8", "replace")
        form: _MAPPED = {}
        files: _MAPPED = {}
        value = None
        if not body or kind in ("text/plain", "text/html"):
            pass
        elif kind == "application/json":
            value = self._json(data)
        elif kind == "application/x-www-form-urlencoded":
            form = parse_qs(data, keep_blank_values=True)
        elif kind == "multipart/form-data":
            form, files = self._parts()
        elif not self._plain:
            kind = kind or "application/octet-stream"
            data = f"data:{kind};base64,{urlsafe_b64encode(body).decode()}"
        if self._plain and (form or files):
            data = ""
        return {"data": data, "files": self._shown(files), "form": self._shown(form), "json": value}

    def _json(self, text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError as error:
            if self._plain:
                return None
            raise BadRequest(f"error parsing request body: {error}") from None

    def _parts(self) -> tuple[_MAPPED, _MAPPED]:
        # Imported here only: they take longer to load than all the rest of httpbin.
        from email.parser import BytesParser  # noqa: PLC0415
        from email.policy import HTTP  # noqa: PLC0415

        head = f"content-type: {self.header('content-type')}\r\n\r\n".encode()
        form: _MAPPED = {}
        files: _MAPPED = {}
        message = BytesParser(policy=HTTP).parsebytes(head + self.request.body)
        if not message.is_multipart():
            raise BadRequest("error parsing request body: it is not multipart")
        for part in message.iter_parts():
            name = str(part.get_param("name", "", "content-disposition"))
            content = part.get_payload(decode=True)
            text = content.decode("utf-8", "replace") if isinstance(content, bytes) else ""
            (files if part.get_filename() else form).setdefault(name, []).append(text)
        return form, files

    def cookies(self) -> dict[str, str]:
        """The cookies, by name."""
        pairs = (pair.strip().partition("=") for pair in self.header("cookie").split(";"))
        return {name: value for name, _, value in pairs if name}

    def credentials(self) -> tuple[str, str]:
        """User and password of basic authentication, "" where there are none."""
        scheme, _, coded = self.header("authorization").partition(" ")
        if scheme.lower() != "basic":
            return "", ""
        try:
            user, _, password = b64decode(coded, validate=True).decode().partition(":")
        except (BinasciiError, UnicodeDecodeError):
            return "", ""
        return user, password

    def random(self) -> Random:
        """What is drawn for this request: the same for the same `seed` of the query."""
        seed = self.arg("seed")
        return Random(self.integer(seed, "seed", -(2**63), 2**63 - 1) if seed else None)

    def choice(self, text: str) -> int:
        """One of the statuses in "200" or "200:0.9,503:0.1", drawn by their weights."""
        pairs = [part.partition(":") for part in text.split(",")]
        statuses = [self.integer(status, "status code", 200, 599) for status, _, _ in pairs]
        try:
            weights = [float(weight) if colon else 1.0 for _, colon, weight in pairs]
            return Random().choices(statuses, weights)[0]
        except ValueError as error:
            raise BadRequest(f"invalid weight: {error}") from None

    def integer(self, text: str, what: str, low: int, high: int) -> int:
        """A whole number within its limits."""
        try:
            number = int(text)
        except ValueError:
            raise BadRequest(f"invalid {what}: {text!r} is not a whole number") from None
        if not low <= number <= high:
            raise BadRequest(f"invalid {what}: {number} not in range [{low}, {high}]")
        return number

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """A parameter that is a number within its limits."""
        text = self.arg(name)
        try:
            number = float(text) if text else default
        except ValueError:
            raise BadRequest(f"invalid {name}: {text!r} is not a number") from None
        if not low <= number <= high:
            raise BadRequest(f"invalid {name}: {number} not in range [{low}, {high}]")
        return number

    def duration(self, text: str, *, cut: bool = False) -> float:
        """Seconds of "1.5" or "1500ms", at most MAX_DURATION: more is refused, or cut to it."""
        try:
            seconds = settings.duration(text)
        except ValueError:
            try:
                seconds = float(text)
            except ValueError:
                raise BadRequest(f"invalid duration: {text!r}") from None
        if cut:
            seconds = min(seconds, MAX_DURATION)
        if not 0 <= seconds <= MAX_DURATION:
            raise BadRequest(f"invalid duration: {text} is not from 0s to {MAX_DURATION:g}s")
        return seconds

    async def wait(self, seconds: float) -> None:
        """Lets that time pass."""
        await asyncio.sleep(seconds)
