"""What the evidence says of a run, beside a count that is made elsewhere: at the network's own door, and on the model that came out."""

import hashlib

import numpy as np
import pytest
import torch
from every_method import HELD_OUT, NAMES, RECORDS, fitting, quick
from torch import nn
from torch.func import debug_unwrap

from certify.models.networks.network import Network
from certify.unlearners import Request

DOORS = {  # what is counted, and where inputs and weights stand among the arguments
    "gradient": ("gradients", 2, 3),
    "input_gradient": ("gradients", 2, 3),
    "sample_gradients": ("gradients", 2, None),
    "outputs": ("forwards", 1, None),
    "hessian_product": ("products", 3, 4),
    "gauss_newton_product": ("products", 3, 4),
}
GONE = np.arange(0, 11)
DENSE = {"curenewton", "damped-newton", "pinv-newton"}
"""The Hessian is formed: all directions pass the door at once, a product of each record with each of them."""
MADE_INPUTS = {"boundary-shrink", "unsir"}
"""Methods that look at inputs of their own making too."""


class Watch:
    """Records that pass the door of a network, by kind, and which; training passes."""

    def __init__(self, task, monkeypatch):
        inputs = np.concatenate([task.X, task.held_out[0]])
        self.known = {row.tobytes(): place for place, row in enumerate(inputs)}
        self.counts = dict.fromkeys(("gradients", "forwards", "products"), 0)
        self.seen, self.strange, self.trained, self.within = set(), 0, [], ""
        for name, (kind, where, weights) in DOORS.items():
            self._watch(monkeypatch, name, kind, where, weights)

    def _watch(self, monkeypatch, name, kind, where, weights):
        plain = getattr(Network, name)

        def door(network, state, *rest, **more):
            given = (state, *rest)
            for model, x in enumerate(given[where]):
                own = x if weights is None else x[given[weights][model] > 0]
                if bool((own != 0).any()):  # a blank record is none
                    self._look(own, kind)
                    self.trained += [len(own)] if more.get("train") else []
            self.within = kind
            try:
                return plain(network, state, *rest, **more)
            finally:
                self.within = ""

        monkeypatch.setattr(Network, name, door)

    def _look(self, rows, kind):
        self.counts[kind] += len(rows)
        for row in rows.numpy():
            place = self.known.get(row.tobytes())
            self.seen |= {place} - {None}
            self.strange += place is None


def digest(rows):
    return hashlib.sha256(np.asarray(sorted(rows), dtype="<i8").tobytes()).hexdigest()


def tensors_of(model):
    named = [(*pair, False) for pair in model.named_parameters()] + [(*pair, True) for pair in model.named_buffers()]
    return {name: (value.detach().double(), buffer) for name, value, buffer in named}


@pytest.mark.parametrize("statistics", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_counts_ids_and_changes_are_those_of_an_independent_count(name, statistics, monkeypatch):
    task, method = fitting(name, torch.float64, statistics=statistics), quick(name)
    task = method.prepare(task) if name == "sisa" else task
    watch = Watch(task, monkeypatch)
    result = method.forget(task, Request.at(task, GONE), seed=3)
    evidence = result.evidence
    if name in DENSE:
        parameters = sum(value.numel() for value in task.model.parameters())
        watch.counts["products"] = method.steps * (RECORDS - len(GONE)) * parameters
    assert {kind: evidence.counts[kind] for kind in watch.counts} == watch.counts
    parts = {"forget": GONE, "retain": range(len(GONE), RECORDS), "held-out": range(RECORDS, RECORDS + HELD_OUT)}
    for part, rows in parts.items():
        seen = watch.seen & set(rows)
        assert (evidence.reads[part].records, evidence.reads[part].sha256) == (len(seen), digest(seen)), part
    assert evidence.records_read == len(watch.seen)
    assert (watch.strange > 0) == (name in MADE_INPUTS)

    before, after = tensors_of(task.model), tensors_of(result.model)
    assert {change.name for change in evidence.tensors} == set(before) == set(after)
    length = 0.0
    for change in evidence.tensors:
        (old, buffer), (new, _) = before[change.name], after[change.name]
        assert (change.buffer, change.elements, change.changed) == (buffer, old.numel(), int((new != old).sum()))
        assert change.l2 == pytest.approx(float((new - old).norm()), rel=1e-12, abs=1e-300)
        assert change.largest == pytest.approx(float((new - old).abs().max()), rel=1e-12, abs=1e-300)
        length += 0 if buffer else change.l2**2
    assert evidence.moved == pytest.approx(length**0.5, rel=1e-12)
    losses = [value for purpose in ("loss", "retain", "forget") for value in evidence.traces.get(purpose, ())]
    assert np.isfinite(losses).all()
    assert evidence.seconds > 0


FROZEN = {"cf-k", "eu-k"}  # the last layer alone moves: what is before it is normalised as it was
ANEW = {"retrain", "sisa"}  # begin with running statistics of their own


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ANEW])
def test_running_statistics_are_averages_over_training_passes_of_retained_records(name, monkeypatch):
    task = fitting(name, torch.float64, statistics=True)
    norm = task.model.norm
    given, plain = [], nn.functional.batch_norm

    def watched(x, mean, variance, *rest, **more):
        training = more.get("training", rest[2] if len(rest) > 2 else False)
        found = plain(x, mean, variance, *rest, **more)  # raises where one record is alone
        if training and watch.within == "gradients":  # outputs alone leave the statistics as they are
            given.append(debug_unwrap(x).double())
        return found

    watch = Watch(task, monkeypatch)
    monkeypatch.setattr(nn.functional, "batch_norm", watched)
    result = quick(name).forget(task, Request.at(task, GONE), seed=3)
    passes = [] if name in FROZEN else [count for count in watch.trained if count > 1]
    assert len(given) == len(passes)
    mean, variance = norm.running_mean.double(), norm.running_var.double()
    for x in given:
        flat = x.transpose(0, 1).flatten(1)
        mean = 0.9 * mean + 0.1 * flat.mean(dim=1)
        variance = 0.9 * variance + 0.1 * flat.var(dim=1)
    after = result.model.norm
    torch.testing.assert_close(after.running_mean, mean, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(after.running_var, variance, rtol=1e-9, atol=1e-12)
    assert int(after.num_batches_tracked) - int(norm.num_batches_tracked) == len(passes)
