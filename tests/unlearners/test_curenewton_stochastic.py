"""Stochastic CureNewton: the Cauchy point, the inner descent and its hard case, batches, perturbations."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from second_order_networks import accuracy, meter_of, small, some, tiny
from small_networks import convolutional_task, perceptron_task

from certify import unlearners
from certify.models.networks.state import flatten
from certify.unlearners import Request
from certify.unlearners.cubic import cubic_step, cubic_value
from certify.unlearners.methods.curenewton_stochastic import cauchy_point, descend

CURE, STOCHASTIC = (unlearners.get(name) for name in ("curenewton", "curenewton-stochastic"))


def problems(size=50):
    """C5's four kinds: H, g."""
    rng = np.random.default_rng(0)
    values = {
        "definite": np.linspace(0.1, 1, size),
        "degenerate": np.r_[np.zeros(40), np.linspace(0.2, 1, size - 40)],
        "indefinite": np.linspace(-0.3, 1, size),
        "hard": np.linspace(-0.3, 1, size),
    }
    found = []
    for kind, eigenvalues in values.items():
        g = rng.normal(size=size)
        if kind == "hard":
            g[0] = 0.0
        found.append((kind, np.diag(eigenvalues), (0.01 if kind == "hard" else 1.0) * g / np.linalg.norm(g)))
    return found


@pytest.mark.parametrize(("kind", "H", "g"), problems(), ids=lambda value: value if isinstance(value, str) else "")
def test_the_cauchy_point_is_the_minimum_along_the_gradient_and_descent_falls(kind, H, g, measured):
    """C4."""
    G, A, L = torch.from_numpy(g)[None], torch.from_numpy(H), 1.0
    start = cauchy_point(G, G @ A, L)
    best = minimize_scalar(
        lambda r: cubic_value(H, g, L, -r * g / np.linalg.norm(g)),
        bounds=(0, 10),
        method="bounded",
        options={"xatol": 1e-10},
    )
    measured("C4", error=abs(float(start.norm()) - best.x))
    assert float(start.norm()) == pytest.approx(best.x, abs=1e-7)
    assert torch.allclose(start / start.norm(), -G / G.norm(), atol=1e-12)
    b = np.linalg.norm(H, 2)
    lr = 1 / (4 * (b + L * (b / L + np.sqrt((b / L) ** 2 + 2 * np.linalg.norm(g) / L))))
    _, values, left = descend(
        G, lambda v: v @ A, start, start @ A, lipschitz=L, lr=torch.full((1,), lr, dtype=torch.float64), steps=300
    )
    assert bool((torch.stack(values).diff(dim=0) <= 1e-15).all())
    assert float(left[0]) == lr  # the safeguard was never needed


def gap(H, g, L, steps, sigma=0.0, lr=0.1):
    """Relative gap of the model after some inner steps, and the step."""
    rng = np.random.default_rng(3)
    zeta = rng.normal(size=len(g))
    G, A = torch.from_numpy(g)[None], torch.from_numpy(H)
    noisy = G + sigma * torch.from_numpy(zeta / np.linalg.norm(zeta))[None]
    start = cauchy_point(G, G @ A, L)
    s, _, left = descend(
        noisy, lambda v: v @ A, start, start @ A, lipschitz=L, lr=torch.full((1,), lr, dtype=torch.float64), steps=steps
    )
    assert float(left[0]) == lr
    s = s[0].numpy()
    exact = cubic_step(H, g, L).value
    return (cubic_value(H, g, L, s) - exact) / abs(exact), s


def test_the_inner_descent_is_coarse_after_five_steps_and_converges(measured):
    """C5 for all but the hard case."""
    for kind, H, g in problems():
        if kind != "hard":
            gaps = [gap(H, g, 1.0, steps)[0] for steps in (0, 5, 10, 100, 1000)]
            measured("C5", **dict(zip(("T=0", "T=5", "T=10", "T=100", "T=1000"), gaps, strict=True)))
            assert gaps == sorted(gaps, reverse=True)
            assert gaps[1] > 1e-3, kind
            assert abs(gaps[-1]) < 1e-9, kind
            assert gaps[3] < 0.2 * gaps[1]


def test_the_hard_case_is_slow_and_is_never_left_without_perturbation(measured):
    """C5's last row and C6: thousands of steps where tens are enough elsewhere, and for ever with sigma = 0."""
    _, H, g = problems()[-1]
    for steps in (10, 1000):
        value, s = gap(H, g, 1.0, steps)
        assert value > 0.3
        assert s[0] == 0.0
    assert gap(H, g, 1.0, 20, sigma=1e-6)[0] > 0.3
    value, s = gap(H, g, 1.0, 5000, sigma=1e-6)
    measured("C6", gap=value, escaped=abs(s[0]))
    assert abs(s[0]) > 0.1
    assert value < 1e-3


def test_stochastic_is_exact_with_all_records_and_many_inner_steps(measured):
    """C8: both batches are the retained set."""
    task, request = tiny(), some(tiny())
    exact = CURE(L=5.0, steps=1, weight_decay=0.01).forget(task, request).state
    knobs = {"L": 5.0, "steps": 1, "sigma": 0.0, "batch_size": 60, "curvature_batch_size": 60, "weight_decay": 0.01}
    errors = []
    for inner in (3, 30, 250):
        result = STOCHASTIC(lr=0.8, inner_steps=inner, **knobs).forget(task, request)
        errors.append(float((flatten(result.state.parameters) - flatten(exact.parameters)).norm()))
    measured("C8", error=errors[2])
    assert errors[0] > errors[1] > 100 * errors[2]
    assert errors[2] < 1e-12 * exact.models


def test_the_two_batches_are_drawn_independently():
    task, request = perceptron_task(), some(perceptron_task())
    seen = []
    meter = meter_of(task, request)
    meter.reads = lambda batch: seen.append(batch.indices[0].tolist())
    method = STOCHASTIC(steps=4, inner_steps=1, batch_size=32, curvature_batch_size=32)
    method.run_networks(meter, meter.original())
    slopes, curvatures = seen[0::3], seen[1::3]
    assert seen[2::3] == curvatures  # the Cauchy point and the inner steps see one Hessian
    assert all(sorted(one) != sorted(other) for one, other in zip(slopes, curvatures, strict=True))
    assert len({tuple(one) for one in slopes}) == 4
    assert all(len(set(one)) == 32 for one in slopes + curvatures)  # never the short rest of a pass


def test_the_perturbation_has_length_sigma_and_its_own_stream():
    meter = meter_of(tiny(), some(tiny()), some(tiny()))
    like = torch.zeros(2, 43, dtype=torch.float64)
    first, again, next_step = (STOCHASTIC._directions(meter, step, like) for step in (0, 0, 1))
    assert torch.allclose(first.norm(dim=1), torch.ones(2, dtype=torch.float64))
    assert torch.equal(first, again)
    assert not torch.allclose(first[0], first[1])
    assert not torch.allclose(first, next_step)


def test_too_large_an_inner_step_is_not_taken_and_told():
    """Plain steps of this size run away; here the model falls, and only the stack member that needs it slows down."""
    _, H, g = problems()[2]
    G, A = torch.from_numpy(np.stack([g, g])), torch.from_numpy(H)
    start, lr = cauchy_point(G, G @ A, 1.0), torch.tensor([0.1, 8.0], dtype=torch.float64)
    _, values, left = descend(G, lambda v: v @ A, start, start @ A, lipschitz=1.0, lr=lr, steps=100)
    assert bool((torch.stack(values).diff(dim=0) <= 1e-12).all())
    assert float(left[0]) == 0.1
    assert 0.1 < float(left[1]) < 8.0
    plain = start[1:]
    for _ in range(10):
        plain = plain - 8.0 * (G[1:] + plain @ A + 0.5 * plain.norm() * plain)
    assert float(plain.norm()) > 1e10
    task = perceptron_task()
    result = STOCHASTIC(steps=2, lr=5.0).forget(task, some(task))
    assert "inner steps of lr 5 raised the cubic model: lr was halved down to" in result.evidence.warnings[0]
    wild = STOCHASTIC(steps=3, lr=1e30).forget(task, some(task))  # the Cauchy points remain
    assert wild.evidence.traces["radius"] == wild.evidence.traces["Cauchy radius"]


@pytest.mark.parametrize("task", [perceptron_task, convolutional_task])
def test_stochastic_steps_in_a_fleet_in_single_precision(task):
    task, method = task(), STOCHASTIC(steps=3, batch_size=64)
    requests = [Request.at(task, np.arange(7 * k, 7 * k + 5 + 40 * k)) for k in range(3)]
    for model, result in enumerate(method.forget_fleet(task, requests, seeds=[4, 5, 6])):
        alone = method.forget(task, requests[model], seed=4 + model)
        difference = flatten(result.state.parameters) - flatten(alone.state.parameters)
        assert float(difference.norm()) < 1e-4 * alone.evidence.moved
        assert not any(change.changed for change in alone.evidence.tensors if change.buffer)


def test_stochastic_steps_with_the_defaults_do_not_cost_retained_accuracy():
    """With batch normalisation and rectifiers, where the inner step size that is published is too large."""
    task = convolutional_task()
    request = task.request_class(3)
    kept = np.setdiff1d(np.arange(len(task)), request.forgotten)
    result = STOCHASTIC().forget(task, request)
    assert any("lr was halved down to" in warning for warning in result.evidence.warnings)
    assert accuracy(task, result.model, kept) > accuracy(task, task.model, kept) - 0.01


@pytest.mark.slow
def test_forgetting_is_bought_with_outer_steps():
    task = small()
    request = task.request_class(3)
    kept = np.setdiff1d(np.arange(400), request.forgotten)
    method = STOCHASTIC(L=1.0, steps=150, lr=0.5, weight_decay=1e-3)
    result = method.forget(task, request)
    assert accuracy(task, result.model, request.forgotten) < 0.7
    assert accuracy(task, result.model, kept) > 0.99
