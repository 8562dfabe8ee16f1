"""Blocks of loopback addresses."""

import pytest

from harness.localmesh.addresses import app_address, claim
from harness.localmesh.errors import MeshError


def test_two_meshes_get_different_blocks():
    """A block that is held is not given twice."""
    first, second = claim(), claim()
    try:
        assert first.number != second.number
    finally:
        first.release()
        second.release()


def test_a_released_block_is_given_again():
    """What one mesh gave back, the next one gets."""
    first = claim()
    first.release()
    second = claim()
    second.release()
    assert second.number == first.number


def test_no_pod_gets_the_address_of_another_that_lives():
    """Addresses in use are passed over, also when all have been given out once."""
    block = claim()
    try:
        given = [block.pod() for _ in range(24_000)]
        assert len(set(given)) == 24_000
        for address in given[:20_000]:
            block.free(address)
        again = [block.pod() for _ in range(10_000)]
        assert not set(again) & set(given[20_000:])
    finally:
        block.release()


def test_a_freed_address_comes_round_as_late_as_possible():
    """A new pod does not take over the address of the one that has just died."""
    block = claim()
    try:
        first = block.pod()
        block.free(first)
        assert block.pod() != first
    finally:
        block.release()


def test_pods_programs_and_services_live_apart():
    """No address is both a pod's, a program's and a Service's."""
    block = claim()
    try:
        pods = {block.pod() for _ in range(2_000)}
        programs = {app_address(pod) for pod in pods}
        services: set[str] = set()
        for _ in range(300):
            services.add(block.service(services))
        assert not pods & programs
        assert not (pods | programs) & services
        assert len(services) == 300
    finally:
        block.release()


def test_running_out_of_addresses_is_said_in_one_sentence():
    """A mesh that has no address left says so."""
    block = claim()
    try:
        for _ in range(95 * 254):
            block.pod()
        with pytest.raises(MeshError, match="All pod addresses"):
            block.pod()
    finally:
        block.release()
