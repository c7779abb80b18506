"""Coins from start to end: canaries planted in a trained network, forgotten well, badly, too much, or not at all."""

import numpy as np
import pytest
from planted_canaries import planted, review, write_canaries

from certify.core.errors import InputError
from certify.gate.audits.run import audit


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("canaries")
    write_canaries(found)
    return found


def coin(spec):
    result = audit(spec)
    (found,) = result.report.audit.findings
    assert found.attack == "coin-flip"
    return result.exit_code, found


@pytest.mark.parametrize(
    ("method", "knobs", "least"),
    [
        ("identity", {}, 20),  # of the 80 that right guesses alone would give
        ("fine-tune", {"lr": 0.01, "epochs": 1, "batch_size": 64}, 20),
        ("random-labels", {"lr": 0.01, "epochs": 5, "batch_size": 64}, 15),
    ],
)
def test_canaries_that_were_not_forgotten_are_caught(folder, method, knobs, least):
    code, found = coin(review(folder, method, **knobs))
    assert code == 1
    assert found.value > least
    assert found.p_value < 1e-6


def test_canaries_that_were_forgotten_too_much_are_caught(tmp_path):
    """They look less likely than those that were never there: bets on a leak of the other sign win."""
    write_canaries(tmp_path, wrong=False)
    code, found = coin(review(tmp_path, "overdone", wrong=False))
    assert code == 1
    assert found.value > 5


@pytest.mark.parametrize("seed", range(100, 104))
def test_retrained_models_are_not_caught(folder, seed):
    code, found = coin(review(folder, "retrain", seed=seed))
    assert code == 3  # coins never confirm
    assert found.p_value > 0.05
    assert found.value == 0


def test_records_that_a_coin_lets_stay_are_no_canaries(folder, tmp_path):
    """Coins between "forget" and "keep": what is retained tells them, and an honest retraining would be blamed."""
    write_canaries(tmp_path)
    task, request, kept = planted()
    stays = np.arange(0, len(kept["planted"]) // 4)
    X, y = kept["X"].copy(), kept["y"].copy()
    unplanted = np.flatnonzero(~kept["planted"])[: len(stays)]
    X[unplanted], y[unplanted] = task.X[stays], task.y[stays]
    np.savez(tmp_path / "canaries.npz", **{**kept, "X": X.astype(np.float64), "y": y})
    with pytest.raises(InputError, match="30 of 120 canaries are among the retained records"):
        audit(review(tmp_path, "identity"))
    assert len(request.forgotten) == kept["planted"].sum()
