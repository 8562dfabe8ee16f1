"""Requests to a Kubernetes API through the official client: bounded in time, retried, and with errors for people.

Only `harness.cluster` uses this. Every request has a timeout; transient refusals are tried again until a deadline.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import tenacity
import urllib3
import yaml
from kubernetes import config
from kubernetes.client import ApiException, Configuration

from harness.errors import HarnessError

PATIENCE: Final = 5.0
"""For how long, in seconds, a request is tried again."""


class TransientError(HarnessError):
    """A request that may go well if it is sent again."""


class RefusedError(HarnessError):
    """The server does not admit the object (400 from an admission webhook or 422 from its own validation)."""


class UnansweredError(TransientError):
    """No answer in time."""


@dataclass(frozen=True)
class Answer:
    """What the API server answered: the HTTP status and the body; `again` when an earlier try got no answer."""

    code: int
    text: str
    again: bool = False

    def json(self) -> Any:
        """The body as JSON; None when it is something else."""
        try:
            return json.loads(self.text)
        except ValueError:
            return None

    def status(self) -> dict[str, Any]:
        """The `Status` by which the API server itself, not a pod behind it, refused; {} when it is none."""
        body = self.json()
        return body if isinstance(body, dict) and body.get("kind") == "Status" else {}

    def is_transient(self) -> bool:
        """Whether Kubernetes says that the request was not served and may be sent again."""
        if self.code == 500:
            return self.status().get("reason") in ("InternalError", "ServerTimeout")
        return self.code in (429, 503)


class Wire:
    """A connection to the API server of one context of a kubeconfig (its current one if that is None).

    When the credentials are not accepted any more, the kubeconfig is read again: it may hold a new token by then,
    or the command that it names gives one. Nothing is sent before the first call.

    Raises:
        HarnessError: there is no such file or context, or it cannot be used. No message quotes the content of
            the file, which may be a secret.
    """

    def __init__(self, kubeconfig: Path | None, context: str | None, timeout: float) -> None:
        self._files = str(kubeconfig or os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config")
        self._context = context
        self._where = (
            f"context {context!r} of {self._files}" if context else f"the current context of {self._files}"
        )
        self._timeout = timeout
        self._client = self._open()
        self.context = _check(self._files, context)
        self.host: str = self._client.configuration.host

    def _open(self) -> Any:
        """A client with what the kubeconfig says now."""
        _check(self._files, self._context)
        settings = Configuration()
        settings.retries = False  # ours know what may be sent again, and when to give up
        # as kubectl does: a proxy of the environment cannot reach a server on this machine
        settings.no_proxy = ",".join(filter(None, [settings.no_proxy, "127.0.0.0/8", "::1", "localhost"]))
        try:
            client = config.new_client_from_config(  # type: ignore[no-untyped-call]  # the client has no types here
                self._files, self._context, False, settings
            )
            if not client.configuration.host.startswith(("https://", "http://")):
                raise ValueError("no server")
        except (config.ConfigException, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise HarnessError(
                f"The cluster of {self._where} cannot be used ({type(error).__name__}): its server, certificates or "
                f"credentials are missing or broken; try `kubectl --kubeconfig {self._files} version`."
            ) from None
        return client

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        patience: float = PATIENCE,
        final: Callable[[Answer], bool] = lambda _: False,
    ) -> Answer:
        """The answer to a request, which is sent again for `patience` seconds while the refusal is a transient one.

        An answer that `final` knows to be the last word is given as it is.

        Raises:
            HarnessError: the server cannot be reached or trusted, or goes on refusing for a transient reason.
        """
        retrying = tenacity.Retrying(
            stop=tenacity.stop_before_delay(patience),
            wait=tenacity.wait_random_exponential(multiplier=0.1, max=1.0),
            retry=tenacity.retry_if_exception_type(TransientError),
            reraise=True,
        )
        for attempt in retrying:
            with attempt:
                answer = self.send(method, path, query=query, body=body)
                if answer.code == 401 and self._renewed():
                    answer = self.send(method, path, query=query, body=body)
                if answer.is_transient() and not final(answer):
                    raise TransientError(self.refusal(answer, f"{method} {path}"))
        return Answer(answer.code, answer.text, attempt.retry_state.attempt_number > 1)

    def send(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Any = None
    ) -> Answer:
        """The answer to a request that is sent once.

        Raises:
            UnansweredError: no answer within the timeout.
            TransientError: the connection could not be made or broke.
            HarnessError: the server's certificate is not trusted.
        """
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        request = self._client.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            response = self._client.call_api(*request, _request_timeout=self._timeout)
            return Answer(response.status, response.read().decode(errors="replace"))
        except (urllib3.exceptions.ReadTimeoutError, urllib3.exceptions.ConnectTimeoutError) as error:
            if isinstance(error, urllib3.exceptions.NewConnectionError):  # a kind of timeout to urllib3 only
                raise self._unreachable(error) from None
            raise UnansweredError(
                f"The cluster at {self.host} did not answer within {self._timeout:g} s; "
                "check that it is up and reachable."
            ) from None
        except urllib3.exceptions.HTTPError as error:
            raise self._unreachable(error) from None
        except ApiException:  # what the client makes of an error of TLS
            raise HarnessError(
                f"The certificate of the cluster at {self.host} is not trusted; "
                f"check the certificate-authority in {self._where}."
            ) from None

    def _renewed(self) -> bool:
        """Whether the kubeconfig gave a new connection to the same server."""
        try:
            fresh = self._open()
        except HarnessError:  # whoever renews it may be writing it
            return False
        if fresh.configuration.host != self.host:
            fresh.close()
            return False
        self._client.close()
        self._client = fresh
        return True

    def content(self, answer: Answer, doing: str) -> dict[str, Any]:
        """The object in an answer; HarnessError, naming what was being done, when it is a refusal."""
        body = answer.json()
        if 200 <= answer.code < 300 and isinstance(body, dict):
            return body
        kind = RefusedError if answer.code in (400, 422) and answer.status() else HarnessError
        raise kind(self.refusal(answer, doing))

    def refusal(self, answer: Answer, doing: str) -> str:
        """A refusal in one sentence."""
        status = answer.status()
        named = " ".join(filter(None, (str(answer.code), status.get("reason"))))
        reason = f"{status.get('message') or 'no reason given'} ({named})"
        if answer.code == 401:
            return f"The cluster at {self.host} does not accept the credentials of {self._where}; renew them."
        if answer.code == 403:
            return f"The credentials of {self._where} may not {doing}: {reason}; ask for a role that may."
        if answer.is_transient():
            return f"The cluster at {self.host} could not {doing}: {reason}; try again when it is less busy."
        if not status:
            return (
                f"What answers at {self.host} is no Kubernetes API (HTTP {answer.code}); "
                f"check the server in {self._where}."
            )
        return f"The cluster at {self.host} refused to {doing}: {reason}; correct the object or the request."

    def _unreachable(self, error: Exception) -> TransientError:
        return TransientError(
            f"The cluster at {self.host} cannot be reached ({_cause(error)}); "
            f"check that it is up and that the server in {self._where} is right."
        )


def _check(files: str, context: str | None) -> str:
    """The context in use; looks for what people get wrong, since the client's own messages may quote a token."""
    present = [Path(name).expanduser() for name in files.split(os.pathsep) if name]
    present = [path for path in present if path.exists()]
    if not present:
        raise HarnessError(f"There is no kubeconfig {files}; name one with --kubeconfig or in KUBECONFIG.")
    known: list[str] = []
    current = None
    for path in present:
        try:
            content = yaml.safe_load(path.read_text()) or {}
            known += [entry["name"] for entry in content.get("contexts") or ()]
            current = current or content.get("current-context")
        except (OSError, ValueError, yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
            raise HarnessError(
                f"The kubeconfig {path} cannot be read ({type(error).__name__}); compare it with `kubectl config view`."
            ) from None
    if (context or current) not in known:
        names = ", ".join(map(str, known)) or "none"
        wanted = f"no context {context or current!r}" if context or current else "no current context"
        raise HarnessError(f"The kubeconfig {files} has {wanted}; choose one of: {names}.")
    return str(context or current)


def _cause(error: BaseException) -> str:
    """What the system said about an error of a connection, short; else what kind of error it is."""
    kind = type(error).__name__
    said = ""
    link: BaseException | None = error
    # The chain can go on to what somebody above us was handling; the error of the system is the one that counts.
    while link is not None:
        if isinstance(link, OSError) and link.strerror:
            said = link.strerror
        link = link.__cause__ or link.__context__
    return said or kind
