"""Relabelling of generalised linear models: certified by what the method does not see."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from certify import Objective, bound_distance, unlearners
from certify.core.errors import AssumptionViolatedError, BudgetExceededError, ConfigurationError
from certify.data.dataset import Dataset
from certify.unlearners import Budget, Claim, ConvexTask

MUSO = unlearners.get("muso")
WITH_MEAN = (
    "logistic",
    "logistic-intercept",
    "logistic-free-intercept",
    "squared",
    "squared-free-intercept",
    "poisson",
    "softmax",
    "gamma",
    "pseudo-huber",
    "log-cosh",
    "one-vs-rest",
)
WITHOUT = ("squared-hinge", "huber-hinge", "softplus-hinge", "one-vs-rest-kinked")


@pytest.mark.parametrize("name", WITH_MEAN)
def test_it_ends_at_the_retrained_weights(cases, name):
    case = cases[name]
    result = MUSO().forget(case.task, case.request)
    distance = case.distance(result.model)
    assert distance <= 1e-8 < 1e-4 * case.distance(case.original)
    assert result.claim == Claim.EXACT
    assert result.reason == f"certified within {distance:.2g} of the retrained weights"


@pytest.mark.parametrize("name", WITHOUT)
def test_a_loss_without_a_mean_prediction_is_refused(cases, name):
    case = cases[name]
    with pytest.raises(ConfigurationError, match=r"--method: no label stands for .*hinge loss"):
        MUSO().forget(case.task, case.request)


@pytest.mark.parametrize("objective", [Objective("hinge", l2=3.0), Objective("logistic", l2=3.0, l1=0.1)])
def test_an_objective_with_kinks_is_refused(cases, objective):
    case = cases["logistic"]
    task = ConvexTask(objective, case.dataset, case.original)
    with pytest.raises(ConfigurationError, match="--method: no label stands for"):
        MUSO().forget(task, case.request)


def test_iterating_labels_converges_linearly_and_newton_prediction_faster(cases):
    case = cases["logistic"]
    distances = {
        predictor: [
            case.distance(
                MUSO(predictor=predictor, rounds=rounds, tolerance=1e-13).forget(case.task, case.request).model
            )
            for rounds in (1, 2, 3)
        ]
        for predictor in ("iterate", "newton")
    }
    start = case.distance(case.original)
    shrinks = np.array(distances["iterate"]) / np.array([start, *distances["iterate"][:-1]])
    assert np.all((shrinks > 0.005) & (shrinks < 0.9))
    assert distances["newton"][0] < 0.1 * distances["iterate"][0]
    assert distances["newton"][1] < 1e-3 * distances["iterate"][1]


def test_a_run_that_is_cut_short_says_what_was_reached_and_does_not_claim_to_be_exact(cases):
    case = cases["softmax"]
    result = MUSO(rounds=1, predictor="iterate").forget(case.task, case.request)
    assert result.claim == Claim.APPROXIMATE
    assert "only after 1 rounds, above the tolerance" in result.reason
    assert result.reason in result.evidence.warnings


def test_without_strong_convexity_there_is_no_certificate_and_no_result(cases):
    case = cases["squared"]
    task = ConvexTask(Objective("squared", l2=0.0), case.dataset, case.original)
    with pytest.raises(AssumptionViolatedError, match="without strong convexity there is no certificate"):
        MUSO().forget(task, case.request)


def test_what_the_certificate_cannot_vouch_for_is_not_called_exact(cases):
    """Next to no curvature but for the penalty's: rounding alone is worth more than the tolerance."""
    case = cases["squared"]
    task = ConvexTask(
        Objective("squared", l2=1e-9), Dataset(case.dataset.X, case.dataset.y * 1e12, case.dataset.ids), case.original
    )
    result = MUSO(rounds=2).forget(task, case.request)
    assert result.claim == Claim.APPROXIMATE
    assert "above the tolerance" in result.reason


def test_ridge_by_relabelling_by_one_newton_step_and_by_hand_are_the_same_weights(cases):
    case = cases["squared"]
    kept = case.dataset.without(case.request.forgotten)
    X, y = np.asarray(kept.X[:]), kept.y
    by_hand = np.linalg.solve(X.T @ X + 3.0 * np.eye(4), X.T @ y)
    for name in ("muso", "newton"):
        found = unlearners.get(name)().forget(case.task, case.request).model.coef
        assert np.abs(found - by_hand).max() < 1e-10


def test_logistic_by_relabelling_and_by_newton_is_the_same_model(cases):
    case = cases["logistic"]
    newton = unlearners.get("newton")(tolerance=1e-11).forget(case.task, case.request).model
    assert np.abs(MUSO(tolerance=1e-12).forget(case.task, case.request).model.coef - newton.coef).max() < 1e-10


def test_sample_weights_count(cases):
    data = cases["logistic"].dataset
    weights = np.random.default_rng(0).uniform(0.2, 3.0, size=len(data))
    weighted = Dataset(data.X, data.y, data.ids, sample_weight=weights)
    case = cases["logistic"]
    task = ConvexTask(case.objective, weighted, case.original)
    result = MUSO().forget(task, case.request)
    kept = weighted.without(case.request.forgotten)
    assert float(bound_distance(case.objective, kept.X, kept.y, result.model.coef, kept.sample_weight).distance) <= 1e-8
    assert case.distance(result.model) > 1e-3


@pytest.mark.parametrize("name", ["logistic", "softmax", "poisson"])
def test_sparse_features_give_the_same_weights(cases, name):
    case = cases[name]
    sparse = Dataset(csr_array(case.dataset.X), case.dataset.y, case.dataset.ids)
    task = ConvexTask(case.objective, sparse, case.original)
    dense = MUSO().forget(case.task, case.request).model
    assert np.abs(MUSO().forget(task, case.request).model.coef - dense.coef).max() < 1e-9


def test_the_labels_of_the_forgotten_records_are_never_read(cases):
    case = cases["logistic"]
    y = case.dataset.y.copy()
    y[case.request.forgotten] *= -1
    other = ConvexTask(case.objective, Dataset(case.dataset.X, y, case.dataset.ids), case.original)
    assert MUSO().forget(other, case.request).model.same_as(MUSO().forget(case.task, case.request).model)


def test_the_evidence_counts_the_work_inside(cases):
    case = cases["logistic"]
    evidence = MUSO().forget(case.task, case.request).evidence
    assert len(evidence.residual_norms) == evidence.counts["gradients"] > 5
    assert evidence.records_read == len(case.dataset)
    again = MUSO().forget(case.task, case.request, Budget(evidence.counts["gradients"]))
    assert again.evidence.counts == evidence.counts
    with pytest.raises(BudgetExceededError, match=r"gradients is used up"):
        MUSO().forget(case.task, case.request, Budget(evidence.counts["gradients"] - 1))
