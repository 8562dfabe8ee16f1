"""The differences from istiod that are meant, each with its reason; everything else is a failure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.conformance.compare import Difference


@dataclass(frozen=True)
class Known:
    """A difference that is meant: `path` is a pattern for the whole path, `without` a word that is in neither value."""

    path: re.Pattern[str]
    reason: str
    without: str = ""

    def explains(self, difference: Difference) -> bool:
        """Whether `difference` is one of these."""
        values = f"{difference.ours} {difference.theirs}"
        return bool(self.path.fullmatch(difference.path)) and not (self.without and self.without in values)


KNOWN: tuple[Known, ...] = (
    Known(
        re.compile(r"routes/.*\.route\.max_grpc_timeout"),
        "deprecated: Envoy warns of it, and it says no more than that there is no limit",
    ),
    Known(
        re.compile(r"(listeners|inbound)/.*\.typed_config\.tracing"),
        "tracing, which nobody asks for: without a provider it does nothing",
        without="provider",
    ),
    Known(
        re.compile(r"(listeners|inbound)/.*\.typed_config\.request_id_extension"),
        "what Envoy does anyway: sampling goes by the id of the request",
        without="False",
    ),
    Known(
        re.compile(r"(listeners|inbound)/.*\.tracing\.provider\.typed_config\.service_name"),
        "istiod repeats what the proxy says of itself, and the proxies of a case say nothing",
    ),
    Known(
        re.compile(r"(listeners|inbound)/.*\.typed_config\.(upstream_connect_mode|max_early_data_bytes)"),
        "a connection under mTLS reaches the program after the handshake, so that its metrics know the caller",
    ),
    Known(
        re.compile(r"listeners/http_proxy\..*\.typed_config\.stat_prefix"),
        "istiod's explicit proxy listens on 127.0.0.1, ours on the pod's address",
    ),
    Known(
        re.compile(r"listeners/http_proxy\..*\.http_filters\[envoy\.filters\.http\.dynamic_forward_proxy\]"),
        "hosts of no Service are looked up by the explicit proxy, as there is no original destination",
    ),
)


def reason(difference: Difference) -> str | None:
    """Why `difference` is known, or None when it is not."""
    return next((known.reason for known in KNOWN if known.explains(difference)), None)
