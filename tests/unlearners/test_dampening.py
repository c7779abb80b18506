"""Fisher forgetting and SSD: importances from single records, noise and dampening as the formulas say."""

import numpy as np
import pytest
import torch
from small_networks import convolutional_task, digits, perceptron_task, trained
from torch import nn
from wrong_labels import accuracies, after, mislabelled

from certify import unlearners
from certify.core.streams import stream
from certify.models.networks import Bench, Network, State
from certify.models.networks.losses import cross_entropy, loss_named
from certify.unlearners import NetworkTask, Request
from certify.unlearners.networks.fisher import empirical_fisher, true_fisher

GONE = np.arange(15)


def run(name, task, rows=GONE, seed=0, **knobs):
    return unlearners.get(name)(**knobs).forget(task, Request.at(task, rows), seed=seed)


def bench_of(task):
    return Bench(Network.of(task.model), torch.tensor(task.X), torch.tensor(task.y), loss_named(task.loss))


def gradient_of(model, value):
    return {
        n: g
        for (n, _), g in zip(
            model.named_parameters(), torch.autograd.grad(value, list(model.parameters())), strict=True
        )
    }


def squares(model, X, y, rows, chances):
    """Mean over records of sum over labels of chance times squared gradient, one record and one label at a time."""
    total = {name: torch.zeros_like(value) for name, value in model.named_parameters()}
    for row in rows:
        for label, chance in chances(X[row : row + 1], int(y[row])):
            loss = nn.functional.cross_entropy(model(X[row : row + 1]), torch.tensor([label]))
            for name, g in gradient_of(model, loss).items():
                total[name] += chance * g**2 / len(rows)
    return total


@pytest.mark.parametrize("kind", [perceptron_task, convolutional_task])
def test_both_informations_are_the_means_over_single_records(kind):
    task = kind()
    bench, rows = bench_of(task), np.arange(5, 12)
    model = unlearners.get("identity")().forget(task, Request.at(task, GONE)).model.eval()
    state = State.of(model)
    found = true_fisher(bench, state, [rows], batch_size=3)
    assert bench.counts["gradients"] == 70
    assert bench.counts["forwards"] == 7

    def all_labels(x, _):
        return list(enumerate(torch.softmax(model(x), dim=1)[0].detach().tolist()))

    expected = squares(model, bench.X, bench.y, rows, all_labels)
    seen = empirical_fisher(bench, state, [rows], batch_size=3)
    expected_seen = squares(model, bench.X, bench.y, rows, lambda _, label: [(label, 1.0)])
    for name in expected:
        assert torch.allclose(found[name][0], expected[name], rtol=1e-4, atol=1e-9)
        assert torch.allclose(seen[name][0], expected_seen[name], rtol=1e-4, atol=1e-9)


def test_the_information_of_other_losses_is_that_of_their_likelihood():
    X, y = digits()
    x = torch.tensor(X[:6])
    for loss, outputs in (("squared", 3), ("binary-cross-entropy", 1)):
        model = nn.Linear(64, outputs)
        task = NetworkTask(model, X[:6], y[:6] % 2, loss=loss)
        found = true_fisher(bench_of(task), State.of(model), [np.arange(6)], batch_size=4)["weight"][0]
        p = torch.sigmoid(model(x)).detach()
        scale = torch.ones(6, outputs) if loss == "squared" else p * (1 - p)
        expected = torch.einsum("nc,nf->cf", scale, x**2) / 6
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-9)


def batch_means(task, rows, size):
    """A miniature of the public importance: the squared gradient of each batch's mean loss, averaged over batches."""
    model = unlearners.get("identity")().forget(task, Request.at(task, GONE)).model.eval()
    X, y = torch.tensor(task.X), torch.tensor(task.y)
    parts = [rows[start : start + size] for start in range(0, len(rows), size)]
    found = [gradient_of(model, nn.functional.cross_entropy(model(X[p]), y[p]))["0.weight"] ** 2 for p in parts]
    return torch.stack(found).mean(dim=0)


def test_importances_do_not_depend_on_the_batch_size_where_squared_batch_means_do():
    task = perceptron_task()
    bench, rows = bench_of(task), np.arange(64)
    state = State.of(task.model)
    for information in (empirical_fisher, true_fisher):
        small, large = (information(bench, state, [rows], batch_size=b)["0.weight"] for b in (5, 64))
        assert torch.allclose(small, large, rtol=1e-4, atol=1e-12)
    theirs = batch_means(task, rows, 5), batch_means(task, rows, 64)
    assert float(theirs[0].sum() / theirs[1].sum()) > 2
    for name in ("ssd", "fisher-forgetting"):
        small, large = (run(name, task, batch_size=b).state.parameters["0.weight"] for b in (5, 64))
        assert torch.allclose(small, large, rtol=1e-4, atol=1e-6)


def test_ssd_dampens_what_its_rule_selects():
    task = perceptron_task()
    model = unlearners.get("identity")().forget(task, Request.at(task, GONE)).model.eval()
    bench, state = bench_of(task), State.of(model)
    gone = empirical_fisher(bench, state, [GONE], batch_size=64)
    everything = empirical_fisher(bench, state, [np.arange(300)], batch_size=64)
    retained = empirical_fisher(bench, state, [np.arange(15, 300)], batch_size=64)
    for knobs, usual, selection, strength in (
        ({"selection": 2.0}, everything, 2.0, 1.0),
        ({"selection": 0.5, "strength": 0.7}, everything, 0.5, 0.7),
        ({"selection": 3.0, "compared_with": "retain"}, retained, 3.0, 1.0),
    ):
        result, count = run("ssd", task, **knobs), 0
        for name, w in state.parameters.items():
            factor = torch.where(
                gone[name] > selection * usual[name], torch.clamp(strength * usual[name] / gone[name], max=1.0), 1.0
            )
            count += int((gone[name] > selection * usual[name]).sum())
            assert torch.allclose(result.state.parameters[name], factor * w, rtol=1e-3, atol=1e-6)
        assert result.evidence.solver["selected"] == pytest.approx(count, abs=3)
        assert count > 0


def test_ssd_that_selects_nothing_says_so():
    result = run("ssd", perceptron_task(), selection=1e9, compared_with="retain")
    assert result.evidence.solver["selected"] == 0
    assert any("no tensor changed" in warning for warning in result.evidence.warnings)


def test_the_noise_has_the_variance_of_the_formula_and_its_own_stream():
    task = perceptron_task()
    knobs = {"alpha": 1e-5, "floor": 1e-4, "largest_variance": 5e-3, "head_factor": 3.0}
    result = run("fisher-forgetting", task, seed=11, **knobs)
    bench = bench_of(task)
    fisher = true_fisher(bench, State.of(task.model), [np.arange(15, 300)], batch_size=64)
    for name, information in fisher.items():
        factor = 3.0 if name.startswith("2.") else 1.0
        deviation = torch.clamp(factor * 1e-5 / (information + 1e-4), max=5e-3).sqrt()
        z = torch.tensor(stream(11, f"fisher/{name}").standard_normal(information.shape[1:]), dtype=torch.float32)
        expected = task.model.state_dict()[name] + deviation[0] * z
        assert torch.allclose(result.state.parameters[name][0], expected, atol=1e-5)
    assert result.evidence.reads["forget"].records == 0
    assert result.evidence.counts["gradients"] == 285 * 10
    assert result.evidence.counts["forwards"] == 285


KNOBS = [
    *(("fisher-forgetting", k, v) for k, v in (("alpha", 1e-4), ("floor", 1e-2), ("largest_variance", 1e-6))),
    *(("fisher-forgetting", k, v) for k, v in (("head_factor", 0.0), ("input_mean", True))),
    *(("ssd", k, v) for k, v in (("selection", 0.5), ("strength", 0.1), ("compared_with", "retain"))),
]


@pytest.mark.parametrize(("name", "knob", "value"), KNOBS)
def test_every_knob_changes_the_result(name, knob, value):
    task = perceptron_task()
    few = {"selection": 2.0} if name == "ssd" else {}
    first, second = (run(name, task, **knobs).state.parameters for knobs in (few, {**few, knob: value}))
    assert any(not torch.equal(first[tensor], second[tensor]) for tensor in first)


@pytest.mark.parametrize("name", ["ssd", "fisher-forgetting"])
@pytest.mark.parametrize("kind", [perceptron_task, convolutional_task])
def test_a_model_in_a_fleet_ends_where_it_ends_alone(name, kind):
    task, method = kind(), unlearners.get(name)(**({"selection": 2.0} if name == "ssd" else {}))
    requests = [Request.at(task, np.arange(7 * k, 7 * k + 5 + 40 * k)) for k in range(3)]
    for seed, result in enumerate(method.forget_fleet(task, requests, seeds=[0, 1, 2])):
        alone = method.forget(task, requests[seed], seed=seed)
        for tensor, value in alone.state.parameters.items():
            assert torch.allclose(value, result.state.parameters[tensor], atol=1e-4)
        assert result.evidence.reads == alone.evidence.reads
        assert not any(change.buffer and change.changed for change in result.evidence.tensors)


def test_another_seed_is_another_draw_and_ssd_draws_nothing():
    task = perceptron_task()
    noisy = [run("fisher-forgetting", task, seed=s).state.parameters["0.weight"] for s in (0, 0, 1)]
    assert torch.equal(noisy[0], noisy[1])
    assert not torch.equal(noisy[0], noisy[2])
    still = [run("ssd", task, seed=s, selection=2.0).state.parameters["0.weight"] for s in (0, 1)]
    assert torch.equal(still[0], still[1])


def test_fisher_forgetting_of_single_records_loses_accuracy_before_it_loses_them():
    """Known not to work for records at random: the noise that removes wrong labels takes the rest along."""
    original = accuracies("perceptron", mislabelled("perceptron")[0].model)
    mild = after("perceptron", "fisher-forgetting")
    assert mild[0] > original[0] - 0.2
    strong = after("perceptron", "fisher-forgetting", alpha=1.0, largest_variance=25.0)
    assert strong[0] < 0.5
    assert strong[1] < original[1] - 0.2


def test_ssd_dampens_wrong_labels_at_the_price_of_accuracy():
    """On records at random it moves most of the network: the wrong labels fade, and so does what is right."""
    original = accuracies("perceptron", mislabelled("perceptron")[0].model)
    wrong, test = after("perceptron", "ssd", selection=3.0)
    assert wrong < original[0] - 0.3
    assert test < original[1] + 0.1


def test_ssd_forgets_a_class_and_keeps_most_of_the_others():
    task = trained()
    result = unlearners.get("ssd")(selection=3.0).forget(task, task.request_class(0))
    X, y = digits()
    with torch.no_grad():
        hits = (result.model(torch.tensor(X[500:1500])).argmax(dim=1) == torch.tensor(y[500:1500])).numpy()
    assert hits[y[500:1500] == 0].mean() < 0.2
    assert hits[y[500:1500] != 0].mean() > 0.6
    assert cross_entropy is loss_named("cross-entropy")
