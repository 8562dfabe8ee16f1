"""What the tests of Istio's kinds share."""

from __future__ import annotations

import copy

import pytest
import yaml

from harness.localmesh.errors import Refused
from harness.localmesh.kinds import istio


@pytest.fixture
def answer():
    """Admission's answer to a spec in YAML: "field: why" of the refusal, or the warnings, one a line."""

    def ask(kind, spec, namespace="default", **metadata):
        manifest = {
            "kind": kind,
            "metadata": {"name": "it", "namespace": namespace, **metadata},
            "spec": yaml.safe_load(spec),
        }
        before = copy.deepcopy(manifest)
        try:
            said = "\n".join(istio.admit(manifest))
        except Refused as refused:
            said = f"refused {refused.message.partition('is invalid: ')[2]}" if refused.code == 422 else "?"
        assert manifest == before
        return said

    return ask
