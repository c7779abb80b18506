"""CureNewton, exact and stochastic, and its baselines on networks: steps, fleets, rounds, and the shape of the results."""

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
from second_order_networks import accuracy, derivatives, small, some, tiny
from small_networks import digits, perceptron_task, trained
from torch import nn

from certify import unlearners
from certify.core.errors import ConfigurationError
from certify.models.networks import State
from certify.models.networks.state import flatten
from certify.unlearners import Claim, NetworkTask, Request
from certify.unlearners.cubic import cubic_step

CURE, STOCHASTIC, PINV, DAMPED = (
    unlearners.get(name) for name in ("curenewton", "curenewton-stochastic", "pinv-newton", "damped-newton")
)
METHODS = {
    "curenewton": CURE(steps=2),
    "curenewton-stochastic": STOCHASTIC(steps=3, batch_size=16, curvature_batch_size=8),
    "pinv-newton": PINV(rcond=1e-3),
    "damped-newton": DAMPED(damping=0.5),
    "damped-newton-cg": DAMPED(damping=0.5, solver="cg", tolerance=1e-10),
}


def test_one_step_of_each_method_by_another_route():
    task, request = tiny(), some(tiny())
    g, H, w = derivatives(task, request, 0.01)
    steps = {
        CURE(L=2.0, steps=1, weight_decay=0.01): cubic_step(H, g, 2.0).step,
        PINV(rcond=1e-3, weight_decay=0.01): -np.linalg.pinv(H, rcond=1e-3, hermitian=True) @ g,
        DAMPED(damping=0.7, weight_decay=0.01): -np.linalg.solve(H + 0.7 * np.eye(43), g),
    }
    for method, step in steps.items():
        result = method.forget(task, request)
        np.testing.assert_allclose(flatten(result.state.parameters)[0].numpy() - w, step, rtol=1e-7, atol=1e-10)
        told = result.evidence.solver
        assert told["negative eigenvalues"] == np.sum(np.linalg.eigvalsh(H) < 0) > 0
        assert told["eigenvalues"] == 43
        assert result.evidence.moved == pytest.approx(np.linalg.norm(step), rel=1e-9)
        if "step norm" in told:
            assert told["step norm by eigenvalues"] == pytest.approx(told["step norm"], rel=1e-12)
            assert told["step norm"] == pytest.approx(np.linalg.norm(step), rel=1e-7)
        assert result.claim is Claim.NONE


def test_every_cubic_step_lowers_the_retained_loss_and_tells_its_damping():
    task, request = tiny(), some(tiny())
    result = CURE(L=5.0, steps=6).forget(task, request, trajectory=True)
    traces, states = result.evidence.traces, [State.of(task.model), *result.trajectory]
    for step, (before, after) in enumerate(pairwise(states)):
        moved = float((flatten(after.parameters) - flatten(before.parameters)).norm())
        assert traces["radius"][step] == pytest.approx(moved, rel=1e-9)
        assert traces["damping"][step] == pytest.approx(2.5 * moved, rel=1e-9)
        assert traces["stationarity"][step] < 1e-13
        assert abs(traces["duality gap"][step]) < 1e-14
        assert traces["smallest damped eigenvalue"][step] > -1e-13
    assert np.all(np.diff(traces["retain"]) < -5.0 / 12 * np.array(traces["radius"][:-1]) ** 3)
    assert result.evidence.counts["steps"] == 6


@pytest.mark.parametrize("name", METHODS)
def test_a_model_in_a_fleet_ends_where_it_ends_alone(name):
    task, method = tiny(), METHODS[name]
    requests = [Request.at(task, np.arange(5 * k, 5 * k + 3 + 10 * k)) for k in range(3)]
    together = method.forget_fleet(task, requests, seeds=[4, 5, 6])
    for model, result in enumerate(together):
        alone = method.forget(task, requests[model], seed=4 + model)
        difference = flatten(result.state.parameters) - flatten(alone.state.parameters)
        assert float(difference.norm()) < 1e-9 * alone.evidence.moved
        assert result.evidence.reads == alone.evidence.reads
        assert result.evidence.reads["forget"].records == 0
        for purpose, values in alone.evidence.traces.items():
            np.testing.assert_allclose(result.evidence.traces[f"{purpose} [{model}]"], values, rtol=1e-6, atol=1e-12)
        for purpose, value in alone.evidence.solver.items():
            assert result.evidence.solver[f"{purpose} [{model}]"] == pytest.approx(value, rel=1e-6, abs=1e-9)


def test_every_knob_changes_the_result():
    task = tiny()
    others = {
        "curenewton": {"L": 3.0, "steps": 1, "weight_decay": 0.1},
        "curenewton-stochastic": {
            "L": 3.0,
            "steps": 1,
            "inner_steps": 2,
            "lr": 0.3,
            "sigma": 0.1,
            "batch_size": 7,
            "curvature_batch_size": 7,
            "weight_decay": 0.1,
        },
        "pinv-newton": {"rcond": 0.2, "steps": 2, "weight_decay": 0.1},
        "damped-newton": {"damping": 0.9, "steps": 2, "curvature": "gauss-newton", "weight_decay": 0.1},
        "damped-newton-cg": {"damping": 0.9, "curvature": "gauss-newton", "tolerance": 0.5, "iterations": 2},
    }
    for name, knobs in others.items():
        method = METHODS[name]
        plain = method.forget(task, some(task)).state.digest()
        for knob, value in knobs.items():
            changed = type(method)(**{**method.knobs(), knob: value})
            assert changed.forget(task, some(task)).state.digest() != plain, (name, knob)


def test_a_network_too_large_for_a_matrix_is_refused_with_what_to_use_instead():
    task = perceptron_task()
    with pytest.raises(
        ConfigurationError,
        match=r"curenewton\.max_parameters: the network has 1,210 parameters .* at most 1,000 .*; use --method curenewton-stochastic",
    ):
        CURE(max_parameters=1000).forget(task, some(task))
    with pytest.raises(ConfigurationError, match=r"pinv-newton\.max_parameters: .*; use --method damped-newton"):
        PINV(max_parameters=1000).forget(task, some(task))
    with pytest.raises(ConfigurationError, match=r"damped-newton\.max_parameters: .*; use solver=cg"):
        DAMPED(max_parameters=1000, solver="dense").forget(task, some(task))
    head = NetworkTask(task.model, task.X, task.y, trainable=("2.*",))
    assert CURE(max_parameters=1000, steps=1).forget(head, some(head)).evidence.solver["eigenvalues"] == 170


@pytest.mark.parametrize("method", [CURE(steps=1, L=5.0), STOCHASTIC(steps=3)], ids=["exact", "stochastic"])
@pytest.mark.parametrize("by", ["class", "sample"])
def test_five_rounds_never_read_what_earlier_rounds_forgot(method, by):
    """Batch of records or classes, round after round: other features and labels of forgotten records change nothing."""
    X, y = digits()
    head = trained(lambda: nn.Sequential(nn.Linear(64, 4), nn.Tanh(), nn.Linear(4, 10)), records=150)
    X, y = head.X.copy(), head.y.copy()
    parts = [np.flatnonzero(y == label) for label in range(5)] if by == "class" else np.arange(40).reshape(5, 8)

    def rounds(spoil):
        request, state, found = None, None, []
        values, labels = X.copy(), y.copy()
        for number, part in enumerate(parts):
            if spoil:
                gone = np.concatenate(parts[: number + 1])
                values[gone], labels[gone] = 7.0, 9
            task = NetworkTask(head.model, values, labels)
            request = Request.at(task, part) if request is None else request.then(task, part)
            result = method.forget_fleet(task, [request], starts=state, seeds=[number])[0]
            assert result.evidence.reads["forget"].records == 0
            assert result.evidence.reads["retain"].records <= len(y) - sum(map(len, parts[: number + 1]))
            assert result.evidence.moved > 0
            state = result.state
            found.append(state.digest())
        return found

    clean = rounds(spoil=False)
    assert len(set(clean)) == 5
    assert rounds(spoil=True) == clean


def test_pseudo_inverse_and_small_damping_explode_and_cubic_steps_are_safe():
    """The measured shape: leaps that destroy the model against small steps that never cost retained accuracy."""
    task = small()
    request = task.request_class(3)
    gone, kept = request.forgotten, np.setdiff1d(np.arange(400), request.forgotten)
    cubic = CURE(L=1.0, steps=6, weight_decay=1e-3).forget(task, request, trajectory=True)
    radii = cubic.evidence.traces["radius"]
    before = accuracy(task, task.model, kept)
    assert before > 0.99
    for state in cubic.trajectory:
        assert accuracy(task, state.write_into(small_copy(task)), kept) >= before
    assert max(radii) < 0.5
    assert accuracy(task, cubic.model, gone) <= accuracy(task, task.model, gone)
    for reckless in (PINV(weight_decay=1e-3), DAMPED(damping=1e-6, weight_decay=1e-3)):
        result = reckless.forget(task, request)
        assert result.evidence.moved > 50 * max(radii)
        assert accuracy(task, result.model, kept) < before - 0.1
    plain = PINV().forget(task, request).evidence
    assert plain.solver["negative eigenvalues"] > 20
    assert plain.solver["eigenvalues near zero"] > 20
    assert plain.moved > 100 * max(radii)
    stochastic = STOCHASTIC(L=1.0, steps=20, weight_decay=1e-3).forget(task, request)
    assert accuracy(task, stochastic.model, kept) >= before - 0.005
    assert max(stochastic.evidence.traces["radius"]) < 0.5


def small_copy(task):

    return copy.deepcopy(task.model)


def test_without_cubic_term_a_linear_network_with_squared_error_is_solved_in_one_step():
    """Ridge regression: Newton, exact; the other two meet it at both ends of their knobs."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 4)), rng.normal(size=40)
    with torch.random.fork_rng(devices=[]):
        task = NetworkTask(nn.Linear(4, 1).double().eval(), X, y, loss="squared")
    A = np.hstack([X[8:], np.ones((32, 1))])
    solution = np.linalg.solve(A.T @ A / 32 + 0.1 * np.eye(5), A.T @ y[8:] / 32)
    for method in (CURE(L=0.0, steps=1), CURE(L=1e-12, steps=1), PINV(), DAMPED(damping=0.0), CURE(L=1.0, steps=30)):
        task_result = type(method)(**{**method.knobs(), "weight_decay": 0.1}).forget(task, some(task))
        found = flatten(task_result.state.parameters)[0].numpy()
        np.testing.assert_allclose(found, solution, rtol=0, atol=1e-10)
