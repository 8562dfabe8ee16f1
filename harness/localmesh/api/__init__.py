"""The Kubernetes-shaped API of the local mesh: what it serves, its verbs, and the server in front of them."""
