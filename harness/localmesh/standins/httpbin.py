"""httpbin as Istio's samples use it: `... standins.httpbin go|python [PORT]`.

"go" is mccutchen/go-httpbin (v2, 8080 by default), whose JSON has every header and argument as a list; "python" is
kennethreitz/httpbin (80), whose JSON has them as text. Their paths, limits (10 s, 1 MiB) and statuses are those of
go-httpbin's README and handlers. What is left out is answered 501: digest-auth, trailers, websocket/echo, brotli, and
images other than PNG and SVG. Each request is logged, as both do, which is how Istio's mirroring task is seen to work.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from harness.localmesh.standins import httpbodies, program
from harness.localmesh.standins.binrequest import Ask, BadRequest
from harness.localmesh.standins.http import Handler, Request, Response
from harness.localmesh.standins.settings import Pod, SettingError, Settings

_METHODS = {"get": "GET", "head": "HEAD", "post": "POST", "put": "PUT", "patch": "PATCH", "delete": "DELETE"}
_LEFT_OUT = ("digest-auth", "trailers", "websocket", "brotli", "forms")
_TEXT = "text/plain; charset=utf-8"
_TYPES = {"go": "application/json; charset=utf-8", "python": "application/json"}
_CORS = "GET, POST, HEAD, PUT, DELETE, PATCH, OPTIONS"
_REDIRECT = {"location": "/redirect/1"}
_BASIC = 'Basic realm="Fake Realm"'
# Statuses that come with more than themselves.
_SPECIAL: Mapping[int, tuple[Mapping[str, str], str]] = {
    **dict.fromkeys((301, 302, 303, 305, 307), (_REDIRECT, "")),
    300: ({"location": "/image/jpeg"}, "there are several images below /image\n"),
    308: ({"location": "/image/jpeg"}, "it has moved for good\n"),
    401: ({"www-authenticate": _BASIC}, ""),
    402: ({"x-more-info": "http://vimeo.com/22053820"}, "it has to be paid first\n"),
    406: ({}, "there is no representation of a type that the client accepts\n"),
    407: ({"proxy-authenticate": _BASIC}, ""),
    418: ({"x-more-info": "http://tools.ietf.org/html/rfc2324"}, "I'm a teapot!"),
}


class Httpbin:
    """Answers as one of the two programs; `hostname` is the pod's name."""

    def __init__(self, dialect: str, hostname: str, environ: Mapping[str, str]) -> None:
        self._go = dialect == "go"
        self._type = _TYPES[dialect]
        self._hostname = hostname
        self._environ = {name: value for name, value in environ.items() if name.startswith("HTTPBIN_")}
        self._routes = self._table()

    async def answer(self, request: Request) -> Response:
        """The answer of the path, with the headers of CORS that both programs always give; and a line in the log."""
        began = time.perf_counter()
        ask = Ask(request, plain=not self._go)
        response = await self._route(ask)
        headers = {
            "access-control-allow-origin": ask.header("origin") or "*",
            "access-control-allow-credentials": "true",
            **response.headers,
        }
        response = replace(response, headers=headers)
        print(self._line(ask, response, time.perf_counter() - began), flush=True)  # noqa: T201  # a container's log
        return response

    async def _route(self, ask: Ask) -> Response:
        request = ask.request
        if request.method == "OPTIONS":
            headers = {"access-control-allow-methods": _CORS, "access-control-max-age": "3600"}
            if names := ask.header("access-control-request-headers"):
                headers["access-control-allow-headers"] = names
            return Response(200, b"", headers)
        first, *rest = ask.segments
        if first in _METHODS and not rest:
            allowed = _METHODS[first]
            if request.method != allowed and not (allowed == "GET" and request.method == "HEAD"):
                return replace(self._error(405), headers={"allow": allowed, "content-type": self._type})
        if first in _LEFT_OUT:
            return self._error(501, f"the stand-in leaves /{first} out")
        route = self._routes.get(first)
        if route is None:
            return self._error(404)
        try:
            response = route(ask, rest)
            return response if isinstance(response, Response) else await response
        except BadRequest as error:
            return self._error(error.status, str(error))

    def _table(self) -> Mapping[str, Callable[[Ask, list[str]], Response | Awaitable[Response]]]:
        return {
            "": lambda ask, rest: Response.text("<h1>httpbin</h1>\n", kind="text/html"),
            **dict.fromkeys(("get", "head"), lambda ask, rest: self._json(ask.seen())),
            **dict.fromkeys(
                ("post", "put", "patch", "delete"), lambda ask, rest: self._json(ask.seen(body=True))
            ),
            "anything": lambda ask, rest: self._json(ask.seen(body=True, method=True)),
            "headers": lambda ask, rest: self._json({"headers": ask.headers()}),
            "ip": lambda ask, rest: self._json({"origin": ask.origin()}),
            "user-agent": lambda ask, rest: self._json({"user-agent": ask.header("user-agent")}),
            "hostname": lambda ask, rest: self._json({"hostname": self._hostname}),
            "env": lambda ask, rest: self._json({"env": self._environ}),
            "response-headers": self._response_headers,
            "status": self._status,
            "unstable": self._unstable,
            "delay": self._delay,
            "redirect": lambda ask, rest: self._redirect(
                ask, rest, absolute=ask.arg("absolute").lower() == "true"
            ),
            "relative-redirect": lambda ask, rest: self._redirect(ask, rest, absolute=False),
            "absolute-redirect": lambda ask, rest: self._redirect(ask, rest, absolute=True),
            "redirect-to": self._redirect_to,
            "cookies": self._cookies,
            "basic-auth": self._basic_auth,
            "hidden-basic-auth": self._basic_auth,
            "bearer": self._bearer,
            "cache": self._cache,
            "etag": self._etag,
            "stream": self._stream,
            "gzip": lambda ask, rest: httpbodies.packed("gzip", self._json(ask.seen(gzipped=True))),
            "deflate": lambda ask, rest: httpbodies.packed("deflate", self._json(ask.seen(deflated=True))),
            **httpbodies.ROUTES,
        }

    def _json(self, value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
        body = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
        return Response(status, body.encode(), {"content-type": self._type, **(headers or {})})

    def _error(self, status: int, detail: str = "") -> Response:
        error = {"status_code": status, "error": HTTPStatus(status).phrase}
        return self._json(error | ({"detail": detail} if detail else {}), status)

    def _response_headers(self, ask: Ask, rest: list[str]) -> Response:
        args = {"Content-Type": [self._type], **ask.args()}
        headers = {name.lower(): ", ".join(values) for name, values in args.items()}
        if any(
            not (char.isprintable() and char.isascii())
            for text in (*headers, *headers.values())
            for char in text
        ):
            raise BadRequest("a header has a character that it cannot have")
        return self._json(
            args if self._go else {name: ", ".join(args[name]) for name in args}, headers=headers
        )

    def _status(self, ask: Ask, rest: list[str]) -> Response:
        status = ask.choice(_only(rest))
        headers, body = _SPECIAL.get(status, ({}, ""))
        return Response(status, body.encode(), {"content-type": _TEXT, **headers})

    def _unstable(self, ask: Ask, rest: list[str]) -> Response:
        rate = ask.number("failure_rate", 0.5, 0.0, 1.0)
        return Response(500 if ask.random().random() < rate else 200, b"", {"content-type": _TEXT})

    async def _delay(self, ask: Ask, rest: list[str]) -> Response:
        await ask.wait(ask.duration(_only(rest), cut=not self._go))
        return self._json(ask.seen(body=True))

    def _redirect(self, ask: Ask, rest: list[str], *, absolute: bool) -> Response:
        count = ask.integer(_only(rest), "redirect count", 1, 10**6) - 1
        path = f"/{'absolute' if absolute else 'relative'}-redirect/{count}" if count else "/get"
        return _moved(ask.base() + path if absolute else path)

    def _redirect_to(self, ask: Ask, rest: list[str]) -> Response:
        url = ask.arg("url")
        if not url or not (url.isascii() and url.isprintable()):
            raise BadRequest("missing required query parameter: url")
        return _moved(url, ask.integer(ask.arg("status_code") or "302", "status code", 300, 399))

    def _cookies(self, ask: Ask, rest: list[str]) -> Response:
        given = {name: values[0] for name, values in ask.args().items()}
        match rest:
            case []:
                cookies = ask.cookies()
                return self._json(cookies if self._go else {"cookies": cookies})
            case ["set", name, value] if not self._go:
                given = {name: value}
                gone = ""
            case ["set"]:
                gone = ""
            case ["delete"]:
                gone = "; Max-Age=0"
            case _:
                return self._error(404)
        if any(not (text.isascii() and text.isprintable()) for pair in given.items() for text in pair):
            raise BadRequest("a cookie has a character that it cannot have")
        values = tuple(f"{name}={value}; Path=/; HttpOnly{gone}" for name, value in given.items())
        return replace(_moved("/cookies"), cookies=values)

    def _basic_auth(self, ask: Ask, rest: list[str]) -> Response:
        if len(rest) != 2:
            return self._error(404)
        user, password = ask.credentials()
        good = [user, password] == rest
        if not good and ask.segments[0].startswith("hidden"):
            return self._error(404)
        seen = {"authenticated": good, "user": user} | ({"authorized": good} if self._go else {})
        return self._json(seen) if good else self._json(seen, 401, {"www-authenticate": _BASIC})

    def _bearer(self, ask: Ask, rest: list[str]) -> Response:
        match ask.header("authorization").split():
            case ["Bearer", token]:
                return self._json({"authenticated": True, "token": token})
        return replace(self._error(401), headers={"www-authenticate": "Bearer", "content-type": self._type})

    def _cache(self, ask: Ask, rest: list[str]) -> Response:
        if rest:
            seconds = ask.integer(_only(rest), "seconds", 0, 10**9)
            return self._json(ask.seen(), headers={"cache-control": f"public, max-age={seconds}"})
        if ask.header("if-modified-since") or ask.header("if-none-match"):
            return Response(304)
        now = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
        return self._json(ask.seen(), headers={"last-modified": now, "etag": f'"{abs(hash(now)):x}"'})

    def _etag(self, ask: Ask, rest: list[str]) -> Response:
        tag = f'"{_only(rest)}"'
        if not (tag.isascii() and tag.isprintable()):
            raise BadRequest("an ETag has a character that it cannot have")
        if _fits(tag, ask.header("if-none-match")):
            return Response(304, b"", {"etag": tag})
        if (wanted := ask.header("if-match")) and not _fits(tag, wanted):
            return Response(412, b"", {"etag": tag})
        return self._json(ask.seen(), headers={"etag": tag})

    def _stream(self, ask: Ask, rest: list[str]) -> Response:
        count = min(100, max(1, ask.integer(_only(rest), "count", -(10**9), 10**9)))
        seen = ask.seen()
        seen.pop("method", None)
        lines = [json.dumps({"id": number, **seen}).encode() + b"\n" for number in range(count)]
        return Response(200, b"", {"content-type": _TYPES["python"]}, httpbodies.each(lines))

    def _line(self, ask: Ask, response: Response, seconds: float) -> str:
        request = ask.request
        target = request.path + (f"?{request.query}" if request.query else "")
        agent = ask.header("user-agent")
        if not self._go:
            now = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime())
            asked = f"{request.method} {target} HTTP/{request.version}"
            return (
                f'{request.client} - - [{now}] "{asked}" {response.status} {len(response.body)} "-" "{agent}"'
            )
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        level = "ERROR" if response.status >= 500 else "WARN" if response.status >= 400 else "INFO"
        took = f"{seconds * 1000:.1f}"
        return (
            f'time={now} level={level} msg="{response.status} {request.method} {target} {took}ms" '
            f"status={response.status} method={request.method} uri={target} size_bytes={len(response.body)} "
            f"duration_ms={took} user_agent={json.dumps(agent)} client_ip={ask.origin()}"
        )


def _only(rest: list[str]) -> str:
    if len(rest) != 1 or not rest[0]:
        raise BadRequest("there is nothing at this path", 404)
    return rest[0]


def _moved(where: str, status: int = 302) -> Response:
    return Response(status, b"", {"location": where})


def _fits(tag: str, wanted: str) -> bool:
    return wanted == "*" or tag in (part.strip().removeprefix("W/") for part in wanted.split(","))


def _build(pod: Pod, environ: Mapping[str, str]) -> Handler:
    Settings(environ)
    dialect = sys.argv[1] if len(sys.argv) > 1 else "go"
    if dialect not in _TYPES:
        raise SettingError(f"httpbin is go or python, not {dialect}")
    return Httpbin(dialect, pod.name, environ).answer


if __name__ == "__main__":
    sys.exit(program.run(_build, tuple(int(port) for port in sys.argv[2:]) or (8080,)))
