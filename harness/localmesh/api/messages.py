"""A request and what answers it, without sockets."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from email.message import Message
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
import yaml

from harness.localmesh.api import protobuf
from harness.localmesh.api.status import bad_request, failure, unsupported_media
from harness.localmesh.errors import Refused
from harness.localmesh.kinds.parse import Manifest

JSON = "application/json"
_YAML = ("application/yaml", "application/x-yaml", "text/yaml")
_TABLE = "as=Table"
PROTOBUF = protobuf.MEDIA_TYPE
_DEEPEST = 100
_MOST_VALUES = 1_000_000
_TOO_DEEP = f"the body is nested deeper than {_DEEPEST} levels"


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


def refusal(refused: Refused) -> Response:
    """The `Status` that a client gets whose request was refused."""
    again = (("Retry-After", str(refused.retry_after)),) if refused.retry_after else ()
    return replace(response(failure(refused), refused.code), headers=again)


def decode(body: bytes, media_type: str) -> Any:
    """The body as plain data; without a media type it is taken for JSON.

    Raises:
        Refused: 400 when it cannot be parsed, is nested too deep or too large when written out, 415 when it is
            none of JSON, YAML and Kubernetes' protobuf.
    """
    try:
        if media_type in _YAML or media_type.endswith("+yaml"):
            return plain(yaml.load(body, Loader=_Loader))  # noqa: S506 - a SafeLoader, in C where there is one
        if media_type in ("", JSON) or media_type.endswith("+json"):
            return plain(msgspec.json.decode(body))
        if media_type == PROTOBUF:
            return plain(protobuf.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise bad_request(f"the body is not valid JSON: {error}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise bad_request(f"the body is not valid: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise bad_request(_TOO_DEEP) from None
    raise unsupported_media((JSON, _YAML[0], PROTOBUF), "with kubectl, `kubectl apply -f` works")


def decode_object(body: bytes, media_type: str) -> Manifest:
    """The body as a manifest: an object with `metadata` that is one too, and text where names are.

    Raises:
        Refused: as `decode` does, and 400 when it is something else.
    """
    manifest = decode(body, media_type)
    if not isinstance(manifest, dict):
        raise bad_request("the body is not a Kubernetes object")
    if manifest.get("metadata") is None:
        manifest["metadata"] = {}
    check_metadata(manifest["metadata"])
    return manifest


def check_metadata(metadata: Any) -> None:
    """Let `metadata` pass when it is an object whose names are text, so that the object can be found by them.

    Raises:
        Refused: 400 with the field at fault.
    """
    if not isinstance(metadata, dict):
        raise bad_request("metadata: not an object")
    for name in ("name", "generateName", "namespace", "uid", "resourceVersion"):
        if not isinstance(metadata.get(name) or "", str):
            raise bad_request(f"metadata.{name}: expected text, got {metadata[name]!r}")
    if not isinstance(metadata.get("managedFields") or [], list):
        raise bad_request("metadata.managedFields: not a list")


def plain(value: Any, depth: int = 0, budget: list[int] | None = None) -> Any:
    """`value` as JSON could have it: keys and dates of YAML become text, aliases are written out.

    Raises:
        Refused: 400 when it is nested too deep, or holds more values than any body could without aliases.
    """
    budget = [_MOST_VALUES] if budget is None else budget
    budget[0] -= 1
    if depth > _DEEPEST or budget[0] < 0:
        raise bad_request(
            _TOO_DEEP if depth > _DEEPEST else "the body is too large when its aliases are written out"
        )
    if isinstance(value, dict):
        return {_key(key): plain(item, depth + 1, budget) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item, depth + 1, budget) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise bad_request(f"the body holds {value}, which is no number in JSON")
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**63:
        raise bad_request(f"the body holds a number with more than 64 bits: {str(value)[:20]}...")
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise bad_request(f"the body holds a {type(value).__name__}, which JSON does not have")


def _key(key: Any) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, str | int | float):
        return str(key)
    raise bad_request(f"the body has {key!r} as the name of a field")


def _choices(headers: Message[str, str]) -> list[list[str]]:
    accept = str(headers.get("Accept") or "")
    return [[part.strip() for part in choice.split(";")] for choice in accept.split(",") if choice.strip()]


def _converted(choice: list[str]) -> bool:
    return any(part.startswith("as=") for part in choice)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # C where PyYAML was built with it
    """YAML as Kubernetes reads it: dates stay text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}
