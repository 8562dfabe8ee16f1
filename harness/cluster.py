"""A cluster behind its Kubernetes API, through the official client.

Any kind of object goes the same way: its path comes from the discovery document of its API version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

import tenacity

from harness.changes import Manifest, Ref, owner_of, ref_of
from harness.discovery import Discovery, UnknownKindError
from harness.errors import HarnessError
from harness.scene import Pod
from harness.wire import PATIENCE, Answer, UnansweredError, Wire

_CLOSED_BY_PEER = ("EOF", "connection reset by peer", "broken pipe")


class Plaintext(Enum):
    """What became of a plaintext connection to a pod."""

    ANSWERED = "answered"
    """Something behind the port spoke HTTP."""

    FORBIDDEN = "forbidden"
    """Something behind the port spoke HTTP, and said that this caller may not (401, 403)."""

    REFUSED = "refused"
    """The connection was accepted and closed without an answer: what a sidecar does under STRICT mTLS."""

    UNREACHABLE = "unreachable"
    """There was no connection, or no answer in time; says nothing about the policy."""


class MissingError(HarnessError):
    """There is no such object."""


class ExistsError(HarnessError):
    """There is such an object already, created by somebody else."""


class _ConflictError(HarnessError):
    """Somebody else wrote the object since it was read."""


class Cluster:
    """A cluster; every call is bounded in time and raises HarnessError, never an error of the client.

    Requests that the server could not serve (429, 503, 500 with the reasons that mean "again", broken connections)
    are sent again for some seconds. Close it, or use it in a `with` statement.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._discovery = Discovery(wire)
        self._identity = ""
        self._opened: tuple[Path | None, str | None] = (None, None)

    @classmethod
    def connect(
        cls,
        kubeconfig: Path | None = None,
        context: str | None = None,
        *,
        timeout: float = 10.0,
        patience: float = 1.0,
    ) -> Cluster:
        """The cluster of a kubeconfig (default: KUBECONFIG, then ~/.kube/config), once it has answered.

        Args:
            kubeconfig: the file.
            context: the name of a context in it; default is its current one.
            timeout: for each request, in seconds.
            patience: for how long, in seconds, an API server that is away is asked again; a person waits for this,
                and a wrong address is the most likely error.

        Raises:
            HarnessError: the file, the context, the server or the permission to use it is missing; says which.
        """
        cluster = cls(Wire(kubeconfig, context, timeout))
        try:
            cluster._identity = cluster._read_identity(patience)
            cluster._opened = (kubeconfig, context)
        except BaseException:
            cluster.close()
            raise
        return cluster

    @property
    def identity(self) -> str:
        """The UID of the namespace kube-system: the name of a mesh in the ledger."""
        return self._identity

    @property
    def opened(self) -> tuple[Path | None, str | None]:
        """The kubeconfig and the context with which another process can connect to the same cluster."""
        return self._opened

    @property
    def context(self) -> str:
        """The name of the context in use."""
        return self._wire.context

    @property
    def host(self) -> str:
        """The address of the API server."""
        return self._wire.host

    def get(self, ref: Ref) -> Manifest | None:
        """The object, or None when there is none."""
        answer = self._wire.call("GET", self._path_of(ref))
        return None if answer.code == 404 else self._wire.content(answer, f"read {ref}")

    def list(
        self, api_version: str, kind: str, namespace: str = "", selector: Mapping[str, str] | None = None
    ) -> tuple[Manifest, ...]:
        """The objects of a kind in a namespace ("" for all) that carry the labels `selector`."""
        query = {"labelSelector": ",".join(f"{name}={value}" for name, value in (selector or {}).items())}
        answer = self._wire.call("GET", self._discovery.path(api_version, kind, namespace), query=query)
        listed = self._wire.content(answer, f"list {kind} in namespace {namespace or '(all)'}")
        return tuple({"apiVersion": api_version, "kind": kind, **item} for item in listed.get("items") or ())

    def create(self, manifest: Manifest) -> Manifest:
        """Creates an object and returns it as the server keeps it.

        Raises:
            ExistsError: there is such an object, and no try of this call created it.
            HarnessError: the server does not admit it.
        """
        ref = ref_of(manifest)
        answer = self._wire.call(
            "POST", self._discovery.path(ref.api_version, ref.kind, ref.namespace), body=manifest
        )
        if answer.code == 409 and answer.again:
            # the try before, whose answer was lost, may have created it
            found = self.get(ref)
            if found is not None and owner_of(found) == owner_of(manifest) != "":
                return found
        if answer.code == 409:
            raise ExistsError(self._wire.refusal(answer, f"create {ref}"))
        return self._wire.content(answer, f"create {ref}")

    def patch(
        self,
        ref: Ref,
        edit: Callable[[Manifest], Manifest],
        known: Manifest | None = None,
        *,
        subresource: str = "",
    ) -> Manifest:
        """Reads, edits and writes an object, and starts again when somebody else wrote it meanwhile.

        `edit` may be called several times, each time with the newest object; when it changes nothing, nothing is
        written. An object that was read a moment ago may be given as `known`, which saves a request. It is written
        through `subresource` if one is named. Returns the object as the server keeps it.

        Raises:
            MissingError: there is no such object.
            HarnessError: the server does not admit the new one, or others write it so
                often that no write of ours gets through.
        """
        retrying = tenacity.Retrying(
            stop=tenacity.stop_before_delay(PATIENCE),
            wait=tenacity.wait_random(0, 0.05),
            retry=tenacity.retry_if_exception_type(_ConflictError),
            reraise=True,
        )
        first = [known] if known is not None else []
        path = f"{self._path_of(ref)}/{subresource}".rstrip("/")
        written: Manifest = retrying(
            lambda: self._edit_once(ref, path, edit, first.pop() if first else self.get(ref))
        )
        return written

    def delete(
        self,
        ref: Ref,
        grace_seconds: int | None = None,
        *,
        uid: str | None = None,
        version: str | None = None,
    ) -> bool:
        """Deletes an object.

        Args:
            ref: the object.
            grace_seconds: what a pod is given to end; None for what the object itself says.
            uid: delete it only if it has this UID, not one that took its name meanwhile.
            version: delete it only if it has this resourceVersion, not if anybody wrote it meanwhile.

        Returns:
            False when it was not there, or was another.
        """
        options: Manifest = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        conditions = {"uid": uid, "resourceVersion": version}
        if given := {name: value for name, value in conditions.items() if value is not None}:
            options["preconditions"] = given
        answer = self._wire.call("DELETE", self._path_of(ref), body=options)
        if answer.code == 404 or (answer.code == 409 and self._is_another(ref, given)):
            return answer.again
        self._wire.content(answer, f"delete {ref}")
        return True

    def evict(self, ref: Ref, *, uid: str) -> str:
        """Deletes a pod unless its PodDisruptionBudget does not allow that now; asks once.

        Args:
            ref: the pod.
            uid: evict it only if it has this UID.

        Returns:
            Why a budget refused, in the server's words, which name it; "" when the pod is about to go.

        Raises:
            HarnessError: the eviction failed for another reason.
        """
        where = {"name": ref.name, "namespace": ref.namespace}
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": where}
        body = {**eviction, "deleteOptions": {"preconditions": {"uid": uid}}}
        answer = self._wire.call(
            "POST", f"{self._path_of(ref)}/eviction", body=body, final=lambda answer: bool(_budget(answer))
        )
        if why := _budget(answer):
            return why
        if answer.again and answer.code in (404, 409):  # the try before, whose answer was lost, has done it
            return ""
        self._wire.content(answer, f"evict {ref}")
        return ""

    def serves(self, api_version: str, resource: str) -> bool:
        """Whether the server has a resource, in the plural, with its subresource: `pods/ephemeralcontainers`."""
        return resource in self._discovery.resources(api_version)

    def pods(self, namespace: str, selector: Mapping[str, str]) -> tuple[Pod, ...]:
        """The pods that carry the labels `selector`, sorted by name."""
        pods = (Pod.of(manifest) for manifest in self.list("v1", "Pod", namespace, selector))
        return tuple(sorted(pods, key=lambda pod: pod.name))

    def allows(self, verb: str, group: str, resource: str, namespace: str, name: str = "") -> bool:
        """Whether the credentials in use have a right (a SelfSubjectAccessReview; nothing is stored).

        Args:
            verb: as RBAC words it.
            group: of the API, "" for the core.
            resource: in the plural, with its subresource: `pods/proxy`.
            namespace: where, "" for what lies in none.
            name: of the one object, "" for any.
        """
        main, _, sub = resource.partition("/")
        asked = {
            "verb": verb,
            "group": group,
            "resource": main,
            "subresource": sub,
            "namespace": namespace,
            "name": name,
        }
        attributes = {field: value for field, value in asked.items() if value}
        review: Manifest = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        answer = self._wire.call(
            "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body=review
        )
        content = self._wire.content(answer, "say what these credentials may do")
        return bool((content.get("status") or {}).get("allowed"))

    def plaintext(self, pod: Pod, port: int) -> Plaintext:
        """Asks the API server to open a plain HTTP connection to a port of the pod, once.

        The API server connects to the pod's own address without TLS, as a program outside the mesh would, and
        reports how that went (GET /api/v1/namespaces/{namespace}/pods/{name}:{port}/proxy/).

        Raises:
            HarnessError: the API server does not answer, or does not let us ask (`get` on `pods/proxy`).
        """
        path = f"/api/v1/namespaces/{quote(pod.namespace)}/pods/{quote(pod.name)}:{port}/proxy/"
        try:
            answer = self._wire.send("GET", path)
        except UnansweredError:
            return Plaintext.UNREACHABLE
        status = answer.status()
        if not status:
            return Plaintext.FORBIDDEN if answer.code in (401, 403) else Plaintext.ANSWERED
        if answer.code in (401, 403):
            raise HarnessError(self._wire.refusal(answer, f"connect to {pod.ref} (get on pods/proxy)"))
        cause = str(status.get("message", ""))
        closed = cause.removesuffix("\n").endswith(_CLOSED_BY_PEER) and "dial tcp" not in cause
        return Plaintext.REFUSED if answer.code == 503 and closed else Plaintext.UNREACHABLE

    def asked(self, pod: Pod, port: int, path: str) -> str:
        """What a port of the pod answers to GET `path`, through the API server (`get` on `pods/proxy`).

        Raises:
            HarnessError: the API server or the pod does not answer, or refuses.
        """
        where = f"/api/v1/namespaces/{quote(pod.namespace)}/pods/{quote(pod.name)}:{port}/proxy/{path}"
        answer = self._wire.call("GET", where, patience=1.0)
        if answer.code != 200:
            raise HarnessError(
                self._wire.refusal(answer, f"ask port {port} of {pod.ref} (get on pods/proxy)")
            )
        return answer.text

    def knows(self, api_version: str, kind: str) -> bool:
        """Whether the server has such a kind, as discovery says."""
        try:
            self._discovery.path(api_version, kind, "")
        except UnknownKindError:
            return False
        return True

    def close(self) -> None:
        """Closes the connections."""
        self._wire.close()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read_identity(self, patience: float) -> str:
        answer = self._wire.call("GET", "/api/v1/namespaces/kube-system", patience=patience)
        return str(self._wire.content(answer, "read Namespace kube-system")["metadata"]["uid"])

    def _edit_once(
        self, ref: Ref, path: str, edit: Callable[[Manifest], Manifest], current: Manifest | None
    ) -> Manifest:
        if current is None:
            raise MissingError(f"There is no {ref} in the cluster at {self.host}; check its name.")
        edited = edit(current)
        if edited == current:
            return current
        # the resourceVersion in it makes the server refuse the write if the object is another by now
        answer = self._wire.call("PUT", path, body=edited)
        if answer.code in (404, 409):
            raise _ConflictError(
                f"{ref} is written by others all the time, so no change of ours gets through; try again later."
            )
        return self._wire.content(answer, f"change {ref}")

    def _is_another(self, ref: Ref, wanted: Mapping[str, str]) -> bool:
        """Whether an object is not the one wanted; a conflict alone may have another reason."""
        current = self.get(ref)
        return current is None or any(current["metadata"].get(name) != it for name, it in wanted.items())

    def _path_of(self, ref: Ref) -> str:
        return f"{self._discovery.path(ref.api_version, ref.kind, ref.namespace)}/{quote(ref.name)}"


def _budget(answer: Answer) -> str:
    """What a PodDisruptionBudget says against an eviction (kubernetes `registry/core/pod/storage/eviction.go`)."""
    if answer.code != 429:
        return ""
    causes = (answer.status().get("details") or {}).get("causes") or ()
    said = [str(cause.get("message", "")) for cause in causes if cause.get("reason") == "DisruptionBudget"]
    # one that is still being processed may allow it in a moment, and the server says after how many seconds
    return "" if any("still being processed" in text for text in said) else "; ".join(said)
