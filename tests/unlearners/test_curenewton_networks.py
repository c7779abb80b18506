"""CureNewton, exact and stochastic, and its baselines on networks."""

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from small_networks import convolutional_task, digits, perceptron_task, trained
from torch import nn

from certify import unlearners
from certify.core.errors import ConfigurationError
from certify.models.networks import Recipe, State
from certify.models.networks.losses import cross_entropy
from certify.models.networks.state import flatten, unflatten
from certify.unlearners import Budget, Claim, NetworkTask, Request
from certify.unlearners.cubic import cubic_step, cubic_value
from certify.unlearners.methods.curenewton_stochastic import cauchy_point, descend
from certify.unlearners.networks.dense import dense_hessian
from certify.unlearners.networks.meter import NetworkMeter
from certify.unlearners.networks.second_order import conjugate_gradients

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


@cache
def tiny(seed=0):
    """4-5-3, tanh, 43 parameters in double precision, 60 records; as initialised, so that its Hessian is indefinite."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(60, 4))
    return NetworkTask(model.eval(), X, (X[:, 0] > 0).astype(int) + (X[:, 1] > 0.5))


@cache
def small():
    """64-8-10, tanh, 610 parameters: 400 digits, weight decay 1e-3, trained until all are right."""
    recipe = Recipe("adam", lr=2e-2, epochs=40, batch_size=64, weight_decay=1e-3)
    return trained(
        lambda: nn.Sequential(nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 10)), records=400, held_out=400, recipe=recipe
    )


def some(task, count=8):
    return Request.at(task, np.arange(count))


def meter_of(task, *requests):
    return NetworkMeter.open(task, requests, Budget(), list(range(len(requests))), "test")


def derivatives(task, request, weight_decay=0.0):
    """Gradient and Hessian of the mean retained loss by torch's own double backward on the plain module."""
    model, keep = task.model, np.setdiff1d(np.arange(len(task)), request.forgotten)
    X, y = torch.as_tensor(task.X[keep]), torch.as_tensor(task.y[keep])
    like = {name: value[None].detach() for name, value in model.named_parameters()}

    def loss(w):
        parameters = {name: value[0] for name, value in unflatten(w[None], like).items()}
        outputs = torch.func.functional_call(model, parameters, (X,))
        return nn.functional.cross_entropy(outputs, y) + weight_decay / 2 * w.square().sum()

    w = flatten(like)[0]
    return (
        torch.autograd.functional.jacobian(loss, w).numpy(),
        torch.autograd.functional.hessian(loss, w).numpy(),
        w.numpy(),
    )


def accuracy(task, model, rows):
    with torch.no_grad():
        return float((model(torch.as_tensor(task.X[rows])).argmax(1).numpy() == np.asarray(task.y)[rows]).mean())


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
def test_the_cauchy_point_is_the_minimum_along_the_gradient_and_descent_falls(kind, H, g):
    """C4."""
    G, A, L = torch.from_numpy(g)[None], torch.from_numpy(H), 1.0
    start = cauchy_point(G, G @ A, L)
    best = minimize_scalar(
        lambda r: cubic_value(H, g, L, -r * g / np.linalg.norm(g)),
        bounds=(0, 10),
        method="bounded",
        options={"xatol": 1e-10},
    )
    assert float(start.norm()) == pytest.approx(best.x, abs=1e-6)
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


def test_the_inner_descent_is_coarse_after_five_steps_and_converges():
    """C5 for all but the hard case."""
    for kind, H, g in problems():
        if kind != "hard":
            gaps = [gap(H, g, 1.0, steps)[0] for steps in (0, 5, 10, 100, 1000)]
            assert gaps == sorted(gaps, reverse=True)
            assert gaps[1] > 1e-3, kind
            assert abs(gaps[-1]) < 1e-9, kind
            assert gaps[3] < 0.2 * gaps[1]


def test_the_hard_case_is_slow_and_is_never_left_without_perturbation():
    """C5's last row and C6: thousands of steps where tens are enough elsewhere, and for ever with sigma = 0."""
    _, H, g = problems()[-1]
    for steps in (10, 1000):
        value, s = gap(H, g, 1.0, steps)
        assert value > 0.3
        assert s[0] == 0.0
    assert gap(H, g, 1.0, 20, sigma=1e-6)[0] > 0.3
    value, s = gap(H, g, 1.0, 5000, sigma=1e-6)
    assert abs(s[0]) > 0.1
    assert value < 1e-3


def test_stochastic_is_exact_with_all_records_and_many_inner_steps():
    """C8: both batches are the retained set."""
    task, request = tiny(), some(tiny())
    exact = CURE(L=5.0, steps=1, weight_decay=0.01).forget(task, request).state
    knobs = {"L": 5.0, "steps": 1, "sigma": 0.0, "batch_size": 60, "curvature_batch_size": 60, "weight_decay": 0.01}
    errors = []
    for inner in (3, 30, 250):
        result = STOCHASTIC(lr=0.8, inner_steps=inner, **knobs).forget(task, request)
        errors.append(float((flatten(result.state.parameters) - flatten(exact.parameters)).norm()))
    assert errors[0] > errors[1] > 100 * errors[2]
    assert errors[2] < 1e-8 * exact.models


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


@pytest.mark.parametrize("task", [perceptron_task, convolutional_task])
def test_stochastic_steps_in_a_fleet_in_single_precision(task):
    task, method = task(), STOCHASTIC(steps=3, batch_size=64)
    requests = [Request.at(task, np.arange(7 * k, 7 * k + 5 + 40 * k)) for k in range(3)]
    for model, result in enumerate(method.forget_fleet(task, requests, seeds=[4, 5, 6])):
        alone = method.forget(task, requests[model], seed=4 + model)
        difference = flatten(result.state.parameters) - flatten(alone.state.parameters)
        assert float(difference.norm()) < 1e-4 * alone.evidence.moved
        assert not any(change.changed for change in alone.evidence.tensors if change.buffer)


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
    assert torch.allclose(found.x[:2], torch.tensor([[1, 1 / 2, 1 / 3], [0.2, 0.2, 0.2]], dtype=torch.float64))
    assert found.negative.tolist() == [False, False, True]


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
    cubic = CURE(L=1.0, steps=10, weight_decay=1e-3).forget(task, request, trajectory=True)
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


def test_stochastic_steps_with_the_defaults_do_not_cost_retained_accuracy():
    """With batch normalisation and rectifiers, where the inner step size that is published is too large."""
    task = convolutional_task()
    request = task.request_class(3)
    kept = np.setdiff1d(np.arange(len(task)), request.forgotten)
    result = STOCHASTIC().forget(task, request)
    assert "lr was halved down to" in result.evidence.warnings[0]
    assert accuracy(task, result.model, kept) > accuracy(task, task.model, kept) - 0.01


def small_copy(task):
    import copy

    return copy.deepcopy(task.model)


@pytest.mark.slow
def test_forgetting_is_bought_with_outer_steps():
    task = small()
    request = task.request_class(3)
    kept = np.setdiff1d(np.arange(400), request.forgotten)
    method = STOCHASTIC(L=1.0, steps=150, lr=0.5, weight_decay=1e-3)
    result = method.forget(task, request)
    assert accuracy(task, result.model, request.forgotten) < 0.7
    assert accuracy(task, result.model, kept) > 0.99


def test_the_loss_is_the_one_the_task_names():
    """A record's own loss, not its batch's: the cubic step of a squared-error task is that of squared error."""
    task = NetworkTask(tiny().model, tiny().X, tiny().y, loss="squared")
    assert task.loss != cross_entropy
    first, second = (CURE(steps=1).forget(t, some(t)).state.digest() for t in (task, tiny()))
    assert first != second
