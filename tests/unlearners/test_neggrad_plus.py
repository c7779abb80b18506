"""NegGrad+ against the same steps in plain torch."""

import math

import pytest
import torch
from plain_torch import Plain, exact_task, the_request
from torch.nn.functional import cross_entropy

from certify import unlearners

METHOD = unlearners.get("neggrad-plus")


def rounds(plain, rows, size, name):
    """Batches without end, in a new order each round."""
    epoch = 0
    while True:
        yield from plain.batches(rows, size, name, epoch)
        epoch += 1


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_the_steps_are_those_of_plain_torch(kind):
    task = exact_task()
    if kind == "sgd":
        knobs = {"momentum": 0.9, "weight_decay": 0.01}
        plain = Plain(task, lr=0.02, **knobs)
    else:
        knobs = {"optimiser": "adam", "momentum": 0.0}
        plain = Plain(task, torch.optim.Adam, lr=0.02)
    result = METHOD(lr=0.02, epochs=3, batch_size=16, alpha=0.8, **knobs).forget(task, the_request(task))
    forget = rounds(plain, plain.forget, 16, "forget/cycle")
    retain = rounds(plain, plain.retain, 16, "retain/cycle")
    for _ in range(3 * math.ceil(57 / 16)):
        f, r = next(forget), next(retain)
        gone = cross_entropy(plain.module(plain.X[f]), plain.y[f])
        kept = cross_entropy(plain.module(plain.X[r]), plain.y[r])
        plain.step(0.8 * kept - 0.2 * gone)
    assert plain.distance(result) < 1e-9
    assert result.evidence.moved > 0.05


def test_the_shorter_part_comes_in_a_new_order_each_round():
    from certify.unlearners import Budget
    from certify.unlearners.networks.meter import NetworkMeter
    from certify.unlearners.networks.pairing import paired

    task = exact_task()
    meter = NetworkMeter.open(task, [the_request(task)], Budget(), [0], "test")
    steps = [
        (f.indices[0].tolist(), r.indices[0].tolist())
        for f, r in paired(meter, epochs=2, batch_size=23, length="longer")
    ]
    assert [len(f) for f, _ in steps] == [23] * 6
    assert len({tuple(f) for f, _ in steps}) == 6
    for start in (0, 3):
        assert sorted(row for _, r in steps[start : start + 3] for row in r) == meter.splits[0].retain.tolist()


def test_at_its_ends_alpha_gives_fine_tuning_and_gradient_ascent():
    task, knobs = exact_task(), {"lr": 0.05, "epochs": 4, "batch_size": 100}
    request = the_request(task)
    tuned = METHOD(alpha=1.0, **knobs).forget(task, request)
    same = unlearners.get("fine-tune")(**knobs).forget(task, request)
    ascent = METHOD(alpha=0.0, **knobs, momentum=0.0).forget(task, request)
    plain = unlearners.get("gradient-ascent")(bounded=False, **knobs).forget(task, request)
    for left, right in ((tuned, same), (ascent, plain)):
        apart = max(float((left.state.parameters[n] - p).abs().max()) for n, p in right.state.parameters.items())
        assert apart < 1e-12


def test_a_forget_set_longer_than_the_retain_set_sets_the_length():
    task = exact_task()
    request = unlearners.Request.at(task, torch.arange(60).numpy())
    counts = METHOD(epochs=2, batch_size=10).forget(task, request).evidence.counts
    assert counts["steps"] == 2 * 6
    assert counts["gradients"] == 2 * (60 + 60)
