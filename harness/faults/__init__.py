"""Faults: values that turn the pods of a target into changes, and name the evidence that rises only when they bite.

Everything here is pure. `Nothing()` is the null object: a run without a fault takes no other way than one with it.
"""

from __future__ import annotations

from harness.faults.certificates import CertificateExpiry, CertificateRenewal, RootRotation
from harness.faults.chaosmesh import DnsFailure, PacketDelay, PacketLoss, Partition
from harness.faults.connections import Disconnect
from harness.faults.control import BadConfig, ControlPlaneOutage, Push
from harness.faults.evidence import (
    Evidence,
    Expired,
    NoEvidence,
    OnEach,
    Recorded,
    Recurring,
    Reissued,
    Renewed,
    Replaced,
    Restarted,
    Running,
    Scaled,
    Share,
)
from harness.faults.fault import Fault, Nothing, Rhythm, foreseen
from harness.faults.inside import ProxyKill, Stress
from harness.faults.pods import Evict, NodeDrain, PodKill
from harness.faults.radius import PROTECTED, BlastRadius
from harness.faults.requests import Abort, Delay
from harness.faults.workloads import RollingRestart, Scale
from harness.scene import Pod, Scene, Target

__all__ = [
    "PROTECTED",
    "Abort",
    "BadConfig",
    "BlastRadius",
    "CertificateExpiry",
    "CertificateRenewal",
    "ControlPlaneOutage",
    "Delay",
    "Disconnect",
    "DnsFailure",
    "Evict",
    "Evidence",
    "Expired",
    "Fault",
    "NoEvidence",
    "NodeDrain",
    "Nothing",
    "OnEach",
    "PacketDelay",
    "PacketLoss",
    "Partition",
    "Pod",
    "PodKill",
    "ProxyKill",
    "Push",
    "Recorded",
    "Recurring",
    "Reissued",
    "Renewed",
    "Replaced",
    "Restarted",
    "Rhythm",
    "RollingRestart",
    "RootRotation",
    "Running",
    "Scale",
    "Scaled",
    "Scene",
    "Share",
    "Stress",
    "Target",
    "foreseen",
]
