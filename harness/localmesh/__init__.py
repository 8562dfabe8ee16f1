"""A mesh of real Envoy sidecars and a real Prometheus as local processes behind a Kubernetes-shaped API."""
