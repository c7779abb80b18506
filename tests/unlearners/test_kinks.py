"""Retraining where the objective has kinks, held to what every method is held to."""

import numpy as np
import pytest

from certify import Objective, unlearners
from certify.core.errors import BudgetExceededError, ConfigurationError
from certify.data.dataset import Dataset
from certify.unlearners import Budget

CASES = {
    "hinge": ("logistic", Objective("hinge", l2=3.0, fit_intercept=True)),
    "sparse-hinge": ("logistic", Objective("hinge", l2=3.0, l1=1.0)),
    "elastic-net": ("squared", Objective("squared", l2=3.0, l1=5.0)),
    "sparse-softmax": ("softmax", Objective("softmax", l2=3.0, l1=1.0)),
}


@pytest.fixture(params=CASES)
def kinked(request, make_case, records):
    loss, objective = CASES[request.param]
    return make_case(objective, records(loss))


def retrain(case, **limits):
    return unlearners.get("retrain")().forget(case.task, case.request, Budget(**limits))


def test_the_original_is_far_and_the_retrained_model_is_certified(kinked):
    assert kinked.distance(kinked.original) > 1e-3
    assert kinked.distance(retrain(kinked).model) < 1e-6


def test_it_is_deterministic_and_does_not_read_the_forgotten(kinked):
    data, rows = kinked.dataset, kinked.request.forgotten
    X = data.X.copy()
    X[rows] = 1e6
    other = type(kinked)(kinked.objective, Dataset(X, data.y, data.ids), kinked.original, kinked.request)
    assert retrain(kinked).model.same_as(retrain(other).model)


def test_the_evidence_counts_what_was_done_and_budgets_stop_it(kinked):
    free = retrain(kinked)
    counts = free.evidence.counts
    assert len(free.evidence.residual_norms) == counts["gradients"] > counts["hessians"] > 0
    assert retrain(kinked, gradients=counts["gradients"], hessians=counts["hessians"]).model.same_as(free.model)
    for kind in ("gradients", "hessians"):
        with pytest.raises(BudgetExceededError, match=f"the budget of {counts[kind] - 1} {kind}"):
            retrain(kinked, **{kind: counts[kind] - 1})


def test_zeros_are_exact(make_case, records):
    case = make_case(Objective("squared", l2=3.0, l1=40.0), records("squared"))
    coef = retrain(case).model.coef
    assert 0 < np.count_nonzero(coef) < coef.size


@pytest.mark.parametrize("settings", [{"steps": 1}, {"tolerance": 1e-6}])
def test_newton_refuses(kinked, settings):
    with pytest.raises(ConfigurationError, match="use --method retrain"):
        unlearners.get("newton")(**settings).forget(kinked.task, kinked.request)
