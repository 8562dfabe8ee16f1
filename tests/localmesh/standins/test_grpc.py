"""gRPC and HTTP/2: the same programs, asked by the stand-ins' own client over real connections."""

import asyncio
import signal
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.localmesh.standins import grpc
from harness.localmesh.standins.client import CallError
from harness.localmesh.standins.http import Request, Response


def _with_client(use, proxy=None):
    """What `use` makes of a client, which is closed afterwards."""

    async def run():
        client = grpc.Client(proxy)
        try:
            return await use(client)
        finally:
            client.close()

    return asyncio.run(run())


def _call(address, path=grpc.ECHO, text="", *, timeout=10.0, proxy=None, **metadata):
    """One call over a connection of its own."""
    headers = {name.replace("_", "-"): value for name, value in metadata.items()}
    return _with_client(
        lambda client: client.call(address, path, text, headers=headers, timeout=timeout), proxy
    )


def test_every_service_says_that_it_is_serving(start):
    """The standard health check, whose answer is the number 1 in field 1."""
    answer = _call(start("service").address, grpc.HEALTH)
    assert (grpc.outcome(answer), answer.body) == (0, b"\0\0\0\0\2\x08\x01")


def test_a_call_is_answered_as_a_request_over_http(start):
    """The same port, the same JSON, as text in the message."""
    program = start("service")
    said = grpc.decode(_call(program.address, "/shop.Cart/Get").body)
    assert said == program.ask("/shop.Cart/Get").text


def test_metadata_chooses_status_and_delay(start):
    """As the query does over HTTP; what makes no sense is INVALID_ARGUMENT."""
    address = start("service").address
    before = time.monotonic()
    failed = _call(address, x_status="14", x_delay="60ms")
    assert time.monotonic() - before >= 0.060
    assert (grpc.outcome(failed), failed.headers["grpc-message"]) == (14, "pod-1 was asked to fail")
    assert grpc.outcome(_call(address, x_status="8:0")) == 0
    assert grpc.outcome(_call(address, x_status="99")) == 3


@pytest.mark.parametrize(("variables", "status"), [({}, 14), ({"STANDIN_ERROR_GRPC_STATUS": "8"}, 8)])
def test_an_error_has_the_status_that_its_status_of_http_means(start, variables, status):
    """Unless it is given one for gRPC."""
    program = start("service", STANDIN_ERROR_PERCENT="100", STANDIN_ERROR_STATUS="503", **variables)
    assert grpc.outcome(_call(program.address)) == status
    assert program.ask("/").status == 503


def test_the_server_keeps_the_deadline_it_is_told(start):
    """A client that waits longer than its deadline gets DEADLINE_EXCEEDED from the server."""
    address = start("service", STANDIN_LATENCY="10s").address
    answer = _call(address, timeout=10.0, grpc_timeout="50m")
    assert grpc.outcome(answer) == grpc.DEADLINE_EXCEEDED


def test_the_client_gives_up_in_time_and_its_connection_goes_on(start):
    """A call that is given up is reset, and others on the same connection are not."""
    address = start("service").address

    async def use(client):
        slow = client.call(address, grpc.ECHO, "", headers={"x-delay": "9s"}, timeout=0.2)
        quick = client.call(address, grpc.ECHO, "", headers={"x-delay": "300ms"}, timeout=9)
        return await asyncio.gather(slow, quick, return_exceptions=True)

    slow, quick = _with_client(use)
    # Whichever of the two deadlines comes first.
    assert isinstance(slow, CallError) or grpc.outcome(slow) == grpc.DEADLINE_EXCEEDED
    assert grpc.outcome(quick) == 0


def test_many_calls_and_large_messages_share_a_connection(start):
    """Flow control: 120 answers of 30 kB at once over one connection are all whole."""
    address = start("service", STANDIN_BODY_SIZE="30000").address

    async def use(client):
        calls = (client.call(address, grpc.ECHO, "x" * 20_000, headers={}, timeout=60) for _ in range(200))
        return await asyncio.gather(*calls), len(client._connections)

    answers, connections = _with_client(use)
    assert connections == 1
    assert {grpc.outcome(answer) for answer in answers} == {0}
    assert all(len(grpc.decode(answer.body)) >= 30_000 for answer in answers)


def test_sigterm_finishes_the_calls_under_way(start):
    """The client is told to go away, and gets what it has asked for before."""
    program = start("service")

    async def use(client):
        call = asyncio.create_task(
            client.call(program.address, grpc.ECHO, "", headers={"x-delay": "700ms"}, timeout=9)
        )
        await client.call(
            program.address, grpc.ECHO, "", headers={}, timeout=9
        )  # so the first one has arrived
        program.process.send_signal(signal.SIGTERM)
        return await call

    assert grpc.outcome(_with_client(use)) == 0
    assert program.process.wait(15) == 0


def test_a_service_calls_another_over_grpc(start, free):
    """A call succeeds when it is answered OK; other statuses and connections refused are its failures."""
    leaf = start("service", SERVICE_NAME="leaf").address
    bad = start("service", STANDIN_ERROR_PERCENT="100", STANDIN_ERROR_GRPC_STATUS="8").address
    gone = free()
    urls = [f"grpc://{host}:{port}" for host, port in (leaf, bad, gone)]
    answer = start("service", STANDIN_CALLS=",".join(urls), STANDIN_FAILURE_STATUS="502").ask("/")
    assert answer.status == 502
    assert [call["status"] for call in answer.json["calls"]] == [0, 8, None]
    assert start("service", STANDIN_CALLS=urls[0]).ask("/").status == 200


def test_calls_leave_through_the_sidecar_for_the_service_they_name(start):
    """The connection goes to the proxy, the authority is the service's."""
    server = start("service")
    said = grpc.decode(_call(("cart.shop", 7070), proxy=server.address).body)
    assert '"service": "web"' in said


def test_http2_serves_plain_requests_too(start):
    """Status, headers and body of a handler that knows nothing of gRPC."""
    answer = _call(start("httpbin", "go").address, "/status/418")
    assert (answer.status, answer.body) == (418, b"I'm a teapot!")
    assert grpc.outcome(answer) == grpc.UNKNOWN


def test_grpc_over_http1_is_refused(start):
    """It has no trailers there."""
    assert start("service").ask("/", "POST", b"", content_type="application/grpc").status == 505


def test_a_body_that_is_no_message_is_an_internal_error():
    """As gRPC's servers answer it."""

    async def handler(request):
        return grpc.answer(grpc.text(request))

    answer = asyncio.run(grpc.served(handler)(Request("POST", "/", "", {}, b"rubbish", version="2")))
    assert grpc.outcome(answer) == grpc.INTERNAL


@given(st.text(max_size=400))
def test_a_message_carries_any_text(text):
    """Whatever its length takes to write."""
    assert grpc.decode(grpc.encode(text)) == text


@given(st.binary(max_size=40))
def test_other_bytes_are_a_text_or_a_valueerror(body):
    """Decoding never fails in another way."""
    for framed in (body, b"\0" + len(body).to_bytes(4, "big") + body):
        try:
            assert isinstance(grpc.decode(framed), str)
        except ValueError:
            continue


@pytest.mark.parametrize(("http", "status"), [(200, 0), (404, 12), (429, 14), (503, 14), (500, 2), (401, 16)])
def test_a_status_of_http_is_taken_for_one_of_grpc(http, status):
    """The table of gRPC's specification, for answers that proxies give."""
    assert grpc.of_http(http) == status
    if status:
        assert grpc.outcome(Response(http)) == status
