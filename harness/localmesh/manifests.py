"""Manifest files: read, checked for shape, and put into the store."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from harness.localmesh.api.apply import LAST_APPLIED
from harness.localmesh.api.resources import NAMESPACES, RESOURCES, by_kind
from harness.localmesh.errors import MeshError, Refused
from harness.localmesh.kinds.parse import Manifest
from harness.localmesh.store import Store

_ESCAPED = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}


@dataclass(frozen=True)
class Document:
    """A manifest and where it was read: `file`, and its number in it, from 1."""

    file: Path
    number: int
    manifest: Manifest

    @property
    def place(self) -> str:
        """Where it stands, for a message."""
        return f"{self.file}, document {self.number}"


def read(paths: Iterable[Path]) -> tuple[Document, ...]:
    """Every manifest in the files; a folder stands for its *.yaml, *.yml and *.json files, a List for its items.

    Raises:
        MeshError: a file is missing or is not YAML, or a document in it is not an object of Kubernetes.
    """
    return tuple(document for path in paths for file in _files(path) for document in _documents(file))


def load(store: Store, documents: Sequence[Document]) -> None:
    """Creates every object; namespaces first, the others in the order in which they are written.

    What the mesh begins with, its settings in the ConfigMap `istio` above all, is replaced when it is given.

    Raises:
        MeshError: the mesh refuses one, with its place and the reason.
    """
    given: set[str] = set()
    for document in sorted(documents, key=lambda item: item.manifest["kind"] != NAMESPACES.kind):
        given.add(_put(store, document, given)["metadata"]["uid"])


def _put(store: Store, document: Document, given: set[str]) -> Manifest:
    manifest = document.manifest
    resource = by_kind(manifest["apiVersion"], manifest["kind"])
    if resource is None or resource.derived:
        known = ", ".join(sorted(item.kind for item in RESOURCES if not item.derived))
        raise MeshError(
            f"{document.place}: the local mesh takes no kind {manifest['kind']} of {manifest['apiVersion']}; "
            f"it takes {known}. Leave the object out, or use a cluster."
        )
    if resource.namespaced:
        metadata = {"namespace": "default", **(manifest.get("metadata") or {})}
        manifest = {**manifest, "metadata": metadata}
    wanted = {**manifest, "apiVersion": resource.api_version}
    metadata = wanted.get("metadata") or {}
    wanted = {**wanted, "metadata": _remembering(wanted, metadata)}
    there = store.find(resource, metadata.get("namespace", ""), metadata.get("name", ""))
    try:
        if there is not None and there["metadata"]["uid"] not in given:
            return store.replace(resource, wanted)
        return store.create(resource, wanted)
    except Refused as refused:
        raise MeshError(f"{document.place}: {refused.message}") from None


def _remembering(wanted: Manifest, metadata: Manifest) -> Manifest:
    """The metadata with what `kubectl apply` leaves, so that a later one takes away what the file has lost."""
    annotations = {
        key: text for key, text in (metadata.get("annotations") or {}).items() if key != LAST_APPLIED
    }
    last = {**wanted, "metadata": {**metadata, "annotations": annotations}}
    # Letter by letter as kubectl writes it, or it would call an unchanged object "configured".
    text = json.dumps(last, separators=(",", ":"), sort_keys=True, ensure_ascii=False).translate(_ESCAPED)
    return {**metadata, "annotations": {**annotations, LAST_APPLIED: f"{text}\n"}}


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        found = sorted(item for item in path.iterdir() if item.suffix in (".yaml", ".yml", ".json"))
        if not found:
            raise MeshError(
                f"{path}: the folder holds no *.yaml, *.yml or *.json file; name the file that is meant."
            )
        yield from found
    else:
        yield path


def _documents(file: Path) -> Iterator[Document]:
    try:
        contents = list(yaml.load_all(file.read_text(), _Loader))
    except OSError as error:
        raise MeshError(f"{file}: cannot be read ({error.strerror}); check the path given with -f.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise MeshError(f"{file}: is not YAML ({_yaml_fault(error)}); mend the file there.") from None
    for number, content in enumerate(contents, 1):
        if content is None:
            continue
        items = content.get("items", ()) if _is_list(content) else (content,)
        for item in items:
            document = Document(file, number, item)
            _check_shape(document)
            yield document


def _yaml_fault(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return " ".join(str(error).split())


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # C where PyYAML was built with it
    """YAML as Kubernetes reads it: dates stay text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}


def _is_list(content: object) -> bool:
    return isinstance(content, dict) and content.get("kind") == "List"


def _check_shape(document: Document) -> None:
    manifest = document.manifest
    if not isinstance(manifest, dict):
        raise MeshError(f"{document.place}: is not an object of Kubernetes, but {type(manifest).__name__}.")
    for field in ("apiVersion", "kind"):
        if not isinstance(manifest.get(field), str):
            raise MeshError(
                f"{document.place}: {field} is missing; every object of Kubernetes says its {field}."
            )
    if not isinstance(manifest.get("metadata") or {}, dict):
        raise MeshError(f"{document.place}: metadata is not an object.")
