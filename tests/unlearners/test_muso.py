"""Relabelling of networks: exact where theory holds, measured to be so, and silent about exactness anywhere else."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from small_networks import convolutional_task, digits, perceptron, perceptron_task
from torch import nn

from certify import unlearners
from certify.core.errors import ConfigurationError, InputError
from certify.models.networks import Recipe, State
from certify.unlearners import Claim, NetworkTask, Request
from certify.unlearners.networks.checkpoint import Checkpoint
from certify.unlearners.relabelling import FourierFeatures, limit
from certify.unlearners.relabelling.alternating import labels_of, ridge_at
from certify.unlearners.relabelling.theory import outside_row_space

MUSO = unlearners.get("muso")
GONE = np.arange(5)
SGD = {"fit": "descent", "optimiser": "sgd", "lr": 30.0, "epochs": 180, "batch_size": 40}


def head_of(w, *, bias):
    """A linear layer in double precision with weights (D, C), the last row being the bias."""
    width, outputs = w.shape
    made = nn.Linear(width - bias, outputs, bias=bias).double()
    with torch.no_grad():
        made.weight.copy_(torch.tensor(w[: width - bias].T))
        if bias:
            made.bias.copy_(torch.tensor(w[-1]))
    return made


class Case:
    """A linear model on random Fourier features that interpolates, its start, and the retrained weights."""

    def __init__(self, records=40, frequencies=200, outputs=3, seed=0, *, bias=False):
        rng = np.random.default_rng(seed)
        self.X = FourierFeatures.draw(5, frequencies, sigma=0.7, seed=seed)(rng.normal(size=(records, 5)))
        self.y = rng.normal(size=(records, outputs))
        self.Z = np.hstack([self.X, np.ones((records, 1))]) if bias else self.X
        self.start = rng.normal(size=(self.Z.shape[1], outputs))
        self.w_p = self.start + np.linalg.pinv(self.Z) @ (self.y - self.Z @ self.start)
        kept = np.setdiff1d(np.arange(records), GONE)
        self.w_r = self.start + np.linalg.pinv(self.Z[kept]) @ (self.y[kept] - self.Z[kept] @ self.start)
        self.bias = bias

    def task(self, w_p=None, **more):
        model = head_of(self.w_p if w_p is None else w_p, bias=self.bias)
        return NetworkTask(
            model, self.X, self.y, **{"loss": "squared", "initial": head_of(self.start, bias=self.bias), **more}
        )

    def error(self, result):
        """Distance to the retrained weights, that of the original being 1."""
        values = [result.state.parameters["weight"][0].T]
        values += [result.state.parameters["bias"][:1]] if self.bias else []
        return np.linalg.norm(torch.cat(values).numpy() - self.w_r) / np.linalg.norm(self.w_p - self.w_r)


@pytest.fixture(scope="module")
def case():
    return Case()


def forget(case, task=None, **knobs):
    task = case.task() if task is None else task
    return MUSO(**knobs).forget(task, Request.at(task, GONE))


EXACT = {
    "limit": {},
    "gradient descent": SGD,
    "stochastic": {**SGD, "lr": 8.0, "epochs": 110, "batch_size": 8},
    "momentum": {**SGD, "momentum": 0.5},
}


@pytest.mark.parametrize("knobs", EXACT.values(), ids=EXACT)
def test_m3_it_lands_on_the_retrained_weights_and_claims_what_it_measured(case, knobs, measured):
    result = forget(case, **knobs)
    error = case.error(result)
    measured("M3", error=error)
    assert error < 1e-10
    assert result.claim == Claim.EXACT
    assert result.evidence.solver["distance"] == pytest.approx(error, rel=1e-3, abs=1e-12)
    assert f"measured within {result.evidence.solver['distance']:.1e} of the original's distance" in result.reason
    assert not [text for text in result.evidence.warnings if "not exact" in text]


def test_with_a_bias_it_is_exact_too():
    case = Case(bias=True)
    result = forget(case)
    assert (result.claim, case.error(result) < 1e-10) == (Claim.EXACT, True)


def test_classes_are_one_hot_targets():
    case = Case(outputs=4)
    classes = np.argmax(case.y, axis=1)
    case.y = np.eye(4)[classes]
    w_p, w_r = (
        case.start + np.linalg.pinv(case.Z[rows]) @ (case.y[rows] - case.Z[rows] @ case.start)
        for rows in (np.arange(40), np.arange(5, 40))
    )
    case.w_p, case.w_r = w_p, w_r
    task = case.task()
    task = replace(task, y=classes)
    result = forget(case, task)
    assert result.claim == Claim.EXACT
    assert case.error(result) < 1e-10


def warned(result):
    return " / ".join(text for text in result.evidence.warnings if text.startswith("not exact: "))


def test_m4_adam_ends_elsewhere_and_nothing_is_claimed(case, measured):
    result = forget(case, **{**SGD, "optimiser": "adam", "lr": 0.01, "epochs": 600})
    assert case.error(result) > 0.2
    moved = result.state.parameters["weight"][0].T.numpy() - case.start
    measured("M4", error=case.error(result), outside=outside_row_space(case.Z, moved))
    assert outside_row_space(case.Z, moved) > 0.1
    assert result.claim == Claim.NONE
    assert "adam is not plain SGD" in warned(result)
    assert "away from the retrained weights" in warned(result)


def test_m5_weight_decay_ends_elsewhere_and_nothing_is_claimed(case):
    result = forget(case, **{**SGD, "weight_decay": 1e-3})
    assert case.error(result) > 0.2
    assert result.claim == Claim.NONE
    assert "weight decay 0.001 is not 0" in warned(result)


def test_m6_with_fewer_features_than_records_nothing_is_claimed():
    case = Case(records=120, frequencies=25, outputs=2)
    result = forget(case)
    assert case.error(result) > 0.02
    assert result.claim == Claim.NONE
    assert "70 rows of the features depend on the others" in warned(result)
    assert "does not interpolate the retained records" in warned(result)


def test_descent_that_was_stopped_early_claims_nothing(case):
    result = forget(case, **{**SGD, "epochs": 10})
    assert result.claim == Claim.NONE
    assert ";" not in warned(result)  # nothing else is wrong
    assert "the result is" in warned(result)


def test_an_original_from_another_start_claims_nothing(case):
    other = np.random.default_rng(9).normal(size=case.start.shape)
    task = case.task(initial=head_of(other, bias=False))
    result = forget(case, task)
    assert result.claim == Claim.NONE
    assert "the original left the row space of the features" in warned(result)
    assert case.error(result) > 0.5


def test_an_original_that_was_stopped_early_claims_nothing(case):
    half = 0.9 * case.w_p + 0.1 * case.start
    result = forget(case, case.task(half))
    assert result.claim == Claim.NONE
    assert "does not interpolate the retained records" in warned(result)


def test_a_forgotten_record_that_is_kept_twice_claims_nothing(case):
    X, y = np.vstack([case.X, case.X[:1]]), np.vstack([case.y, case.y[:1]])
    task = replace(case.task(), X=X, y=y)
    result = forget(case, task)
    assert result.claim == Claim.NONE
    assert "1 rows of the features depend on the others" in warned(result)


@pytest.mark.parametrize(
    ("recipe", "text"),
    [
        (Recipe("adam"), "the original was trained by adam, not by plain SGD"),
        (Recipe("sgd", weight_decay=5e-4), "the original was trained with weight decay 0.0005"),
    ],
)
def test_a_recipe_that_the_theorem_does_not_know_claims_nothing(case, recipe, text):
    result = forget(case, case.task(recipe=recipe))
    assert result.claim == Claim.NONE
    assert text in warned(result)
    assert case.error(result) < 1e-10


def test_a_recipe_of_plain_sgd_is_fine(case):
    assert forget(case, case.task(recipe=Recipe("sgd", momentum=0.9))).claim == Claim.EXACT


def test_single_precision_is_measured_and_not_called_exact(case):
    task = replace(
        case.task(), model=head_of(case.w_p, bias=False).float(), initial=head_of(case.start, bias=False).float()
    )
    result = forget(case, task)
    assert result.claim == Claim.NONE
    assert 1e-8 < case.error(result) < 1e-3
    assert forget(case, task, tolerance=1e-3).claim == Claim.EXACT


class Frozen(nn.Module):
    """A random layer that never moves, and a head."""

    def __init__(self, noise=0.0, *, last=False):
        super().__init__()
        self.random = nn.Linear(64, 400)
        self.noise = nn.Dropout(noise)
        self.head = nn.Linear(400, 3)
        self.last = last

    def forward(self, x):
        out = self.head(self.noise(torch.tanh(self.random(x))))
        return torch.tanh(out) if self.last else out


def frozen_case(**more):
    """60 digits of three classes, the head at its limit from a start that is kept."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        initial, model = Frozen(**more).double().eval(), Frozen(**more).double().eval()
    model.load_state_dict(initial.state_dict())
    X, y = digits()
    rows = np.flatnonzero(y < 3)[:60]
    X, y = X[rows].astype(float), y[rows]
    with torch.no_grad():
        Z = torch.tanh(initial.random(torch.tensor(X))).numpy()
    Z = np.hstack([Z, np.ones((60, 1))])
    start = np.vstack([initial.head.weight.detach().numpy().T, initial.head.bias.detach().numpy()])
    w_p, w_r = (limit(Z[part:], np.eye(3)[y[part:]], start) for part in (0, 5))
    with torch.no_grad():
        model.head.weight.copy_(torch.tensor(w_p[:-1].T))
        model.head.bias.copy_(torch.tensor(w_p[-1]))
    task = NetworkTask(model, X, y, loss="squared", initial=initial, trainable=("head.*",))
    return task, w_p, w_r


def head_error(result, w_p, w_r):
    found = torch.cat([result.state.parameters["head.weight"][0].T, result.state.parameters["head.bias"][:1]]).numpy()
    return np.linalg.norm(found - w_r) / np.linalg.norm(w_p - w_r)


def test_m9_on_frozen_features_the_theorem_holds_and_only_the_head_moves():
    task, w_p, w_r = frozen_case()
    result = MUSO().forget(task, Request.at(task, GONE))
    assert result.claim == Claim.EXACT
    assert head_error(result, w_p, w_r) < 1e-9
    assert {change.name for change in result.evidence.tensors if change.changed} == {"head.weight", "head.bias"}


ALTERNATING = {
    "algorithm": "alternating",
    "labels": "soft",
    "sample": 1.0,
    "ridge_start": 1e-10,
    "ridge_end": 1e-10,
    "optimiser": "sgd",
    "lr": 30.0,
    "epochs": 180,
    "batch_size": 40,
}


def test_m9_the_network_algorithm_reduces_to_the_theorem_with_squared_loss_soft_labels_and_sgd(case, measured):
    result = forget(case, **ALTERNATING)
    measured("M9", error=case.error(result))
    assert case.error(result) < 1e-7
    assert result.claim == Claim.NONE
    assert "the projector is ridged and made from a sample" in warned(result)
    part = forget(case, **{**ALTERNATING, "sample": 0.5, "epochs": 40})
    assert case.error(part) > 1e-3


def test_m9_with_cross_entropy_and_hard_labels_it_does_not(measured):
    """Frozen features, the original trained by SGD; retraining from the same start, as long, is what it should be."""
    given, _, _ = frozen_case()
    task = replace(given, loss="cross-entropy", recipe=Recipe("sgd", lr=0.5, epochs=60, batch_size=60))
    request = Request.at(task, GONE)
    bench_original = train_head(task, np.arange(60))
    task = replace(task, model=bench_original)
    retrained = head_weights(train_head(task, np.arange(5, 60)))
    result = MUSO(optimiser="sgd", lr=0.5, epochs=60, batch_size=60).forget(task, request)
    original = head_weights(task.model)
    error = np.linalg.norm(head_weights(result.model) - retrained) / np.linalg.norm(original - retrained)
    measured("M9", cross_entropy=error)
    assert error > 0.5
    assert result.claim == Claim.NONE
    for text in ("the loss is cross-entropy, not squared", "hard labels lose the retrained weights"):
        assert text in warned(result)


def train_head(task, rows):
    from certify.models.networks import Bench, Network
    from certify.models.networks.losses import loss_named

    X, y = task.tensors(torch.device("cpu"))
    bench = Bench(Network.of(task.model, trainable=task.trainable), X, y, loss=loss_named(task.loss))
    start = State.of(task.initial)
    import copy

    return bench.train(start, [rows], task.recipe).write_into(copy.deepcopy(task.model))


def head_weights(model):
    return np.vstack([model.head.weight.detach().numpy().T, model.head.bias.detach().numpy()])


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"noise": 0.3}, "the features are random in training mode"),
        ({"last": True}, "the outputs are not the head's alone"),
    ],
)
def test_a_network_that_is_no_head_on_fixed_features_claims_nothing(more, text):
    task, _, _ = frozen_case(**more)
    task.model.train()
    result = MUSO().forget(task, Request.at(task, GONE))
    assert result.claim == Claim.NONE
    assert text in warned(result)


def test_another_backbone_before_training_claims_nothing():
    task, _, _ = frozen_case()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        other = Frozen().double()
    other.head.load_state_dict(task.initial.head.state_dict())
    result = MUSO().forget(replace(task, initial=other), Request.at(task, GONE))
    assert result.claim == Claim.NONE
    assert "what does not move differs from the weights before training" in warned(result)


def test_m10_fine_tuning_an_interpolating_linear_model_does_nothing(case):
    task = case.task()
    tuned = unlearners.get("fine-tune")(lr=1.0, epochs=20, batch_size=8).forget(task, Request.at(task, GONE))
    assert tuned.evidence.moved < 1e-11
    assert case.error(tuned) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("drift", [True, False])
@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_two_epochs_of_the_network_algorithm_are_those_written_out(labels, drift):
    """In plain torch and linear algebra of another kind: singular values, one module, one batch an epoch."""
    given = perceptron_task()
    model, initial = (module.double() for module in (copied(given.model), copied(given.initial)))
    task = replace(given, model=model, initial=initial, X=given.X[:80], y=given.y[:80], held_out=None)
    gone = np.arange(12)
    knobs = {"labels": labels, "drift": drift, "sample": 1.0, "ridge_start": 1e-3, "ridge_end": 0.1}
    result = MUSO(optimiser="sgd", lr=0.5, epochs=2, batch_size=80, **knobs).forget(task, Request.at(task, gone))

    live, X, y = copied(model), torch.tensor(task.X).double(), torch.tensor(task.y)

    def phi(network):
        hidden = torch.tanh(network[0](X))
        return torch.cat([hidden, torch.ones(len(X), 1).double()], dim=1).detach()

    def head(network):
        return torch.cat([network[2].weight.T, network[2].bias[None]]).detach()

    W_p, W_0, old = head(model), head(initial), phi(model)
    for ridge in (1e-3, 0.1):
        now = phi(live)
        _, s, V = torch.linalg.svd(now[12:], full_matrices=False)
        mapped = W_0 + V.T @ torch.diag(s**2 / (s**2 + ridge)) @ V @ (W_p - W_0)
        q = now[:12] @ mapped + ((now - old)[:12] @ W_p if drift else 0)
        target = torch.softmax(q, 1) if labels == "soft" else nn.functional.one_hot(q.argmax(1), 10).double()
        target = torch.cat([target, nn.functional.one_hot(y[12:], 10).double()])
        loss = -(target * torch.log_softmax(live(X), 1)).sum(1).mean()
        gradients = torch.autograd.grad(loss, list(live.parameters()))
        with torch.no_grad():
            for own, gradient in zip(live.parameters(), gradients, strict=True):
                own.copy_(own - 0.5 * gradient)
    for name, value in live.named_parameters():
        assert torch.allclose(result.state.parameters[name][0], value, atol=1e-12, rtol=0)
    assert result.evidence.moved > 1e-3


def copied(module):
    made = perceptron().to(next(module.parameters()).dtype)
    made.load_state_dict(module.state_dict())
    return made


def test_a_projector_that_is_the_identity_is_said_to_forget_nothing(case):
    """17 features and 59 sampled records, against 400 and 7."""
    task = perceptron_task()
    narrow = MUSO().forget(task, Request.at(task, GONE)).evidence
    assert narrow.solver["map_moved"] < 0.05
    assert any(text.endswith("the labels are the original's own") for text in narrow.warnings)
    wide = forget(case, algorithm="alternating", labels="soft").evidence
    assert wide.solver["map_moved"] > 0.3
    assert not any(text.endswith("the labels are the original's own") for text in wide.warnings)


def test_the_ridge_grows_by_half_a_cosine():
    values = [ridge_at(1e-6, 1e-2, epoch, 5) for epoch in range(5)]
    assert values[0] == pytest.approx(1e-6)
    assert values[-1] == pytest.approx(1e-2)
    assert values[2] == pytest.approx((1e-6 + 1e-2) / 2)
    assert values == sorted(values)
    assert ridge_at(1e-6, 1e-2, 0, 1) == pytest.approx(1e-6)


def test_labels_follow_the_loss():
    q = torch.tensor([[[2.0, -1.0, 0.5]]]).double()
    assert labels_of(q, "cross-entropy", hard=True).tolist() == [[[1, 0, 0]]]
    assert labels_of(q, "cross-entropy", hard=False).sum().item() == pytest.approx(1)
    assert torch.equal(labels_of(q, "squared", hard=False), q)
    assert labels_of(q[..., :1], "binary-cross-entropy", hard=True).tolist() == [[[1]]]
    assert labels_of(q[..., :1], "binary-cross-entropy", hard=False).item() == pytest.approx(1 / (1 + np.exp(-2)))


class KilledError(Exception):
    """Stands for a kill signal."""


class Dying(Checkpoint):
    """Dies right after the write at the beginning of the third epoch."""

    def save(self, content):
        super().save(content)
        if content["begins"].endswith("/2"):
            raise KilledError


def test_a_killed_run_takes_up_the_map_of_the_epoch_it_was_in(tmp_path):
    task, path = perceptron_task(), tmp_path / "run.checkpoint"
    method = MUSO(labels="soft", lr=1e-2, epochs=4, ridge_start=5.0, ridge_end=50.0)
    request = Request.at(task, np.arange(60))
    with pytest.raises(KilledError):
        method.forget(task, request, checkpoint=Dying(path, interval=0.0))
    resumed = method.forget(task, request, checkpoint=Checkpoint(path))
    assert resumed.state.digest() == method.forget(task, request).state.digest()


def test_forgotten_labels_are_never_used():
    task = perceptron_task()
    y = np.array(task.y)
    y[:30] = (y[:30] + 1) % 10
    request = Request.at(task, np.arange(30))
    first, second = (MUSO().forget(replace(task, y=labels), request) for labels in (task.y, y))
    assert first.state.digest() == second.state.digest()


def test_batch_statistics_follow_the_retained_records_alone():
    task = convolutional_task()
    request = Request.at(task, np.arange(40))
    X = np.array(task.X)
    X[:40] = 50 * X[:40]
    plain = MUSO(epochs=1, lr=1e-9).forget(task, request)
    shifted = MUSO(epochs=1, lr=1e-9).forget(replace(task, X=X), request)
    name = "normalisation.running_mean"
    assert {change.name for change in plain.evidence.tensors if change.buffer and change.changed} >= {name}
    assert torch.allclose(plain.state.buffers[name], shifted.state.buffers[name], atol=1e-4)


@pytest.mark.parametrize("kind", ["perceptron", "convolutional"])
def test_a_model_in_a_fleet_ends_where_it_ends_alone(kind):
    task = perceptron_task() if kind == "perceptron" else convolutional_task()
    requests = [Request.at(task, np.arange(7 * k, 7 * k + 5 + 40 * k)) for k in range(3)]
    method = MUSO(labels="soft", epochs=2)
    for model, result in enumerate(method.forget_fleet(task, requests, seeds=[4, 5, 6])):
        alone = method.forget(task, requests[model], seed=4 + model)
        apart = max(float((result.state.parameters[n] - v).abs().max()) for n, v in alone.state.parameters.items())
        assert apart < 1e-4 * max(1.0, alone.evidence.moved)
        assert result.evidence.reads == alone.evidence.reads


@pytest.mark.parametrize("knobs", [{}, {**SGD, "epochs": 40}])
def test_linear_models_in_a_fleet_end_where_they_end_alone(case, knobs):
    task = case.task()
    requests = [Request.at(task, np.arange(k, 3 * k + 2)) for k in range(3)]
    for model, result in enumerate(MUSO(**knobs).forget_fleet(task, requests, seeds=[4, 5, 6])):
        alone = MUSO(**knobs).forget(task, requests[model], seed=4 + model)
        assert torch.allclose(result.state.parameters["weight"], alone.state.parameters["weight"], atol=1e-10)


def test_one_model_that_misses_a_condition_takes_the_claim_from_the_fleet(case):
    task = case.task()
    good, bad = State.of(task.model), State.of(head_of(case.w_p + 0.01, bias=False))
    requests = [Request.at(task, GONE)] * 2
    both = MUSO().forget_fleet(task, requests, starts=State.join([good, good]))
    assert {result.claim for result in both} == {Claim.EXACT}
    for order in ([good, bad], [bad, good]):
        mixed = MUSO().forget_fleet(task, requests, starts=State.join(order))
        assert {result.claim for result in mixed} == {Claim.NONE}
        assert "does not interpolate" in warned(mixed[0])


def test_features_that_overflow_are_refused_in_one_line():
    task, _, _ = frozen_case()
    X = np.array(task.X)
    X[7] = 1e308

    class Square(Frozen):
        def forward(self, x):
            return self.head(self.random(x) ** 2)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Square().double()
    other = replace(task, model=model, initial=model, X=X)
    with pytest.raises(InputError, match="head: a feature is not finite"):
        MUSO().forget(other, Request.at(other, GONE))


KNOBS = {
    "labels": "hard",
    "sample": 0.9,
    "ridge_start": 10.0,
    "ridge_end": 100.0,
    "drift": False,
    "lr": 1e-2,
    "epochs": 3,
    "batch_size": 20,
    "optimiser": "sgd",
    "weight_decay": 0.1,
    "schedule": "cosine",
}


@pytest.fixture(scope="module")
def end_of():
    """Digest of where some knobs lead a network; the unchanged ones are run once."""

    @cache
    def run(knob=None):
        task = perceptron_task()
        knobs = {"labels": "soft", "lr": 3e-3, "epochs": 2}
        knobs |= {} if knob is None else {knob: KNOBS[knob]}
        return MUSO(**knobs).forget(task, Request.at(task, np.arange(60))).state.digest()

    return run


@pytest.mark.parametrize("knob", KNOBS)
def test_each_knob_changes_what_networks_end_at(knob, end_of):
    assert end_of(knob) != end_of()


def test_momentum_changes_what_networks_end_at():
    task = perceptron_task()
    ends = {
        MUSO(optimiser="sgd", momentum=momentum).forget(task, Request.at(task, GONE)).state.digest()
        for momentum in (0.0, 0.9)
    }
    assert len(ends) == 2


def test_what_is_missing_is_said_in_one_line(case):
    task = perceptron_task()
    request = Request.at(task, GONE)
    with pytest.raises(InputError, match="initial: this method needs the weights before training"):
        MUSO().forget(replace(task, initial=None), request)
    with pytest.raises(InputError, match="initial: the weights before training are of another architecture"):
        MUSO().forget(replace(task, initial=nn.Linear(64, 10)), request)
    with pytest.raises(ConfigurationError, match="head: the head '1' is a Tanh"):
        MUSO().forget(replace(task, head="1"), request)
    with pytest.raises(ConfigurationError, match=r"muso\.algorithm: .* and the loss is cross-entropy"):
        MUSO(algorithm="linear").forget(task, request)
    squared = replace(task, loss="squared")
    with pytest.raises(ConfigurationError, match=r"muso\.algorithm: .* and more than the head moves"):
        MUSO(algorithm="linear").forget(squared, request)
    with pytest.raises(ConfigurationError, match=r"muso\.labels: hard labels need classes"):
        forget(case, algorithm="alternating")
    with pytest.raises(ConfigurationError, match=r"muso\.sample: 0(\.0)? makes no sense"):
        MUSO(sample=0.0)
    with pytest.raises(ConfigurationError, match="adam has no momentum"):
        MUSO(momentum=0.9).forget(task, request)


class Sequence(nn.Module):
    """A head that is given a matrix a record."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        return self.head(x.reshape(-1, 8, 8)).mean(dim=1)


def test_a_head_that_takes_several_vectors_a_record_is_refused():
    task = perceptron_task()
    other = NetworkTask(Sequence(), task.X, task.y, initial=Sequence())
    with pytest.raises(InputError, match=r"head: the head's input has shape \(8, 8\) for a record, not \(8,\)"):
        MUSO().forget(other, Request.at(other, GONE))


def test_one_output_a_record_works_for_two_classes():
    X, y = digits()
    rows = np.flatnonzero(y < 2)[:80]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        initial = nn.Sequential(nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 1))
        model = nn.Sequential(nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 1))
    task = NetworkTask(model, X[rows], y[rows], loss="binary-cross-entropy", initial=initial)
    ends = [MUSO(labels=labels).forget(task, Request.at(task, GONE)).state.digest() for labels in ("hard", "soft")]
    assert ends[0] != ends[1]
