"""Chaos and resilience experiments for Istio service meshes, with verdicts that can be trusted.

The vocabulary of an experiment; `from harness import Experiment, Abort, ...` is all that a test needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.changes import ABSENT, Create, Delete, Edit, Patch, Ref
    from harness.errors import HarnessError
    from harness.experiment import Experiment
    from harness.faults import (
        Abort,
        BadConfig,
        BlastRadius,
        CertificateExpiry,
        CertificateRenewal,
        ControlPlaneOutage,
        Delay,
        Disconnect,
        DnsFailure,
        Evict,
        NodeDrain,
        Nothing,
        PacketDelay,
        PacketLoss,
        Partition,
        PodKill,
        ProxyKill,
        Push,
        RollingRestart,
        RootRotation,
        Scale,
        Stress,
        Target,
    )
    from harness.indicators import (
        availability,
        ejection,
        error_ratio,
        latency,
        mtls_share,
        plaintext_answered,
        plaintext_refused,
        promql,
        retry_amplification,
        throughput,
    )
    from harness.load import Load
    from harness.slo import SLO
    from harness.verdict import Judgement, Verdict

_HOMES = {
    "ABSENT": "changes",
    "Abort": "faults",
    "BadConfig": "faults",
    "BlastRadius": "faults",
    "CertificateExpiry": "faults",
    "CertificateRenewal": "faults",
    "ControlPlaneOutage": "faults",
    "Create": "changes",
    "Delay": "faults",
    "Delete": "changes",
    "Disconnect": "faults",
    "DnsFailure": "faults",
    "Edit": "changes",
    "Evict": "faults",
    "Experiment": "experiment",
    "HarnessError": "errors",
    "Judgement": "verdict",
    "Load": "load",
    "NodeDrain": "faults",
    "Nothing": "faults",
    "PacketDelay": "faults",
    "PacketLoss": "faults",
    "Partition": "faults",
    "Patch": "changes",
    "PodKill": "faults",
    "ProxyKill": "faults",
    "Push": "faults",
    "Ref": "changes",
    "RollingRestart": "faults",
    "RootRotation": "faults",
    "SLO": "slo",
    "Scale": "faults",
    "Stress": "faults",
    "Target": "faults",
    "Verdict": "verdict",
    "availability": "indicators",
    "ejection": "indicators",
    "error_ratio": "indicators",
    "latency": "indicators",
    "mtls_share": "indicators",
    "plaintext_answered": "indicators",
    "plaintext_refused": "indicators",
    "promql": "indicators",
    "retry_amplification": "indicators",
    "throughput": "indicators",
}

__all__ = [
    "ABSENT",
    "SLO",
    "Abort",
    "BadConfig",
    "BlastRadius",
    "CertificateExpiry",
    "CertificateRenewal",
    "ControlPlaneOutage",
    "Create",
    "Delay",
    "Delete",
    "Disconnect",
    "DnsFailure",
    "Edit",
    "Evict",
    "Experiment",
    "HarnessError",
    "Judgement",
    "Load",
    "NodeDrain",
    "Nothing",
    "PacketDelay",
    "PacketLoss",
    "Partition",
    "Patch",
    "PodKill",
    "ProxyKill",
    "Push",
    "Ref",
    "RollingRestart",
    "RootRotation",
    "Scale",
    "Stress",
    "Target",
    "Verdict",
    "availability",
    "ejection",
    "error_ratio",
    "latency",
    "mtls_share",
    "plaintext_answered",
    "plaintext_refused",
    "promql",
    "retry_amplification",
    "throughput",
]


def __getattr__(name: str) -> Any:
    """Loads a name when it is first asked for: the local mesh's workloads import this package too, and need none."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
