"""How a mesh comes, goes, and is found again."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from kubernetes import client, config
from support import HARNESS, ONE_POD, eventually, processes, query

from harness.localmesh.launch import launch

pytestmark = pytest.mark.e2e


@pytest.fixture
def manifest(tmp_path):
    """Writes a Deployment with one pod."""

    def write(port=8080, annotations=""):
        path = tmp_path / "web.yaml"
        path.write_text(ONE_POD % (annotations and f", annotations: {annotations}", port))
        return path

    return write


def test_up_status_and_down(harness, manifest, short):
    """A detached mesh outlives the command, is found by status, and is gone after down, files and all."""
    up = harness("up", "--detach", "-f", str(manifest()), XDG_RUNTIME_DIR=str(short))
    assert up.returncode == 0, up.stderr
    exports = dict(re.findall(r"^export (\w+)='?([^'\n]+)'?$", up.stdout, re.M))
    assert set(exports) == {"KUBECONFIG", "ENTRY_URL", "PROMETHEUS_URL"}
    assert Path(exports["KUBECONFIG"]).stat().st_mode & 0o077 == 0
    status = harness("status", XDG_RUNTIME_DIR=str(short))
    assert status.returncode == 0
    assert status.stdout == up.stdout
    folder = Path(exports["KUBECONFIG"]).parent
    assert processes(folder)
    down = harness("down", XDG_RUNTIME_DIR=str(short))
    assert down.returncode == 0
    assert not folder.exists()
    assert processes(folder) == []
    assert harness("status", XDG_RUNTIME_DIR=str(short)).returncode == 1


def test_a_second_mesh_of_the_same_name_is_refused_and_harms_nobody(harness, manifest, short):
    """It says how to go on, and the first one stays up."""
    path = str(manifest())
    assert harness("up", "--detach", "-f", path, XDG_RUNTIME_DIR=str(short)).returncode == 0
    second = harness("up", "-f", path, XDG_RUNTIME_DIR=str(short))
    assert second.returncode == 2
    assert "already up" in second.stderr
    assert harness("status", XDG_RUNTIME_DIR=str(short)).returncode == 0
    other = harness("up", "--detach", "--name", "other", "-f", path, XDG_RUNTIME_DIR=str(short))
    assert other.returncode == 0, other.stderr
    assert harness("down", "--name", "other", XDG_RUNTIME_DIR=str(short)).returncode == 0
    assert harness("down", XDG_RUNTIME_DIR=str(short)).returncode == 0


def test_in_the_foreground_ctrl_c_takes_it_down(manifest, short):
    """Exports are printed when it is up; after SIGINT nothing is left and the exit code is 0."""
    env = {**os.environ, "XDG_RUNTIME_DIR": str(short)}
    argv = [str(HARNESS), "up", "--name", "front", "-f", str(manifest())]
    with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as up:
        assert up.stdout.readline().startswith("export KUBECONFIG=")
        up.send_signal(signal.SIGINT)
        _, said = up.communicate(timeout=20)
    assert up.returncode == 0, said
    assert processes(short / "harness" / "front") == []
    assert not (short / "harness" / "front").exists()


PARENT = """
import sys, time
from pathlib import Path
from harness.localmesh.launch import launch
with launch([Path(sys.argv[1])], lambda text: None, Path(sys.argv[2])) as addresses:
    print("up", flush=True)
    time.sleep(60)
"""


def test_nothing_outlives_a_parent_that_is_killed(manifest, short):
    """Kill -9 of whoever launched the mesh ends API server, Envoys, programs and Prometheus."""
    folder = short / "orphan"
    argv = [sys.executable, "-c", PARENT, str(manifest()), str(folder)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout.readline() == "up\n"
        assert len(processes(folder)) >= 4
        parent.kill()
    eventually(lambda: processes(folder) == [])


def test_what_a_killed_mesh_left_is_cleared_by_the_next(manifest, short):
    """Files of a mesh that was killed are no obstacle and no leftover."""
    folder = short / "killed"
    with launch([manifest()], print, folder) as addresses:
        pid = json.loads((folder / "mesh.json").read_text())["pid"]
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: processes(folder) == [])
    assert not addresses.kubeconfig.exists()
    with launch([manifest()], print, folder) as again:
        assert again.kubeconfig.exists()
    assert not folder.exists()


def test_two_meshes_run_side_by_side(manifest, short):
    """Same names, same ports, different addresses."""
    with launch([manifest()], print, short / "one") as one, launch([manifest()], print, short / "two") as two:
        assert one.entry_url != two.entry_url
        assert one.prometheus_url.split("@")[1] != two.prometheus_url.split("@")[1]


def test_the_folder_of_a_mesh_is_its_owners_only(manifest, short):
    """Keys and tokens in it are nobody else's."""
    with launch([manifest()], print, short / "private") as addresses:
        folder = addresses.kubeconfig.parent
        assert folder.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", ["", "../x", "/x", "a.1", "A", "a/"])
def test_a_name_that_could_be_a_path_is_refused(harness, name, short):
    """Folders of meshes are removed, so nobody else's folder may be taken for one."""
    done = harness("down", "--name", name, XDG_RUNTIME_DIR=str(short))
    assert done.returncode == 2
    assert "is no name for a mesh" in done.stderr


def test_what_a_killed_run_left_is_removed_by_the_next_run(manifest, short, monkeypatch):
    """The keys of a mesh that was killed do not lie about for ever."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short))
    left = short / "harness" / "run-1"
    left.mkdir(parents=True, mode=0o700)
    left.parent.chmod(0o700)
    (left / "key.pem").write_text("secret")
    (short / "harness" / "run-1.lock").touch()
    with launch([manifest()], print):
        assert not left.exists()


def test_a_mesh_outlives_its_prometheus_and_odd_objects(manifest, short):
    """Prometheus is started again; an object that cannot be settled is an event, and all others go on."""
    with launch([manifest()], print, short / "tough") as addresses:
        folder = addresses.kubeconfig.parent
        (pid,) = [pid for pid in processes(folder / "prometheus") if b"prometheus" in _name(pid)]
        os.kill(int(pid), signal.SIGKILL)
        eventually(lambda: query(addresses, "vector(1)"))
        with config.new_client_from_config(str(addresses.kubeconfig)) as api:
            apps, core = client.AppsV1Api(api), client.CoreV1Api(api)
            long = api.sanitize_for_serialization(apps.read_namespaced_deployment("web", "default"))
            long["metadata"] = {"name": "x" * 250}
            long.pop("status")
            apps.create_namespaced_deployment("default", long)
            eventually(
                lambda: [e for e in core.list_namespaced_event("default").items if e.reason == "FailedCreate"]
            )
            before = {pod.metadata.uid for pod in core.list_namespaced_pod("default").items}
            core.delete_collection_namespaced_pod("default", grace_period_seconds=0)
            eventually(
                lambda: not before & {pod.metadata.uid for pod in core.list_namespaced_pod("default").items}
            )


def _name(pid):
    return Path(f"/proc/{pid}/comm").read_bytes()
