"""The gate on digits models that are really trained and unlearned: what it says of retraining, of nothing, and of random labels."""

from types import ModuleType

import numpy as np
import pytest
from by_path import load

from certify import unlearners
from certify.attacks.audits.playing import score_of
from certify.attacks.fleets.fleet import run_fleet
from certify.attacks.scores.games import GAMES
from certify.attacks.statistics.means import auc_of_models, pick
from certify.core.verdict import Verdict
from certify.gate.audits.method import Method
from certify.models.networks import Recipe

MODELS = 32
RECIPE = Recipe("adam", lr=2e-2, epochs=80, batch_size=200)


@pytest.fixture(scope="module")
def digits() -> ModuleType:
    return load("../benchmarks/digits_audit")


@pytest.fixture(scope="module")
def worlds(digits: ModuleType) -> object:
    return digits.Worlds.of(digits.Digits.some(), MODELS, 1, RECIPE)


def after(digits: ModuleType, worlds: object, name: str) -> object:
    return worlds.after(unlearners.get(name)(**digits.METHODS[name]))


def auc(observations: object, attack: str, game: str = "privacy", records: np.ndarray | None = None) -> float:
    found = score_of(attack)(observations, GAMES[game], np.arange(1, MODELS, 2))
    return float(np.nanmean(auc_of_models(found if records is None else pick(found, records[found.records]))))


def test_exact_retraining_never_fails(digits: ModuleType, worlds: object) -> None:
    seen = after(digits, worlds, "retrain")
    said = digits.gate(seen, ("u-lira",))
    assert said.verdict is not Verdict.FAIL
    assert not said.refused
    assert min(one.p_value for one in said.findings) > 0.001
    assert auc(seen, "u-lira") == pytest.approx(0.5, abs=0.05)


def test_no_unlearning_always_fails_where_the_loss_passes(digits: ModuleType, worlds: object) -> None:
    seen = after(digits, worlds, "identity")
    assert "u-lira-retrain-under-tpr" in digits.gate(seen, ("u-lira",)).failed_by
    assert not digits.gate(seen, ("loss",)).failed_by  # at a low false-positive rate it is blind
    assert auc(seen, "u-lira") > auc(seen, "loss") + 0.05 > 0.6
    assert auc(seen, "u-lira", records=worlds.digits.wrong) > 0.9  # wrong labels are remembered best


def test_random_labels_fail_by_forgetting_too_much(digits: ModuleType, worlds: object) -> None:
    seen = after(digits, worlds, "random-labels")
    said = digits.gate(seen, ("u-lira",))
    assert "u-lira-retrain-over-tpr" in said.failed_by
    assert "u-lira-retrain-under-tpr" not in said.failed_by
    assert auc(seen, "loss", "retrain") < 0.3  # more forgotten than a model that never saw the record has it
    assert auc(seen, "u-lira", "retrain") > 0.8


def test_methods_on_kept_originals_are_what_a_fleet_with_the_method_gives(digits: ModuleType) -> None:
    few, method = digits.Digits.some(80), unlearners.get("fine-tune")(epochs=1, lr=0.05)
    brief = Recipe("adam", lr=2e-2, epochs=2, batch_size=32)
    kept = digits.Worlds.of(few, 4, 0, brief)
    found = kept.after(method)
    task = Method(method, digits.NetworkTask(digits.perceptron(), few.X, few.y, recipe=brief))
    whole = run_fleet(few.fleet, kept.plan, found.assignment, task)
    for world in ("original", "unlearned", "retrained", "again"):
        assert found.get(world).tobytes() == whole.get(world).tobytes()
