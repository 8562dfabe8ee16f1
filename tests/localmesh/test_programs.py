"""Where Envoy and Prometheus are found."""

import sys

import pytest

from harness.localmesh import programs
from harness.localmesh.errors import MeshError


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """A machine with nothing on PATH and nothing beside its Python."""
    monkeypatch.delenv("HARNESS_PROMETHEUS", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    return tmp_path


def _program(path):
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


def test_no_prometheus_is_one_sentence_on_how_to_get_it(nowhere):
    """Neither on PATH nor beside Python."""
    with pytest.raises(MeshError, match=r"not on PATH\. Install Debian's package"):
        programs.prometheus()


def test_prometheus_on_path_comes_before_the_one_beside_python(nowhere):
    """Whoever has one keeps it; `make` puts one beside Python."""
    beside = _program(nowhere / "bin" / "prometheus")
    assert programs.prometheus() == beside
    on_path = _program(nowhere / "path" / "prometheus")
    assert programs.prometheus() == on_path


def test_a_program_can_be_named(nowhere, monkeypatch):
    """The variables win; what they name has to be a program."""
    named = _program(nowhere / "named" / "prometheus")
    monkeypatch.setenv("HARNESS_PROMETHEUS", named)
    assert programs.prometheus() == named
    monkeypatch.setenv("HARNESS_ENVOY", named)
    assert programs.envoy() == named
    monkeypatch.setenv("HARNESS_ENVOY", "/no/such/envoy")
    with pytest.raises(MeshError, match=r"/no/such/envoy is not a program .* Envoy"):
        programs.envoy()


def test_the_package_has_an_envoy_for_this_platform(monkeypatch):
    """Where the tests run, the real one is there."""
    monkeypatch.delenv("HARNESS_ENVOY", raising=False)
    assert programs.envoy().endswith("envoy")
