"""SCRUB against the paper's alternation in plain torch, and against what ports of it do instead."""

import numpy as np
import pytest
import torch
from plain_torch import GONE, Plain, exact_task, the_request
from torch.nn.functional import cross_entropy

from certify import unlearners
from certify.core.errors import ConfigurationError, InputError
from certify.unlearners import NetworkTask, Request
from certify.unlearners.networks.checkpoint import Checkpoint

METHOD = unlearners.get("scrub")
KNOBS = {"lr": 0.05, "epochs": 4, "max_epochs": 3, "batch_size": 16, "forget_batch_size": 9, "alpha": 0.3, "gamma": 0.7}


def divergence(teacher, student, temperature):
    """``T^2 sum_c p_c (log p_c - log s_c)``, mean over the records."""
    p, s = (torch.softmax(z / temperature, dim=1) for z in (teacher, student))
    return temperature**2 * (p * (p.log() - s.log())).sum(dim=1).mean()


def scrubbed(task, schedule, *, teacher="frozen", temperature=2.0, optimiser=torch.optim.SGD, **more):
    """SCRUB's passes by a list of (part, epoch); "both" is one joint loss."""
    plain = Plain(task, optimiser, lr=0.05, **more)
    plain.teacher = plain.module if teacher == "shared" else plain.teacher

    def away(rows):
        return -divergence(plain.teacher(plain.X[rows]), plain.module(plain.X[rows]), temperature)

    def towards(rows):
        z = plain.module(plain.X[rows])
        return 0.7 * cross_entropy(z, plain.y[rows]) + 0.3 * divergence(plain.teacher(plain.X[rows]), z, temperature)

    for part, epoch in schedule:
        if part == "both":
            forget, retain = (plain.batches(getattr(plain, p), s, p, epoch) for p, s in (("forget", 9), ("retain", 16)))
            for f, r in zip(forget, retain, strict=False):
                plain.step(away(f) + towards(r))
            continue
        rows, size, loss = (plain.forget, 9, away) if part == "forget" else (plain.retain, 16, towards)
        for batch in plain.batches(rows, size, part, epoch):
            plain.step(loss(batch))
    return plain


PAPER = [(part, e) for e in range(4) for part in ("forget", "retain") if part == "retain" or e < 3]
PORTS = {
    "all raising epochs first": [("forget", e) for e in range(3)] + [("retain", e) for e in range(4)],
    "one raising epoch more": [(part, e) for e in range(4) for part in ("forget", "retain")],
    "one joint loss": [("both", e) for e in range(4)],
    "repair only": [("retain", e) for e in range(4)],
    "no epoch that only repairs": PAPER[:-1],
}


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_steps_are_the_papers_in_plain_torch(momentum, temperature):
    """The plain run makes the first raising pass, too: from where the teacher stands it moves nothing."""
    task = exact_task()
    result = METHOD(momentum=momentum, temperature=temperature, **KNOBS).forget(task, the_request(task))
    assert scrubbed(task, PAPER, temperature=temperature, momentum=momentum).distance(result) < 1e-9
    assert result.evidence.counts["forwards"] == 80
    assert result.evidence.counts["gradients"] == 2 * 23 + 4 * 57
    assert len(result.evidence.traces["forget"]) == 2 * 3


@pytest.mark.parametrize("port", PORTS)
def test_other_schedules_end_elsewhere(port):
    task = exact_task()
    result = METHOD(momentum=0.9, **KNOBS).forget(task, the_request(task))
    assert scrubbed(task, PORTS[port], momentum=0.9).distance(result) > 1e-3


def test_a_teacher_that_shares_the_students_weights_teaches_nothing():
    task = exact_task()
    result = METHOD(momentum=0.9, **KNOBS).forget(task, the_request(task))
    shared = scrubbed(task, PAPER, teacher="shared", momentum=0.9)
    assert shared.distance(result) > 1e-3


def test_adams_steps_are_the_papers_behind_the_void_first_pass():
    """Adam would blow the rounding left of a zero gradient up to full steps: the first raising pass is left out."""
    task = exact_task()
    result = METHOD(optimiser="adam", momentum=0.0, **KNOBS).forget(task, the_request(task))
    assert scrubbed(task, PAPER[1:], optimiser=torch.optim.Adam).distance(result) < 1e-7


def test_the_divergence_grows_in_raising_passes_and_falls_in_repair():
    task = exact_task()
    result = METHOD(lr=0.05, epochs=6, max_epochs=3, momentum=0.0, alpha=1.0, gamma=0.0).forget(
        task, the_request(task), trajectory=True
    )
    assert result.evidence.moved < 1e-15  # without the loss, nothing ever leaves the teacher
    result = METHOD(lr=0.2, epochs=6, max_epochs=3, momentum=0.0).forget(task, the_request(task), trajectory=True)
    away = [-value for value in result.evidence.traces["forget"]]
    assert away[-1] > away[0] > 0
    assert len(result.trajectory) == 6


def test_one_raising_epoch_raises_nothing_and_says_so():
    task = exact_task()
    one, none = (METHOD(max_epochs=m).forget(task, the_request(task)) for m in (1, 0))
    assert [c.after for c in one.evidence.tensors] == [c.after for c in none.evidence.tensors]
    assert "max_epochs is below 2" in " ".join(one.evidence.warnings)


# ------------------------------------------------------------------------------------------------------- SCRUB+R


def error(module, X, y):
    with torch.no_grad():
        return float((module(torch.tensor(X)).argmax(1).numpy() != y).mean())


def epochs_own(task, result):
    """Forget error of each epoch and the last one's held-out error, class by class, by hand."""
    modules = [state.write_into(exact_task().model) for state in result.trajectory]
    errors = [error(module, task.X[GONE], task.y[GONE]) for module in modules]
    X, y = task.held_out
    aimed = np.mean([error(modules[-1], X[y == label], y[y == label]) for label in task.y[GONE]])
    return errors, float(aimed)


def test_the_epoch_whose_forget_error_is_nearest_the_held_out_error_is_returned():
    task = exact_task()
    result = METHOD(rewind=True, lr=0.3, epochs=9, max_epochs=6).forget(task, the_request(task), trajectory=True)
    errors, aimed = epochs_own(task, result)
    gaps = np.abs(np.array(errors) - aimed)
    chosen = int(np.flatnonzero(gaps == gaps.min())[-1])
    assert result.evidence.solver == {"rewound to": chosen + 1}
    assert chosen < 8, "the choice is not simply the end"
    for name, value in result.trajectory[chosen].parameters.items():
        assert torch.equal(result.state.parameters[name], value)
    assert result.evidence.traces["held-out error aimed at"] == pytest.approx([aimed])
    assert result.evidence.traces["forget error"] == pytest.approx(errors)
    labels = set(task.y[GONE].tolist())
    assert result.evidence.reads["held-out"].records == sum(int(label) in labels for label in task.held_out[1])


def test_classes_weigh_as_among_the_forgotten_records():
    """Two zeros for each eight: twice the weight, whatever the classes' sizes among the held-out records."""
    given = exact_task()
    zeros, eights = (np.flatnonzero(given.y == label) for label in (0, 8))
    request = Request.at(given, np.concatenate([zeros[:4], eights[:2]]))
    X, y = given.held_out
    task = NetworkTask(given.model, given.X, given.y, held_out=(X, y))
    result = METHOD(rewind=True, lr=0.3, epochs=3, max_epochs=3).forget(task, request, trajectory=True)
    last = result.trajectory[-1].write_into(exact_task().model)
    each = [error(last, X[y == label], y[y == label]) for label in (0, 8)]
    assert result.evidence.traces["held-out error aimed at"] == pytest.approx([(2 * each[0] + each[1]) / 3])
    assert abs(each[0] - each[1]) > 0.05
    assert abs((y == 0).mean() / (y == 8).mean() - 2) > 0.1


def test_rewinding_in_a_fleet_is_each_models_own():
    task = exact_task()
    requests = [the_request(task), Request.at(task, np.arange(40, 50))]
    method = METHOD(rewind=True, lr=0.3, epochs=6, max_epochs=4)
    together = method.forget_fleet(task, requests, seeds=[0, 1])
    for model, result in enumerate(together):
        alone = method.forget(task, requests[model], seed=model)
        for name, value in alone.state.parameters.items():
            assert torch.allclose(result.state.parameters[name], value, atol=1e-9)


class KilledError(Exception):
    """Stands for a kill signal."""


class Dying(Checkpoint):
    """Dies right after its n-th write."""

    left = 0

    def save(self, content):
        super().save(content)
        self.left -= 1
        if self.left == 0:
            raise KilledError


@pytest.mark.parametrize("writes", [3, 8, 13])
def test_a_killed_run_still_knows_the_epochs_before(writes, tmp_path):
    task, request, path = exact_task(), the_request(exact_task()), tmp_path / "run.checkpoint"
    method = METHOD(rewind=True, lr=0.3, epochs=9, max_epochs=6)
    whole = method.forget(task, request)
    dying = Dying(path, interval=0.0)
    dying.left = writes
    with pytest.raises(KilledError):
        method.forget(task, request, checkpoint=dying)
    resumed = method.forget(task, request, checkpoint=Checkpoint(path))
    assert resumed.state.digest() == whole.state.digest()
    assert resumed.evidence.solver == whole.evidence.solver


def test_what_is_missing_is_said_in_one_line():
    task = exact_task()
    tight, roomy = (METHOD(epochs=3, max_epochs=m).forget(task, the_request(task)).evidence.warnings for m in (3, 2))
    assert "max_epochs is not below epochs: no epoch at the end only repairs" in set(tight) - set(roomy)
    bare = NetworkTask(task.model, task.X, task.y)
    with pytest.raises(InputError, match="held_out: this method compares with records that were never trained on"):
        METHOD(rewind=True).forget(bare, the_request(bare))
    X, y = task.held_out
    gone = set(task.y[GONE].tolist())
    strangers = np.array([label not in {0, 1} for label in y])
    zeros = Request.at(task, np.flatnonzero(task.y == 0))
    others = NetworkTask(task.model, task.X, task.y, held_out=(X[strangers], y[strangers]))
    with pytest.raises(InputError, match=r"scrub: held_out: no held-out record is of a class of the forgotten records"):
        METHOD(rewind=True).forget(others, zeros)
    assert gone > {0, 1}
    warnings = METHOD(rewind=True).forget(others, the_request(others)).evidence.warnings
    assert "some classes of the forgotten records have no held-out record: the others stand for them" in warnings
    squared = NetworkTask(task.model, task.X, task.y, loss="squared")
    with pytest.raises(ConfigurationError, match="scrub: loss: this method compares probabilities of classes"):
        METHOD().forget(squared, the_request(squared))
