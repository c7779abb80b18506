"""Bad teaching against the same steps in plain torch."""

import numpy as np
import pytest
import torch
from plain_torch import Plain, exact_task, the_request

from certify import unlearners
from certify.core.streams import stream

METHOD = unlearners.get("bad-teacher")
KNOBS = {"lr": 0.1, "epochs": 3, "batch_size": 12, "temperature": 2.0}


def taught(task, *, per_class=False):
    """The steps with a teacher of its own seed for forgotten records; ``per_class`` averages over classes as ports do."""
    plain = Plain(task, lr=0.1, momentum=0.9)
    with torch.random.fork_rng():
        torch.manual_seed(int(stream(0, "bad-teacher/teacher").integers(2**62)))
        stranger = task.architecture().requires_grad_(requires_grad=False)
    sample = np.sort(stream(0, "bad-teacher/sample").choice(plain.retain, size=17, replace=False))
    for epoch in range(3):
        for rows in plain.batches(np.concatenate([plain.forget, sample]), 12, "mixed", epoch):
            losses = []
            for row in rows:
                teacher = stranger if row in plain.forget else plain.teacher
                p = torch.softmax(teacher(plain.X[row]) / 2, dim=0)
                s = torch.softmax(plain.module(plain.X[row]) / 2, dim=0)
                losses.append(4 * (p * (p / s).log()).sum() / (10 if per_class else 1))
            plain.step(torch.stack(losses).mean())
    return plain


def test_the_steps_are_those_of_plain_torch():
    task = exact_task()
    result = METHOD(**KNOBS).forget(task, the_request(task))
    assert taught(task).distance(result) < 1e-9
    assert taught(task, per_class=True).distance(result) > 1e-2
    assert {which: part.records for which, part in result.evidence.reads.items()} == {
        "forget": 23,
        "retain": 17,
        "held-out": 0,
    }
    assert result.evidence.counts["forwards"] == 23 + 17
    assert result.evidence.counts["gradients"] == 3 * (23 + 17)


def test_the_teacher_is_the_seeds_own_and_pulls_towards_ignorance():
    task = exact_task()
    request = the_request(task)
    results = [METHOD(lr=0.1, epochs=30).forget(task, request, seed=seed) for seed in (0, 1)]
    forgotten = torch.tensor(task.X[request.forgotten])
    answers = [torch.softmax(result.model(forgotten), dim=1).detach() for result in results]
    original = torch.softmax(task.model(forgotten), dim=1).detach()
    assert all(float(p.max(dim=1).values.mean()) < 0.5 < float(original.max(dim=1).values.mean()) for p in answers)
    assert float((answers[0] - answers[1]).abs().max()) > 0.01


@pytest.mark.parametrize(("sample", "records"), [(0.3, 17), (1.0, 57), (1e-6, 1)])
def test_the_sample_has_the_share_asked_for(sample, records):
    task = exact_task()
    evidence = METHOD(sample=sample, epochs=1).forget(task, the_request(task)).evidence
    assert evidence.reads["retain"].records == records
