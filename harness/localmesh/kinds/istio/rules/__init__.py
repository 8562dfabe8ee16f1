"""What Istio's webhook, or Envoy itself, holds against a spec that fits its struct: one module for each kind."""

from harness.localmesh.kinds.istio.rules import (
    destinationrule,
    envoyfilter,
    gateway,
    peerauthentication,
    virtualservice,
)

__all__ = ["destinationrule", "envoyfilter", "gateway", "peerauthentication", "virtualservice"]
