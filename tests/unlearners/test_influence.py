"""Influence: the step of a dense solver, exact where it is exact, and no gradient in disguise."""

import numpy as np
import pytest
import torch
from small_networks import convolutional_task, digits, perceptron_task
from torch import nn
from torch.func import functional_call, hessian, jacrev
from wrong_labels import accuracies, after, mislabelled

from certify import unlearners
from certify.core.errors import InputError
from certify.models.networks import Recipe, State
from certify.unlearners import Claim, NetworkTask, Request

GONE = np.arange(12)


def linear_task(loss="squared", decay=0.1, seed=0):
    """A linear network on 80 digits in double precision, at a random start."""
    X, y = digits()
    torch.manual_seed(seed)
    recipe = Recipe("sgd", weight_decay=decay)
    return NetworkTask(nn.Linear(64, 10).double(), X[:80].astype(float), y[:80], loss=loss, recipe=recipe)


def ridge(X, y, decay):
    """Minimiser of the mean of 1/2 ||A w - onehot||^2 plus decay / 2 ||w||^2, intercept included."""
    A = np.hstack([X, np.ones((len(X), 1))])
    return np.linalg.solve(A.T @ A / len(X) + decay * np.eye(65), A.T @ np.eye(10)[y] / len(X))


def joined(model):
    return np.vstack([model.weight.detach().numpy().T, model.bias.detach().numpy()])


def step(task, **knobs):
    return unlearners.get("influence")(**knobs).forget(task, Request.at(task, GONE))


EXACT = {"damping": 0.0, "tolerance": 1e-12, "max_iterations": 3000}


@pytest.mark.parametrize("curvature", ["gauss-newton", "hessian"])
def test_on_ridge_a_newton_step_is_retraining_from_anywhere(curvature):
    task = linear_task()
    result = step(task, form="newton", curvature=curvature, **EXACT)
    expected = ridge(task.X[12:], task.y[12:], 0.1)
    assert np.allclose(joined(result.model), expected, atol=1e-9)
    assert result.evidence.solver["residual"] <= 1e-12
    assert result.evidence.reads["forget"].records == 0
    assert result.claim == Claim.APPROXIMATE


def test_on_ridge_the_influence_of_a_subset_is_retraining_from_the_minimiser():
    task = linear_task()
    best = ridge(task.X, task.y, 0.1)
    with torch.no_grad():
        task.model.weight.copy_(torch.tensor(best[:-1].T))
        task.model.bias.copy_(torch.tensor(best[-1]))
    expected = ridge(task.X[12:], task.y[12:], 0.1)
    assert np.allclose(joined(step(task, **EXACT).model), expected, atol=1e-9)
    half = joined(step(task, scale=0.5, **EXACT).model)
    assert np.allclose(half, (best + expected) / 2, atol=1e-9)


def dense(task, curvature):
    """The damped step of the network by dense matrices: Hessian by autograd, Gauss-Newton from Jacobians."""
    model = task.model
    names = [name for name, _ in model.named_parameters()]
    shapes = [value.shape for value in model.parameters()]
    start = torch.cat([value.detach().flatten() for value in model.parameters()])
    X, y = torch.tensor(task.X), torch.tensor(task.y)

    def outputs(w, x):
        parts = torch.split(w, [shape.numel() for shape in shapes])
        return functional_call(model, {n: p.reshape(s) for n, p, s in zip(names, parts, shapes, strict=True)}, (x,))

    def loss(w, rows):
        return nn.functional.cross_entropy(outputs(w, X[rows]), y[rows])

    kept, gone = np.setdiff1d(np.arange(len(X)), GONE), GONE
    gradient = torch.func.grad(loss)
    change = len(gone) / len(X) * (gradient(start, kept) - gradient(start, gone))
    if curvature == "hessian":
        matrix = hessian(loss)(start, kept)
    else:
        J = jacrev(outputs)(start, X[kept])
        p = torch.softmax(outputs(start, X[kept]), dim=1)
        middle = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
        matrix = torch.einsum("ncp,ncd,ndq->pq", J, middle, J) / len(kept)
    return start, matrix, change


@pytest.fixture(scope="module")
def tiny():
    """A perceptron of 64-3-10 in double precision, with few parameters."""
    X, y = digits()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 3), nn.Tanh(), nn.Linear(3, 10)).double()
    return NetworkTask(model, X[:60].astype(float), y[:60])


@pytest.mark.parametrize(("curvature", "damping"), [("gauss-newton", 1e-2), ("hessian", 1.0)])
def test_the_step_is_that_of_a_dense_solver(tiny, curvature, damping):
    start, matrix, change = dense(tiny, curvature)
    expected = start - torch.linalg.solve(matrix + damping * torch.eye(len(start)), change)
    result = step(tiny, curvature=curvature, damping=damping, tolerance=1e-10)
    found = torch.cat([value[0].flatten() for value in result.state.parameters.values()])
    assert torch.allclose(found, expected, atol=1e-9)
    values = torch.linalg.eigvalsh(matrix + damping * torch.eye(len(start)))
    assert result.evidence.solver["largest_ritz"] == pytest.approx(float(values[-1]), rel=1e-3)
    assert result.evidence.solver["smallest_ritz"] >= float(values[0]) * (1 - 1e-6)


def test_weight_decay_is_on_the_diagonal_and_comes_from_the_recipe(tiny):
    given = step(tiny, weight_decay=0.3, damping=0.1)
    both = step(tiny, weight_decay=0.0, damping=0.4)
    recipe = NetworkTask(tiny.model, tiny.X, tiny.y, recipe=Recipe("sgd", weight_decay=0.3))
    for name, value in given.state.parameters.items():
        assert torch.allclose(value, both.state.parameters[name], atol=1e-12)
        assert torch.allclose(value, step(recipe, damping=0.1).state.parameters[name], atol=1e-12)
    decoupled = NetworkTask(tiny.model, tiny.X, tiny.y, recipe=Recipe("adamw", weight_decay=0.3))
    alone, without = step(decoupled, damping=0.4), step(tiny, damping=0.4)
    assert torch.equal(alone.state.parameters["0.weight"], without.state.parameters["0.weight"])


def woodfisher(gradients, vector):
    """A miniature of the published "inverse Fisher times vector": one auxiliary vector, rescaled and never rebuilt."""
    result, auxiliary, count = vector.clone(), gradients[0].clone(), len(gradients)
    for gradient in gradients[1:]:
        overlap = auxiliary @ gradient
        result = result - (result @ gradient) / (count + overlap) * auxiliary
        auxiliary = auxiliary - overlap / (count + overlap) * auxiliary
    return result


def is_an_inverse(solve, matrix, vector):
    """Whether ``matrix @ solve(vector)`` is the vector."""
    return float((matrix @ solve(vector) - vector).norm() / vector.norm()) < 1e-3


def test_the_published_inverse_is_none_and_follows_the_first_record():
    """Theirs: what is added to the vector is a multiple of the first gradient. Ours: the inverse, in any order of records."""
    generator = torch.Generator().manual_seed(0)
    spread = torch.logspace(-1.5, 0.5, 20, dtype=torch.float64)
    gradients = torch.randn(200, 20, generator=generator, dtype=torch.float64) * spread
    vector = torch.randn(20, generator=generator, dtype=torch.float64)
    fisher = gradients.T @ gradients / 200 + torch.eye(20, dtype=torch.float64)
    theirs = woodfisher(gradients, vector)
    assert not is_an_inverse(lambda v: woodfisher(gradients, v), fisher, vector)
    assert float(torch.cosine_similarity(theirs - vector, gradients[0], dim=0).abs()) == pytest.approx(1, abs=1e-9)
    assert not torch.allclose(theirs, woodfisher(gradients.flip(0), vector), rtol=1e-3)

    from certify.unlearners.networks.solvers import conjugate_gradient

    def ours(v):
        return conjugate_gradient(lambda t: {"w": t["w"] @ fisher}, {"w": v[None]}).x["w"][0]

    assert is_an_inverse(ours, fisher, vector)
    assert float(torch.cosine_similarity(ours(vector) - vector, gradients[0], dim=0).abs()) < 0.9


def test_the_step_does_not_depend_on_the_order_of_records_and_is_no_gradient(tiny):
    """Retained and forgotten records both change places: the same step; and it is not along the gradient."""
    _, matrix, change = dense(tiny, "gauss-newton")
    order = np.concatenate([GONE[::-1], np.arange(12, 60)[::-1]])
    turned = NetworkTask(tiny.model, tiny.X[order], tiny.y[order])
    first, second = (step(task, damping=1e-2, tolerance=1e-10) for task in (tiny, turned))
    for name, value in first.state.parameters.items():
        assert torch.allclose(value, second.state.parameters[name], atol=1e-9)
    moved = torch.cat([(first.state.parameters[n][0] - v.detach()).flatten() for n, v in tiny.model.named_parameters()])
    assert abs(float(torch.cosine_similarity(moved, change, dim=0))) < 0.9
    assert len(matrix) == len(moved)


def test_negative_curvature_is_refused_and_a_stopped_solver_is_reported(tiny):
    with pytest.raises(
        InputError, match=r"influence\.damping: the damped hessian matrix has curvature -.*raise the damping"
    ):
        step(tiny, curvature="hessian", damping=1e-6, tolerance=1e-10, max_iterations=2000)
    short = step(tiny, damping=1e-4, max_iterations=2, tolerance=1e-10)
    assert any("stopped at a relative residual of" in warning for warning in short.evidence.warnings)
    assert short.evidence.solver["iterations"] == 2
    assert short.evidence.counts["products"] == 48 * 3  # two to move, one to measure
    assert short.evidence.counts["gradients"] == 60


def test_every_knob_changes_the_result(tiny):
    base = step(tiny, tolerance=1e-4).state
    knobs = (
        ("form", "newton"),
        ("curvature", "hessian"),
        ("damping", 5.0),
        ("scale", 0.5),
        ("weight_decay", 0.1),
        ("tolerance", 0.5),
        ("max_iterations", 1),
    )
    for knob, value in knobs:
        settings = {"tolerance": 1e-4, "damping": 1e-3, knob: value}
        if knob == "curvature":
            settings, base_here = {"damping": 1.0, knob: value}, step(tiny, damping=1.0).state
        else:
            base_here = base
        other = step(tiny, **settings).state
        assert float((other.parameters["0.weight"] - base_here.parameters["0.weight"]).abs().max()) > 1e-9, knob
    small = step(tiny, batch_size=7, tolerance=1e-10).state
    assert torch.allclose(
        small.parameters["0.weight"], step(tiny, tolerance=1e-10).state.parameters["0.weight"], atol=1e-8
    )


@pytest.mark.parametrize("kind", [perceptron_task, convolutional_task])
def test_a_model_in_a_fleet_ends_where_it_ends_alone(kind):
    task, method = kind(), unlearners.get("influence")(damping=0.05)
    requests = [Request.at(task, np.arange(7 * k, 7 * k + 5 + 40 * k)) for k in range(3)]
    for request, result in zip(requests, method.forget_fleet(task, requests), strict=True):
        alone = method.forget(task, request)
        for name, value in alone.state.parameters.items():
            assert torch.allclose(value, result.state.parameters[name], atol=1e-4 * max(1.0, alone.evidence.moved))
        assert result.evidence.solver["iterations"] == pytest.approx(alone.evidence.solver["iterations"], abs=2)
        assert not any(change.buffer and change.changed for change in result.evidence.tensors)


def test_frozen_parameters_stay():
    task = perceptron_task()
    head = NetworkTask(task.model, task.X, task.y, trainable=("2.*",))
    moved = {c.name for c in step(head).evidence.tensors if c.changed}
    assert moved == {"2.weight", "2.bias"}


def test_wrong_labels_fade():
    wrong, test = after("perceptron", "influence")
    original = accuracies("perceptron", mislabelled("perceptron")[0].model)
    assert original[0] > 0.9
    assert wrong < 0.6
    assert test > original[1] - 0.05
    assert State.of(mislabelled("perceptron")[0].model).models == 1
