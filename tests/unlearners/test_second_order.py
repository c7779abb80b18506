"""Dense Hessians and conjugate gradients of networks, against other routes to the same numbers."""

import numpy as np
import pytest
import torch
from second_order_networks import derivatives, meter_of, some, tiny
from small_networks import digits, perceptron_task
from torch import nn

from certify import unlearners
from certify.models.networks.state import flatten, unflatten
from certify.unlearners import NetworkTask, Request
from certify.unlearners.networks.dense import dense_hessian
from certify.unlearners.networks.second_order import conjugate_gradients

DAMPED = unlearners.get("damped-newton")


def test_the_dense_hessian_is_that_of_double_backward_and_is_counted():
    task, request = tiny(), some(tiny())
    meter = meter_of(task, request, Request.at(task, np.arange(30, 50)))
    found = dense_hessian(meter, meter.original(), meter.records("retain"), weight_decay=0.1, chunk=7, batch_size=16)
    np.testing.assert_allclose(found.matrix, derivatives(task, request, 0.1)[1], atol=1e-14)
    assert found.asymmetry < 1e-15
    assert meter.counts["products"] == 52 * 43
    assert (meter.reading(0)["retain"].records, meter.reading(1)["retain"].records) == (52, 0)
    assert found.spectrum().values[0] < 0


def test_a_product_is_the_difference_of_gradients_and_symmetric():
    """C8, on a convolutional network in double precision."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(72, 10)).double()
    X, y = digits()
    task = NetworkTask(model.eval(), X[:40].reshape(-1, 1, 8, 8).astype(float), y[:40])
    meter = meter_of(task, some(task))
    state, rows = meter.original(), meter.records("retain")
    like = meter.network.moving(state)
    rng = np.random.default_rng(0)
    u, v = (torch.from_numpy(rng.normal(size=(1, 750))) / 27 for _ in range(2))

    def product(vector):
        return flatten(meter.mean_product(state, unflatten(vector, like), rows))

    def gradient(vector):
        moved = state.with_parameters(unflatten(flatten(like) + vector, like))
        return flatten(meter.mean_gradient(moved, rows).tensors)

    assert float((product(v) - (gradient(1e-5 * v) - gradient(-1e-5 * v)) / 2e-5).norm()) < 1e-8
    assert float((u * product(v)).sum()) == pytest.approx(float((v * product(u)).sum()), rel=1e-12)


def test_the_gauss_newton_matrix_is_the_hessian_of_a_linear_model_and_never_indefinite():
    rng = np.random.default_rng(0)
    with torch.random.fork_rng(devices=[]):
        linear = NetworkTask(nn.Linear(4, 3).double().eval(), rng.normal(size=(20, 4)), rng.integers(0, 3, size=20))
    for task, same in ((linear, True), (tiny(), False)):
        meter = meter_of(task, some(task))
        full, gauss = (
            dense_hessian(meter, meter.original(), meter.records("retain"), gauss_newton=gn) for gn in (False, True)
        )
        assert np.allclose(full.matrix, gauss.matrix, atol=1e-13) is same
        assert gauss.spectrum().values[0] > -1e-14


def test_conjugate_gradients_are_the_dense_solution():
    task, requests = tiny(), [some(tiny()), some(tiny(), 20)]
    for curvature in ("hessian", "gauss-newton"):
        knobs = {"damping": 0.5, "curvature": curvature, "tolerance": 1e-12, "weight_decay": 0.01}
        pairs = zip(
            *(DAMPED(solver=solver, **knobs).forget_fleet(task, requests) for solver in ("dense", "cg")), strict=True
        )
        for dense, iterative in pairs:
            difference = flatten(dense.state.parameters) - flatten(iterative.state.parameters)
            assert float(difference.norm()) < 1e-9 * dense.evidence.moved
    small = DAMPED(max_parameters=10).forget(task, some(task))  # "auto" beyond the limit
    assert "iterations" in small.evidence.solver


def test_conjugate_gradients_rest_when_done_and_stop_at_negative_curvature():
    matrices = torch.stack([torch.diag(torch.tensor(d)) for d in ([1.0, 2, 3], [5.0, 5, 5], [1.0, -2, 3])]).double()
    b = torch.ones(3, 3, dtype=torch.float64)
    found = conjugate_gradients(
        lambda v: {"w": torch.einsum("kij,kj->ki", matrices, v["w"])},
        b,
        {"w": b},
        damping=0.0,
        tolerance=1e-10,
        iterations=50,
    )
    assert found.iterations.tolist()[:2] == [3, 1]
    assert torch.allclose(found.x["x"][:2], torch.tensor([[1, 1 / 2, 1 / 3], [0.2, 0.2, 0.2]], dtype=torch.float64))
    assert found.indefinite.tolist() == [False, False, True]


def test_damping_below_the_lowest_eigenvalue_is_told():
    task = tiny()
    assert "climbs along some directions" in DAMPED(damping=1e-6).forget(task, some(task)).evidence.warnings[0]
    told = DAMPED(damping=1e-6, solver="cg", tolerance=1e-10).forget(task, some(task)).evidence.warnings
    assert any("negative curvature stopped conjugate gradients" in warning for warning in told)
    told = DAMPED(damping=0.5, solver="cg", iterations=1).forget(task, some(task)).evidence.warnings
    assert told == ("conjugate gradients stopped after 1 products above the tolerance",)


def test_a_step_too_short_to_change_anything_is_told():
    task = perceptron_task()
    result = DAMPED(damping=1e30, solver="cg").forget(task, some(task))
    assert "no tensor changed: the result is the model it started from" in result.evidence.warnings


@pytest.mark.parametrize(
    ("name", "knobs"),
    [
        ("influence", {"damping": 0.05, "tolerance": 1e-3}),
        ("damped-newton", {"solver": "cg", "damping": 0.05, "curvature": "gauss-newton", "tolerance": 1e-3}),
        pytest.param("ngd-minmax", {"curvature": "cg", "epochs": 1, "batch_size": 64}, marks=pytest.mark.slow),
    ],
)
def test_a_fleets_products_are_those_of_its_models_alone(name, knobs):
    """What is counted, and what budgets limit: a model whose system is solved costs nothing while the others go on."""
    task = perceptron_task()
    requests = [Request.at(task, np.arange(count)) for count in (1, 30, 120)]
    method = unlearners.get(name)(**knobs)
    alone = [method.forget(task, request, seed=k).evidence for k, request in enumerate(requests)]
    fleet = method.forget_fleet(task, requests)[0].evidence
    assert len({evidence.counts["products"] for evidence in alone}) > 1
    for kind in ("products", "gradients", "forwards", "steps"):
        assert fleet.counts[kind] == pytest.approx(sum(evidence.counts[kind] for evidence in alone), rel=0.01)
