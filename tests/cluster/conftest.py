"""Answers of the fake API, for tests of the cluster behind the official client."""

import pytest


@pytest.fixture
def reply(kube_api):
    """Makes an answer for the fake API."""
    return kube_api.reply
