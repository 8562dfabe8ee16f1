"""What Istio's webhook holds against the CORS policy of a route (`validateCORSPolicy`)."""

from __future__ import annotations

from collections.abc import Iterator

from harness.localmesh.kinds.istio.rules.common import is_header
from harness.localmesh.kinds.istio.rules.httpmatch import string_problems
from harness.localmesh.kinds.istio.values import Problem
from harness.localmesh.kinds.istio.virtualservice import CorsPolicy

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*")


def problems(policy: CorsPolicy) -> Iterator[Problem]:
    """The fields of `policy` that Istio would not take."""
    for index, origin in enumerate(policy.allow_origins):
        if not (origin.exact or origin.prefix or origin.regex):
            yield f"allowOrigins[{index}]", "one of exact, prefix and regex must be given and not be empty"
        yield from string_problems(f"allowOrigins[{index}]", origin)
    for index, method in enumerate(policy.allow_methods):
        if method not in _METHODS:
            yield (
                f"allowMethods[{index}]",
                f"{method!r} is no method of HTTP; there are {', '.join(_METHODS)}",
            )
    for field, names in (("allowHeaders", policy.allow_headers), ("exposeHeaders", policy.expose_headers)):
        for index, name in enumerate(names):
            if not is_header(name):  # "*" is the name of a header, too
                yield f"{field}[{index}]", f"{name!r} is no name of a header"
    if policy.max_age is not None and policy.max_age % 1 != 0:
        yield "maxAge", "has a fraction of a second; use whole seconds"
