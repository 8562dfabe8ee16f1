"""Ephemeral containers: what may be put into a pod that runs, and which program stands in for it."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from email.message import Message
from pathlib import Path

import pytest
from support import ROOT, eventually

from harness.localmesh import images
from harness.localmesh.addresses import claim
from harness.localmesh.admission import guarded_store
from harness.localmesh.api.discovery import document
from harness.localmesh.api.messages import request
from harness.localmesh.api.resources import NAMESPACES, PODS
from harness.localmesh.errors import Refused
from harness.localmesh.standins import agent, stress

QUIT = {
    "name": "quit",
    "image": "docker.io/istio/proxyv2:1.30.3",
    "args": ["request", "POST", "quitquitquit"],
}
BURN = {"name": "burn", "image": "alexeiled/stress-ng:latest", "args": ["--cpu", "1", "--timeout", "1s"]}
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "namespace": "shop"},
    "spec": {"containers": [{"name": "web", "image": "harness/service"}]},
}


@pytest.fixture
def store():
    """A store of the mesh with one pod in it."""
    block = claim()
    made = guarded_store(block)
    made.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
    made.create(PODS, POD)
    yield made
    block.release()


def _put(store, *containers, section="ephemeralcontainers", **different):
    pod = store.get(PODS, "shop", "web")
    spec = {**pod["spec"], "ephemeralContainers": list(containers), **different}
    return store.replace(PODS, {**pod, "spec": spec}, section=section)


def test_a_container_is_put_into_a_pod_and_stays(store):
    """Nothing else of the pod changes by that door, and by no other door does it come in."""
    put = _put(store, QUIT, restartPolicy="Never")
    assert [one["name"] for one in put["spec"]["ephemeralContainers"]] == ["quit"]
    assert put["spec"]["restartPolicy"] == "Always"
    both = _put(store, *put["spec"]["ephemeralContainers"], BURN)
    assert [one["name"] for one in both["spec"]["ephemeralContainers"]] == ["quit", "burn"]
    with pytest.raises(Refused, match="does not change running pods"):
        _put(store, *both["spec"]["ephemeralContainers"], BURN | {"name": "other"}, section="")


@pytest.mark.parametrize(
    ("containers", "message"),
    [
        ([], "may not be changed or removed"),
        ([BURN], "may not be changed or removed"),
        ([QUIT | {"args": ["request", "POST", "/quitquitquit"]}], "may not be changed or removed"),
        ([QUIT, BURN | {"name": "web"}], r"ephemeralContainers\[1\].name.*Duplicate"),
        ([QUIT, BURN | {"name": "No"}], r"ephemeralContainers\[1\].name.*Invalid value"),
        ([QUIT, BURN | {"targetContainerName": "x"}], r"targetContainerName.*Not found"),
        ([QUIT, BURN | {"image": "debian"}], r"ephemeralContainers\[1\].image.*no stand-in as an ephemeral"),
        ([QUIT, BURN | {"args": ["--cpu", "1"]}], r"ephemeralContainers\[1\].args.*always --timeout"),
        ([QUIT, BURN | {"command": ["sh"]}], r"ephemeralContainers\[1\].command.*leave command out"),
        ([QUIT, BURN | {"ports": []}], "unknown field"),
    ],
)
def test_what_kubernetes_or_the_mesh_does_not_have_is_refused(store, containers, message):
    """Naming the field."""
    put = _put(store, QUIT)["spec"]["ephemeralContainers"]
    given = [*put, *containers[1:]] if containers[:1] == [QUIT] else containers
    with pytest.raises(Refused, match=message):
        _put(store, *given)


def test_a_pod_is_not_born_with_one(store):
    """As Kubernetes has it."""
    pod = {**POD, "metadata": {"name": "b", "namespace": "shop"}}
    with pytest.raises(Refused, match="ephemeralContainers: Forbidden"):
        store.create(PODS, {**pod, "spec": {**POD["spec"], "ephemeralContainers": [QUIT]}})


@pytest.mark.parametrize(
    "asked", [(), ("request", "GET", "quitquitquit"), ("request", "POST", "stats"), ("proxy", "sidecar")]
)
def test_the_agent_does_nothing_but_end_its_proxy(asked):
    """What it would not do it refuses."""
    with pytest.raises(ValueError, match="quitquitquit"):
        agent.flags(asked)


def test_the_agent_asks_the_proxy_of_its_pod(tmp_path):
    """By its admin socket; without one it fails as the real one does."""
    path, heard = tmp_path / "admin.sock", []
    command = images.attached(QUIT)
    environ = {"PATH": os.environ["PATH"], "HARNESS_PROXY_ADMIN": str(path), "PYTHONPATH": str(ROOT)}
    assert subprocess.run(command, env=environ, check=False, capture_output=True).returncode == 1
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def answer():
            with listener.accept()[0] as link:
                heard.append(link.recv(1000).split(b"\r\n")[0])
                link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nOK\n")

        thread = threading.Thread(target=answer)
        thread.start()
        ended = subprocess.run(command, env=environ, check=False, capture_output=True)
        thread.join()
    assert heard == [b"POST /quitquitquit HTTP/1.1"]
    assert (ended.returncode, ended.stdout) == (0, b"OK\n")


def test_stress_reads_what_the_harness_gives_it():
    """The arguments of the real program."""
    asked = [
        "--cpu",
        "2",
        "--cpu-load",
        "80",
        "--vm",
        "1",
        "--vm-bytes",
        "64M",
        "--vm-keep",
        "--timeout",
        "20s",
    ]
    assert stress.flags(asked) == stress.Plan(cpu=2, load=80.0, vm=1, size=64 * 2**20, seconds=20.0)


@pytest.mark.parametrize(
    "asked",
    [
        "--cpu 1",
        "--cpu x --timeout 1s",
        "--cpu 17 --timeout 1s",
        "--vm 1 --vm-bytes 2G --timeout 1s",
        "--vm 1 --vm-bytes lots --timeout 1s",
        "--io 1 --timeout 1s",
        "--cpu --timeout 1s",
        "--cpu 1 --cpu-load 101 --timeout 1s",
    ],
)
def test_stress_refuses_what_it_does_not_do_or_the_machine_cannot_bear(asked):
    """It never ignores an argument."""
    with pytest.raises(ValueError, match=r"takes|at most"):
        stress.flags(asked.split())


def _children(pid):
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in listed.split()]


def _used(pid):
    """Processor time in seconds, and memory in bytes."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), int(fields[21]) * os.sysconf(
        "SC_PAGE_SIZE"
    )


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_stress_is_real_and_dies_with_its_container(number):
    """A worker uses processor time, another holds memory; both go when the container does, however it ends."""
    asked = ["--cpu", "1", "--vm", "1", "--vm-bytes", "48M", "--vm-keep", "--timeout", "60s"]
    command = [sys.executable, "-m", "harness.localmesh.standins.stress", *asked]
    process = subprocess.Popen(command, env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)})
    try:
        burner, holder = eventually(lambda: len(found := _children(process.pid)) == 2 and found)
        eventually(lambda: _used(burner)[0] > 0.1 and _used(holder)[1] > 48 * 2**20)
        assert _used(holder)[0] < 0.5
    finally:
        process.send_signal(number)
        process.wait()
    eventually(lambda: not _alive(burner) and not _alive(holder))


def test_stress_ends_by_itself():
    """When its time is over, with code 0."""
    began = time.monotonic()
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    assert subprocess.run(images.attached(BURN), env=environ, check=True).returncode == 0
    assert 1 <= time.monotonic() - began < 5


def test_discovery_says_that_there_are_ephemeral_containers():
    """By it a client knows whether it can ask for one."""
    asked = request("GET", "/api/v1", Message(), b"")
    listed = json.loads(document(asked).body)["resources"]
    [entry] = [one for one in listed if one["name"] == "pods/ephemeralcontainers"]
    assert entry["kind"] == "Pod"
    assert {"get", "patch", "update"} <= set(entry["verbs"])
