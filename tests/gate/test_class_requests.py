"""Requests of a whole class: shadow models forget as the request does, honest retraining is not failed, and what was not tested is said."""

import numpy as np
import pytest
from network_project import write_project

from certify.attacks.audits.fleet import audit_fleet
from certify.attacks.audits.judge import settled
from certify.attacks.audits.membership import Levels
from certify.attacks.observations import Observations
from certify.core.errors import ConfigurationError
from certify.core.verdict import Verdict
from certify.gate.audits.run import audit, forecast_audit
from certify.gate.audits.sets import whole_classes

SETS = 'forget_sets = ["random", "request"]'


@pytest.fixture
def spec(tmp_path):
    """A project that is asked to forget all of class 3."""
    path = write_project(tmp_path / "project")
    with np.load(path.with_name("train.npz")) as data:
        ids = data["ids"][data["y"] == 3]
    path.with_name("forget.txt").write_text("\n".join(ids) + "\n")
    text = (
        path.read_text()
        .replace("epochs = 15", "epochs = 6")
        .replace('kind = "torch"', 'kind = "torch"\nunlearner = "fine-tune"')
    )
    path.write_text(text + '\n[audit]\nattacks = ["u-lira", "rmia"]\nmodels = 24\nknobs = { epochs = 1 }\n')
    path.with_name("unlearned.safetensors").write_bytes(path.with_name("original.safetensors").read_bytes())
    return path


def put(spec, old, new):
    text = spec.read_text()
    assert old in text
    spec.write_text(text.replace(old, new))


def test_the_classes_that_a_request_takes_whole():
    y = np.repeat([0, 1, 2, 7], 20)
    assert whole_classes(y, np.arange(20, 40)) == (1,)
    assert whole_classes(y, np.arange(20, 39)) == (1,)  # nineteen of twenty
    assert whole_classes(y, np.arange(20, 37)) == ()
    assert whole_classes(y, np.arange(40, 80)) == (2, 7)
    assert whole_classes(y, np.r_[np.arange(20, 40), 0]) == (1,)
    assert whole_classes(y, np.r_[np.arange(20, 40), np.arange(5)]) == ()
    assert whole_classes(y, np.arange(0, 80, 4)) == ()
    assert whole_classes(y.astype(float), np.arange(20, 40)) == ()


def test_shadow_models_forget_the_class_where_the_request_is_one(spec):
    assert "forget sets, request: 24 models" in forecast_audit(spec)
    found = audit(spec).report
    by_attack = [one for one in found.audit.findings if one.attack == "u-lira"]
    assert {(one.slice, one.game) for one in by_attack} == {("request", "retrain")}
    assert Verdict.FAIL in {one.verdict for one in by_attack}  # an epoch of fine-tuning keeps the class
    assert any(
        line.startswith("rmia: it compares with records that a model was never given")
        for line in found.audit.not_tested
    )
    assert any("every shadow model forgot this very request" in line for line in found.audit.not_tested)
    assert all(one.expectation != "must be caught" or one.ok for one in found.audit.controls)


def test_whole_numbers_that_are_predicted_are_no_classes(spec):
    put(spec, 'loss = "cross-entropy"', 'loss = "squared"')
    with np.load(spec.with_name("train.npz")) as data:
        targets = data["y"][:, None] == np.arange(10)
        np.savez(spec.with_name("train.npz"), X=data["X"], y=targets.astype(np.float32), ids=data["ids"])
    spec.with_name("test.npz").unlink()
    put(spec, 'test = "test.npz"\n', "")
    assert "forget sets, random: 24 models" in forecast_audit(spec)


def test_a_failure_of_a_class_request_stops_early(spec):
    put(spec, "models = 24", "models = 128\nstop_early = true\nblock = 16")
    found = audit(spec).report
    assert found.verdict is Verdict.FAIL
    assert found.audit.design.models < 128


def test_retraining_a_class_away_is_not_failed(spec):
    put(spec, '"fine-tune"', '"retrain"')
    put(spec, "knobs = { epochs = 1 }\n", "")
    found = audit(spec).report
    assert {one.slice for one in found.audit.findings} == {"request"}
    assert Verdict.FAIL not in {one.verdict for one in found.audit.findings}
    assert all(one.ok for one in found.audit.controls)


def test_random_sets_that_are_asked_for_are_played_and_the_page_says_what_they_do_not_show(spec):
    put(spec, "models = 24", 'models = 16\nforget_sets = ["random"]')
    found = audit(spec).report.audit
    assert {one.slice for one in found.findings} == {"all"}
    line = next(line for line in found.not_tested if line.startswith("forgetting as it was asked for"))
    assert "(nearly) all of class 3" in line


def test_each_fleet_has_its_ranking(spec):
    put(spec, "models = 24", f"models = 16\n{SETS}")
    put(spec, '"u-lira", "rmia"', '"u-lira"')
    found = audit(spec).report.audit
    assert [one.slice for one in found.rankings] == ["all", "request"]
    assert {one.slice for one in found.findings} == {"all", "request"}
    forgotten = found.rankings[1]
    with np.load(spec.with_name("train.npz")) as data:
        assert {int(data["y"][one.row]) for one in forgotten.records} == {3}


def test_without_the_game_against_retrained_models_the_request_cannot_be_played(spec):
    put(spec, "models = 24", f'models = 24\ngames = ["privacy"]\n{SETS}')
    with pytest.raises(ConfigurationError, match='can play the game "retrain" alone'):
        audit(spec)


def test_honest_retraining_of_one_request_fails_no_more_often_than_promised():
    """Twins with their seed in common to all records of the model, as a class that is lost moves as one."""
    rng, failed, runs = np.random.default_rng(11), 0, 120
    for _ in range(runs):

        def world():
            return 2 * rng.normal(size=(20, 1)) + rng.normal(size=(20, 12))

        worlds = {name: {"phi": world()} for name in ("unlearned", "retrained", "again")}
        fleet = Observations(np.full((20, 12), 2), worlds)
        levels = Levels(0.1, 0.9, 0.95, 1e-5)
        found = audit_fleet(
            fleet, ["u-lira"], ["retrain"], levels, rates={"retrain": 0.1}, epsilon=0.1, slice_name="request"
        )
        failed += any(one.verdict is Verdict.FAIL for one in settled(found.findings, 0.1))
    assert failed <= 20  # 12 are expected at most; P(more than 20) is below 1 %
