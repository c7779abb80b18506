"""Work in threads: the same results in the same order, and errors come through."""

import os
import threading

import pytest

from certify.core import parallel


def test_results_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    for count in (1, 4):
        monkeypatch.setattr(parallel, "cores", lambda count=count: count)
        assert parallel.run_all(lambda part: part * part, list(range(20))) == [part * part for part in range(20)]
    assert parallel.run_all(lambda part: part, []) == []


def test_parts_run_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "cores", lambda: 2)
    both = threading.Barrier(2, timeout=20)
    assert len(parallel.run_all(lambda _: both.wait(), [0, 1])) == 2


def test_an_error_in_a_part_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "cores", lambda: 2)
    with pytest.raises(ZeroDivisionError):
        parallel.run_all(lambda part: 1 / part, [1, 0, 2])


@pytest.mark.parametrize(("limit", "most"), [("1", 1), ("0", 1), ("", 4096), ("two", 4096), ("9999", 4096)])
def test_a_limit_on_threads_is_kept(monkeypatch: pytest.MonkeyPatch, limit: str, most: int) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", limit)
    assert 1 <= parallel.cores() <= min(most, os.cpu_count() or 1)
