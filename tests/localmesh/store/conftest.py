"""A store with a namespace in it."""

from __future__ import annotations

import pytest

from harness.localmesh.api.resources import NAMESPACES
from harness.localmesh.store import Store


@pytest.fixture
def store():
    """A store with the namespace `default`."""
    made = Store()
    made.create(NAMESPACES, {"metadata": {"name": "default"}})
    return made
