"""httpbin in its two kinds, fortio, Istio's echo server and its health-check sample."""

import base64
import gzip
import http.client
import json
import time
import zlib

import pytest

from harness.localmesh.standins import echo, grpc


@pytest.fixture
def go(start):
    """go-httpbin."""
    return start("httpbin", "go", POD_NAME="httpbin-1")


def test_go_shows_headers_and_arguments_as_lists(go):
    """The shape of go-httpbin's JSON, with a repeated header apart."""
    connection = http.client.HTTPConnection(*go.address, timeout=15)
    connection.putrequest("GET", "/get?a=1&a=2&b=")
    connection.putheader("x-b3-traceid", "t")
    connection.putheader("X-Many", "1")
    connection.putheader("X-Many", "2")
    connection.putheader("X-Forwarded-For", "10.0.0.1, 10.0.0.2")
    connection.endheaders()
    seen = json.loads(connection.getresponse().read())
    connection.close()
    assert seen["args"] == {"a": ["1", "2"], "b": [""]}
    assert seen["headers"]["X-Many"] == ["1", "2"]
    assert seen["headers"]["X-B3-Traceid"] == ["t"]
    assert seen["headers"]["Host"] == [f"{go.address[0]}:{go.address[1]}"]
    assert (seen["method"], seen["origin"], seen["url"]) == ("GET", "10.0.0.1", f"{go.url}/get?a=1&a=2&b=")


def test_python_shows_them_as_text(start):
    """The shape of kennethreitz/httpbin's JSON."""
    seen = start("httpbin", "python", "80").ask("/get?a=1&b=1&b=2", x_a="1").json
    assert seen["args"] == {"a": "1", "b": ["1", "2"]}
    assert seen["headers"]["X-A"] == "1"
    assert set(seen) == {"args", "headers", "origin", "url"}


@pytest.mark.parametrize(
    ("kind", "body", "part", "value"),
    [
        ("application/json", b'{"a": 1}', "json", {"a": 1}),
        ("application/x-www-form-urlencoded", b"a=1&a=2", "form", {"a": ["1", "2"]}),
        ("text/plain", b"hello", "data", "hello"),
        ("application/x-thing", b"\xff", "data", "data:application/x-thing;base64,_w=="),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="f"; filename="n"\r\n\r\nhello\r\n--x--\r\n',
            "files",
            {"f": ["hello"]},
        ),
    ],
)
def test_a_body_is_shown_as_its_type_says(go, kind, body, part, value):
    """JSON, forms, files, text, and anything else in base64."""
    for path, method in (("/post", "POST"), ("/put", "PUT"), ("/anything/x", "POST")):
        seen = go.ask(path, method, body, content_type=kind).json
        assert seen[part] == value
        assert seen["method"] == method


_STATUSES = {
    "/status/204": 204,
    "/status/503": 503,
    "/status/418": 418,
    "/status/200:0,404:1": 404,
    "/status/99": 400,
    "/status/200:x,404": 400,
    "/status/": 404,
    "/unstable?failure_rate=1": 500,
    "/unstable?failure_rate=0": 200,
    "/unstable?failure_rate=2": 400,
    "/delay/11": 400,
    "/delay/x": 400,
    "/bytes/-1": 400,
    "/bytes/1048577": 400,
    "/drip?duration=9&delay=9": 400,
    "/bearer": 401,
    "/basic-auth/u/p": 401,
    "/hidden-basic-auth/u/p": 404,
    "/image/png": 200,
    "/image/webp": 501,
    "/image/gif": 404,
    "/digest-auth/auth/u/p": 501,
    "/websocket/echo": 501,
    "/links/3/1": 200,
    "/robots.txt": 200,
    "/encoding/utf8": 200,
    "/json": 200,
    "/xml": 200,
    "/html": 200,
    "/env": 200,
    "/nothing": 404,
    "/post": 405,
}


def test_each_path_has_its_status(go):
    """As documented, with go-httpbin's limits; what is left out says so."""
    assert {path: go.ask(path).status for path in _STATUSES} == _STATUSES


def test_weighted_statuses_come_in_their_shares(go):
    """One in four."""
    statuses = [go.ask("/status/200:3,503:1").status for _ in range(200)]
    assert 0.12 < statuses.count(503) / 200 < 0.40


def test_redirects_lead_to_get(go):
    """Relative, absolute, and to anywhere."""
    assert go.ask("/redirect/2").headers["location"] == "/relative-redirect/1"
    assert go.ask("/absolute-redirect/2").headers["location"] == f"{go.url}/absolute-redirect/1"
    assert go.ask("/relative-redirect/1").headers["location"] == "/get"
    moved = go.ask("/redirect-to?url=http://other/&status_code=307")
    assert (moved.status, moved.headers["location"]) == (307, "http://other/")


def test_cookies_are_set_shown_and_deleted(go):
    """By the query, and by the header."""
    connection = http.client.HTTPConnection(*go.address, timeout=15)
    connection.request("GET", "/cookies/set?a=1&b=2")
    answer = connection.getresponse()
    answer.read()
    connection.close()
    assert [value.split(";")[0] for value in answer.headers.get_all("set-cookie")] == ["a=1", "b=2"]
    assert go.ask("/cookies", cookie="a=1; b=2").json == {"a": "1", "b": "2"}
    assert "Max-Age=0" in go.ask("/cookies/delete?a").headers["set-cookie"]


def test_credentials_open_what_they_should(go):
    """Basic and bearer."""
    basic = "Basic " + base64.b64encode(b"u:p").decode()
    assert go.ask("/basic-auth/u/p", authorization=basic).json["authenticated"] is True
    assert go.ask("/basic-auth/u/q", authorization=basic).status == 401
    assert go.ask("/bearer", authorization="Bearer t").json == {"authenticated": True, "token": "t"}


def test_bodies_are_coded_streamed_and_drawn(go):
    """Each in the form its path names."""
    assert json.loads(gzip.decompress(go.ask("/gzip").body))["gzipped"] is True
    assert json.loads(zlib.decompress(go.ask("/deflate").body))["deflated"] is True
    assert [json.loads(line)["id"] for line in go.ask("/stream/3").body.splitlines()] == [0, 1, 2]
    streamed = go.ask("/stream-bytes/1000?seed=7&chunk_size=64")
    assert streamed.headers["transfer-encoding"] == "chunked"
    assert streamed.body == go.ask("/bytes/1000?seed=7").body
    assert len(set(streamed.body)) > 100
    assert go.ask("/base64/aGVsbG8=").text == "hello"
    assert go.ask("/base64/encode/hello").text == "aGVsbG8="
    assert go.ask("/image/png").body.startswith(b"\x89PNG")


def test_drip_and_events_take_the_time_they_are_told(go):
    """Piece by piece, with the length known beforehand or not."""
    before = time.monotonic()
    drip = go.ask("/drip?duration=200ms&delay=100ms&numbytes=5&code=203")
    assert (drip.status, drip.body, drip.headers["content-length"]) == (203, b"*****", "5")
    assert 0.3 <= time.monotonic() - before < 5
    events = go.ask("/sse?count=3&duration=100ms").text
    assert events.count("event: ping\n") == 3


def test_an_old_client_gets_a_stream_until_the_connection_ends(go):
    """HTTP/1.0 knows no chunks."""
    with go.connect() as connection:
        connection.sendall(b"GET /stream/2 HTTP/1.0\r\n\r\n")
        got = b""
        while piece := connection.recv(65536):
            got += piece
    head, _, body = got.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert len([json.loads(line) for line in body.splitlines()]) == 2


def test_delay_waits(go):
    """In seconds or as Go writes them; Python's cuts what is too long."""
    before = time.monotonic()
    assert go.ask("/delay/0.05").status == go.ask("/delay/50ms").status == 200
    assert time.monotonic() - before >= 0.1


def test_caches_and_ranges_are_honoured(go):
    """304, 412 and 206."""
    assert go.ask("/cache", if_none_match="x").status == 304
    assert go.ask("/cache/60").headers["cache-control"] == "public, max-age=60"
    assert go.ask("/etag/x", if_none_match='"x"').status == 304
    assert go.ask("/etag/x", if_match='"y"').status == 412
    part = go.ask("/range/26", range="bytes=2-4")
    assert (part.status, part.body, part.headers["content-range"]) == (206, b"cde", "bytes 2-4/26")
    assert go.ask("/range/26", range="bytes=-2").body == b"yz"
    assert go.ask("/range/26", range="bytes=30-").status == 416


def test_response_headers_are_those_of_the_query(go):
    """And no others can be smuggled in."""
    answer = go.ask("/response-headers?X-A=1&X-A=2")
    assert answer.headers["x-a"] == "1, 2"
    assert go.ask("/response-headers?X-A=1%0d%0aX-B:2").status == 400
    assert go.ask("/redirect-to?url=%0d%0aX-B:2").status == 400
    assert go.ask("/cookies/set?a=%0d%0aX-B:2").status == 400
    assert go.ask("/etag/%0d%0aX-B:2").status == 400


def test_requests_are_logged_on_standard_output(start, capfd):
    """Which is how the mirroring task sees the mirrored ones."""
    start("httpbin", "go").ask("/get?x=1", user_agent="me")
    start("httpbin", "python").ask("/get?x=2", user_agent="me")
    go, python = capfd.readouterr().out.splitlines()
    assert 'msg="200 GET /get?x=1 ' in go
    assert '"GET /get?x=2 HTTP/1.1" 200 ' in python
    assert python.endswith('"-" "me"')


def test_cors_is_allowed_everywhere(go):
    """As both programs do."""
    answer = go.ask("/get", "OPTIONS", origin="http://a", access_control_request_headers="x-a")
    assert answer.headers["access-control-allow-origin"] == "http://a"
    assert answer.headers["access-control-allow-headers"] == "x-a"
    assert go.ask("/status/500").headers["access-control-allow-origin"] == "*"


def test_fortio_echoes_what_it_is_sent(start, free):
    """With status, size and headers as the query asks."""
    host, _ = free()
    program = start("fortio", ready=False, LISTEN_HOST=host, PORTS="8080")
    program = type(program)(program.process, (host, 8080), program.log)
    _until_it_answers(program)
    assert program.ask("/echo", "POST", b"hello").body == b"hello"
    asked = program.ask("/?status=503:100&size=10&header=X-A:1")
    assert (asked.status, asked.body, asked.headers["x-a"]) == (503, b"x" * 10, "1")
    assert program.ask("/?status=1").status == 400


def test_health_says_port_and_path(start):
    """Istio's sample."""
    program = start("health")
    assert program.ask("/foo").text == f"Listening on {program.address[1]}: foo "
    assert program.ask("/baz").status == 404


def test_echo_tells_about_itself_and_the_request(start, free):
    """As the echo server of Istio's tests, over HTTP and gRPC."""
    host, port = free()
    program = start(
        "echo", f"--port={port}", "--version", "v7", ready=False, LISTEN_HOST=host, PORTS=str(port)
    )
    program = type(program)(program.process, (host, port), program.log)
    _until_it_answers(program)
    answer = program.ask("/path?codes=418&headers=x-b:2", x_a="1")
    assert (answer.status, answer.headers["x-b"]) == (418, "2")
    lines = answer.text.splitlines()
    for line in (
        "ServiceVersion=v7",
        f"ServicePort={port}",
        "Method=GET",
        "RequestHeader=X-A:1",
        "Hostname=pod-1",
    ):
        assert line in lines
    assert program.ask("/?codes=rubbish").status == 400
    assert program.ask("/", "POST", grpc.encode("x"), content_type="application/grpc").status == 505


@pytest.mark.parametrize("arguments", [["--port"], ["--tls", "443"], ["--port", "0"], ["--grpc=x"]])
def test_flags_of_echo_that_are_not_emulated_are_refused(arguments):
    """None is ignored."""
    with pytest.raises(ValueError, match=r"--|whole number"):
        echo.flags(arguments)


def test_flags_of_echo_add_up():
    """As in the samples' manifests."""
    found = echo.flags(["--port", "80", "--port=81,82", "--grpc", "7070", "--tcp=9090", "--crt=/cert.crt"])
    assert (found.http, found.grpc, found.tcp) == ((80, 81, 82), (7070,), (9090,))


def _until_it_answers(program):
    end = time.monotonic() + 15
    while True:
        try:
            program.connect().close()
        except OSError:
            assert time.monotonic() < end, program.log.read_text()
            time.sleep(0.005)
        else:
            return
