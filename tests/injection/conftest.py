"""The shop that faults are put into force in, and the ledger of what was done to it."""

import pytest
from stock import fill

from harness.ledger import Ledger


@pytest.fixture
def ledger(tmp_path):
    """An empty ledger."""
    return Ledger(tmp_path / "ledger")


@pytest.fixture
def shop(kube_api):
    """A shop with a policy, a route with retries and two ready pods."""
    fill(kube_api)
    return kube_api
