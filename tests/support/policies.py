"""Policies on paper that mutants are made of."""

from __future__ import annotations

import yaml
from support import ROOT


def manifest(kind, spec, api_version="networking.istio.io/v1", name="catalog", namespace="shop"):
    """An object."""
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def shop():
    """The objects of the project's shop."""
    return [one for one in yaml.safe_load_all((ROOT / "experiments" / "shop.yaml").read_text()) if one]
