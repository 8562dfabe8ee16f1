"""istiod's part: Kubernetes and Istio objects in, Envoy configuration out, and the server that brings it to them."""
