"""NGD min/max on networks: the steps by their formula, the shape of the measured table, fleets, knobs."""

import numpy as np
import pytest
import torch
from small_networks import digits, perceptron_task, trained
from torch import nn

from certify import unlearners
from certify.core.errors import ConfigurationError, InputError
from certify.models.networks import Recipe
from certify.unlearners import Claim, NetworkTask, Request
from certify.unlearners.methods.ngd_minmax import divergence

NGD = unlearners.get("ngd-minmax")
QUICK = {"epochs": 2, "ascent_epochs": 1, "descent_passes": 1, "batch_size": 64, "lr": 0.05}


def tiny(loss="cross-entropy"):
    """A double-precision network of 27 parameters on 30 records."""
    rng = np.random.default_rng(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3)).double()
    return NetworkTask(model, rng.normal(size=(30, 4)), rng.integers(0, 3, size=30), loss=loss)


def flat(model):
    return torch.cat([value.detach().flatten() for value in model.parameters()])


def slope(model, value):
    return torch.cat([part.flatten() for part in torch.autograd.grad(value, list(model.parameters()))])


def gauss_newton(model, X):
    """By definition, record by record."""
    total = 0.0
    for x in X:
        z = model(x[None])[0]
        J = torch.stack(
            [
                torch.cat([g.flatten() for g in torch.autograd.grad(v, list(model.parameters()), retain_graph=True)])
                for v in z
            ]
        )
        p = torch.softmax(z.detach(), 0)
        total = total + J.T @ (torch.diag(p) - torch.outer(p, p)) @ J
    return total / len(X)


def moved(model, change):
    parts = torch.split(change, [value.numel() for value in model.parameters()])
    with torch.no_grad():
        for value, part in zip(model.parameters(), parts, strict=True):
            value.add_(part.reshape(value.shape))


@pytest.mark.parametrize("curvature", ["exact", "cg", "low-rank", "none"])
def test_three_steps_are_those_of_the_formula(curvature):
    """Ascent on the loss, descent, ascent on the divergence, each with the Gauss-Newton matrix of the retained records."""
    task, gone = tiny(), np.arange(6)
    lr, damping, alpha, beta, decay = 0.1, 0.05, 0.3, 0.7, 0.02
    knobs = {"lr": lr, "damping": damping, "alpha": alpha, "beta": beta, "weight_decay": decay}
    method = NGD(
        **knobs,
        epochs=2,
        ascent_epochs=2,
        descent_passes=1,
        curvature=curvature,
        rank=27,
        tolerance=1e-12,
        iterations=200,
    )
    result = method.forget(task, Request.at(task, gone))
    X, y = torch.as_tensor(task.X), torch.as_tensor(task.y)
    model = tiny().model
    with torch.no_grad():
        teacher = torch.log_softmax(model(X), 1)

    def go(loss, *, decayed=0.0):
        gradient = slope(model, loss) + decayed * flat(model)
        matrix = gauss_newton(model, X[6:]) + (damping + decay) * torch.eye(27).double()
        natural = gradient if curvature == "none" else torch.linalg.solve(matrix, gradient)
        moved(model, -lr * natural)

    def kl(rows):
        own = torch.log_softmax(model(X[rows]), 1)
        return (teacher[rows].exp() * (teacher[rows] - own)).sum(1).mean()

    for first in (True, False):
        go(-nn.functional.cross_entropy(model(X[:6]), y[:6]) if first else -kl(slice(0, 6)))
        go(alpha * kl(slice(6, 30)) + beta * nn.functional.cross_entropy(model(X[6:]), y[6:]), decayed=decay)
    torch.testing.assert_close(flat(result.model), flat(model), rtol=1e-7, atol=1e-9)
    assert result.claim is Claim.NONE
    assert result.evidence.counts["steps"] == 4
    assert result.evidence.reads["forget"].records == 6


def test_the_divergence_from_itself_has_no_slope_so_the_first_step_follows_something_else():
    task = tiny()
    X = torch.as_tensor(task.X)
    for loss in ("cross-entropy", "squared"):
        outputs = task.model(X)
        assert float(slope(task.model, divergence(loss)(outputs, outputs.detach()).mean()).norm()) < 1e-12
    request = Request.at(task, np.arange(6))
    one = {"epochs": 1, "ascent_epochs": 1, "descent_passes": 1, "alpha": 1.0, "beta": 0.0, "curvature": "exact"}
    ways = {first: NGD(**one, first=first).forget(task, request) for first in ("loss", "perturb")}
    assert all(result.evidence.moved > 1e-4 for result in ways.values())
    assert not torch.equal(flat(ways["loss"].model), flat(ways["perturb"].model))
    small, large = (NGD(**one, first="perturb", perturbation=size).forget(task, request) for size in (1e-6, 1e-2))
    assert small.evidence.moved < 1e-3 * large.evidence.moved
    other = NGD(**one, first="perturb").forget(task, request, seed=1)
    assert not torch.equal(flat(other.model), flat(ways["perturb"].model))


def test_the_divergences_are_those_of_the_distributions():
    z, t = torch.randn(5, 1, generator=torch.Generator().manual_seed(0)).double().chunk(1)[0], torch.ones(5, 1).double()
    p, q = torch.sigmoid(t), torch.sigmoid(z)
    bernoulli = torch.distributions.Bernoulli
    torch.testing.assert_close(
        divergence("binary-cross-entropy")(z, t), torch.distributions.kl_divergence(bernoulli(p), bernoulli(q))[:, 0]
    )
    torch.testing.assert_close(divergence("squared")(z, t), 0.5 * (z - t).square()[:, 0])


@pytest.mark.parametrize("curvature", ["exact", "cg", "low-rank", "kronecker", "none"])
def test_a_model_in_a_fleet_ends_where_it_ends_alone(curvature):
    task = tiny()
    method = NGD(**{**QUICK, "batch_size": 20}, curvature=curvature, rank=6, tolerance=1e-7, curvature_records=12)
    requests = [Request.at(task, np.arange(3 * k, 3 * k + 2 + 3 * k)) for k in range(3)]
    together = method.forget_fleet(task, requests, seeds=[4, 5, 6])
    for model, result in enumerate(together):
        alone = method.forget(task, requests[model], seed=4 + model)
        torch.testing.assert_close(flat(result.model), flat(alone.model), rtol=1e-4, atol=1e-6)
        assert result.evidence.reads == alone.evidence.reads


@pytest.mark.parametrize(
    ("curvature", "refresh"),
    [
        pytest.param("cg", 1, marks=pytest.mark.slow),
        ("cg", 3),
        ("exact", 3),
        ("low-rank", 2),
        ("kronecker", 3),
        ("none", 1),
    ],
)
def test_companions_with_other_numbers_of_steps_change_nothing(curvature, refresh):
    task = tiny()
    method = NGD(
        epochs=2,
        ascent_epochs=2,
        descent_passes=1,
        batch_size=4,
        curvature=curvature,
        curvature_records=9,
        refresh=refresh,
        rank=6,
        tolerance=1e-9,
        momentum=0.5,
    )
    requests = [Request.at(task, np.arange(2)), Request.at(task, np.arange(3, 16)), Request.at(task, np.arange(6))]
    together = method.forget_fleet(task, requests, seeds=[5, 6, 7])
    for seed, request, found in zip((5, 6, 7), requests, together, strict=True):
        alone = method.forget(task, request, seed=seed)
        start = flat(task.model)
        gap = (flat(found.model) - flat(alone.model)).norm() / (flat(alone.model) - start).norm()
        assert float(gap) < 1e-6
        assert found.evidence.solver.get("solves") == alone.evidence.solver.get("solves")


def test_every_knob_changes_the_result():
    task = tiny()
    request = Request.at(task, np.arange(6))
    base = {**QUICK, "batch_size": 24, "ascent_epochs": 2, "epochs": 3, "curvature": "exact"}
    others = {
        "lr": 0.02,
        "epochs": 2,
        "ascent_epochs": 1,
        "descent_passes": 2,
        "batch_size": 12,
        "alpha": 0.1,
        "beta": 0.5,
        "damping": 0.1,
        "curvature": "none",
        "curvature_records": 5,
        "refresh": 4,
        "first": "perturb",
        "bound": 0.5,
        "clip": 0.05,
        "momentum": 0.5,
        "weight_decay": 0.1,
    }

    def result(**knobs):
        return flat(NGD(**{**base, **knobs}).forget(task, request).model)

    plain = result()
    assert torch.equal(plain, result())
    for knob, value in others.items():
        assert not torch.equal(plain, result(**{knob: value})), knob
    products = {"curvature": "cg", "epochs": 1, "ascent_epochs": 1}
    assert not torch.equal(result(**products), result(**products, tolerance=0.3))
    assert not torch.equal(result(**products), result(**products, iterations=2))
    products["curvature"] = "low-rank"
    assert not torch.equal(result(**products, rank=2), result(**products, rank=4))
    assert not torch.equal(result(first="perturb"), result(first="perturb", perturbation=0.1))
    assert set(others) | {"rank", "perturbation", "tolerance", "iterations"} == set(NGD().knobs())


def test_the_solver_reports_and_warns_where_it_was_cut_short():
    task = perceptron_task()
    request = Request.at(task, np.arange(20))
    fine = NGD(**QUICK, curvature="cg", curvature_records=64).forget(task, request).evidence
    assert fine.solver["largest_residual"] <= 1e-3
    assert fine.solver["products_per_solve"] > 1
    assert not [line for line in fine.warnings if "conjugate" in line]
    short = NGD(**QUICK, curvature="cg", curvature_records=64, iterations=1).forget(task, request).evidence
    assert "conjugate gradients ended at the limit of 1 products" in short.warnings[0]
    assert short.counts["products"] < fine.counts["products"]


def test_what_it_cannot_do_is_said_in_one_line():
    task = perceptron_task()
    request = Request.at(task, np.arange(20))
    with pytest.raises(InputError, match="ngd-minmax: the loss or a weight is not finite after step"):
        NGD(**{**QUICK, "lr": 1e38}, curvature="none").forget(task, request)
    with pytest.raises(ConfigurationError, match=r"ngd-minmax\.curvature: 'diagonal' makes no sense"):
        NGD(curvature="diagonal")
    big = NetworkTask(nn.Sequential(nn.Linear(64, 100), nn.Tanh(), nn.Linear(100, 10)), task.X, task.y)
    with pytest.raises(ConfigurationError, match="curvature: a matrix of 7,510 parameters is not formed"):
        NGD(**QUICK, curvature="exact").forget(big, request)


def eight_units():
    """64-8-10, tanh: 610 parameters."""
    return nn.Sequential(nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 10))


def accuracy(model, task, request):
    """Forgotten, retained and test accuracy (the test set without the forgotten class)."""
    X, y = digits()
    with torch.no_grad():
        right = model(torch.tensor(X)).argmax(1).numpy() == y
    kept = np.setdiff1d(np.arange(400), request.forgotten)
    test = np.setdiff1d(np.arange(400, len(y)), np.flatnonzero(y == 3))
    return tuple(float(right[rows].mean()) for rows in (request.forgotten, kept, test))


def test_natural_gradients_forget_a_class_in_steps_in_which_plain_ones_do_nothing():
    """Digits, class 3 of 400 records, 12 rounds of 1 ascent and 2 descents at most, the full set a batch."""
    task = trained(eight_units, records=400, recipe=Recipe("adam", lr=1e-2, epochs=150, batch_size=50))
    request = task.request_class(3)
    before = accuracy(task.model, task, request)
    assert before[:2] == (1.0, 1.0)
    plain = NGD(curvature="none", lr=0.5, weight_decay=1e-3).forget(task, request)
    natural = NGD(curvature="cg", lr=0.05, weight_decay=1e-3).forget(task, request)
    assert plain.evidence.counts["steps"] == natural.evidence.counts["steps"] == 30
    forgotten, kept, test = accuracy(plain.model, task, request)
    assert forgotten > 0.9
    forgotten, kept, test = accuracy(natural.model, task, request)
    assert forgotten < 0.05
    assert kept > 0.99
    assert test > before[2] - 0.03


@pytest.mark.slow
def test_every_form_of_the_curvature_gives_the_shape_of_the_table():
    """As above beside the retrained network: accuracies match, and the distance of the parameters says nothing."""
    task = trained(eight_units, records=400, recipe=Recipe("adam", lr=1e-2, epochs=150, batch_size=50))
    request = task.request_class(3)
    retrained = unlearners.get("retrain")().forget(task, request)
    aim = accuracy(retrained.model, task, request)
    for curvature in ("exact", "cg", "low-rank", "kronecker"):
        found = NGD(curvature=curvature, lr=0.05, weight_decay=1e-3).forget(task, request)
        reached = accuracy(found.model, task, request)
        assert np.abs(np.subtract(reached, aim)).max() < 0.05
        assert float((flat(found.model) - flat(retrained.model)).norm()) > 0.5 * float(flat(retrained.model).norm())
    wild = accuracy(NGD(curvature="cg", lr=0.5, weight_decay=1e-3).forget(task, request).model, task, request)
    assert wild[1] < 0.9
