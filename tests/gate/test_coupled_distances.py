"""Distances to models retrained from the original's own start: sharper than those to models that begin anew, and fair to both."""

import numpy as np
import pytest
import torch
from network_project import write_project
from safetensors.torch import save_file
from small_networks import RECIPE, digits, perceptron
from torch import nn

from certify import unlearners
from certify.attacks.audits.request import Start
from certify.attacks.fleets.fleet import FleetPlan, FleetTask, run_fleet
from certify.core.errors import ArgumentError, ConfigurationError, InputError
from certify.gate.audits.run import audit, forecast_audit
from certify.models.networks import Bench, Network, State
from certify.unlearners import NetworkTask, Request

FORGOTTEN = np.arange(20)


def trained(initial, y, rows, seed):
    model = perceptron()
    bench = Bench(Network.of(model), torch.tensor(digits()[0][:300]), torch.tensor(y), seeds=(seed,))
    return bench.train(State.of(initial), [rows], RECIPE).write_into(model).eval()


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """300 digits of which the twenty that are to be forgotten carry wrong labels; the original, its start, and the spec."""
    spec = write_project(tmp_path_factory.mktemp("coupled") / "project")
    spec.write_text(spec.read_text() + '\n[audit]\nattacks = ["parameter-distance"]\nreplicates = 20\n')
    X, y = (part[:300].copy() for part in digits())
    y[FORGOTTEN] = (y[FORGOTTEN] + np.random.default_rng(0).integers(1, 10, 20)) % 10
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        initial = perceptron()
    original = trained(initial, y, np.arange(300), 3)
    save_file(initial.state_dict(), spec.with_name("initial.safetensors"))
    save_file(original.state_dict(), spec.with_name("original.safetensors"))
    np.savez(spec.with_name("train.npz"), X=X, y=y, ids=np.array([f"person-{i:04d}" for i in range(300)]))
    return spec, NetworkTask(original, X, y, recipe=RECIPE, architecture=perceptron, initial=initial)


def reviewed(project, model, *, coupled=True):
    """What the distance says of a model, with and without the initial weights named."""
    spec, _ = project
    save_file(model.state_dict(), spec.with_name("unlearned.safetensors"))
    path = spec.with_name(f"coupled-{coupled}.toml")
    text = spec.read_text()
    path.write_text(text if coupled else text.replace('initial = "initial.safetensors"\n', ""))
    result = audit(path)
    return result, result.report.audit.findings[0]


def made(project, method, **knobs):
    _, task = project
    return unlearners.get(method)(**knobs).forget(task, Request.at(task, FORGOTTEN), seed=1).model


@pytest.mark.parametrize(
    ("method", "knobs"), [("identity", {}), ("fine-tune", {"lr": 0.01, "epochs": 1, "batch_size": 32})]
)
def test_what_forgot_little_is_told_apart_by_its_own_start_alone(project, method, knobs):
    model = made(project, method, **knobs)
    result, found = reviewed(project, model)
    assert result.exit_code == 1
    assert found.verdict == "fail"
    assert found.lower > 1.25
    assert found.adjusted_p < 0.05
    assert "began with the initial weights" in found.note
    blind, other = reviewed(project, model, coupled=False)
    assert blind.exit_code != 1
    assert other.verdict is None
    assert other.upper < 1.25


@pytest.mark.parametrize("seed", range(50, 54))
def test_honest_retraining_from_the_same_start_passes(project, seed):
    _, task = project
    model = trained(task.initial, task.y, np.arange(20, 300), seed)
    result, found = reviewed(project, model)
    assert result.exit_code == 0
    assert found.p_value > 0.05
    assert "began with the initial weights" in found.note


@pytest.mark.parametrize("seed", range(60, 64))
def test_honest_retraining_from_a_start_of_its_own_is_not_blamed(project, seed):
    """It lies far from all models of the shared start, as every model with a start of its own does."""
    _, task = project
    model = unlearners.get("retrain")().forget(task, Request.at(task, FORGOTTEN), seed=seed).model
    result, found = reviewed(project, model)
    assert result.exit_code != 1
    assert found.p_value > 0.05
    assert found.upper < 1.25
    assert "weights of its own" in found.note


def test_two_honest_starts_together_are_blamed_no_more_than_promised():
    """Both kinds of retraining as Gaussian clouds, 40 models of each: p-values at most 5 % no more than 5 % of the time."""
    from certify.attacks.audits.exchangeable import together
    from certify.attacks.audits.request import audit_distances, audit_release
    from certify.attacks.distances import Stack, weight_distances
    from certify.attacks.distances.parameters import moments

    blamed, runs = dict.fromkeys(("shared", "own", "shared, two attacks", "own, two attacks"), 0), 80
    for run in range(runs):
        random = np.random.default_rng(run)
        start, size = random.normal(size=30), (40, 30)
        shared, anew = start + random.normal(size=size), random.normal(size=size) + random.normal(size=size)
        for kind, one in (
            ("shared", start + random.normal(size=30)),
            ("own", random.normal(size=30) + random.normal(size=30)),
        ):
            stacks = [Stack({"w": part}) for part in (one[None], anew, shared)]
            near = [moments(part, stacks[2], pairs="all")["whole"].distance("l2") for part in stacks[:2]]
            found = Start.of(near[0][0], near[1], 0.95)
            anew_too, shared_too = (
                weight_distances(stacks[0], part, metrics=("l2",), draws=19)[0] for part in stacks[1:]
            )
            near_one, other = (shared_too, anew_too) if found.shared else (anew_too, shared_too)
            part = audit_distances(
                "parameter-distance", [near_one], {}, limit=1.25, confidence=0.95, start=found, other=other
            )
            blamed[kind] += part.findings[0].p_value <= 0.05
            # beside another attack on the same models, which knows nothing of starts
            noise = np.concatenate([random.normal(size=(1, 5)), random.normal(size=(40, 5))])
            more = audit_release(noise[0], noise[1:], None, fpr=0.05, limit=0.2, confidence=0.95)
            blamed[f"{kind}, two attacks"] += any(
                finding.p_value <= 0.05 for finding in (f for a in together([part, more]) for f in a.findings[:1])
            )
    # 80 runs at 5 % exceed 11 with probability below 1e-3
    assert max(blamed.values()) <= 11, blamed


def test_the_forecast_counts_both_kinds(project):
    spec, _ = project
    text = forecast_audit(spec)
    assert "retrained from the initial weights" in text


def test_a_fleet_from_one_start(tmp_path):
    X, y = (part[:80] for part in digits())
    assignment = np.ones((3, 80), dtype=np.int64)
    plan = FleetPlan(RECIPE.__class__("sgd", lr=1e-12, epochs=1, batch_size=80), worlds=("retrained",))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        initial, other = perceptron(), perceptron()
    found = [
        run_fleet(FleetTask(perceptron, X, y, initial=one), plan, assignment, store=tmp_path)
        for one in (initial, other)
    ]
    phi = found[0].get("retrained")
    assert np.allclose(phi[0], phi[1], atol=1e-5)
    assert np.allclose(phi[0], phi[2], atol=1e-5)
    assert not np.allclose(phi, found[1].get("retrained"), atol=1e-2)  # nor does the store take one for the other
    alone = run_fleet(FleetTask(perceptron, X, y), plan, assignment, store=tmp_path).get("retrained")
    assert not np.allclose(alone[0], alone[1], atol=1e-2)


def test_a_start_that_does_not_fit_is_named():
    X, y = (part[:80] for part in digits())
    plan = FleetPlan(RECIPE, worlds=("retrained",))
    with pytest.raises(InputError, match="other tensors than the architecture"):
        run_fleet(FleetTask(perceptron, X, y, initial=nn.Linear(64, 10)), plan, np.ones((2, 80), dtype=np.int64))
    with pytest.raises(ArgumentError, match="initial"):
        FleetTask(perceptron, X, y, initial=perceptron)
    with pytest.raises(ConfigurationError, match="starts by itself"):
        FleetTask(perceptron, X, y, train=lambda *_: perceptron(), initial=perceptron())
