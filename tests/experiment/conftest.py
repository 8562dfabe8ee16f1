"""A small world that is running, and runs and sessions of pytest in it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from typing import Any

import pytest
from judging import judge
from sessions import EXPERIMENTS
from smallworld import Entry, Scraped, World
from support import ROOT
from trials import SCRAPE

from harness import journal as log
from harness.cluster import Cluster
from harness.journal import Journal


@pytest.fixture
def world(kube_api: Any) -> Iterator[World]:
    """A world that is running: traffic to its entry is counted and scraped ten times a second."""
    world = World(kube_api)
    stop = threading.Event()

    def scrape() -> None:
        while not stop.wait(SCRAPE):
            world.scrape()

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(lambda: Entry(world), "127.0.0.1", 0))
    world.entry_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with ThreadingHTTPServer(("127.0.0.1", 0), Scraped) as prometheus:
        prometheus.daemon_threads = True
        prometheus.world = world  # type: ignore[attr-defined]  # the handler finds it there
        world.prometheus_url = f"http://127.0.0.1:{prometheus.server_port}"
        threads = [
            threading.Thread(target=target)
            for target in (scrape, loop.run_forever, lambda: prometheus.serve_forever(0.01))
        ]
        for thread in threads:
            thread.start()
        yield world
        stop.set()
        kube_api.stopped.set()
        loop.call_soon_threadsafe(loop.stop)
        prometheus.shutdown()
        for thread in threads:
            thread.join()
    server.close()
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


@pytest.fixture
def perform(world, write_kubeconfig, tmp_path):
    """Runs an experiment in the world; gives the judgement and the journal."""

    def perform(chosen, *, weaken=(), prometheus_url=None, patience=10.0):
        urls = (world.entry_url, prometheus_url or world.prometheus_url)
        timeout = 0.5 if world.prometheus == "hang" else 5.0
        with (
            Cluster.connect(write_kubeconfig(world.api.url)) as cluster,
            Journal(tmp_path / "run.jsonl") as journal,
        ):
            judgement = judge(
                chosen, cluster, *urls, journal, patience=patience, timeout=timeout, weaken=weaken
            )
        return judgement, log.read(journal.path)

    return perform


@pytest.fixture
def experiments():
    """The experiments of a session, as the text of a module; PROFILE stands for the load profile."""
    return EXPERIMENTS


@pytest.fixture
def session(world, write_kubeconfig, pytester, monkeypatch, experiments):
    """Runs pytest in a process of its own against the world; arguments are test names and more options."""
    monkeypatch.setenv("XDG_STATE_HOME", str(pytester.path / "state"))
    profile = ROOT / "loadprofiles" / "browse.py"
    pytester.makepyfile(test_shop=experiments.replace("PROFILE", repr(str(profile))))
    mesh = {
        "--kubeconfig": str(write_kubeconfig(world.api.url)),
        "--entry-url": world.entry_url,
        "--prometheus-url": world.prometheus_url,
    }

    def arguments(*names, mesh=mesh):
        tests = [name if name.startswith("-") else f"test_shop.py::{name}" for name in names]
        return ["-p", "no:locust", *(f"{option}={value}" for option, value in mesh.items()), *tests]

    def perform(*names, **changed):
        known = {option: changed.pop(option[2:].replace("-", "_"), value) for option, value in mesh.items()}
        used = {option: value for option, value in known.items() if value is not None}
        return pytester.runpytest_subprocess(*arguments(*names, mesh=used), timeout=110)

    perform.arguments = arguments
    return perform
