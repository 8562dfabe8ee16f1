"""The answers of httpbin that do not depend on which of the two it is: documents, bytes, and bodies that take time."""

from __future__ import annotations

import asyncio
import gzip
import json
import struct
import time
import uuid
import zlib
from base64 import b64decode, urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as BinasciiError
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import replace

from harness.localmesh.standins.binrequest import MAX_DURATION, MAX_SIZE, Ask, BadRequest
from harness.localmesh.standins.http import Response

_BINARY = "application/octet-stream"
_CHUNK = 10 * 1024
_SLIDES = {
    "slideshow": {"author": "the stand-in", "title": "Sample Slide Show", "slides": [{"title": "One"}]}
}
_XML = (
    '<?xml version="1.0" encoding="us-ascii"?>\n<slideshow title="Sample Slide Show"><slide/></slideshow>\n'
)
_SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"><rect width="1" height="1"/></svg>\n'
_TONGUES = "Ελληνικά Русский 中文 日本語 한국어 עברית العربية ½ € ☃"


async def each(pieces: Iterable[bytes], pause: float = 0.0) -> AsyncIterator[bytes]:
    """The pieces, with a pause of that many seconds between them."""
    for number, piece in enumerate(pieces):
        if number:
            await asyncio.sleep(pause)
        yield piece


def packed(coding: str, response: Response) -> Response:
    """The answer with its body coded, by "gzip" or "deflate" (zlib)."""
    body = gzip.compress(response.body) if coding == "gzip" else zlib.compress(response.body)
    return replace(response, body=body, headers={**response.headers, "content-encoding": coding})


def _bytes(ask: Ask, rest: list[str]) -> Response:
    return Response(200, _drawn(ask, rest), {"content-type": _BINARY})


def _stream_bytes(ask: Ask, rest: list[str]) -> Response:
    body = _drawn(ask, rest)
    size = ask.integer(ask.arg("chunk_size") or str(_CHUNK), "chunk_size", 1, MAX_SIZE)
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return Response(200, b"", {"content-type": _BINARY}, each(pieces))


def _drawn(ask: Ask, rest: list[str]) -> bytes:
    return ask.random().randbytes(ask.integer("".join(rest), "byte count", 0, MAX_SIZE))


async def _drip(ask: Ask, rest: list[str]) -> Response:
    duration = ask.duration(ask.arg("duration") or "2s")
    delay = ask.duration(ask.arg("delay") or "2s")
    count = ask.integer(ask.arg("numbytes") or "10", "numbytes", 1, MAX_SIZE)
    status = ask.integer(ask.arg("code") or "200", "status code", 200, 599)
    if duration + delay > MAX_DURATION:
        raise BadRequest(f"too much time: {duration:g}s+{delay:g}s > {MAX_DURATION:g}s")
    await ask.wait(delay)
    headers = {"content-type": "text/plain; charset=utf-8", "content-length": str(count)}
    pause = duration / (count - 1) if count > 1 else 0.0
    pieces = [b"*"] * count if pause else [b"*" * count]
    return Response(status, b"", headers, each(pieces, pause))


async def _sse(ask: Ask, rest: list[str]) -> Response:
    duration = ask.duration(ask.arg("duration") or "5s")
    delay = ask.duration(ask.arg("delay") or "0s")
    count = ask.integer(ask.arg("count") or "10", "count", 1, 1000)
    if duration + delay > MAX_DURATION:
        raise BadRequest("Too much time")
    await ask.wait(delay)

    pause = duration / (count - 1) if count > 1 else 0.0

    async def events() -> AsyncIterator[bytes]:
        async for number in each([b"%d" % number for number in range(count)], pause):
            event = {"id": int(number), "timestamp": int(time.time() * 1000)}
            yield f"event: ping\ndata: {json.dumps(event)}\n\n".encode()

    return Response(200, b"", {"content-type": "text/event-stream; charset=utf-8"}, events())


def _range(ask: Ask, rest: list[str]) -> Response:
    size = ask.integer("".join(rest), "count", 1, MAX_SIZE)
    body = bytes(97 + offset % 26 for offset in range(size))
    headers = {
        "etag": f'"range{size}"',
        "accept-ranges": "bytes",
        "content-type": "text/plain; charset=utf-8",
    }
    wanted = ask.header("range").removeprefix("bytes=")
    first, dash, last = wanted.partition("-")
    if not dash or "," in wanted:  # several ranges may be answered with the whole (RFC 9110, 14.2)
        return Response(200, body, headers)
    try:
        start = int(first) if first else max(0, size - int(last))
        end = min(size, int(last) + 1) if first and last else size
    except ValueError:
        return Response(200, body, headers)
    if start >= end:
        return Response(416, b"", {**headers, "content-range": f"bytes */{size}"})
    return Response(206, body[start:end], {**headers, "content-range": f"bytes {start}-{end - 1}/{size}"})


def _links(ask: Ask, rest: list[str]) -> Response:
    count = ask.integer(rest[0] if rest else "", "link count", 0, 256)
    if len(rest) == 1:
        return Response(302, b"", {"location": f"/links/{count}/0"})
    here = ask.integer(rest[1], "offset", 0, 256)
    links = (f'<a href="/links/{count}/{n}">{n}</a> ' if n != here else f"{n} " for n in range(count))
    return _html(f"<title>Links</title>{''.join(links)}")


def _base64(ask: Ask, rest: list[str]) -> Response:
    operation, data = ("decode", rest[0]) if len(rest) == 1 else ((*rest, "", "")[0], "/".join(rest[1:]))
    if not data or operation not in ("encode", "decode"):
        raise BadRequest("no input data" if not data else f"invalid operation: {operation}")
    if operation == "encode":
        return Response.text(urlsafe_b64encode(data.encode()).decode())
    try:
        body = urlsafe_b64decode(data) if set(data) & set("-_") else b64decode(data, validate=True)
    except (BinasciiError, ValueError) as error:
        raise BadRequest(f"base64 decode failed: {error}") from None
    return Response(200, body, {"content-type": "text/plain; charset=utf-8"})


def _image(ask: Ask, rest: list[str]) -> Response:
    accept = ask.header("accept")
    if rest:
        kind = rest[0]
    elif not accept or any(found in accept for found in ("*/*", "image/*", "image/png")):
        kind = "png"
    elif "image/svg+xml" in accept:
        kind = "svg"
    else:
        raise BadRequest("the client accepts no image that there is", 415)
    if kind in ("jpeg", "webp"):
        raise BadRequest(f"the stand-in leaves /image/{kind} out", 501)
    if kind not in ("png", "svg"):
        raise BadRequest("there is nothing at this path", 404)
    if kind == "svg":
        return Response(200, _SVG.encode(), {"content-type": "image/svg+xml"})
    return Response(200, _png(), {"content-type": "image/png"})


def _png() -> bytes:
    """One grey pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    pixel = zlib.compress(b"\0\x80")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixel) + chunk(b"IEND", b"")


def _dump(ask: Ask, rest: list[str]) -> Response:
    request = ask.request
    target = request.path + (f"?{request.query}" if request.query else "")
    lines = [f"{request.method} {target} HTTP/{request.version}"]
    lines += [f"{name}: {value}" for name, value in request.fields]
    return Response.text("\r\n".join(lines) + "\r\n\r\n" + request.body.decode("utf-8", "replace"))


def _html(body: str) -> Response:
    return Response.text(f"<!DOCTYPE html><html><body>{body}</body></html>\n", kind="text/html")


def _text(text: str, kind: str = "text/plain") -> Callable[[Ask, list[str]], Response]:
    return lambda ask, rest: Response.text(text, kind=kind)


ROUTES: Mapping[str, Callable[[Ask, list[str]], Response | Awaitable[Response]]] = {
    "bytes": _bytes,
    "stream-bytes": _stream_bytes,
    "drip": _drip,
    "sse": _sse,
    "range": _range,
    "links": _links,
    "base64": _base64,
    "image": _image,
    "dump": _dump,
    "uuid": lambda ask, rest: Response.json({"uuid": str(uuid.uuid4())}),
    "json": lambda ask, rest: Response.json(_SLIDES),
    "xml": _text(_XML, "application/xml"),
    "html": lambda ask, rest: _html("<h1>A page</h1>"),
    "robots.txt": _text("User-agent: *\nDisallow: /deny\n"),
    "deny": _text("robots must not come here\n"),
    "encoding": lambda ask, rest: _html(f"<h1>UTF-8</h1><p>{_TONGUES}</p>"),
}
"""What answers below each first part of a path."""
