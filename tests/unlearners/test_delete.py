"""DELETE: its target, its step by hand, and that it reads nothing else."""

import numpy as np
import torch
from plain_torch import GONE, Plain, exact_task, the_request
from torch import nn

from certify import unlearners
from certify.unlearners import NetworkTask

METHOD = unlearners.get("delete")


def test_a_step_on_a_linear_model_is_the_formula():
    """With logits ``W x``, the gradient of ``KL(q || p)`` is ``(p - q) x'``."""
    given = exact_task()
    model = nn.Linear(64, 10, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.linspace(-0.5, 0.5, 640).reshape(10, 64).sin())
    task = NetworkTask(model, given.X, given.y)
    result = METHOD(lr=0.5, epochs=1).forget(task, the_request(task))
    W, X, y = model.weight.detach().numpy(), given.X[GONE], given.y[GONE]
    p = np.exp(X @ W.T)
    q = p.copy()
    q[np.arange(len(y)), y] = 0
    p, q = (part / part.sum(axis=1, keepdims=True) for part in (p, q))
    expected = W - 0.5 * (p - q).T @ X / len(X)
    np.testing.assert_allclose(result.state.parameters["weight"][0], expected, rtol=1e-12)


def test_the_steps_are_those_of_plain_torch():
    task = exact_task()
    result = METHOD(lr=0.05, epochs=4, batch_size=10, weight_decay=0.01).forget(task, the_request(task))
    plain = Plain(task, lr=0.05, momentum=0.9, weight_decay=0.01)
    for epoch in range(4):
        for rows in plain.batches(plain.forget, 10, "forget", epoch):
            other = plain.teacher(plain.X[rows])
            other[torch.arange(len(rows)), plain.y[rows]] = -1e9
            q, p = torch.softmax(other, dim=1), torch.softmax(plain.module(plain.X[rows]), dim=1)
            plain.step(torch.where(q > 0, q * (q.clamp(min=1e-300) / p).log(), 0).sum(dim=1).mean())
    assert plain.distance(result) < 1e-9
    evidence = result.evidence
    assert (evidence.counts["forwards"], evidence.counts["gradients"]) == (23, 4 * 23)
    assert evidence.reads["retain"].records == evidence.reads["held-out"].records == 0


def test_the_answers_become_the_originals_without_the_label():
    task = exact_task()
    result = METHOD(lr=0.2, epochs=300).forget(task, the_request(task))
    X, y = torch.tensor(task.X[GONE]), torch.tensor(task.y[GONE])[:, None]
    with torch.no_grad():
        old, new = (torch.softmax(model(X), dim=1) for model in (task.model, result.model))
    assert float(new.gather(1, y).max()) < 0.05
    rest = old.scatter(1, y, 0.0)
    rest = rest / rest.sum(dim=1, keepdim=True)
    assert float((new - rest).abs().mean()) < 0.25 * float((old - rest).abs().mean())


def test_two_classes_flip():
    given = exact_task()
    with torch.random.fork_rng(devices=[]):
        model = nn.Linear(64, 1).double()
    task = NetworkTask(model, given.X, given.y % 2, loss="binary-cross-entropy")
    result = METHOD(lr=1.0, epochs=200).forget(task, the_request(task))
    with torch.no_grad():
        odd = result.model(torch.tensor(task.X[GONE]))[:, 0] > 0
    assert float((odd.numpy() == task.y[GONE]).mean()) < 0.1
