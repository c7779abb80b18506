"""The linear table: relabelling is retraining in every column, and random labels end further from it than doing nothing."""

import importlib.util
import sys

import numpy as np
import pytest


@pytest.fixture(scope="module")
def benchmark(repo_root):
    place = repo_root / "benchmarks" / "muso_linear.py"
    plan = importlib.util.spec_from_file_location("muso_linear_benchmark", place)
    module = importlib.util.module_from_spec(plan)
    sys.modules[plan.name] = module
    plan.loader.exec_module(module)
    yield module
    del sys.modules[plan.name]


def by_method(table, request):
    return {row.method: row for row in table if row.request == request}


@pytest.fixture(scope="module")
def table(benchmark):
    return benchmark.muso_linear_table()


@pytest.mark.parametrize("request_", ["random 10%", "full class"])
def test_the_shape_of_the_table(table, request_):
    rows = by_method(table, request_)
    retrain, muso, untouched = rows["retrain"], rows["muso"], rows["pre-trained"]
    assert (muso.test_accuracy, muso.forget_accuracy) == (retrain.test_accuracy, retrain.forget_accuracy)
    assert muso.delta < 1e-24
    assert retrain.delta == 0
    assert rows["random labels"].delta > 2 * untouched.delta
    assert rows["bad teacher"].delta > untouched.delta
    assert rows["fine-tune"].delta == pytest.approx(untouched.delta, rel=1e-9)
    assert rows["fine-tune"].forget_accuracy == untouched.forget_accuracy == 100
    assert rows["random labels"].test_accuracy < untouched.test_accuracy - 3


def test_the_retrained_model_knows_what_it_never_saw_unless_a_class_is_gone(table):
    random, whole = (by_method(table, request)["retrain"] for request in ("random 10%", "full class"))
    assert random.forget_accuracy > 97
    assert random.test_accuracy > 97
    assert whole.forget_accuracy < 40
    assert whole.test_accuracy < 75


def test_a_row_is_what_gradient_descent_ends_at(benchmark):
    """One seed's original and retrained weights, by the normal equations of the kernel instead of a least-squares solver."""
    of = benchmark.setting("random 10%", 0)
    kernel = of.Z_r @ of.Z_r.T
    by_kernel = of.w_0 + of.Z_r.T @ np.linalg.solve(kernel, of.y_r - of.Z_r @ of.w_0)
    assert np.linalg.norm(by_kernel - of.retrained) < 1e-9 * np.linalg.norm(of.original - of.retrained)
    assert np.abs(of.features @ of.original - np.concatenate([of.y_r, of.y_u])).max() < 1e-9
    assert (len(of.y_r), len(of.y_u)) == (216, 24)


def test_the_command_prints_a_line_a_row(benchmark, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["muso_linear.py", "--seeds", "1"])
    benchmark.main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 12
    assert lines[0].startswith("random 10%   retrain        TA ")
