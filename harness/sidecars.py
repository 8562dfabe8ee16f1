"""What the sidecars of pods hold, as their agents tell it through the API server, and which root istiod signs with."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Final

from harness.changes import Ref
from harness.cluster import Cluster
from harness.errors import HarnessError
from harness.roots import fingerprint, split
from harness.scene import Pod

_AGENT: Final = 15020
_METRICS: Final = "stats/prometheus"
# The only certificate an agent asks istiod for is named "default" (istio/istio `security/pkg/nodeagent/cache`).
_EXPIRY: Final = re.compile(
    r'^istio_agent_cert_expiry_seconds\{[^}]*resource_name="default"[^}]*\} (\S+)$', re.M
)


def seconds_left(cluster: Cluster, pods: Iterable[Pod]) -> Mapping[str, float]:
    """For how many seconds the certificate of each pod's sidecar is good yet, by the pod's name; below 0: expired.

    Pods whose sidecar has no certificate are not in it.

    Raises:
        HarnessError: an agent cannot be asked (`get` on `pods/proxy`).
    """
    found = {}
    for pod in pods:
        told = _EXPIRY.search(cluster.asked(pod, _AGENT, _METRICS))
        if told and math.isfinite(seconds := float(told[1])):
            found[pod.name] = seconds
    return found


def trusted_root(cluster: Cluster, namespace: str) -> str:
    """The fingerprint of what istiod has told a namespace to be the root of the mesh (ConfigMap istio-ca-root-cert).

    Of several that are trusted it is the first one: during a rotation that is the one that signs (see harness.roots).

    Raises:
        HarnessError: it has told nothing.
    """
    ref = Ref("v1", "ConfigMap", namespace, "istio-ca-root-cert")
    told = (cluster.get(ref) or {}).get("data") or {}
    if not (root := fingerprint("".join(split(str(told.get("root-cert.pem") or ""))[:1]))):
        raise HarnessError(
            f"There is no root certificate in {ref}, where istiod puts it; look at istiod's log."
        )
    return root
