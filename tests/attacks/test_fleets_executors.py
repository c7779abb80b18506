"""Blocks made elsewhere: other processes, a cluster that loses a worker, functions that raise."""

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import fleet_parts
import pytest
from fleet_parts import Deadly, Shrink, failing_train, same, small_fleet

from certify.attacks.fleets.executors import dask_client
from certify.attacks.fleets.fleet import run_blocks, run_fleet
from certify.core.errors import ConfigurationError, InputError


@pytest.fixture(scope="module")
def plain():
    task, plan, assignment = small_fleet()
    return run_fleet(task, plan, assignment, Shrink())


def test_threads_do_not_disturb_each_others_seeds(plain):
    task, plan, assignment = small_fleet()
    with ThreadPoolExecutor(4) as pool:
        assert same(run_fleet(task, plan, assignment, Shrink(), executor=pool), plain)


class Losing:
    """An executor that loses some calls."""

    def __init__(self, lost):
        self.lost, self.calls, self.cancelled = lost, 0, 0

    def submit(self, function, *arguments):
        future, number = Future(), self.calls
        self.calls += 1
        if number in self.lost:
            future.set_exception(ConnectionError("10.0.0.7"))
        else:
            future.set_result(function(*arguments))
        return future


def test_a_lost_worker_costs_its_block_alone(tmp_path, plain):
    task, plan, assignment = small_fleet()
    with pytest.raises(InputError) as error:
        run_fleet(task, plan, assignment, Shrink(), executor=Losing({2, 4}), store=tmp_path)
    line = str(error.value)
    assert "block 1 (models 2 to 3): its worker failed (ConnectionError), and 1 more blocks failed" in line
    assert "2 of 4 blocks are kept" in line
    assert "10.0.0.7" not in line
    assert len(list(tmp_path.glob("*.safetensors"))) == 2
    assert same(run_fleet(task, plan, assignment, Shrink(), store=tmp_path), plain)


def test_a_function_that_raises_is_named_and_the_others_are_kept(tmp_path, monkeypatch):
    task, plan, assignment = small_fleet(train=failing_train, recipe=None)
    sums = [float(task.X[row == 1][0].sum()) for row in assignment]
    monkeypatch.setattr(fleet_parts, "FAILS_ABOVE", sorted(sums)[-2])
    seen = []
    with pytest.raises(InputError, match=r"block \d \(models \d to \d\).*raised ValueError") as error:
        seen.extend(run_blocks(task, plan, assignment, Shrink(), store=tmp_path))
    assert "secret" not in str(error.value)


def test_closed_early_the_rest_is_cancelled():
    task, plan, assignment = small_fleet()

    class Waiting:
        def __init__(self):
            self.futures = []

        def submit(self, function, *arguments):
            future = Future()
            if len(self.futures) < 2:
                future.set_result(function(*arguments))
            self.futures.append(future)
            return future

    pool = Waiting()
    blocks = run_blocks(task, plan, assignment, Shrink(), executor=pool)
    next(blocks)
    blocks.close()
    assert [future.cancelled() for future in pool.futures] == [False, False, True, True, True]


def test_what_is_no_executor():
    task, plan, assignment = small_fleet()
    with pytest.raises(ConfigurationError, match="executor: has no submit"):
        run_fleet(task, plan, assignment, executor="tcp://somewhere")


def test_no_scheduler_there():
    pytest.importorskip("distributed")
    with pytest.raises(InputError, match="no dask scheduler answers"):
        dask_client("nonsense://127.0.0.1:1")


@pytest.mark.slow  # three processes that import torch: half a minute of a core
def test_a_cluster_that_loses_a_worker_ends_where_it_would_have(plain, tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(Path(fleet_parts.__file__).parent))
    task, plan, assignment = small_fleet()
    mark = tmp_path / "mark"
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50) as cluster,
        distributed.Client(cluster) as client,
    ):
        found = run_fleet(task, plan, assignment, Deadly(5, str(mark)), executor=client)
    assert mark.exists()  # the worker that had block 2 was killed in it
    assert same(found, plain)
