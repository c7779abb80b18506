"""One model under review beside retrained ones: p-values that hold, leaks that show on their side, a blind attack that decides nothing."""

import numpy as np
import pytest
from scipy import stats

from certify.attacks.audits.exchangeable import together
from certify.attacks.audits.findings import RequestAudit
from certify.attacks.audits.judge import settled
from certify.attacks.audits.request import audit_distances, audit_release, predicted_p
from certify.attacks.distances import Distance, Stack, against_pool
from certify.attacks.distances.parameters import moments
from certify.attacks.estimates import Estimate
from certify.core.arrays import FloatArray
from certify.core.errors import TooLittlePowerError
from certify.core.verdict import Verdict

LIMIT = {"fpr": 0.05, "limit": 0.2, "confidence": 0.95}


def phis(rng: np.random.Generator, models: int, level: float, records: int = 60) -> FloatArray:
    """phi of forgotten records, each with its own spread, models with a level of their own."""
    spread = np.exp(0.5 * np.random.default_rng(0).normal(size=records))
    return spread * rng.normal(size=(models, records)) + level * rng.normal(size=(models, 1))


@pytest.mark.parametrize("retrained", [5, 20])
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_one_more_retrained_model_is_told_apart_no_more_often_than_the_level(retrained: int, level: float) -> None:
    rng, runs = np.random.default_rng(retrained), 150
    found = []
    for _ in range(runs):
        models = phis(rng, retrained + 1, level)
        found.append(audit_release(models[0], models[1:], None, **LIMIT))
    hits = sum(audit.findings[0].p_value <= 0.05 for audit in found)
    assert stats.binomtest(hits, runs, 0.06, alternative="greater").pvalue > 1e-3
    # a verdict needs the share, too
    fails = sum(any(one.verdict is Verdict.FAIL and one.p_value <= 0.05 for one in audit.findings) for audit in found)
    assert fails <= hits
    if level:  # the share of one model spreads with its level: the interval knows, and records taken as independent do not pass
        outside = np.mean([audit.findings[0].lower > 0.05 for audit in found])
        assert outside <= 0.1


@pytest.mark.parametrize(("shift", "direction"), [(1.5, "under-forgetting"), (-1.5, "over-forgetting")])
def test_a_leak_shows_on_its_side(shift: float, direction: str) -> None:
    rng = np.random.default_rng(1)
    models = phis(rng, 21, 0.2)
    found = audit_release(models[0] + shift, models[1:], models[0] + 4.0, **LIMIT)
    failed = [one for one in found.findings if one.verdict is Verdict.FAIL]
    assert [one.direction for one in failed] == [direction]
    assert failed[0].p_value == pytest.approx(1 / 21)  # the odd one out of 21, and ranks show no more
    assert failed[0].null_mean == pytest.approx(0.05, abs=0.03)
    assert [one.must_be_caught for one in found.controls] == [True]


def test_where_the_original_is_not_told_apart_nothing_passes() -> None:
    rng = np.random.default_rng(2)
    models = phis(rng, 22, 0.0)
    found = audit_release(models[0], models[2:], models[1], fpr=0.05, limit=0.9, confidence=0.95)
    assert {one.verdict for one in found.findings} == {None}
    assert "not told apart" in found.findings[0].note


def test_too_few_retrained_models_are_refused_with_the_number_that_would_do() -> None:
    with pytest.raises(TooLittlePowerError, match="5 are the least"):
        audit_release(np.zeros(3), np.zeros((4, 3)), None, **LIMIT)


def test_the_prediction_is_students_and_a_null_without_spread_proves_little() -> None:
    null = np.array([1.0, 2.0, 4.0, 8.0])
    t = (9 - null.mean()) / (null.std(ddof=1) * np.sqrt(1.25))
    assert predicted_p(9.0, null) == pytest.approx(2 * stats.t.sf(t, 3))
    assert predicted_p(1.0, np.ones(19)) == 1.0
    assert predicted_p(1.0 + 1e-9, np.ones(19)) == 0.05


def test_constant_scores_are_no_trouble() -> None:
    found = audit_release(np.zeros(5), np.zeros((6, 5)), np.ones(5), **LIMIT)
    assert all(np.isfinite(one.p_value) for one in found.findings)


def test_what_the_original_itself_would_pass_is_passed_by_none() -> None:
    """The original is told apart by its mean and yet within the limit: a model within it shows nothing."""
    rng = np.random.default_rng(3)
    models = phis(rng, 22, 0.0)
    original = models[1] + 0.7
    found = audit_release(models[0], models[2:], original, fpr=0.05, limit=0.9, confidence=0.95)
    assert found.controls[0].p_value < 0.05
    assert {one.verdict for one in found.findings} == {None}
    assert "within the limit too" in found.findings[0].note
    strict = audit_release(models[0], models[2:], models[1] + 4.0, fpr=0.05, limit=0.5, confidence=0.95)
    assert {one.verdict for one in strict.findings} == {Verdict.PASS}


def distance(value: float, lower: float, upper: float, null: FloatArray) -> Distance:
    """A distance of one model with the ratio's interval."""
    ratio = Estimate(value, lower, upper, 0.95, "by hand", 1)
    return Distance("l2", "whole", value, np.array([value]), null, 1.0, ratio, 0.05, 0.05, "by hand", (1, len(null)))


def test_nor_by_a_distance() -> None:
    null = 1 + 0.01 * np.random.default_rng(0).normal(size=20)
    near, off, far = distance(1.0, 0.98, 1.02, null), distance(1.1, 1.08, 1.12, null), distance(2.0, 1.9, 2.1, null)
    judged = {
        name: audit_distances(
            "parameter-distance", [one], {("l2", "whole"): original}, limit=1.25, confidence=0.95
        ).findings[0]
        for name, (one, original) in {
            "identity": (off, off),
            "close": (near, off),
            "beyond": (far, off),
            "shown": (near, far),
        }.items()
    }
    assert {name: one.verdict for name, one in judged.items()} == {
        "identity": None,
        "close": None,
        "beyond": Verdict.FAIL,
        "shown": Verdict.PASS,
    }
    assert "within the limit too" in judged["close"].note


@pytest.mark.parametrize("retrained", [5, 8, 20])
def test_the_distance_of_one_more_retrained_model_is_told_apart_no_more_often_than_the_level(retrained: int) -> None:
    rng, runs, hits = np.random.default_rng(retrained), 1000, 0
    for _ in range(runs):
        models = Stack({"w": rng.normal(size=(retrained + 1, 30))})
        matrix = moments(models, models, pairs="all")["whole"].distance("l2")
        found = audit_distances(
            "parameter-distance", [against_pool("l2", "whole", matrix, 1, draws=9)], {}, limit=1.25, confidence=0.95
        )
        hits += found.findings[0].p_value <= 0.05
    assert hits == 0 if retrained < 19 else 30 <= hits <= 70  # at 5 % more than 70 have probability 0.003


@pytest.mark.parametrize("ruined", ["nothing", "the mean of the retrained"])
def test_a_ruined_model_is_nearer_than_any_retrained_one_and_does_not_pass(ruined: str) -> None:
    rng = np.random.default_rng(6)
    retrained = np.random.default_rng(1).normal(size=200) + 3 * rng.normal(size=(20, 200))

    def to_retrained(one: FloatArray) -> Distance:
        models = np.concatenate([one[None], retrained])
        return against_pool("l2", "whole", np.sqrt(((models[:, None] - models) ** 2).sum(axis=-1)), 1)

    original = {("l2", "whole"): to_retrained(retrained[0] + 9.0)}
    one = to_retrained(np.zeros(200) if ruined == "nothing" else retrained.mean(axis=0))
    found = audit_distances("parameter-distance", [one], original, limit=1.25, confidence=0.95).findings[0]
    assert found.upper < 0.9
    assert found.verdict is Verdict.INCONCLUSIVE


SPREADS = {
    "t with 3 degrees of freedom": lambda rng, size: rng.standard_t(3, size),
    "lognormal": lambda rng, size: np.exp(rng.normal(size=size)),
    "Cauchy": lambda rng, size: rng.standard_cauchy(size),
}


def of_weights(attack: str, weights: FloatArray) -> RequestAudit:
    """The distances of the first model to the others; a limit that any distance exceeds."""
    matrix = np.sqrt(np.maximum(((weights[:, None] - weights) ** 2).sum(axis=-1), 0))
    return audit_distances(attack, [against_pool("l2", "whole", matrix, 1, draws=9)], {}, limit=1.0001, confidence=0.95)


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("retrained", [8, 20, *(pytest.param(count, marks=pytest.mark.slow) for count in (5, 16, 40))])
def test_honest_retraining_is_blamed_no_more_than_promised_however_it_spreads(spread: str, retrained: int) -> None:
    """Records that move together, one-dimensional weights, heavy tails: three attacks at once, the verdict of all of them."""
    draw, rng, runs = SPREADS[spread], np.random.default_rng(7), 100
    blamed, by_normal = 0, 0
    for _ in range(runs):
        phi = 0.5 * draw(rng, (retrained + 1, 20)) + draw(rng, (retrained + 1, 1))
        parts = [
            audit_release(phi[0], phi[1:], None, fpr=0.05, limit=0.0501, confidence=0.95),
            of_weights("parameter-distance", draw(rng, (retrained + 1, 1))),
            of_weights("function-distance", draw(rng, (retrained + 1, 1)) * draw(rng, (retrained + 1, 10))),
        ]
        findings = [one for part in together(parts) for one in part.findings]
        blamed += any(one.verdict is Verdict.FAIL for one in settled(findings, 0.05))
        pools = [part.pool for part in parts if part.pool is not None]
        by_normal += any(2 * stats.t.sf(pool[0], retrained - 1) <= 0.05 for pool in pools)
    assert blamed <= (13 if retrained > 18 else 0)  # more than 13 of 100 at 5 % has probability below 0.001
    assert by_normal > 8  # what is taken as normal alone would have blamed


def test_records_that_move_half_up_and_half_down_are_seen() -> None:
    rng = np.random.default_rng(11)
    models = phis(rng, 21, 0.2)
    turned = models[0] + 3.0 * np.where(np.arange(60) % 2, 1.0, -1.0)
    found = audit_release(turned, models[1:], None, **LIMIT)
    assert found.findings[0].p_value == pytest.approx(1 / 21)
    assert {one.verdict for one in settled(found.findings, 0.05)} == {Verdict.FAIL}
    assert audit_release(models[0], models[1:], None, **LIMIT).findings[0].p_value > 0.05


def test_attacks_on_the_same_models_are_one_test_and_no_less_than_the_worst_of_each() -> None:
    rng = np.random.default_rng(12)
    models, weights = phis(rng, 41, 0.2), rng.normal(size=(41, 30))
    parts = [
        audit_release(models[0] + 2.0, models[1:], None, **LIMIT),
        of_weights("parameter-distance", np.concatenate([weights[:1] + 4.0, weights[1:]])),
        of_weights("function-distance", weights),
    ]
    both = together(parts)
    assert [part.findings[0].p_value for part in both[:2]] == [pytest.approx(1 / 41)] * 2
    assert both[2].findings[0].p_value == parts[2].findings[0].p_value
    levels = [one.adjusted_p for part in both for one in settled(list(part.findings), 0.05)]
    assert levels[0] == pytest.approx(1 / 41)
    # models that share the start are a second test, for which both pay
    apart = RequestAudit(parts[1].findings, (), (), pool=parts[1].pool, second=1 / 41, odd_one_out=True)
    assert [part.findings[0].p_value for part in together([apart])] == [pytest.approx(1 / 41)]
    paid = together([parts[0], apart])
    assert [part.findings[0].p_value for part in paid] == [pytest.approx(2 / 41)] * 2
    assert all(part.odd_one_out for part in paid)
    # an honest model of the shared start is unusual among those that begin anew, and neither is blamed
    honest = audit_release(models[0], models[1:], None, **LIMIT)
    kept = together([honest, RequestAudit(parts[1].findings, (), (), pool=parts[1].pool, second=0.3)])
    assert [part.findings[0].p_value for part in kept] == [min(1.0, 2 * honest.findings[0].p_value), 0.6]


def test_too_few_retrained_models_to_fail_are_told_how_many_would_do() -> None:
    rng = np.random.default_rng(13)
    models = phis(rng, 9, 0.2)
    part = audit_release(models[0] + 5.0, models[1:], None, **LIMIT)
    assert part.odd_one_out
    found = settled(part.findings, 0.05, retrained={"release-lira": 8})
    under = next(one for one in found if one.direction == "under-forgetting")
    assert (under.verdict, under.needed_models) == (Verdict.INCONCLUSIVE, 19)
    among = settled(part.findings, 0.05, others=3, retrained={"release-lira": 8})
    assert among[0].needed_models == 39
    enough = phis(rng, 20, 0.2)
    verdicts = settled(audit_release(enough[0] + 5.0, enough[1:], None, **LIMIT).findings, 0.05)
    assert Verdict.FAIL in {one.verdict for one in verdicts}
