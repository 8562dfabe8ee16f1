"""What people get for input that cannot work: one sentence, exit code 2, and nothing left running."""

import os
import socket
from pathlib import Path

import pytest
from support import ONE_POD, processes

pytestmark = pytest.mark.e2e


def _refused(done, *words):
    """The command ended with 2 and one sentence that has all `words`; there is no traceback."""
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    said = (done.stdout + done.stderr).strip().splitlines()
    assert "Traceback" not in done.stdout + done.stderr
    line = next((line for line in said if all(word in line for word in words)), None)
    assert line is not None, said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind: [", ("bad.yaml", "is not YAML", "line")),
        ("apiVersion: v1\nkind: Teapot\nmetadata: {name: x}", ("bad.yaml", "no kind Teapot")),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {colour: red, ports: [{port: 80}]}",
            ("bad.yaml", "spec.colour"),
        ),
        (
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: x}\n"
            "spec: {host: a, trafficPolicy: {tunnel: {}}}",
            ("bad.yaml", "spec.trafficPolicy.tunnel"),
        ),
    ],
)
def test_a_manifest_that_is_refused_names_file_and_field(harness, tmp_path, text, words):
    """Unknown kind, unknown field, malformed YAML."""
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    _refused(harness("up", "-f", str(path)), *words)


def test_a_workload_that_dies_at_once_is_named_with_its_last_words(harness, tmp_path):
    """The pod, the exit code, and what the program said."""
    path = tmp_path / "dies.yaml"
    path.write_text(ONE_POD % (', annotations: {standin.harness.local/exit: "3"}', 8080))
    _refused(harness("up", "-f", str(path)), "pod default/web-", "ended with code 3", "exit")


def test_a_port_in_use_is_named(harness, tmp_path):
    """A program that holds a port on all addresses is in the way of every pod with that port."""
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))  # noqa: S104 - that is what is in the way
        other.listen()
        port = other.getsockname()[1]
        path = tmp_path / "port.yaml"
        path.write_text(ONE_POD % ("", port))
        _refused(harness("up", "-f", str(path)), f":{port}", "another program holds")


def test_without_prometheus_it_is_said_how_to_get_one(harness, tmp_path):
    """HARNESS_PROMETHEUS can name another, which must be a program."""
    path = tmp_path / "web.yaml"
    path.write_text(ONE_POD % ("", 8080))
    _refused(
        harness("up", "-f", str(path), HARNESS_PROMETHEUS="/no/such"),
        "/no/such",
        "Prometheus",
        "apt-get install",
    )


def test_without_an_envoy_for_the_platform_it_is_said_where_there_is_one(harness, tmp_path):
    """HARNESS_ENVOY can name another, which must be a program."""
    path = tmp_path / "web.yaml"
    path.write_text(ONE_POD % ("", 8080))
    _refused(harness("up", "-f", str(path), HARNESS_ENVOY="/no/such/envoy"), "Envoy", "/no/such/envoy")


def test_a_missing_manifest_is_named(harness):
    """The path given is in the sentence."""
    _refused(harness("up", "-f", "/no/such.yaml"), "/no/such.yaml", "cannot be read")


def test_a_kubeconfig_that_does_not_exist_is_named(harness):
    """Before anything is asked of anybody."""
    addresses = ("--entry-url", "http://127.0.0.1:1", "--prometheus-url", "http://127.0.0.1:1")
    _refused(harness("run", "experiments", "--kubeconfig", "/no/such", *addresses), "/no/such")
    _refused(harness("heal", "--kubeconfig", "/no/such"), "/no/such")


def test_an_entry_that_does_not_answer_is_named(harness, bookinfo):
    """Before any fault is injected."""
    addresses = ("--entry-url", "http://127.0.0.1:1", "--prometheus-url", bookinfo.prometheus_url)
    done = harness("run", "experiments", "--kubeconfig", str(bookinfo.kubeconfig), *addresses)
    _refused(done, "http://127.0.0.1:1")


def test_nothing_is_left_running_after_a_refusal(harness, tmp_path):
    """No process and no folder."""
    path = tmp_path / "dies.yaml"
    path.write_text(ONE_POD % (', annotations: {standin.harness.local/exit: "3"}', 8080))
    runtime = Path(os.environ.get("TMPDIR", "/tmp")) / f"refused-{os.getpid()}"  # noqa: S108  (short, for sockets)
    runtime.mkdir()
    assert harness("up", "-f", str(path), XDG_RUNTIME_DIR=str(runtime)).returncode == 2
    assert processes(runtime) == []
    assert list((runtime / "harness").iterdir()) == []
    (runtime / "harness").rmdir()
    runtime.rmdir()


def test_an_unknown_experiment_file_is_pytests_own_error(harness):
    """A mistyped path is not a verdict."""
    done = harness("run", "experiments/no_such.py")
    assert done.returncode not in (0, 1)
    assert "no_such.py" in done.stdout + done.stderr
