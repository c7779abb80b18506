"""Peak memory is that of the block, above what was there before."""

import sys

import numpy as np
import pytest

from certify.core.memory import PeakMemory

MIB = 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="the high-water mark is read from /proc")
def test_what_is_taken_and_given_back_in_a_block_is_seen():
    with PeakMemory() as memory:
        block = np.ones(64 * MIB // 8)
        del block
    if memory.above_start is None:
        pytest.skip("this system does not let a process reset its high-water mark")
    assert 48 * MIB < memory.above_start < 200 * MIB


def test_an_earlier_peak_does_not_count():
    block = np.ones(96 * MIB // 8)
    del block
    with PeakMemory() as memory:
        pass
    assert memory.above_start is None or memory.above_start < 48 * MIB


def test_where_nothing_can_be_measured_nothing_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr("certify.core.memory._RESET", tmp_path / "nowhere" / "clear_refs")
    with PeakMemory() as memory:
        pass
    assert memory.above_start is None
