"""The theory of relabelling: where training ends, which labels bring it to the retrained weights, and what spoils them."""

import numpy as np
import pytest

from certify import Objective
from certify.convex.problem import bind
from certify.convex.solve import newton_step
from certify.core.errors import ConfigurationError, InputError
from certify.unlearners.relabelling import (
    FourierFeatures,
    labels_from_retrained,
    labels_from_targets,
    labels_from_weights,
    limit,
    mean_prediction,
    project,
    project_by_columns,
    project_by_records,
    relabelled,
)
from certify.unlearners.relabelling.descent import descend
from certify.unlearners.relabelling.theory import outside_row_space, row_rank


class Linear:
    """N records on random Fourier features; the last few are to be forgotten. Everything from normal equations of its own."""

    def __init__(self, records=40, frequencies=200, outputs=3, gone=6, seed=0):
        rng = np.random.default_rng(seed)
        self.Z = FourierFeatures.draw(5, frequencies, sigma=0.7, seed=seed)(rng.normal(size=(records, 5)))
        self.y = rng.normal(size=(records, outputs))
        self.w_0 = rng.normal(size=(2 * frequencies, outputs))
        self.Z_r, self.Z_u, self.y_r = self.Z[:-gone], self.Z[-gone:], self.y[:-gone]
        self.w_p = self.w_0 + np.linalg.pinv(self.Z) @ (self.y - self.Z @ self.w_0)
        self.w_r = self.w_0 + np.linalg.pinv(self.Z_r) @ (self.y_r - self.Z_r @ self.w_0)

    @property
    def labels(self):
        return np.concatenate([self.y_r, labels_from_weights(self.Z_u, self.Z_r, self.w_p, self.w_0)])

    def error(self, w):
        """Distance to the retrained weights, that of the untouched original being 1."""
        return np.linalg.norm(w - self.w_r) / np.linalg.norm(self.w_p - self.w_r)


@pytest.fixture(scope="module")
def linear():
    return Linear()


def test_the_features_are_of_norm_one_and_approximate_the_gaussian_kernel():
    X = np.random.default_rng(0).normal(size=(30, 4))
    features = FourierFeatures.draw(4, 20_000, sigma=1.5, seed=3)
    Z = features(X)
    kernel = np.exp(-((X[:, None] - X[None]) ** 2).sum(axis=2) / (2 * 1.5**2))
    assert np.abs(Z @ Z.T - kernel).max() < 0.03
    np.testing.assert_allclose(np.linalg.norm(Z, axis=1), 1, rtol=1e-12)
    assert np.array_equal(Z, FourierFeatures.draw(4, 20_000, sigma=1.5, seed=3)(X))
    assert not np.allclose(Z, FourierFeatures.draw(4, 20_000, sigma=1.5, seed=4)(X))
    with pytest.raises(ConfigurationError, match="sigma 0 make no features"):
        FourierFeatures.draw(4, 20, sigma=0)


def test_m1_the_three_label_formulas_agree(linear, measured):
    by_targets = labels_from_targets(linear.Z_u, linear.Z_r, linear.y_r, linear.w_0)
    by_weights = labels_from_weights(linear.Z_u, linear.Z_r, linear.w_p, linear.w_0)
    told = labels_from_retrained(linear.Z_u, linear.w_r)
    measured("M1", error=max(np.abs(by_targets - told).max(), np.abs(by_weights - told).max()))
    assert max(np.abs(by_targets - told).max(), np.abs(by_weights - told).max()) < 1e-13
    assert np.abs(told - linear.y[-6:]).max() > 0.1


def test_m2_the_limit_on_the_new_labels_is_the_retrained_weights(linear, measured):
    assert linear.error(limit(linear.Z, linear.labels, linear.w_p)) < 1e-12
    measured("M2", error=linear.error(limit(linear.Z, linear.labels, linear.w_p)))
    assert linear.error(linear.w_p) == 1


def test_m2_the_limit_is_the_retrained_weights_on_ill_conditioned_features(linear):
    hard = Linear()
    scale = np.logspace(0, -4, len(hard.Z))[:, None]
    Z, y = hard.Z * scale, hard.y * scale
    w_p, w_r = limit(Z, y, hard.w_0), limit(Z[:-6], y[:-6], hard.w_0)
    labels = np.concatenate([y[:-6], labels_from_weights(Z[-6:], Z[:-6], w_p, hard.w_0)])
    assert np.linalg.cond(Z) > 1e4
    assert np.linalg.norm(limit(Z, labels, w_p) - w_r) < 1e-9 * np.linalg.norm(w_p - w_r)


DESCENTS = {
    "gradient descent": {"passes": 6_000},
    "cyclic": {"order": "cyclic", "passes": 900},
    "random": {"order": "random", "passes": 900},
    "momentum": {"momentum": 0.9, "passes": 1_000},
    "random with momentum": {"order": "random", "momentum": 0.5, "passes": 900},
}


@pytest.mark.parametrize("how", DESCENTS.values(), ids=DESCENTS)
def test_m3_real_descent_lands_on_the_retrained_weights(linear, how):
    assert linear.error(descend(linear.Z, linear.labels, linear.w_p, **how)) < 1e-12


@pytest.mark.parametrize("order", ["full", "cyclic", "random"])
def test_the_original_and_the_retrained_weights_are_where_descent_from_the_start_ends(linear, order):
    passes = 6_000 if order == "full" else 900
    found = descend(linear.Z_r, linear.y_r, linear.w_0, order=order, passes=passes)
    assert linear.error(found) < 1e-10


def test_a_corollary_any_start_in_the_affine_row_space_will_do(linear):
    rng = np.random.default_rng(1)
    start = linear.w_0 + linear.Z.T @ rng.normal(size=linear.y.shape)
    assert linear.error(limit(linear.Z, linear.labels, start)) < 1e-11
    assert linear.error(limit(linear.Z, linear.labels, start + rng.normal(size=start.shape))) > 1


@pytest.mark.parametrize("ridge", [1e-8, 1e-5, 1e-3])
def test_a_ridge_costs_its_share_of_the_smallest_eigenvalue(linear, ridge):
    labels = labels_from_weights(linear.Z_u, linear.Z_r, linear.w_p, linear.w_0, ridge=ridge)
    error = linear.error(limit(linear.Z, np.concatenate([linear.y_r, labels]), linear.w_p))
    smallest = np.linalg.eigvalsh(linear.Z_r @ linear.Z_r.T)[0]
    assert 0.01 * ridge / smallest < error < 10 * ridge / smallest


def test_m5_weight_decay_needs_other_labels(linear, measured):
    decay, identity = 1e-3, np.eye(linear.Z.shape[1])

    def ridge(Z, y):
        return np.linalg.solve(Z.T @ Z + decay * identity, Z.T @ y)

    w_p, w_r = ridge(linear.Z, linear.y), ridge(linear.Z_r, linear.y_r)
    naive = np.concatenate([linear.y_r, labels_from_weights(linear.Z_u, linear.Z_r, w_p, linear.w_0)])
    consistent = np.concatenate([linear.y_r, linear.Z_u @ w_r])
    error = {
        kind: np.linalg.norm(ridge(linear.Z, y) - w_r) / np.linalg.norm(w_p - w_r)
        for kind, y in (("naive", naive), ("consistent", consistent))
    }
    measured("M5", **error)
    assert error["naive"] > 0.1
    assert error["consistent"] < 1e-10
    landed = descend(linear.Z, naive, w_p, weight_decay=decay, passes=6_000)
    assert np.linalg.norm(landed - ridge(linear.Z, naive)) < 1e-6 * np.linalg.norm(w_r)


def test_m6_with_more_records_than_features_only_the_retrained_predictions_will_do(measured):
    many = Linear(records=300, frequencies=50, outputs=1, gone=60)
    told = np.concatenate([many.y_r, many.Z_u @ many.w_r])
    assert many.error(limit(many.Z, told, many.w_p)) < 1e-11
    projector = np.linalg.pinv(many.Z_r) @ many.Z_r
    wrong = np.concatenate([many.y_r, many.Z_u @ (many.w_0 + projector @ (many.w_p - many.w_0))])
    assert many.error(limit(many.Z, wrong, many.w_p)) > 0.05
    measured("M6", told=many.error(limit(many.Z, told, many.w_p)), wrong=many.error(limit(many.Z, wrong, many.w_p)))
    with pytest.raises(InputError, match="the 240 x 240 matrix of the projector is singular in floating point"):
        labels_from_weights(many.Z_u, many.Z_r, many.w_p, many.w_0)


@pytest.mark.parametrize("form", ["records", "columns"])
def test_m7_the_projector_is_symmetric_idempotent_and_at_most_one(linear, form, measured):
    ridge = 1e-8
    identity = np.eye(linear.Z.shape[1])
    if form == "records":
        found = project_by_records(linear.Z, identity, ridge=ridge)
    else:
        found = project_by_columns(linear.Z, identity, ridge=ridge)
    exact = np.linalg.pinv(linear.Z) @ linear.Z
    assert np.abs(found - found.T).max() < 1e-6
    assert np.abs(found @ found - found).max() < 1e-5
    eigenvalues = np.linalg.eigvalsh((found + found.T) / 2)
    measured("M7", from_one=abs(eigenvalues[-1] - 1))
    assert eigenvalues[-1] == pytest.approx(1, abs=1e-5)
    assert eigenvalues[0] > -1e-6
    assert np.abs(found - exact).max() < 1e-5


@pytest.mark.parametrize("shape", [(40, 400), (60, 60), (300, 30)])
def test_m7_both_forms_of_the_projector_agree(shape):
    rng = np.random.default_rng(2)
    Z, V = rng.normal(size=shape), rng.normal(size=(shape[1], 2))
    first, second = project_by_records(Z, V, ridge=1e-3), project_by_columns(Z, V, ridge=1e-3)
    np.testing.assert_allclose(first, second, atol=1e-8)
    np.testing.assert_allclose(project(Z, V, ridge=1e-3), first, atol=1e-8)


def woodbury(Z, ridge, *, inner):
    """``Z' B Z`` with B the inverse of ``ridge I + Z (inner I) Z'`` by Woodbury's identity; 1 is right for ``inner``."""
    middle = np.linalg.inv(np.eye(Z.shape[1]) / inner + Z.T @ Z / ridge)
    inverse = np.eye(len(Z)) / ridge - Z @ middle @ Z.T / ridge**2
    return Z.T @ inverse @ Z


def test_m7_the_released_codes_projector_is_none(linear):
    """With ``ridge I`` in place of I inside the identity it inverts ``ridge (I + Z Z')``: top eigenvalue about 1 / ridge."""
    ridge, identity = 1e-6, np.eye(linear.Z.shape[1])
    wrong = woodbury(linear.Z, ridge, inner=ridge)
    np.testing.assert_allclose(
        wrong, linear.Z.T @ np.linalg.inv(ridge * (np.eye(40) + linear.Z @ linear.Z.T)) @ linear.Z, atol=1e-3
    )
    assert np.linalg.eigvalsh(wrong)[-1] > 0.3 / ridge
    ours = project(linear.Z, identity, ridge=ridge)
    assert np.linalg.eigvalsh((ours + ours.T) / 2)[-1] <= 1 + 1e-9
    labels = linear.Z_u @ (linear.w_0 + woodbury(linear.Z_r, ridge, inner=ridge) @ (linear.w_p - linear.w_0))
    assert linear.error(limit(linear.Z, np.concatenate([linear.y_r, labels]), linear.w_p)) > 1e3


def test_m7_even_the_right_identity_breaks_down_at_a_small_ridge(linear):
    tops = {ridge: np.abs(np.linalg.eigvals(woodbury(linear.Z, ridge, inner=1.0))).max() for ridge in (1e-4, 1e-11)}
    assert tops[1e-4] == pytest.approx(1, abs=1e-3)
    assert tops[1e-11] > 1.5
    ours = project(linear.Z, np.eye(linear.Z.shape[1]), ridge=1e-11)
    assert np.abs(np.linalg.eigvals(ours)).max() == pytest.approx(1, abs=1e-9)


def test_m8_retraining_from_another_start_differs_outside_the_row_space_alone(linear, measured):
    other = np.random.default_rng(5).normal(size=linear.w_0.shape)
    there = limit(linear.Z_r, linear.y_r, other)
    outside = np.eye(len(other)) - np.linalg.pinv(linear.Z_r) @ linear.Z_r
    np.testing.assert_allclose(there - linear.w_r, outside @ (other - linear.w_0), rtol=0, atol=1e-13)
    np.testing.assert_allclose(linear.Z_r @ there, linear.Z_r @ linear.w_r, atol=1e-12)
    measured("M8", error=np.abs(there - linear.w_r - outside @ (other - linear.w_0)).max())
    assert linear.error(there) > 1


def test_m10_fine_tuning_on_what_is_kept_does_nothing(linear, measured):
    assert np.abs(limit(linear.Z_r, linear.y_r, linear.w_p) - linear.w_p).max() < 1e-12
    tuned = descend(linear.Z_r, linear.y_r, linear.w_p, passes=50)
    measured("M10", moved=np.abs(tuned - linear.w_p).max())
    assert np.abs(tuned - linear.w_p).max() < 1e-12


def test_ranks_and_row_spaces_are_measured(linear):
    twice = np.vstack([linear.Z, linear.Z[:2]])
    assert row_rank(linear.Z)[0] == 40
    assert row_rank(twice)[0] == 40
    assert row_rank(linear.Z)[1] == pytest.approx(1 / np.linalg.cond(linear.Z), rel=1e-9)
    assert row_rank(np.zeros((3, 4))) == (0, 0.0)
    assert outside_row_space(linear.Z, linear.w_p - linear.w_0) < 1e-12
    assert outside_row_space(linear.Z, linear.w_0) > 0.9
    with pytest.raises(InputError, match="is singular in floating point"):
        project(twice, linear.w_p)


def _minimised(problem):
    w = np.zeros(problem.shape)
    for _ in range(60):
        w = w - newton_step(problem, w, problem.gradient(w))
    return w


def _softmax():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 6))
    y = np.argmax(X @ rng.normal(size=(6, 4)) + rng.gumbel(size=(200, 4)), axis=1)
    objective = Objective("softmax", l2=1.0)
    kept, gone = bind(objective, X[30:], y[30:], 4), bind(objective, X[:30], y[:30], 4)
    return kept, gone, _minimised(bind(objective, X, y, 4)), _minimised(kept)


def test_soft_labels_bring_softmax_regression_to_the_retrained_weights_and_hard_or_random_ones_do_not():
    kept, gone, w_p, w_r = _softmax()
    soft = mean_prediction(gone, w_r)
    scores = gone.X @ w_r.T
    np.testing.assert_allclose(soft, np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True), rtol=1e-12)
    rng = np.random.default_rng(1)
    labels = {
        "soft": soft,
        "hard": np.eye(4)[np.argmax(soft, axis=1)],
        "random": np.eye(4)[rng.integers(4, size=30)],
    }
    error = {
        kind: np.linalg.norm(_minimised(relabelled(kept, gone, values)) - w_r) / np.linalg.norm(w_p - w_r)
        for kind, values in labels.items()
    }
    assert error["soft"] < 1e-10
    assert error["hard"] > 0.5
    assert error["random"] > 0.5


def test_the_relabelled_objective_is_the_sum_it_says_it_is():
    """For soft labels, against the canonical form A(z) - label . z written out."""
    kept, gone, w_p, w_r = _softmax()
    labels = mean_prediction(gone, w_r)
    for w in (w_p, w_r):
        scores = gone.X @ w.T
        own = np.log(np.exp(scores).sum(axis=1)) - (labels * scores).sum(axis=1)
        assert relabelled(kept, gone, labels).value(w) == pytest.approx(kept.value(w) + own.sum(), rel=1e-12)


@pytest.mark.parametrize("loss", ["logistic", "squared", "poisson"])
def test_each_forgotten_record_pulls_by_its_weight_times_prediction_less_label(loss):
    rng = np.random.default_rng(0)
    X, weights, labels = rng.normal(size=(50, 3)), rng.uniform(0.5, 2, size=50), rng.uniform(0.1, 0.9, size=(20, 1))
    y = (rng.random(50) < 0.5).astype(float)
    objective = Objective(loss, l2=0.7)
    kept = bind(objective, X[20:], y[20:], sample_weight=weights[20:])
    gone = bind(objective, X[:20], y[:20], sample_weight=weights[:20])
    w = rng.normal(size=(1, 3))
    z = X[:20] @ w.T
    mean = {"logistic": 1 / (1 + np.exp(-z)), "squared": z, "poisson": np.exp(z)}[loss]
    pull = (weights[:20, None] * (mean - labels)).T @ X[:20]
    np.testing.assert_allclose(relabelled(kept, gone, labels).gradient(w), kept.gradient(w) + pull, rtol=1e-12)
