"""Thirty runs of the kill matrix: no way of ending a run leaves a fault in force."""

import signal

import pytest
from matrix import MANIFESTS, Matrix

from harness.localmesh.launch import launch

pytestmark = pytest.mark.e2e


@pytest.mark.timeout(240)  # beside other work; alone it takes a fifth of that
def test_no_way_of_ending_a_run_leaves_a_fault(short, tmp_path):
    """Killed, asked to end, or killed before an API server that misbehaves, at random moments."""
    with launch([MANIFESTS], print, short / "matrix") as addresses:
        matrix = Matrix(addresses.kubeconfig, tmp_path, seed=1)
        try:
            rows = [
                matrix.killed(22, signal.SIGKILL),
                matrix.killed(6, signal.SIGTERM),
                matrix.misserved(2),
            ]
        finally:
            matrix.close()
    assert [row.left for row in rows] == [[], [], []], rows
    assert len(rows[0].seconds) >= 3, rows
    assert max(rows[0].seconds) < 5.0, rows
