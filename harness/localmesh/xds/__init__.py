"""istiod's part: Kubernetes and Istio objects in, Envoy configuration out, as a pure function, and its files."""
