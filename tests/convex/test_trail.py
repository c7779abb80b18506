"""A gradient followed in single precision: what is claimed of it holds against 60 digits, even where every error is as large as it may be."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy, deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from certify.convex import proposed as proposed_module
from certify.convex import shadow as shadow_module
from certify.convex import trail as trail_module
from certify.convex.anchor import KeptHessian
from certify.convex.bynorms import gradient_by_norms
from certify.convex.certificate import DistanceBound, certify_parameters
from certify.convex.chord import Goal, follow
from certify.convex.defect import by_drift
from certify.convex.enclosure import max_row_norm
from certify.convex.kept import KeptFactor
from certify.convex.objective import Objective
from certify.convex.problem import Problem, bind
from certify.convex.shadow import Passed, Shadow
from certify.convex.trail import Trail
from certify.core.stacked import Stacked
from tests.convex.test_drift import LOSSES, dense, drawn, drift_in_full, left_out, part


def shadow_of(problem: Problem) -> Shadow:
    found = Shadow.of(problem)
    assert found is not None
    return found


def begun(problem: Problem, w: np.ndarray, shadow: Shadow | None = None) -> Trail:
    gradient, scores = gradient_by_norms(problem, w)
    found = Trail.begun(shadow or shadow_of(problem), problem, w, gradient, scores)
    assert found is not None
    return found


def kept_at(problem: Problem, w: np.ndarray) -> KeptHessian:
    found = KeptHessian.of(problem, w)
    assert found is not None
    return found


@dataclass(frozen=True, eq=False)
class Worst(Shadow):
    """A shadow whose every product is off by all that its bound allows, one way or the other."""

    seed: int = 0
    times: float = 1.0

    @classmethod
    def than(cls, shadow: Shadow, seed: int) -> Worst:
        return cls(shadow.source, shadow.rows, shadow.tail, shadow.lengths, shadow.reach, seed)

    def passed(self, step: np.ndarray, share: Callable[[slice, np.ndarray], np.ndarray]) -> Passed:
        rng = np.random.default_rng(self.seed)
        honest = super().passed(step, share)
        rows = np.vstack([np.asarray(self.source, dtype=float), self.tail])
        off = rng.choice([-1.0, 1.0]) if self.seed % 2 else rng.choice([-1.0, 1.0], len(rows))
        along = rows @ step + self.times * off * honest.spread * self.lengths * (1 - 1e-9)
        shares = share(slice(0, len(rows)), along)
        error = (
            honest.error * float(np.abs(shares) @ self.lengths) / float(np.abs(honest.shares) @ self.lengths + 1e-300)
        )
        # the part of the bound that comes from the shares as they are now; the rest is a millionth of it
        direction = rng.normal(size=len(step))
        wrong = direction / np.linalg.norm(direction) * min(error, honest.error) * (1 - 1e-3)
        return Passed(along, honest.spread, shares, shares @ rows + wrong, max(error, honest.error))


# ------------------------------------------------------------------------------------------------- the products


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.sampled_from([(3, 1), (70, 3), (5, 300)]),
    exponent=st.sampled_from([-250, -60, 0, 60, 250]),
    kind=st.sampled_from(["plain", "one sign", "graded", "zeros", "float32"]),
    intercept=st.booleans(),
    summed=st.sampled_from([1, 16, 1024]),
)
def test_both_products_are_within_their_bounds(
    oracle: Any, seed: int, size: tuple[int, int], exponent: int, kind: str, *, intercept: bool, summed: int
) -> None:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=size)
    if kind == "one sign":
        X = np.abs(X) + 1 / 3
    if kind == "graded":
        X = rng.choice([-1, 1], size) * rng.uniform(0.1, 1, size) * 10.0 ** rng.integers(-16, 17, size)
    if kind == "zeros":
        X = X * (rng.random(size) < 0.3) * (rng.random(size[0]) < 0.7)[:, None]
    if kind == "float32":
        X = X.astype(np.float32)
    problem = bind(Objective("squared", 1.0, intercept), X, np.zeros(size[0]))
    step = rng.normal(size=problem.shape[1]) * 10.0**exponent
    shares = rng.normal(size=size[0]) * 10.0 ** rng.integers(-300, 60)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shadow_module, "_SUMMED", summed)
        patch.setattr(shadow_module, "_CHUNK_BYTES", 1)
        found = shadow_of(problem).passed(step, lambda rows, _: shares[rows])
    rows = [oracle.numbers(row) + [oracle.mp.mpf(1)] * intercept for row in X]
    for row, t, norm in zip(rows, found.along, problem.norms, strict=True):
        error = abs(oracle.mp.fdot(row, oracle.numbers(step)) - oracle.mp.mpf(float(t)))
        assert error <= oracle.mp.mpf(found.spread) * oracle.mp.mpf(float(norm)) + oracle.mp.mpf("1e-300")
    total = [oracle.mp.fdot(oracle.numbers(shares), [row[j] for row in rows]) for j in range(problem.shape[1])]
    assert oracle.distance(oracle.numbers(found.total), total) <= oracle.mp.mpf(found.error)
    assert found.spread <= 1e-4 * np.sum(np.abs(step))
    assert found.error <= 1e-4 * float(np.abs(shares) @ problem.norms) + 1e-200


def test_sums_whose_rounding_all_goes_one_way_are_within_their_bound() -> None:
    # equal terms: every addition in single precision rounds the same way, and a bound for rounding at random would be false
    worst = 0.0
    for entry in (1 / 3, 0.7, 0.1):
        X = np.full((20_000, 1), entry)
        problem = bind(Objective("squared", 1.0), X, np.zeros(len(X)))
        found = shadow_of(problem).passed(np.ones(1), lambda _, t: np.ones(len(t)))
        wrong = abs(float(found.total[0]) - 20_000 * entry)
        assert wrong <= found.error
        worst = max(worst, wrong / (20_000 * entry))
    assert worst > 2.0**-27  # it is single precision


def test_records_without_a_shadow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = np.random.default_rng(0).normal(size=(30, 3)), np.zeros(30)

    def shadow(matrix: Any) -> Shadow | None:
        return Shadow.of(bind(Objective("squared", 1.0), matrix, y))

    assert shadow(X) is not None
    mapped = np.memmap(tmp_path / "X", dtype=float, mode="w+", shape=X.shape)
    mapped[:] = X
    assert shadow(mapped) is None
    assert shadow(csr_array(X)) is None
    for factor in (1e-30, 1e30):
        assert shadow(np.where(X[3, 1] == X, X * factor, X)) is None
    monkeypatch.setattr(shadow_module, "_LARGEST_BYTES", 4 * X.size - 1)
    assert shadow(X) is None


def test_a_library_that_multiplies_in_lower_precision_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    X = np.random.default_rng(0).normal(size=(300, 3))
    problem = bind(Objective("squared", 1.0), X, np.zeros(300))
    honest = Shadow.passed

    def coarse(self: Shadow, *arguments: Any) -> Passed:
        halved = (self.rows.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)  # bfloat16
        return honest(replace(self, rows=halved), *arguments)

    assert Shadow.of(problem) is not None
    monkeypatch.setattr(Shadow, "passed", coarse)
    assert Shadow.of(problem) is None


# ------------------------------------------------------------------------------------------------- theorem 5c


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.sampled_from([(6, 1), (12, 2), (25, 3)]),
    length=st.sampled_from([0.0, 1e-9, 1e-4, 0.02]),
    steps=st.integers(1, 3),
    errors=st.sampled_from(["honest", "worst"]),
    intercept=st.booleans(),
    later=st.sampled_from([0, 2]),
)
@pytest.mark.parametrize("loss", LOSSES)
def test_theorem_5c_the_gradient_that_is_followed_is_enclosed(
    oracle: Any,
    loss: str,
    seed: int,
    size: tuple[int, int],
    length: float,
    steps: int,
    errors: str,
    *,
    intercept: bool,
    later: int,
) -> None:
    errors = "honest" if intercept else errors
    problem, y, w = drawn(loss, seed, size, intercept=intercept)
    rng = np.random.default_rng(seed)
    shadow = shadow_of(replace(problem, X=np.array(problem.X)))
    if later:
        upper = problem.X[: size[0] - later]
        shadow = shadow_of(part(problem, range(size[0] - later)))
        problem = replace(problem, X=Stacked(shadow.source, problem.X[size[0] - later :]))  # type: ignore[arg-type]
        assert np.array_equal(shadow.source, upper)  # type: ignore[arg-type]
    else:
        problem = replace(problem, X=shadow.source)  # type: ignore[arg-type]
    trail = begun(problem, w, shadow)
    if errors == "worst":
        trail = replace(trail, shadow=Worst.than(trail.shadow, seed))
    kept: KeptHessian | None = kept_at(problem, w)
    for place in range(steps):
        gone = [place] if rng.random() < 0.5 else []
        if gone:
            assert kept is not None
            kept = kept.without(np.array(gone), part(problem, gone))
            problem = left_out(problem, gone)
        if rng.random() < 0.3:  # another weight that M has not been told of
            weights = problem.weights.copy()
            weights[-1] *= 1.0 + 1e-3 * rng.random()
            problem = replace(problem, weights=weights)
        assert kept is not None
        w = w + length * rng.normal(size=w.shape)
        onward = trail.onward(problem, w, kept)
        if onward is None:  # a curvature changes by a factor e
            assert loss in ("poisson", "gamma", "softplus-hinge", "log-cosh", "pseudo-huber") or length > 1e-3
            return
        trail = onward.trail
        exact = oracle.exact(problem.objective, dense(problem), y, problem.weights)
        point, mp = oracle.numbers(w), oracle.mp
        for row, z, dz in zip(exact.X, trail.z, trail.dz, strict=True):
            assert abs(mp.fdot(row, point) - mp.mpf(float(z))) <= mp.mpf(float(dz))
        gradient, value = exact.gradient(point), oracle.numbers(trail.gradient.value)
        assert oracle.distance(value, gradient) <= mp.mpf(trail.gradient.error)
        assert drift_in_full(oracle, exact, problem, w, kept) <= mp.mpf(onward.drift)
        # what is unknown, as the certificate counts it, is at least H^-1 times the error
        found = by_drift(problem, trail.gradient, onward.drift, 0 * w, kept, max_row_norm(problem))
        wrong = mp.matrix([a - b for a, b in zip(gradient, value, strict=True)])
        assert mp.norm(mp.lu_solve(exact.hessian(point), wrong)) <= mp.mpf(found.unknown)
        solved = mp.lu_solve(exact.hessian(point), mp.matrix(gradient))
        assert mp.norm(solved) <= mp.mpf(found.defect)
        assert mp.sqrt((mp.matrix(gradient).T * solved)[0]) <= mp.mpf(found.decrement)


@pytest.mark.parametrize("seed", range(6))
def test_errors_as_large_as_they_may_be_come_near_the_bound(seed: int) -> None:
    # a bound that forgot the error of the scores, or added up less than the sum, would be below the truth here
    rng = np.random.default_rng(seed)
    X = np.abs(rng.normal(size=(40, 2)))
    problem = bind(Objective("poisson", 0.5), X, rng.poisson(2.0, 40).astype(float))
    w = rng.normal(size=(1, 2)) / 4
    kept, away = kept_at(problem, w), w + 0.1 * rng.normal(size=(1, 2))
    trail = begun(problem, w)
    onward = replace(trail, shadow=Worst.than(trail.shadow, 2 * seed + 1)).onward(problem, away, kept)
    assert onward is not None
    wrong = float(np.linalg.norm(onward.trail.gradient.value - problem.gradient(away)))
    assert 0.1 * onward.trail.gradient.error <= wrong <= onward.trail.gradient.error
    honest = trail.onward(problem, away, kept)
    assert honest is not None
    assert np.linalg.norm(honest.trail.gradient.value - problem.gradient(away)) <= 0.1 * honest.trail.gradient.error


def known_exactly(problem: Problem, w: np.ndarray, gradient: np.ndarray) -> Trail:
    """A trail that claims to know the gradient exactly."""
    trail = begun(problem, w)
    return replace(trail, gradient=replace(trail.gradient, value=gradient, error=0.0, rest=0.0))


def exact_gradient(oracle: Any, problem: Problem, y: np.ndarray, w: np.ndarray) -> list[Any]:
    exact = oracle.exact(problem.objective, dense(problem), y, problem.weights)
    return list(exact.gradient(oracle.numbers(w)))


def test_scores_known_badly_are_allowed_for(oracle: Any) -> None:
    # the products are as good as exact: what is wrong comes from the scores that the trail began with
    problem, y, w = drawn("poisson", 5, (30, 2))
    kept, rng = kept_at(problem, w), np.random.default_rng(5)
    gradient = np.array([[float(g) for g in exact_gradient(oracle, problem, y, w)]])
    trail = known_exactly(problem, w, gradient)
    off = 1e-2 * np.sign(problem.X[:, 0])  # type: ignore[index]
    z, loss = trail.z + off, problem.objective.loss_function
    slope = loss.gradient(z[:, None], problem.targets)[:, 0]
    trail = replace(trail, z=z, dz=np.full(30, 1.001e-2), slope=slope)
    away = w + 0.05 * rng.normal(size=w.shape)
    onward = trail.onward(problem, away, kept)
    assert onward is not None
    wrong = oracle.distance(oracle.numbers(onward.trail.gradient.value), exact_gradient(oracle, problem, y, away))
    assert 1e-4 < wrong <= onward.trail.gradient.error < 1


@pytest.mark.parametrize("change", ["step", "weights"])
def test_slopes_as_wrong_as_they_may_be_are_allowed_for(
    oracle: Any, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    # near the minimum, and a step so short that nothing is left but the rounding of the slopes, all of one size here
    problem, y, start = drawn("logistic", 6, (60, 2))
    problem = replace(problem, X=np.abs(problem.X[:]) / 1000, weights=np.ones(60))
    w = minimum(problem, start)
    gradient = np.array([[float(g) for g in exact_gradient(oracle, problem, y, w)]])
    loss = type(problem.objective.loss_function)
    real, side = loss.first, [1.0]

    def wrong(self: Any, z: np.ndarray, y: np.ndarray) -> np.ndarray:
        value = real(self, z, y)
        return value + side[0] * 14 * 2.0**-53 * np.abs(value)

    monkeypatch.setattr(loss, "first", wrong)
    kept, trail = kept_at(problem, w), known_exactly(problem, w, gradient)
    side[0] = -1.0
    if change == "step":
        now, away = problem, w + 1e-12
        onward = trail.onward(now, away, kept)
        assert onward is not None
        found = onward.trail.gradient
    else:
        now, away = left_out(problem, range(20)), w
        moved = trail._counted_as(now)
        assert moved is not None
        found = moved
    error = oracle.distance(oracle.numbers(found.value), exact_gradient(oracle, now, y, away))
    assert 0.1 * found.error <= error <= found.error


def test_a_hessian_as_wrong_as_it_may_be_is_allowed_for() -> None:
    problem, _, w = drawn("logistic", 7, (30, 3))
    kept = kept_at(problem, w)
    wrong = replace(kept, matrix=kept.matrix + 0.1 * np.eye(3), error=0.1)
    away = w + 0.01
    onward = begun(problem, w).onward(problem, away, wrong)
    assert onward is not None
    error = float(np.linalg.norm(onward.trail.gradient.value - problem.gradient(away)))
    assert 0.1 * 0.01 < error <= onward.trail.gradient.error


@pytest.mark.parametrize("drift", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("leaves", [False, True])
def test_what_is_not_known_of_a_record_stays_unknown(drift: float, *, leaves: bool) -> None:
    # the trail is wrong by eta x_0, as it says: when the record has left, and for the certificate while it counts
    X = np.vstack([np.array([10.0, 0.0]), np.random.default_rng(0).normal(size=(5, 2)) / 10])
    problem = bind(Objective("squared", 1e-3), X, np.zeros(6))
    w, eta = np.array([[0.3, -0.2]]), 0.7
    kept, trail = kept_at(problem, w), begun(problem, w)
    slack = np.zeros(6)
    slack[0] = eta
    value = trail.gradient.value - eta * X[0]
    known = replace(trail.gradient, value=value, slack=slack, error=eta * problem.norms[0] + trail.gradient.rest)
    trail = replace(trail, gradient=known)
    now = left_out(problem, [0]) if leaves else problem
    after = kept.without(np.array([0]), part(problem, [0])) if leaves else kept
    assert after is not None
    onward = trail.onward(now, w, after)
    assert onward is not None
    wrong = now.gradient(w) - onward.trail.gradient.value
    assert eta * 9.9 < np.linalg.norm(wrong) <= onward.trail.gradient.error
    # h is 1; m so much larger that kappa is the drift
    larger = (drift / 2 + np.sqrt(1 + drift * drift / 4)) ** 2
    hessian, soft = now.hessian(w), replace(after, weights=after.weights * larger)
    spread, rest = onward.trail.gradient.split(soft, drift)
    truth = float(np.sqrt(wrong[0] @ np.linalg.solve(hessian, wrong[0])))
    if not leaves:
        assert 0.5 * spread < truth <= spread * (1 + 1e-9)
        assert rest < 1e-6
    # with z = 0 the defect is the whole of H^-1 r, and r is made of nothing but what is unknown
    bare = replace(onward.trail.gradient, value=0 * value)
    found = by_drift(now, bare, onward.drift, 0 * w, after, max_row_norm(now))
    assert np.linalg.norm(np.linalg.solve(hessian, wrong[0])) <= found.unknown
    assert found.unknown <= found.defect
    assert truth <= found.decrement * (1 + 1e-9)


def test_a_trail_leads_to_the_same_records_only() -> None:
    problem, _, w = drawn("logistic", 0, (40, 3))
    trail, kept = begun(problem, w), kept_at(problem, w)
    assert trail.onward(problem, w, kept) is not None
    assert trail.onward(replace(problem, X=np.array(problem.X)), w, kept) is None
    assert trail.onward(replace(problem, targets=-problem.targets), w, kept) is None
    assert trail.onward(replace(problem, objective=replace(problem.objective, l2=9.0)), w, kept) is None
    assert trail.onward(problem, w, replace(kept, weights=kept.weights[1:])) is None
    assert trail.onward(problem, w + 50, kept) is None
    assert trail.onward(problem, w * np.nan, kept) is None
    assert (
        Trail.begun(shadow_of(replace(problem, X=np.array(problem.X))), problem, w, *gradient_by_norms(problem, w))
        is None
    )


def test_too_many_other_weights_end_a_trail(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, _, w = drawn("logistic", 0, (40, 3))
    trail, kept = begun(problem, w), kept_at(problem, w)
    monkeypatch.setattr(trail_module, "_FEW", 3)
    three, four = (problem.reweighted(problem.weights * (1 + 1e-3 * (np.arange(40) < count))) for count in (3, 4))
    assert trail.onward(three, w, kept) is not None
    assert trail.onward(four, w, kept) is None


def test_what_the_caller_does_to_his_arrays_afterwards_does_not_reach_the_trail() -> None:
    problem, _, w = drawn("logistic", 1, (40, 3))
    weights, point = problem.weights.copy(), w.copy()
    mine = replace(problem, weights=weights)
    trail, kept = begun(mine, point), kept_at(mine, point).without(np.array([3]), part(mine, [3]))
    assert kept is not None
    weights[3] = 0.0
    point += 7.0
    now = left_out(problem, [3])
    onward = trail.onward(replace(mine, weights=weights), w, kept)
    assert onward is not None
    assert np.linalg.norm(onward.trail.gradient.value - now.gradient(w)) <= onward.trail.gradient.error
    assert np.linalg.norm(onward.trail.gradient.value - problem.gradient(w)) > onward.trail.gradient.error


# ------------------------------------------------------------------------------------------------- certificates


def stream(
    problem: Problem, w: np.ndarray, deletions: int, shadow: Shadow | None
) -> list[tuple[Problem, np.ndarray, DistanceBound]]:
    """Deletions by one chord step each, certified each."""
    factor = KeptFactor.at(problem, w)
    assert factor is not None
    residual, row_norm, trail, found = problem.gradient(w), max_row_norm(problem), shadow, []
    for place in range(deletions):
        problem, left = left_out(problem, [place]), part(problem, [place])
        after = factor.changed_by(left, None, w, places=[place])
        assert after is not None
        factor = after
        w = w - factor(residual - (left.gradient(w) - left.penalty * w))
        bound = certify_parameters(problem, w, propose=factor, row_norm=row_norm, kept=factor.hessian, trail=trail)
        residual, trail = bound.residual, bound.trail or trail  # type: ignore[assignment]
        found.append((problem, w, bound))
    return found


def minimum(problem: Problem, w: np.ndarray) -> np.ndarray:
    for _ in range(30):
        w = w - np.linalg.solve(problem.hessian(w), problem.gradient(w)[0])[None]
    return w


def large(seed: int) -> tuple[Problem, np.ndarray]:
    """Records enough that a deletion is a short step."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(3000, 12))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    y = (X[:, 0] + rng.normal(size=3000) > 0).astype(float)
    problem = bind(Objective("logistic", l2=5.0), X, y)
    return problem, minimum(problem, np.zeros(problem.shape))


@pytest.mark.parametrize("errors", ["honest", "worst"])
def test_a_stream_that_is_followed_is_certified_never_below_the_truth_and_hardly_above(
    monkeypatch: pytest.MonkeyPatch, errors: str
) -> None:
    problem, start = large(0)
    measured: list[int] = []
    real = proposed_module.gradient_by_norms
    monkeypatch.setattr(proposed_module, "gradient_by_norms", lambda *a: measured.append(1) or real(*a))
    shadow = shadow_of(problem)
    plain = stream(problem, start, 60, None)
    assert len(measured) == 60
    measured.clear()
    followed = stream(problem, start, 60, shadow if errors == "honest" else Worst.than(shadow, 3))
    assert len(measured) <= 30  # the control: a trail that is never taken would count 60
    for (now, w, bound), (_, _, beside) in zip(followed, plain, strict=True):
        truth = float(np.linalg.norm(w - minimum(now, w)))
        assert truth <= float(bound.distance) * (1 + 1e-6)
        assert float(bound.distance) <= 1.06 * float(beside.distance) + 1e-6 * truth


@pytest.mark.parametrize("times", [1.0, 1e5])
def test_a_certificate_covers_the_errors_that_are_claimed_and_much_larger_ones_it_does_not(
    monkeypatch: pytest.MonkeyPatch, times: float
) -> None:
    problem, start = large(0)
    for limit in ("_WORTHWHILE", "_UNKNOWN"):  # followed until what is unknown is as large as the distance
        monkeypatch.setattr(proposed_module, limit, 1.0)
    tightness = []
    for seed in (3, 4, 5):
        shadow = replace(Worst.than(shadow_of(problem), seed), times=times)
        for now, w, bound in stream(problem, start, 30, shadow):
            tightness.append(float(bound.distance) / float(np.linalg.norm(w - minimum(now, w))))
    assert max(tightness) > 1.1
    assert (min(tightness) < 0.99) == (times > 1)


def test_a_step_to_the_level_of_rounding_is_measured_in_double_precision() -> None:
    problem, start = large(1)
    factor = KeptFactor.at(problem, start)
    assert factor is not None
    trail: Any = shadow_of(problem)
    for length in (1e-3, 1e-7, 1e-13):
        w = start + length
        for _ in range(7):
            bound = certify_parameters(problem, w, propose=factor, kept=factor.hessian, trail=trail)
            trail = bound.trail
            w = w - bound.newton_step
        plain = certify_parameters(problem, w, propose=factor, kept=factor.hessian)
        assert float(bound.distance) <= 1.001 * float(plain.distance)
        assert trail.steps == 0


def test_a_trail_that_leads_nowhere_is_tried_less_and_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, start = large(2)
    tried: list[int] = []
    real = Trail.onward
    monkeypatch.setattr(Trail, "onward", lambda *a: tried.append(1) or real(*a))
    stream(problem, start, 20, shadow_of(problem))
    assert len(tried) > 10
    tried.clear()
    monkeypatch.setattr(proposed_module, "_UNKNOWN", 0.0)
    found = stream(problem, start, 60, shadow_of(problem))
    assert all(bound.trail is not None and bound.trail.steps == 0 for _, _, bound in found)
    assert 3 <= len(tried) <= 6


# ------------------------------------------------------------------------------------------------- the edges


@pytest.mark.parametrize(
    ("entry", "target", "before", "after", "l2"),
    [(1e15, 1e15, 3.5e-162, 2e-162, 1e-134), (1e-10, -1e-10, 2.7e154, 1.5e154, 1e133), (1.0, 1.0, 3e-5, 2e-5, 1e-4)],
)
def test_weights_whose_squares_leave_the_range_do_not_hide_the_drift(
    entry: float, target: float, before: float, after: float, l2: float
) -> None:
    X, y, w = np.full((4, 1), entry), np.full(4, target), np.array([[2.0]])
    old = bind(Objective("squared", l2), X, y, 1, np.full(4, before))
    now, kept = old.reweighted(np.full(4, after)), kept_at(old, w)

    def propose(g: np.ndarray) -> np.ndarray:
        return g / float(kept.matrix[0, 0])

    trail = certify_parameters(now, w, propose=propose, kept=kept, trail=shadow_of(old)).trail
    assert trail is not None
    trail, away = replace(trail, pause=0), w + 1e-7
    onward = trail.onward(now, away, kept)
    assert onward is not None
    assert abs(before - after) / np.sqrt(before) / np.sqrt(after) <= onward.drift
    bound = certify_parameters(now, away, propose=propose, kept=kept, trail=trail)
    h = 4 * (after * entry) * entry
    truth = abs(2 + 1e-7 - 4 * (after * entry) * target / (h + l2))
    assert truth <= float(bound.distance) * (1 + 1e-12)


def test_a_hessian_that_still_counts_a_record_that_left_is_not_followed() -> None:
    problem, _, w = drawn("logistic", 3, (30, 3))
    trail, kept, away = begun(problem, w), kept_at(problem, w), w + 1e-3
    now = left_out(problem, [4])
    assert trail.onward(now, away, kept) is None
    told = kept.without(np.array([4]), part(problem, [4]))
    assert told is not None
    assert trail.onward(now, away, told) is not None
    assert trail.onward(problem, away, told) is None  # nor one that no longer counts a record that does


@pytest.mark.parametrize("nonsense", [np.inf, np.nan, 0.0, 1e300])
def test_a_proposal_that_is_no_step_is_followed_nowhere(nonsense: float) -> None:
    problem, start = large(3)
    w, kept = start + 1e-3, kept_at(problem, start)
    trail = begun(problem, start)
    bound = certify_parameters(problem, w, propose=lambda g: np.full(g.shape, nonsense), kept=kept, trail=trail)
    assert float(np.linalg.norm(w - start)) <= float(bound.distance)
    assert bound.trail is None or bound.trail.steps == 0


def test_steps_that_underflow_are_not_followed() -> None:
    problem, _, w = drawn("squared", 3, (30, 3))
    trail, kept = begun(problem, 0 * w), kept_at(problem, w)
    assert trail.onward(problem, 0 * w + 1e-300, kept) is None
    assert trail.onward(problem, 0 * w + 1e-200, kept) is not None


def test_what_became_of_the_scores_of_a_record_that_left_does_not_matter() -> None:
    problem, _, w = drawn("poisson", 8, (30, 2))
    X = np.array(problem.X)
    X[3] = 1e5  # scores that overflow exp as soon as w moves
    problem = left_out(replace(problem, X=X), [3])
    w = w - (w @ X[3]) / (X[3] @ X[3]) * X[3]
    trail, kept, away = begun(problem, w), kept_at(problem, w), w + 0.02
    onward = trail.onward(problem, away, kept)
    assert onward is not None
    others = part(problem, np.flatnonzero(np.arange(30) != 3))
    assert np.linalg.norm(onward.trail.gradient.value - others.gradient(away)) <= onward.trail.gradient.error < 1e-3
    # and when it comes back, it is known that nothing is known of it
    back = replace(problem, weights=np.where(np.arange(30) == 3, 1.0, problem.weights))
    assert onward.trail.onward(back, away + 1e-9, kept_at(problem, w)) is None


def test_a_chunk_of_zeros_costs_nothing() -> None:
    problem = bind(Objective("squared", 1.0), np.full((4, 1), 1e15), np.zeros(4))
    found = shadow_of(problem).passed(np.ones(1), lambda _, t: 0 * t)
    assert found.error <= 1e-290
    assert not found.total.any()
    still = shadow_of(problem).passed(np.zeros(1), lambda _, t: t + 1)
    assert still.spread == 0
    assert not still.along.any()


def test_records_that_memory_does_not_hold_twice_have_no_shadow(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, _, _ = drawn("logistic", 0, (30, 3))

    def full(*_: object, **__: object) -> np.ndarray:
        raise MemoryError

    monkeypatch.setattr(shadow_module.np, "empty", full)
    assert Shadow.of(problem) is None


def test_a_copy_of_a_bound_leaves_the_trail_behind() -> None:
    problem, start = large(0)
    bound = stream(problem, start, 3, shadow_of(problem))[-1][-1]
    assert bound.trail is not None
    for other in (copy(bound), deepcopy(bound)):  # as it would be written down, or sent to another process
        assert other.trail is None
        assert other.distance == bound.distance


def test_what_single_precision_does_not_show_to_be_near_is_measured_again() -> None:
    # a tolerance just above what double precision certifies: no request may be refused for the trail's own errors
    problem, w = large(0)
    factor, row_norm, known = KeptFactor.at(problem, w), max_row_norm(problem), shadow_of(problem)
    residual, again = problem.gradient(w), 0
    for place in range(20):
        left = part(problem, [place])
        problem = left_out(problem, [place])
        assert factor is not None
        factor = factor.changed_by(left, None, w, places=[place])
        residual = residual - (left.gradient(w) - left.penalty * w)
        plain = follow(problem, w, residual, factor, Goal(1.0, 1), row_norm)
        tight = Goal(float(plain.bound.distance) * 1.0005, 1)
        again += follow(problem, w, residual, factor, tight, row_norm, known).bound.trail.steps == 0  # type: ignore[union-attr]
        run = follow(problem, w, residual, factor, Goal(1.0, 1), row_norm, known)
        known, w, residual, factor = run.bound.trail, run.parameters, run.bound.residual, run.factor  # type: ignore[assignment]
    assert again >= 10
