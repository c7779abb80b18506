"""LoTUS: targets, temperature and end, in plain torch."""

import numpy as np
import pytest
import torch
from plain_torch import GONE, Plain, exact_task, the_request

from certify import unlearners
from certify.core.errors import InputError
from certify.core.streams import stream
from certify.unlearners import NetworkTask, Request

METHOD = unlearners.get("lotus")


def accuracy(module, X, y):
    with torch.no_grad():
        return float((module(torch.as_tensor(X)).argmax(1).numpy() == np.asarray(y)).mean())


def smoothed(task, *, alpha, margin, epochs, lr):
    """The method, record by record; also how many epochs it took."""
    plain = Plain(task, lr=lr, momentum=0.9)
    sample = np.sort(stream(0, "lotus/sample").choice(plain.retain, size=17, replace=False))
    unseen = accuracy(plain.teacher, *task.held_out)
    rows = np.concatenate([plain.forget, sample])
    for epoch in range(epochs):
        gap = accuracy(plain.module, plain.X[GONE], plain.y[GONE]) - unseen
        if gap <= -margin:
            return plain, epoch
        noise = stream(0, f"gumbel/{epoch}")
        noise = np.concatenate([noise.gumbel(size=(23, 10)), noise.gumbel(size=(17, 10))])
        target = {}
        for row, g in zip(rows, noise, strict=True):
            z = plain.teacher(plain.X[row]).numpy() + g
            raised = np.exp((z - z.max()) / np.exp(alpha * gap))
            target[row] = raised / raised.sum() if row in GONE else np.eye(10)[z.argmax()]
        for batch in plain.batches(rows, 12, "mixed", epoch):
            aims = torch.tensor(np.array([target[row] for row in batch]))
            plain.step(-(aims * torch.log_softmax(plain.module(plain.X[batch]), dim=1)).sum(dim=1).mean())
    return plain, epochs


@pytest.mark.parametrize(("alpha", "margin", "epochs"), [(4.0, 0.9, 3), (8.0, 0.01, 40)])
def test_the_steps_and_the_end_are_those_of_plain_torch(alpha, margin, epochs):
    task = exact_task()
    knobs = {"alpha": alpha, "margin": margin, "epochs": epochs, "lr": 0.1}
    result = METHOD(batch_size=12, **knobs).forget(task, the_request(task))
    plain, taken = smoothed(task, **knobs)
    assert plain.distance(result) < 1e-8
    assert result.evidence.counts["steps"] == 4 * taken
    assert 1 < taken <= epochs
    assert (taken == epochs) == (margin == 0.9)
    assert result.evidence.reads["retain"].records == 17


def test_a_model_that_is_done_rests_while_others_go_on():
    task = exact_task()
    requests = [the_request(task), Request.at(task, np.arange(50, 60))]
    method = METHOD(lr=0.1, epochs=12, batch_size=8)
    together = method.forget_fleet(task, requests, seeds=[0, 1])
    counts = []
    for model, result in enumerate(together):
        alone = method.forget(task, requests[model], seed=model)
        counts.append(alone.evidence.counts["steps"])
        for name, value in alone.state.parameters.items():
            assert torch.allclose(result.state.parameters[name], value, atol=1e-9)
    assert together[0].evidence.counts["steps"] == sum(counts)
    assert counts[0] != counts[1]


def test_held_out_records_are_needed():
    task = exact_task()
    bare = NetworkTask(task.model, task.X, task.y)
    with pytest.raises(InputError, match="held_out: this method compares with records that were never trained on"):
        METHOD().forget(bare, the_request(bare))
