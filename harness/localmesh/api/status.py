"""Answers of kind `Status`, and the refusals behind them, worded as Kubernetes words them.

Wording and codes: apimachinery's `pkg/api/errors`.
"""

from __future__ import annotations

import re

from harness.localmesh.api.resources import Resource
from harness.localmesh.errors import Refused
from harness.localmesh.kinds.parse import Manifest

_SUBJECT = re.compile(r'(?:Operation cannot be fulfilled on )?(?P<kind>[A-Za-z0-9.]+) "(?P<name>[^"]*)"[: ]')


def bad_request(message: str) -> Refused:
    """400: the request itself is malformed or asks for something that is not served."""
    return Refused(400, "BadRequest", message)


def forbidden(resource: Resource, name: str, why: str) -> Refused:
    """403: the object may not be written, because of `why`."""
    which = f' "{name}"' if name else ""  # an object that is yet to be made may have none in the path
    return Refused(403, "Forbidden", f"{resource.qualified}{which} is forbidden: {why}")


def not_found(resource: Resource, name: str) -> Refused:
    """404: there is no such object."""
    return Refused(404, "NotFound", f'{resource.qualified} "{name}" not found')


def no_such_path() -> Refused:
    """404: there is no such path, hence no such kind."""
    return Refused(404, "NotFound", "the server could not find the requested resource")


def no_such_method() -> Refused:
    """405: the path exists, and takes other methods."""
    return Refused(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")


def already_exists(resource: Resource, name: str) -> Refused:
    """409: the object exists."""
    return Refused(409, "AlreadyExists", f'{resource.qualified} "{name}" already exists')


def conflict(resource: Resource, name: str, why: str = "") -> Refused:
    """409: the writer has not seen the newest object."""
    why = why or (
        "the object has been modified; please apply your changes to the latest version and try again"
    )
    return Refused(409, "Conflict", f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}')


def too_new(asked: int, newest: int) -> Refused:
    """504: that revision has not been reached yet."""
    why = f"Too large resource version: {asked}, current: {newest}"
    causes = (("ResourceVersionTooLarge", "Too large resource version", ""),)
    return Refused(504, "Timeout", why, causes=causes, retry_after=1)


def expired(asked: int, oldest: int) -> Refused:
    """410: the changes asked for are no longer, or not yet, in the history; list again."""
    return Refused(410, "Expired", f"too old resource version: {asked} ({oldest})")


def unsupported_media(accepted: tuple[str, ...], advice: str) -> Refused:
    """415: the body's media type is not one of `accepted`; `advice` says what to do instead."""
    types = ", ".join(accepted)
    why = "the body of the request was in an unknown format - accepted media types include"
    return Refused(415, "UnsupportedMediaType", f"{why}: {types} ({advice})")


def failure(refused: Refused) -> Manifest:
    """The `Status` that tells a client of `refused`; its details are the object and the field the message names."""
    details: Manifest = {}
    if subject := _SUBJECT.match(refused.message):
        kind, _, group = subject["kind"].partition(".")
        details = {"name": subject["name"], "group": group, "kind": kind}
    causes = refused.causes
    if refused.field and not causes:
        # kubectl prints the object's name and the field itself.
        message = refused.message.rpartition(f"{refused.field}: ")[2]
        causes = (("FieldValueInvalid", message, refused.field),)
    details["causes"] = [
        {"reason": reason, "message": message, **({"field": field} if field else {})}
        for reason, message, field in causes
    ]
    details["retryAfterSeconds"] = refused.retry_after
    return {
        **_status("Failure"),
        "message": refused.message,
        "reason": refused.reason,
        "details": {key: value for key, value in details.items() if value},
        "code": refused.code,
    }


def success(resource: Resource, name: str, uid: str) -> Manifest:
    """The `Status` of a completed deletion."""
    details = {"name": name, "group": resource.group, "kind": resource.plural, "uid": uid}
    return {**_status("Success"), "details": {key: value for key, value in details.items() if value}}


def _status(outcome: str) -> Manifest:
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": outcome}
