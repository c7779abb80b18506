"""NPO for classifiers: ascent at first, less and less, and never away."""

import numpy as np
import pytest
import torch
from plain_torch import GONE, Plain, exact_task, the_request
from torch.nn.functional import cross_entropy

from certify import unlearners
from certify.core.errors import InputError
from certify.models.networks.losses import cross_entropy as per_record
from certify.unlearners import NetworkTask
from certify.unlearners.methods.npo import damped_ascent

METHOD = unlearners.get("npo")


def apart(left, right):
    return max(float((left.state.parameters[n] - p).abs().max()) for n, p in right.state.parameters.items())


@pytest.mark.parametrize("retain", [0.0, 0.4])
def test_the_steps_are_those_of_plain_torch(retain):
    task = exact_task()
    result = METHOD(lr=0.05, epochs=4, batch_size=10, beta=0.7, retain=retain).forget(task, the_request(task))
    plain = Plain(task, lr=0.05, momentum=0.9)
    kept = [rows for epoch in range(3) for rows in plain.batches(plain.retain, 10, "retain/cycle", epoch)]
    forget = "forget/cycle" if retain else "forget"
    gone = [rows for epoch in range(4) for rows in plain.batches(plain.forget, 10, forget, epoch)]
    for step, rows in enumerate(gone):
        label = torch.arange(len(rows)), plain.y[rows]
        p, p0 = (torch.softmax(m(plain.X[rows]), dim=1)[label] for m in (plain.module, plain.teacher))
        loss = (-2 / 0.7 * torch.log(torch.sigmoid(-0.7 * torch.log(p / p0)))).mean()
        if retain:
            loss = loss + retain * cross_entropy(plain.module(plain.X[kept[step]]), plain.y[kept[step]])
        plain.step(loss)
    assert plain.distance(result) < 1e-9
    evidence = result.evidence
    assert evidence.counts["forwards"] == 23
    assert (evidence.reads["retain"].records == 0) == (retain == 0)


def test_the_pull_is_the_ascents_times_a_weight_that_vanishes():
    z = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    y = torch.tensor([0, 1, 2, 3, 0, 1])
    reference = torch.tensor([0.1, 1.0, 3.0, 0.5, 9.0, 1e-6], dtype=torch.float64)
    ours = torch.autograd.grad(damped_ascent(per_record, 0.5)(z, y, reference).sum(), z)[0]
    ascent = torch.autograd.grad(-per_record(z, y).sum(), z)[0]
    p, p0 = torch.exp(-per_record(z, y)).detach(), torch.exp(-reference)
    weight = 2 * p**0.5 / (p**0.5 + p0**0.5)
    torch.testing.assert_close(ours, weight[:, None] * ascent, rtol=1e-12, atol=1e-14)


def test_the_first_step_is_gradient_ascents_and_a_small_beta_stays_with_it():
    task, knobs = exact_task(), {"lr": 0.05, "momentum": 0.0}
    ascent = unlearners.get("gradient-ascent")(bounded=False, epochs=1, **knobs).forget(task, the_request(task))
    first = METHOD(retain=0.0, epochs=1, **knobs).forget(task, the_request(task))
    assert apart(first, ascent) < 1e-12
    far = unlearners.get("gradient-ascent")(bounded=False, epochs=20, **knobs).forget(task, the_request(task))
    gaps = [
        apart(METHOD(retain=0.0, epochs=20, beta=beta, **knobs).forget(task, the_request(task)), far)
        for beta in (1.0, 0.1, 1e-3)
    ]
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 1e-2 * far.evidence.moved


def test_it_damps_itself_where_plain_ascent_runs_away():
    task = exact_task()
    request = the_request(task)
    X, y = torch.tensor(task.X[GONE]), torch.tensor(task.y[GONE])

    def loss(result):
        with torch.no_grad():
            return float(cross_entropy(result.model(X), y))

    ascent, damped = (
        unlearners.get(name)(lr=0.5, epochs=60, momentum=0.0, **more).forget(task, request)
        for name, more in (("gradient-ascent", {"bounded": False}), ("npo", {"retain": 0.0, "beta": 2.0}))
    )
    with torch.no_grad():
        start = float(cross_entropy(task.model(X), y))
    assert start + 1 < loss(damped) < 0.2 * loss(ascent)
    assert damped.evidence.moved < 0.5 * ascent.evidence.moved


def test_any_loss_that_is_a_log_likelihood_will_do():
    given = exact_task()
    for loss in ("squared", "cross-entropy"):
        task = NetworkTask(given.model, given.X, np.eye(10)[given.y], loss=loss)
        assert METHOD(lr=1e-3).forget(task, the_request(task)).evidence.moved > 0


def test_a_run_that_overflows_is_named():
    task = NetworkTask(exact_task().model.float(), exact_task().X, exact_task().y)
    with pytest.raises(InputError, match=r"npo: the loss or a weight is not finite after step \d+; lower lr"):
        METHOD(lr=1e39).forget(task, the_request(task))
