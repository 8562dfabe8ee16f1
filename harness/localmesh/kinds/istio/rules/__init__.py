"""What Istio's webhook, or Envoy itself, holds against a spec that fits its struct.

There is a module for each kind: `problems` yields what makes the webhook refuse it, `warnings` what it takes with a
warning, both as fields with reasons.
"""
