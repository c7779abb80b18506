"""Regression networks whose head alone moves: a ridge regression on fixed features, whose retrained weights are known."""

import copy
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from certify import unlearners
from certify.core.errors import ConfigurationError
from certify.models.networks import Recipe
from certify.unlearners import NetworkTask, Request

RIDGE, RECORDS = 0.05, 40
GONE = np.array([1, 5, 6, 20, 33])
KEPT = np.setdiff1d(np.arange(RECORDS), GONE)
TARGETS = {
    "two numbers": lambda rng: rng.normal(size=(RECORDS, 2)),
    "one number": lambda rng: rng.normal(size=RECORDS),
    "one number in a column": lambda rng: rng.normal(size=(RECORDS, 1)),
    "a count": lambda rng: rng.integers(0, 9, size=RECORDS),
    "classes": lambda rng: rng.permutation(RECORDS) % 3,
}


class Regression:
    """A task whose original is the minimiser over all records, and the minimiser over others."""

    def __init__(self, kind="two numbers", *, off=0.0):
        rng = np.random.default_rng(3)
        X, y = rng.normal(size=(RECORDS, 5)), TARGETS[kind](rng)
        self.Y = (np.eye(3)[y] if kind == "classes" else y.reshape(RECORDS, -1)).astype(float)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            parts = OrderedDict(body=nn.Linear(5, 4), bend=nn.Tanh(), head=nn.Linear(4, self.Y.shape[1]))
            model = nn.Sequential(parts).double()
        initial = copy.deepcopy(model)
        self.Z = np.column_stack([np.tanh(model.body(torch.from_numpy(X)).detach().numpy()), np.ones(RECORDS)])
        self.start = self.fit(np.arange(RECORDS)) + off
        with torch.no_grad():
            model.head.weight.copy_(torch.from_numpy(self.start[:, :-1]))
            model.head.bias.copy_(torch.from_numpy(self.start[:, -1]))
        recipe = Recipe("sgd", lr=0.5, epochs=250, batch_size=RECORDS, momentum=0.9, weight_decay=RIDGE)
        self.task = NetworkTask(
            model, X, y, loss="squared", trainable=("head.*",), recipe=recipe, initial=initial, held_out=(X, y)
        )

    def fit(self, rows):
        Z, Y = self.Z[rows], self.Y[rows]
        return np.linalg.solve(Z.T @ Z / len(rows) + RIDGE * np.eye(5), Z.T @ Y / len(rows)).T

    def slope(self, rows, weights):
        """Gradient of the mean of ``1/2 ||W z - y||^2``."""
        return (self.Z[rows] @ weights.T - self.Y[rows]).T @ self.Z[rows] / len(rows)

    def forgotten(self, name, **knobs):
        result = unlearners.get(name)(**knobs).forget(self.task, Request.at(self.task, GONE))
        assert {change.name for change in result.evidence.tensors if change.changed} <= {"head.weight", "head.bias"}
        return np.column_stack([result.model.head.weight.detach().numpy(), result.model.head.bias.detach().numpy()])


TRAINED = {"curenewton-stochastic", "fine-tune", "cf-k", "l1-sparse", "eu-k", "retrain"}
SECOND = {"damping": 0.0, "tolerance": 1e-13}
MINMAX = {
    "lr": 1.0, "epochs": 2, "ascent_epochs": 1, "descent_passes": 1, "alpha": 0.0, "damping": 1e-13,
    "weight_decay": RIDGE, "tolerance": 1e-13, "rank": 15, "iterations": 200,
}  # fmt: skip
LONG = {"lr": 0.5, "epochs": 250, "batch_size": RECORDS, "momentum": 0.9, "weight_decay": RIDGE}
EXACT = {
    "influence": ("influence", SECOND),
    "influence, given the decay": ("influence", SECOND | {"weight_decay": RIDGE}),
    "influence by the hessian": ("influence", SECOND | {"curvature": "hessian"}),
    "newton by conjugate gradients": ("influence", SECOND | {"form": "newton"}),
    "damped, dense": ("damped-newton", {"damping": 0.0, "weight_decay": RIDGE}),
    "damped, gauss-newton": ("damped-newton", {"damping": 0.0, "weight_decay": RIDGE, "curvature": "gauss-newton"}),
    "damped, cg": ("damped-newton", {"weight_decay": RIDGE, "solver": "cg", **SECOND}),
    "pinv": ("pinv-newton", {"weight_decay": RIDGE}),
    "cubic without a cubic term": ("curenewton", {"L": 0.0, "steps": 1, "weight_decay": RIDGE}),
    "cubic": ("curenewton", {"L": 0.1, "steps": 60, "weight_decay": RIDGE}),
    "stochastic cubic": (
        "curenewton-stochastic",
        {
            "L": 0.1, "steps": 15, "inner_steps": 20, "lr": 0.2, "sigma": 0.0, "weight_decay": RIDGE,
            "batch_size": RECORDS, "curvature_batch_size": RECORDS,
        },
    ),
    **{f"min/max, {how}": ("ngd-minmax", MINMAX | {"curvature": how}) for how in ("exact", "cg", "low-rank", "kronecker")},
    "fine-tune": ("fine-tune", LONG),
    "cf-k": ("cf-k", LONG),
    "l1-sparse without a penalty": ("l1-sparse", LONG | {"gamma": 0.0}),
    "eu-k": ("eu-k", {}),
    "retrain": ("retrain", {}),
}  # fmt: skip


@pytest.mark.parametrize(("name", "knobs"), EXACT.values(), ids=EXACT)
def test_what_solves_or_trains_to_the_end_is_ridge_regression_on_what_is_kept(name, knobs):
    case = Regression()
    found, right = case.forgotten(name, **knobs), case.fit(KEPT)
    limit = 1e-4 if name in TRAINED else 1e-9
    assert np.linalg.norm(found - right) < limit * np.linalg.norm(case.start - right)


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("way", ["influence", "damped, cg", "cubic without a cubic term", "min/max, kronecker"])
def test_targets_of_each_shape_are_understood_alike(way, kind):
    case, (name, knobs) = Regression(kind), EXACT[way]
    found, right = case.forgotten(name, **knobs), case.fit(KEPT)
    assert np.linalg.norm(found - right) < 1e-9 * np.linalg.norm(case.start - right)


def test_what_training_left_undone_stays_in_influence_and_goes_in_a_newton_step():
    case = Regression(off=0.1)
    H = case.Z[KEPT].T @ case.Z[KEPT] / len(KEPT) + RIDGE * np.eye(5)
    change = case.slope(KEPT, case.start) - case.slope(np.arange(RECORDS), case.start)
    np.testing.assert_allclose(
        case.forgotten("influence", **SECOND), case.start - change @ np.linalg.inv(H), atol=1e-10
    )
    np.testing.assert_allclose(case.forgotten("influence", form="newton", **SECOND), case.fit(KEPT), atol=1e-10)


def test_one_step_of_the_gradient_methods_is_the_step_written_out():
    case = Regression(off=0.3)
    up, down = case.slope(GONE, case.start), case.slope(KEPT, case.start)
    once = {"lr": 0.1, "epochs": 1, "batch_size": RECORDS, "momentum": 0.0}
    expected = {
        "gradient-ascent": ({"bounded": False}, 0.1 * up),
        "neggrad-plus": ({"alpha": 0.7}, 0.1 * (0.3 * up - 0.7 * down)),
        "npo": ({"beta": 0.5, "retain": 2.0}, 0.1 * (up - 2 * down)),  # at the original the ascent is plain
        "fine-tune": ({"weight_decay": 0.2}, -0.1 * (down + 0.2 * case.start)),
        "l1-sparse": ({"gamma": 0.2}, -0.1 * (down + 0.2 * np.sign(case.start))),
    }
    for name, (knobs, step) in expected.items():
        np.testing.assert_allclose(case.forgotten(name, **once, **knobs), case.start + step, atol=1e-12, err_msg=name)


def test_the_bound_of_the_ascent_leaves_the_worst_records_alone():
    case = Regression(off=0.3)
    losses = 0.5 * ((case.Z[GONE] @ case.start.T - case.Y[GONE]) ** 2).sum(axis=1)
    bound = float(np.median(losses)) + 1e-3
    low = GONE[losses < bound]
    found = case.forgotten("gradient-ascent", lr=0.1, epochs=1, batch_size=RECORDS, bound=bound)
    np.testing.assert_allclose(found, case.start + 0.1 * case.slope(low, case.start) * len(low) / len(GONE), atol=1e-12)


def test_dampening_and_fisher_noise_follow_squares_of_features():
    case = Regression(off=0.3)
    each = (case.Z @ case.start.T - case.Y)[:, :, None] * case.Z[:, None, :]
    gone, everyone = (each[GONE] ** 2).mean(axis=0), (each**2).mean(axis=0)
    factor = np.where(gone > 0.7 * everyone, np.minimum(0.5 * everyone / gone, 1.0), 1.0)
    assert 0 < (factor < 1).sum() < factor.size
    np.testing.assert_allclose(case.forgotten("ssd", selection=0.7, strength=0.5), case.start * factor, atol=1e-12)
    knobs = {"floor": 1e-8, "largest_variance": 1e9, "head_factor": 1.0}
    small, large = (case.forgotten("fisher-forgetting", alpha=alpha, **knobs) - case.start for alpha in (1e-6, 4e-6))
    np.testing.assert_allclose(large, 2 * small, rtol=1e-6)
    information = (case.Z[KEPT] ** 2).mean(axis=0)  # of outputs with noise of variance 1, whatever the targets
    drawn = small * np.sqrt((information + 1e-8) / 1e-6)
    assert np.abs(drawn).max() < 4.5
    assert 0.3 < drawn.std() < 2.0


@pytest.mark.parametrize(
    "name", ["scrub", "bad-teacher", "delete", "random-labels", "salun", "boundary-shrink", "unsir", "lotus"]
)
def test_what_needs_classes_says_so(name):
    with pytest.raises(
        ConfigurationError, match=r"probabilities of classes, and outputs trained by squared error are none"
    ):
        Regression().forgotten(name)
