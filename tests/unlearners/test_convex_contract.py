"""What every method is held to, whatever it does inside."""

import inspect
from dataclasses import FrozenInstanceError, fields

import numpy as np
import pytest

from certify import unlearners
from certify.core.errors import BudgetExceededError, ConfigurationError, InputError
from certify.data.dataset import Dataset
from certify.models.weights import LinearWeights
from certify.unlearners import Budget, Claim, ConvexTask, Request


def _same(first, second):
    return first.same_as(second)


def test_the_fixture_covers_every_registered_method():
    """But muso and ngd, which read what they forget and do not take every loss: test_muso_convex.py, test_ngd.py."""
    convex = {name for name in unlearners.names() if "convex" in unlearners.get(name).kinds} - {"muso", "ngd"}
    assert convex == {"retrain", "newton", "identity", "curenewton", "pinv-newton", "damped-newton"}


def test_a_method_is_deterministic(any_case, method):
    first, second = (method.forget(any_case.task, any_case.request, seed=seed) for seed in (0, 1))
    assert _same(first.model, second.model)
    assert first.state.tobytes() == second.state.tobytes()
    assert first.evidence.counts == second.evidence.counts


def test_a_method_leaves_its_input_as_it_was(any_case, method):
    data, original = any_case.dataset, any_case.original
    arrays = [data.X, data.y, data.ids, original.coef, any_case.request.forgotten]
    arrays += [] if original.intercept is None else [original.intercept]
    before = [array.tobytes() for array in arrays]
    method.forget(any_case.task, any_case.request)
    assert [array.tobytes() for array in arrays] == before


def test_a_method_works_on_arrays_that_cannot_be_written(any_case, method):
    data = any_case.dataset
    frozen = [array.copy() for array in (data.X, data.y, data.ids)]
    for array in frozen:
        array.flags.writeable = False
    task = ConvexTask(any_case.objective, Dataset(*frozen), any_case.original)
    assert _same(method.forget(task, any_case.request).model, method.forget(any_case.task, any_case.request).model)


def test_the_result_does_not_share_memory_with_the_input(any_case, method):
    result = method.forget(any_case.task, any_case.request)
    assert not np.shares_memory(result.model.coef, any_case.original.coef)
    assert not np.shares_memory(result.model.coef, result.state)


def test_the_result_has_the_shape_of_the_original(any_case, method):
    model = method.forget(any_case.task, any_case.request).model
    assert model.coef.shape == any_case.original.coef.shape
    assert (model.intercept is None) == (any_case.original.intercept is None)


def test_the_evidence_counts_what_was_done(any_case, method):
    evidence = method.forget(any_case.task, any_case.request).evidence
    assert evidence.method == method.name
    assert evidence.knobs == {knob.name: getattr(method, knob.name) for knob in fields(method)}
    assert len(evidence.residual_norms) == evidence.counts["gradients"]
    assert evidence.records_read == len(any_case.dataset) - len(any_case.request.forgotten)
    assert evidence.seconds >= 0


def test_the_evidence_measures_how_far_the_weights_moved(any_case, method):
    result = method.forget(any_case.task, any_case.request)
    start = any_case.task.original_parameters()
    assert result.evidence.moved == pytest.approx(float(np.linalg.norm(result.state - start)), rel=1e-12)


def test_no_method_reads_the_forgotten_records(any_case, method):
    """With the same original, other features in the forgotten rows change nothing, bit for bit."""
    data, rows = any_case.dataset, any_case.request.forgotten
    X, y = data.X.copy(), data.y.copy()
    X[rows], y[rows] = 1e6 * (1 + np.arange(X.shape[1])), y[0]
    other = ConvexTask(any_case.objective, Dataset(X, y, data.ids), any_case.original)
    assert _same(method.forget(other, any_case.request).model, method.forget(any_case.task, any_case.request).model)


def test_a_method_is_a_frozen_value(method):
    name = next((knob.name for knob in fields(method)), "knob")
    with pytest.raises((FrozenInstanceError, AttributeError)):
        setattr(method, name, 3)


def test_a_method_says_what_it_needs_and_claims(method):
    kind = type(method)
    assert all(
        isinstance(getattr(kind, word), str) and getattr(kind, word) for word in ("summary", "needs", "reference")
    )
    assert isinstance(kind.claim, Claim)
    assert inspect.getdoc(kind)


@pytest.mark.parametrize("limit", [{"gradients": 0}, {"hessians": 0}, {"seconds": 0.0}])
def test_a_budget_of_nothing_stops_whatever_evaluates(any_case, method, limit):
    if method.name == "identity":
        method.forget(any_case.task, any_case.request, Budget(**limit))
        return
    with pytest.raises(BudgetExceededError, match="is used up before the method was done"):
        method.forget(any_case.task, any_case.request, Budget(**limit))


def test_a_budget_just_large_enough_changes_nothing(any_case, method):
    free = method.forget(any_case.task, any_case.request)
    limits = Budget(free.evidence.counts["gradients"], free.evidence.counts["hessians"])
    assert _same(method.forget(any_case.task, any_case.request, limits).model, free.model)


def test_a_budget_one_short_stops(any_case, method):
    counts = method.forget(any_case.task, any_case.request).evidence.counts
    for kind in ("gradients", "hessians"):
        if counts[kind]:
            with pytest.raises(BudgetExceededError, match=f"the budget of {counts[kind] - 1} {kind}"):
                method.forget(any_case.task, any_case.request, Budget(**{kind: counts[kind] - 1}))


@pytest.mark.parametrize("limit", [{"gradients": -1}, {"hessians": -1}, {"seconds": -0.5}, {"seconds": float("nan")}])
def test_an_impossible_budget_is_refused(limit):
    with pytest.raises(ConfigurationError, match=r"budget\.\w+: a budget must be at least 0"):
        Budget(**limit)


@pytest.mark.parametrize("name", ["newton", "identity"])
def test_a_method_that_starts_from_the_original_says_when_there_is_none(cases, name):
    case = cases["logistic"]
    with pytest.raises(InputError, match=r"release\.original: .*use --method retrain"):
        unlearners.get(name)().forget(ConvexTask(case.objective, case.dataset), case.request)


def test_an_original_of_another_shape_is_refused(cases, method):
    case = cases["logistic"]
    task = ConvexTask(case.objective, case.dataset, LinearWeights(np.ones(9)))
    with pytest.raises(InputError, match="the data asks for 4 columns"):
        method.forget(task, case.request)


_BAD_REQUESTS = {
    "nobody": ([], "0 of 120 records"),
    "everybody": (range(1_000, 1_120), "120 of 120 records"),
    "unknown": ([5], "1 ids are not in"),
    "twice": ([1_003, 1_003], "repeat"),
}


@pytest.mark.parametrize(("ids", "trouble"), _BAD_REQUESTS.values(), ids=_BAD_REQUESTS)
def test_a_request_that_makes_no_sense_is_refused(cases, ids, trouble):
    with pytest.raises(InputError, match=trouble):
        Request.of(cases["logistic"].dataset, ids)


@pytest.mark.parametrize("positions", [[-1, 5], [5, 120], [5, 5]])
def test_positions_outside_the_data_are_refused(cases, positions):
    with pytest.raises(InputError, match="positions repeat or lie outside the data"):
        Request.at(cases["logistic"].dataset, np.array(positions))


def test_a_request_is_the_same_in_any_order(cases):
    dataset = cases["logistic"].dataset
    assert Request.of(dataset, [1_007, 1_002]).forgotten.tolist() == [2, 7]


def test_an_unknown_method_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigurationError, match="did you mean 'newton'"):
        unlearners.get("newtn")
