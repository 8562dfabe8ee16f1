"""Names, labels and annotations as Kubernetes validates them (RFC 1123 and 1035)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from harness.localmesh.api.resources import Resource
from harness.localmesh.kinds.parse import Manifest, invalid

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and "
    "end with an alphanumeric character"
)
_LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_LABEL_1035_RULE = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
    "character, and end with an alphanumeric character"
)
_SUBDOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character"
)
_QUALIFIED = re.compile(
    r"((?=[^/]{1,253}/)[a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_LABEL_VALUE_RULE = (
    "a valid label must be an empty string or consist of at most 63 alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character"
)
_NAME_RULES = {"namespaces": (LABEL, LABEL_RULE), "services": (_LABEL_1035, _LABEL_1035_RULE)}
_LARGEST_ANNOTATIONS = 256 * 1024


def check(resource: Resource, manifest: Manifest) -> None:
    """Let `manifest` pass when its name, labels, annotations and finalizers are well-formed.

    Raises:
        Refused: 422 with the field at fault.
    """
    metadata = manifest["metadata"]
    name = metadata.get("name", "")
    if not name:
        raise invalid(manifest, "metadata.name", "Required value: name or generateName is required")
    pattern, rule = _NAME_RULES.get(resource.plural, (_SUBDOMAIN, _SUBDOMAIN_RULE))
    if not pattern.fullmatch(name):
        raise invalid(manifest, "metadata.name", f'Invalid value: "{name}": {rule}')
    check_labels(manifest, metadata.get("labels") or {}, "metadata.labels")
    check_annotations(manifest, metadata.get("annotations") or {}, "metadata.annotations")
    for finalizer in metadata.get("finalizers") or ():
        if not _QUALIFIED.fullmatch(finalizer):
            raise invalid(
                manifest, "metadata.finalizers", f'Invalid value: "{finalizer}": not a qualified name'
            )


def check_finalizers(new: Manifest, old: Manifest | None) -> None:
    """Let `new` follow `old`, unless that is being deleted and `new` would hold it back longer.

    Raises:
        Refused: 422 naming the finalizers.
    """
    if old is None or "deletionTimestamp" not in old["metadata"]:
        return
    added = set(new["metadata"].get("finalizers") or ()) - set(old["metadata"].get("finalizers") or ())
    if added:
        why = f"Forbidden: no new finalizers can be added if the object is being deleted, found: {sorted(added)}"
        raise invalid(new, "metadata.finalizers", why)


def check_labels(manifest: Manifest, found: dict[str, str], field: str) -> None:
    """Let `found` pass when every key and value of it may be a label's.

    Raises:
        Refused: 422 naming `field`.
    """
    for key, value in found.items():
        if not _QUALIFIED.fullmatch(key):
            raise invalid(manifest, field, f'Invalid value: "{key}": not a qualified name')
        if not _LABEL_VALUE.fullmatch(value):
            raise invalid(manifest, field, f'Invalid value: "{value}": {_LABEL_VALUE_RULE}')


def check_annotations(manifest: Manifest, found: dict[str, str], field: str) -> None:
    """Let `found` pass when every key of it may be an annotation's and all of it has at most 256 KiB.

    Raises:
        Refused: 422 naming `field`.
    """
    for key in found:
        if not _QUALIFIED.fullmatch(key.lower()):
            raise invalid(manifest, field, f'Invalid value: "{key}": not a qualified name')
    if _size(found.items()) > _LARGEST_ANNOTATIONS:
        raise invalid(manifest, field, f"Too long: may not be more than {_LARGEST_ANNOTATIONS} bytes")


def _size(pairs: Iterable[tuple[str, str]]) -> int:
    return sum(len(key.encode()) + len(value.encode()) for key, value in pairs)
