"""Chaos and resilience experiments for Istio service meshes, with verdicts that can be trusted."""
