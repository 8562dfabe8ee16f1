"""The kubeconfig of the local mesh."""

from __future__ import annotations

import base64
from pathlib import Path

import yaml

CONTEXT = "harness"


def write_kubeconfig(path: Path, *, server: str, authority: str, token: str) -> Path:
    """Writes a kubeconfig, readable by its owner only, and returns its path.

    Args:
        path: where to write it.
        server: the URL of the API server.
        authority: the root certificate that signed the server's, as PEM.
        token: the bearer token.
    """
    ca = base64.b64encode(authority.encode()).decode()
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": CONTEXT, "cluster": {"server": server, "certificate-authority-data": ca}}],
        "users": [{"name": CONTEXT, "user": {"token": token}}],
        "contexts": [
            {"name": CONTEXT, "context": {"cluster": CONTEXT, "user": CONTEXT, "namespace": "default"}}
        ],
        "current-context": CONTEXT,
    }
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(content))
    return path
