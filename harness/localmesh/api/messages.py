"""A request and what answers it, without sockets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
import yaml

from harness.localmesh.api.status import bad_request, unsupported_media
from harness.localmesh.kinds.parse import Manifest

JSON = "application/json"
_YAML = ("application/yaml", "application/x-yaml", "text/yaml")
_TABLE = "as=Table"
# kubectl's `create NOUN` commands speak protobuf; everything else it has speaks JSON.
_INSTEAD = "with kubectl, `kubectl create ... --dry-run=client -o yaml | kubectl apply -f -` works"


@dataclass(frozen=True)
class Request:
    """One request; `headers` are found in any case; `path` and `query_text` are as sent."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Message[str, str]
    body: bytes = b""
    query_text: str = ""

    @property
    def media_type(self) -> str:
        """The type of the body without parameters."""
        return str(self.headers.get("Content-Type") or "").partition(";")[0].strip().lower()

    @property
    def wants_table(self) -> bool:
        """Whether the client prefers a Table, as kubectl's `get` does."""
        for choice in _choices(self.headers):
            if choice[0] == JSON and (_TABLE in choice or len(choice) == 1):
                return _TABLE in choice and "v=v1" in choice
        return False

    @property
    def acceptable(self) -> bool:
        """Whether the client takes JSON."""
        choices = _choices(self.headers)
        kinds = {choice[0] for choice in choices if _TABLE in choice or not _converted(choice)}
        return not choices or bool(kinds & {JSON, "*/*", "application/*"})


@dataclass(frozen=True)
class Response:
    """One complete answer."""

    code: int
    body: bytes
    media_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Stream:
    """An answer in frames that ends when the iterator does; an empty frame is a pause in which nothing is sent."""

    frames: Iterator[bytes]
    media_type: str = JSON


def request(method: str, target: str, headers: Message[str, str], body: bytes) -> Request:
    """The request for `target` as it stood in the request line."""
    url = urlsplit(target)
    query = dict(parse_qsl(url.query, keep_blank_values=True))
    return Request(method, url.path, query, headers, body, url.query)


def response(value: Any, code: int = 200) -> Response:
    """`value` as JSON."""
    return Response(code, msgspec.json.encode(value) + b"\n")


def decode(body: bytes, media_type: str) -> Any:
    """The body as plain data; without a media type it is taken for JSON.

    Raises:
        Refused: 400 when it cannot be parsed, 415 when it is neither JSON nor YAML.
    """
    try:
        if media_type in _YAML or media_type.endswith("+yaml"):
            return yaml.load(body, Loader=_LOADER)  # noqa: S506 - a SafeLoader, in C where there is one
        if media_type in ("", JSON) or media_type.endswith("+json"):
            return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise bad_request(f"the body is not valid JSON: {error}") from None
    except yaml.YAMLError as error:
        raise bad_request(f"the body is not valid YAML: {' '.join(str(error).split())}") from None
    raise unsupported_media((JSON, _YAML[0]), _INSTEAD)


def decode_object(body: bytes, media_type: str) -> Manifest:
    """The body as a manifest: an object with `metadata` that is one too.

    Raises:
        Refused: as `decode` does, and 400 when it is something else.
    """
    manifest = decode(body, media_type)
    if not isinstance(manifest, dict):
        raise bad_request("the body is not a Kubernetes object")
    if not isinstance(manifest.setdefault("metadata", {}), dict):
        raise bad_request("metadata: not an object")
    return manifest


def _choices(headers: Message[str, str]) -> list[list[str]]:
    accept = str(headers.get("Accept") or "")
    return [[part.strip() for part in choice.split(";")] for choice in accept.split(",") if choice.strip()]


def _converted(choice: list[str]) -> bool:
    return any(part.startswith("as=") for part in choice)


_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
