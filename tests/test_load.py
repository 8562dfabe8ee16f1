"""Traffic comes from locust in a process of its own, which says what it sent and outlives nobody."""

import signal
import subprocess
import sys
import textwrap
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.load import Load, Sent, Traffic, sent

ROOT = Path(__file__).parent.parent
BROWSE = str(ROOT / "loadprofiles" / "browse.py")


class _Shop(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        self.server.paths.append(self.path)
        code = 503 if self.path == "/down" else 200
        self.send_response(code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        """Keeps the output of the tests clean."""


@pytest.fixture
def shop():
    """A server that remembers what was asked for; /down answers 503."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Shop) as server:
        server.daemon_threads = True
        server.paths = []
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def wait_for(condition, seconds=15.0):
    """Waits until a condition holds; an assertion fails when it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def gone(pid):
    """Whether a process has ended (a zombie has)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


def test_it_says_what_it_sent(shop, tmp_path):
    """The numbers of the generator are those of the server, failures included."""
    with Traffic(
        Load(BROWSE, rate=200, paths=("/", "/down")), shop.url, seed=1, log=tmp_path / "load.log"
    ) as traffic:
        wait_for(lambda: len(shop.paths) > 150)
        assert traffic.failure() is None
        found = traffic.stop()
    assert abs(found.requests - len(shop.paths)) <= 10  # those on their way when it ended
    assert abs(found.failures - shop.paths.count("/down")) <= 10
    assert 0 < found.failures < found.requests / 2
    assert 0 <= found.p50 <= found.p99 < 5  # whole milliseconds
    assert 0 < found.mean < 5
    assert traffic.stop() == found
    assert gone(traffic.pid)


def test_the_rate_is_the_one_asked_for(shop, tmp_path):
    """Over two seconds the rate is within a fifth of what was asked."""
    with Traffic(Load(BROWSE, rate=100), shop.url, seed=1, log=tmp_path / "load.log") as traffic:
        wait_for(lambda: len(shop.paths) > 200)
        assert traffic.stop().rate == pytest.approx(100, rel=0.2)


def test_the_same_seed_takes_the_same_way(shop, tmp_path):
    """One user asks for the same pages in the same order."""
    ways = []
    for number in range(2):
        shop.paths.clear()
        load = Load(BROWSE, rate=100, users=1, paths=("/", "/a", "/b"))
        with Traffic(load, shop.url, seed=5, log=tmp_path / f"{number}.log"):
            wait_for(lambda: len(shop.paths) >= 20)
        ways.append(shop.paths[:20])
    assert ways[0] == ways[1]
    assert set(ways[0]) == {"/", "/a", "/b"}


def test_it_dies_with_its_parent_even_by_sigkill(shop, tmp_path):
    """A killed harness leaves no traffic behind."""
    program = textwrap.dedent(f"""
        import time
        from pathlib import Path
        from harness.load import Load, Traffic
        load = Load({BROWSE!r}, rate=50)
        print(Traffic(load, {shop.url!r}, seed=1, log=Path({str(tmp_path / "load.log")!r})).pid, flush=True)
        time.sleep(60)
    """)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        pid = int(parent.stdout.readline())
        wait_for(lambda: shop.paths)
        parent.send_signal(signal.SIGKILL)
    wait_for(lambda: gone(pid), 3.0)


def test_a_profile_that_fails_gives_its_last_words(shop, tmp_path):
    """The last line of locust's log is the reason."""
    broken = tmp_path / "broken.py"
    broken.write_text("raise SystemExit('the shop is closed')\n")
    with Traffic(Load(str(broken), rate=1), shop.url, seed=1, log=tmp_path / "load.log") as traffic:
        wait_for(traffic.failure)
        assert "the shop is closed" in traffic.failure()
        assert traffic.stop() == Sent(0, 0, 0.0, 0.0, 0.0)


def test_traffic_from_another_thread_is_refused(tmp_path):
    """The kernel would end it with that thread, not with the process."""
    errors = []

    def start():
        try:
            Traffic(Load(BROWSE, rate=1), "http://127.0.0.1:9", seed=1, log=tmp_path / "load.log")
        except HarnessError as error:
            errors.append(str(error))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert "main thread" in errors[0]


def test_profiles_are_looked_up_by_name_and_by_path(monkeypatch):
    """A name stands for a file in loadprofiles of the current directory."""
    monkeypatch.chdir(ROOT)
    assert Load("browse", rate=1).file == Path(BROWSE)
    assert Load(BROWSE, rate=1).file == Path(BROWSE)
    with pytest.raises(HarnessError, match=r"neither loadprofiles/none\.py nor none is a file"):
        _ = Load("none", rate=1).file


@pytest.mark.parametrize(
    "values", [{"rate": 0}, {"rate": -1}, {"rate": float("nan")}, {"rate": 5, "users": 0}]
)
def test_impossible_loads_are_refused(values):
    """The sentence names the profile and what to give instead."""
    with pytest.raises(HarnessError, match='Load "browse"'):
        Load("browse", **values)


def test_enough_users_are_there_for_answers_of_50_ms():
    """A closed loop reaches its rate only with enough users."""
    assert Load("browse", rate=800).population == 40
    assert Load("browse", rate=1).population == 1
    assert Load("browse", rate=800, users=7).population == 7


def test_quantiles_come_from_the_histogram():
    """The 99th percentile is the smallest time that 99 % did not exceed."""
    stats = (
        '[{"num_requests": 100, "num_failures": 2, "start_time": 10.0, "last_request_timestamp": 20.0,'
        ' "response_times": {"10": 98, "40": 1, "700": 1}}]'
    )
    assert sent(stats) == Sent(100, 2, 0.010, 0.040, 10.0, 0.0172)
    assert sent("") == sent("[]") == Sent(0, 0, 0.0, 0.0, 0.0)


def test_this_process_is_not_patched():
    """Nothing of locust or gevent is imported by the harness."""
    assert not {"locust", "gevent"} & {name.partition(".")[0] for name in sys.modules}
