"""A small Kubernetes API at the wire, for the tests of everything that talks to one."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from answers import TOKEN, refusal
from hypothesis import settings

from harness.cluster import Cluster

# How long an example takes says more about the machine than about the code; `timeout` ends what hangs.
settings.register_profile("steady", deadline=None)
settings.load_profile("steady")

KINDS = {
    "/api/v1": {
        "Namespace": ("namespaces", False),
        "Pod": ("pods", True),
        "ConfigMap": ("configmaps", True),
        "Service": ("services", True),
        "Secret": ("secrets", True),
    },
    "/apis/apps/v1": {"Deployment": ("deployments", True), "ReplicaSet": ("replicasets", True)},
    "/apis/networking.istio.io/v1": {"VirtualService": ("virtualservices", True)},
    "/apis/networking.istio.io/v1alpha3": {"EnvoyFilter": ("envoyfilters", True)},
    "/apis/security.istio.io/v1": {"PeerAuthentication": ("peerauthentications", True)},
    "/apis/coordination.k8s.io/v1": {"Lease": ("leases", True)},
}
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
Manifest = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """A request as it came in."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: Any


@dataclass(frozen=True)
class Reply:
    """What is answered: a code and a body; `code` 0 closes the connection without an answer."""

    code: int
    body: Any = None


def status(code: int, reason: str, message: str = "") -> Reply:
    """A refusal as Kubernetes words it."""
    return Reply(code, refusal(code, reason, message))


@dataclass
class KubeApi:
    """Objects behind HTTP, with optimistic locking.

    `before` and `after` may put another answer in the place of its own. `after` is asked when the request has had
    its effect: its answer stands for one that was lost on the way.
    """

    url: str = ""
    objects: dict[str, Manifest] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    before: Callable[[Request], Reply | None] = lambda request: None
    after: Callable[[Request], Reply | None] = lambda request: None
    stopped: threading.Event = field(default_factory=threading.Event)
    forbidden: set[str] = field(default_factory=set)
    token: str = TOKEN
    versions: Iterator[int] = field(default_factory=lambda: count(1))

    @staticmethod
    def reply(code: int, body: Any = None) -> Reply:
        """An answer for `before` and `after`."""
        return Reply(code, body)

    def put(self, manifest: Manifest) -> None:
        """Keeps an object, as if somebody else had written it."""
        version = manifest["apiVersion"]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        plural, namespaced = KINDS[root][manifest["kind"]]
        inside = f"/namespaces/{manifest['metadata']['namespace']}" if namespaced else ""
        self._keep(f"{root}{inside}/{plural}/{manifest['metadata']['name']}", manifest)

    def state(self) -> dict[str, Manifest]:
        """All objects, without what every write changes."""
        state = deepcopy(self.objects)
        for manifest in state.values():
            manifest["metadata"].pop("resourceVersion")
        return state

    def writes(self) -> list[Request]:
        """The requests that were meant to change something."""
        return [request for request in self.requests if request.method != "GET" and request.path != REVIEWS]

    def answer(self, request: Request) -> Reply:
        """What a request gets."""
        self.requests.append(request)
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return status(401, "Unauthorized", "Unauthorized")
        early = self.before(request)
        if early is not None:
            return early
        own: Reply = getattr(self, f"_{request.method.lower()}")(request)
        return self.after(request) or own

    def _keep(self, path: str, manifest: Manifest) -> Manifest:
        kept = deepcopy(manifest)
        kept["metadata"]["resourceVersion"] = str(next(self.versions))
        kept["metadata"].setdefault(
            "uid", f"uid-{kept['metadata']['name']}-{kept['metadata']['resourceVersion']}"
        )
        self.objects[path] = kept
        return kept

    def _get(self, request: Request) -> Reply:
        if request.path in self.objects:
            return Reply(200, self.objects[request.path])
        if request.path in KINDS:
            kinds = KINDS[request.path].items()
            listed = [{"kind": kind, "name": name, "namespaced": inside} for kind, (name, inside) in kinds]
            return Reply(200, {"kind": "APIResourceList", "resources": listed})
        if request.path.rpartition("/")[2] in {
            plural for kinds in KINDS.values() for plural, _ in kinds.values()
        }:
            return Reply(200, {"kind": "List", "items": self._listed(request)})
        return status(404, "NotFound", f"{request.path} not found")

    def _listed(self, request: Request) -> list[Manifest]:
        wanted = dict(
            pair.split("=") for text in request.query.get("labelSelector", ()) for pair in text.split(",")
        )
        root, _, plural = request.path.rpartition("/")
        everywhere = root in KINDS
        here = [
            m
            for path, m in self.objects.items()
            if path.rpartition("/")[0] == request.path
            or (everywhere and path.startswith(f"{root}/namespaces/") and path.split("/")[-2] == plural)
        ]
        return [m for m in here if wanted.items() <= (m["metadata"].get("labels") or {}).items()]

    def _post(self, request: Request) -> Reply:
        if request.path == REVIEWS:
            verb = request.body["spec"]["resourceAttributes"]["verb"]
            return Reply(201, {**request.body, "status": {"allowed": verb not in self.forbidden}})
        path = f"{request.path}/{request.body['metadata']['name']}"
        if path in self.objects:
            return status(409, "AlreadyExists", f"{path} already exists")
        return Reply(201, self._keep(path, request.body))

    def _put(self, request: Request) -> Reply:
        if request.path not in self.objects:
            return status(404, "NotFound", f"{request.path} not found")
        if (
            request.body["metadata"]["resourceVersion"]
            != self.objects[request.path]["metadata"]["resourceVersion"]
        ):
            return status(409, "Conflict", "the object has been modified")
        return Reply(200, self._keep(request.path, request.body))

    def _delete(self, request: Request) -> Reply:
        if request.path not in self.objects:
            return status(404, "NotFound", f"{request.path} not found")
        kept = self.objects[request.path]
        meta = kept["metadata"]
        for name, wanted in ((request.body or {}).get("preconditions") or {}).items():
            if wanted != meta[name]:
                return status(409, "Conflict", f"Precondition failed: {name} in precondition")
        if meta.get(
            "finalizers"
        ):  # whoever has put them there takes them away, and the object with the last one
            meta |= {"deletionTimestamp": "2026-01-02T03:04:05Z", "deletionGracePeriodSeconds": 0}
            return Reply(200, kept)
        return Reply(200, self.objects.pop(request.path))


class _Handler(BaseHTTPRequestHandler):
    def _serve(self) -> None:
        url = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        request = Request(
            self.command, url.path, parse_qs(url.query), {k.title(): v for k, v in self.headers.items()}, body
        )
        reply = self.server.api.answer(request)  # type: ignore[attr-defined]  # set by the fixture
        if reply.code == 0:
            return
        content = reply.body if isinstance(reply.body, str) else json.dumps(reply.body)
        self.send_response(reply.code)
        self.send_header("Content-Length", str(len(content.encode())))
        self.end_headers()
        self.wfile.write(content.encode())

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 - the names that http.server calls

    def log_message(self, *args: object) -> None:
        """Keeps the output of the tests clean."""


@pytest.fixture
def kube_api() -> Iterator[KubeApi]:
    """A Kubernetes API with the namespace kube-system in it."""
    api = KubeApi()
    api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system", "uid": "mesh-1"}})
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.daemon_threads = True
        server.api = api  # type: ignore[attr-defined]  # the handler finds it there
        api.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield api
        api.stopped.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def serve_kinds(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets `kube_api` know more kinds of an API version, each with its plural, as when CRDs are installed."""

    def serve(root: str, **plurals: str) -> None:
        monkeypatch.setitem(KINDS, root, {kind: (plural, True) for kind, plural in plurals.items()})

    return serve


@pytest.fixture
def write_kubeconfig(tmp_path: Path) -> Callable[..., Path]:
    """Writes a kubeconfig with the one context "lab" and returns its path."""

    def write(url: str, token: str = TOKEN) -> Path:
        path = tmp_path / "kubeconfig"
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "lab",
            "clusters": [{"name": "lab", "cluster": {"server": url}}],
            "users": [{"name": "me", "user": {"token": token}}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "me"}}],
        }
        path.write_text(json.dumps(content))
        return path

    return write


@pytest.fixture
def cluster(kube_api: KubeApi, write_kubeconfig: Callable[..., Path]) -> Iterator[Cluster]:
    """A connection to `kube_api`; nothing it has asked for so far counts."""
    with Cluster.connect(write_kubeconfig(kube_api.url)) as connected:
        kube_api.requests.clear()
        yield connected
