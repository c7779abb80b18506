"""What each method promises."""

from dataclasses import dataclass

import numpy as np
import pytest

from certify import Objective, unlearners
from certify.core.errors import ConfigurationError
from certify.data.dataset import Dataset
from certify.unlearners import Claim, ConvexTask, Request
from certify.unlearners.interface import Unlearner
from certify.unlearners.registry import build, check_kind

NEWTON, RETRAIN, IDENTITY = (unlearners.get(name) for name in ("newton", "retrain", "identity"))


def test_identity_returns_the_original_and_its_certificate_shows_it(any_case):
    result = IDENTITY().forget(any_case.task, any_case.request)
    assert result.model.same_as(any_case.original)
    assert (result.evidence.moved, result.claim) == (0.0, Claim.NONE)
    assert any_case.distance(result.model) > 1e3 * any_case.distance(
        RETRAIN().forget(any_case.task, any_case.request).model
    )


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_newton_takes_the_steps_it_is_asked_for(any_case, steps):
    evidence = NEWTON(steps=steps).forget(any_case.task, any_case.request).evidence
    assert evidence.counts == {"gradients": steps, "hessians": steps, "iterations": steps}


def test_each_newton_step_squares_the_distance(any_case):
    start = any_case.distance(any_case.original)
    one = any_case.distance(NEWTON(steps=1).forget(any_case.task, any_case.request).model)
    two = any_case.distance(NEWTON(steps=2).forget(any_case.task, any_case.request).model)
    assert one < 0.2 * start
    assert two < max(0.2 * one, 1e-11)


@pytest.mark.parametrize("name", ["squared", "squared-free-intercept"])
def test_one_newton_step_is_exact_for_squared_error(cases, name):
    case = cases[name]
    assert case.distance(NEWTON().forget(case.task, case.request).model) < 1e-12


@pytest.mark.parametrize("tolerance", [1e-3, 1e-8, 1e-11])
def test_adaptive_newton_reaches_its_tolerance(any_case, tolerance):
    result = NEWTON(steps=None, tolerance=tolerance).forget(any_case.task, any_case.request)
    assert any_case.distance(result.model) <= tolerance
    assert result.evidence.warnings == ()


def test_adaptive_newton_takes_no_step_that_is_not_needed(any_case):
    enough = any_case.distance(any_case.original)
    result = NEWTON(tolerance=enough).forget(any_case.task, any_case.request)
    assert result.model.same_as(any_case.original)
    assert result.evidence.counts["iterations"] == 0


def test_adaptive_newton_warns_when_it_gives_up(any_case):
    result = NEWTON(tolerance=1e-300, max_steps=2).forget(any_case.task, any_case.request)
    assert result.evidence.counts["iterations"] == 2
    assert "after 2 steps, above the tolerance" in result.evidence.warnings[0]


@pytest.mark.parametrize("scale", [5.0, 50.0])
def test_adaptive_newton_comes_home_from_far_away(cases, scale):
    case = cases["logistic"]
    far = type(case.original)(case.original.coef + scale)
    task = ConvexTask(case.objective, case.dataset, far)
    result = NEWTON(tolerance=1e-8, max_steps=60).forget(task, case.request)
    assert case.distance(result.model) <= 1e-8


_BAD_KNOBS = {
    "no step": (NEWTON, {"steps": 0}, "steps must be at least 1"),
    "neither": (NEWTON, {"steps": None}, "neither a number of steps nor a tolerance"),
    "no tolerance": (NEWTON, {"tolerance": 0.0}, "tolerance must be above 0"),
    "negative": (NEWTON, {"tolerance": -1e-3}, "tolerance must be above 0"),
    "nan": (NEWTON, {"tolerance": float("nan")}, "tolerance must be above 0"),
    "infinite": (NEWTON, {"tolerance": float("inf")}, "input should be a finite number"),
    "no max": (NEWTON, {"max_steps": 0}, "max_steps must be at least 1"),
    "no iterations": (RETRAIN, {"max_iterations": 0}, "max_iterations must be at least 1"),
}


@pytest.mark.parametrize(("method", "knobs", "trouble"), _BAD_KNOBS.values(), ids=_BAD_KNOBS)
def test_a_knob_out_of_range_is_refused(method, knobs, trouble):
    with pytest.raises(ConfigurationError, match=trouble):
        method(**knobs)


@pytest.mark.parametrize("method", [NEWTON, RETRAIN, IDENTITY])
def test_an_unknown_knob_is_refused(method):
    with pytest.raises(ConfigurationError, match="has no knob 'zz'"):
        method(zz=1)
    with pytest.raises(ConfigurationError, match="has no knob 'zz'"):
        build(method.name, {"zz": "1"})


def test_knobs_are_read_from_text():
    assert build("newton", {"steps": "3", "max_steps": "4"}) == NEWTON(steps=3, max_steps=4)
    assert build("newton", {"steps": "none", "tolerance": "1e-6"}) == NEWTON(steps=None, tolerance=1e-6)


def test_retraining_reaches_rounding_level(any_case):
    result = RETRAIN().forget(any_case.task, any_case.request)
    assert any_case.distance(result.model) < 1e-11
    assert (result.claim, result.evidence.warnings) == (Claim.EXACT, ())


def test_retraining_does_not_look_at_the_original(any_case):
    with_original = RETRAIN().forget(any_case.task, any_case.request)
    alone = RETRAIN().forget(ConvexTask(any_case.objective, any_case.dataset), any_case.request)
    assert alone.state.tobytes() == with_original.state.tobytes()


@pytest.mark.parametrize("name", ["logistic", "poisson", "softmax"])
def test_retraining_that_is_cut_short_warns(cases, name):
    result = RETRAIN(max_iterations=1).forget(cases[name].task, cases[name].request)
    assert "still falling after 1 iterations" in result.evidence.warnings[0]


@pytest.mark.parametrize("top", [50, 2_000, 1_000_000])
def test_retraining_from_zero_survives_large_counts(make_case, records, top):
    """From zero, the first full Newton step for counts this large overflows exp: only the line search saves it."""
    dataset = records("poisson")
    rng = np.random.default_rng(3)
    counts = np.floor(top * rng.random(len(dataset)) ** 4)
    case = make_case(
        Objective("poisson", l2=1.0, fit_intercept=True), Dataset(dataset.X, counts, dataset.ids), np.array([4, 5])
    )
    result = RETRAIN().forget(case.task, case.request)
    assert result.evidence.warnings == ()
    assert case.distance(result.model) < 1e-8


@pytest.mark.parametrize("loss", ["logistic", "softmax"])
def test_retraining_converges_where_the_classes_are_separable(make_case, loss):
    rng = np.random.default_rng(8)
    X = rng.normal(size=(90, 2)) * 0.1
    y = np.arange(90) % (2 if loss == "logistic" else 3)
    X[:, 0] += 20.0 * y
    case = make_case(Objective(loss, l2=1e-3), Dataset(X, y.astype(float), np.arange(90)), np.array([0, 1]))
    result = RETRAIN().forget(case.task, case.request)
    assert result.evidence.warnings == ()
    assert case.distance(result.model) < 1e-6


def test_sample_weights_are_honoured(cases, make_case):
    case = cases["logistic"]
    counts = np.random.default_rng(2).integers(1, 4, size=len(case.dataset))
    data = case.dataset
    weighted = Dataset(data.X, data.y, data.ids, counts.astype(float))
    rows = np.repeat(np.arange(len(data)), counts)
    repeated = Dataset(data.X[rows], data.y[rows], np.arange(len(rows)))
    gone = np.flatnonzero(np.isin(rows, case.request.forgotten))
    first = RETRAIN().forget(ConvexTask(case.objective, weighted), case.request)
    second = RETRAIN().forget(ConvexTask(case.objective, repeated), Request.at(repeated, gone))
    np.testing.assert_allclose(first.state, second.state, rtol=1e-10, atol=1e-12)


@dataclass(frozen=True)
class ForgotToForget(Unlearner):
    """A broken method: Newton on all records, the forgotten ones included."""

    name = "broken"
    summary = needs = reference = "-"
    claim = Claim.EXACT
    dataset: Dataset | None = None

    def run(self, meter, start):
        from certify.convex.problem import bind
        from certify.convex.solve import newton_step

        everything = bind(meter.problem.objective, self.dataset.X, self.dataset.y, meter.problem.outputs)
        for _ in range(5):
            start = start - newton_step(everything, start, everything.gradient(start))
        return start


def test_a_method_that_trains_on_everything_is_exposed_whatever_it_claims(any_case):
    result = ForgotToForget(dataset=any_case.dataset).forget(any_case.task, any_case.request)
    honest = RETRAIN().forget(any_case.task, any_case.request)
    true_distance = float(np.linalg.norm(result.state - honest.state))
    assert result.claim is Claim.EXACT
    assert any_case.distance(result.model) >= true_distance > 1e-4


@pytest.mark.parametrize("kind", ["convex", "network"])
@pytest.mark.parametrize("name", unlearners.names())
def test_what_the_registry_says_of_a_kind_is_what_the_method_says(name, kind):
    if kind in unlearners.get(name).kinds:
        check_kind(name, kind)
        return
    with pytest.raises(ConfigurationError, match=f"{name} is not for (linear models|networks)"):
        check_kind(name, kind)
