"""PeerAuthentication: which connections a workload accepts."""

from __future__ import annotations

from typing import Literal

from msgspec import field

from harness.localmesh.kinds.istio.selectors import Selector
from harness.localmesh.kinds.parse import Kind


class MutualTls(Kind):
    """STRICT takes mTLS only, DISABLE plaintext only, PERMISSIVE both; UNSET inherits the wider policy."""

    mode: Literal["UNSET", "DISABLE", "PERMISSIVE", "STRICT"] = "UNSET"


class PeerAuthentication(Kind):
    """The spec of a PeerAuthentication; `port_level_mtls` names ports of the workload, not the Service."""

    selector: Selector = Selector()
    mtls: MutualTls = MutualTls()
    port_level_mtls: dict[str, MutualTls] = field(default_factory=dict)
