"""What can go wrong in the local mesh, as one sentence with the cause, the place and what to do next.

::

    MeshError          shown to the person who ran the command; exit code 2
    Refused            answered to a client of the API as a Kubernetes Status
"""

from __future__ import annotations


class MeshError(Exception):
    """The mesh cannot be brought up, reached or taken down; the message is one sentence for a person."""


class Refused(Exception):
    """A request that the API answers with a `Status` other than success.

    Attributes:
        code: the HTTP status, as Kubernetes gives it (400, 404, 409, 410, 422, ...).
        reason: the machine-readable reason of the Status (`Invalid`, `NotFound`, `AlreadyExists`, `Conflict`, ...).
        message: one sentence that names the object and, where there is one, the field.
        field: the path of the field at fault (`spec.http[0].retries.attempts`), or "".
        causes: what is told in detail, each by reason, message and field; by default the field at fault.
        retry_after: seconds after which to ask again, 0 when there is no point in that.
    """

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        field: str = "",
        *,
        causes: tuple[tuple[str, str, str], ...] = (),
        retry_after: int = 0,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.field = field
        self.causes = causes
        self.retry_after = retry_after
