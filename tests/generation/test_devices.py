import resource
import sys

import pytest
import torch

from generation.devices import keep_freed_memory

PAGES = 16 * 2**20 // resource.getpagesize()


def faults_of_a_tensor() -> int:
    """How many pages are fetched from the system for a tensor of 16 MiB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(4 * 2**20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc gives memory back at once")
def test_a_tensor_takes_the_memory_that_one_of_its_size_has_left() -> None:
    keep_freed_memory()
    # The first ones find nothing that is large enough.
    assert [faults_of_a_tensor() for _ in range(4)][-1] < PAGES / 4
