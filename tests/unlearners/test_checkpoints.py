"""A run that was killed goes on where it was, and ends with the same bits."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from every_method import fitting, quick
from small_networks import convolutional_task, perceptron_task
from torch import nn

from certify import unlearners
from certify.core.errors import InputError
from certify.models.networks import Recipe, State
from certify.unlearners import Request
from certify.unlearners.networks import running
from certify.unlearners.networks.checkpoint import Checkpoint, pack, unpack
from certify.unlearners.networks.meter import NetworkMeter

CPU = torch.device("cpu")


class KilledError(Exception):
    """Stands for a kill signal."""


class Dying(Checkpoint):
    """Dies right after its n-th write."""

    def __init__(self, path, writes):
        super().__init__(path, interval=0.0)
        self.left = writes

    def save(self, content):
        super().save(content)
        self.left -= 1
        if self.left == 0:
            raise KilledError


def resumable():
    return [name for name in unlearners.names() if "network" in unlearners.get(name).kinds and name != "identity"]


@pytest.mark.parametrize("name", resumable())
def test_a_killed_run_ends_as_if_nothing_had_happened(name, tmp_path):
    task = convolutional_task() if name == "ct" else perceptron_task()
    method, request = unlearners.get(name)(**unlearners.get(name).quick), Request.at(task, np.arange(40))
    task = method.prepare(task, 3) if method.own_model else task
    whole = method.forget(task, request, seed=3)
    for writes in (1, 2, 4):
        path = tmp_path / f"{writes}.checkpoint"
        try:
            resumed = method.forget(task, request, seed=3, checkpoint=Dying(path, writes))
            if not path.exists():
                pytest.skip("this method has no passes over records to keep anything between")
        except KilledError:
            resumed = method.forget(task, request, seed=3, checkpoint=Checkpoint(path))
            assert "taken up from a checkpoint of a run that had stopped" in resumed.evidence.warnings
        assert State.of(resumed.model).digest() == State.of(whole.model).digest()
        assert resumed.evidence.counts == whole.evidence.counts
        assert resumed.evidence.reads == whole.evidence.reads
        assert resumed.evidence.traces == whole.evidence.traces


def test_another_runs_checkpoint_is_refused(tmp_path):
    task, path = perceptron_task(), tmp_path / "run.checkpoint"
    request = Request.at(task, np.arange(40))
    with pytest.raises(KilledError):
        unlearners.get("fine-tune")().forget(task, request, checkpoint=Dying(path, 2))
    for method, other in (("fine-tune", 1), ("gradient-ascent", 0)):
        with pytest.raises(
            InputError, match=r"is the checkpoint of another run .*; run that one to its end, or start afresh"
        ):
            unlearners.get(method)().forget(task, request, seed=other, checkpoint=Checkpoint(path))
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="is a damaged checkpoint"):
        unlearners.get("fine-tune")().forget(task, request, checkpoint=Checkpoint(path))


def other_tasks():
    """The same records, request and start, and something else that the result hangs on."""
    task = fitting("fine-tune")
    bent = copy.deepcopy(task.model)
    bent.bend = nn.ReLU()
    dropped = copy.deepcopy(task.model)
    dropped.bend = nn.Sequential(nn.Tanh(), nn.Dropout(0.5))
    return {
        "loss": replace(task, loss="squared"),
        "what moves": replace(task, trainable=("head.*",)),
        "head": replace(task, head="hidden"),
        "weights before training": replace(task, initial=task.model),
        "held-out records": replace(task, held_out=None),
        "a layer without weights": replace(task, model=bent, initial=bent),
        "a layer of training alone": replace(task, model=dropped, initial=dropped),
        "recipe": replace(task, recipe=Recipe("sgd", lr=0.1)),
        "inputs": replace(task, X=task.X + 1e-3),
        "targets": replace(task, y=(task.y + 1) % 3),
    }


@pytest.mark.parametrize("other", other_tasks())
def test_a_checkpoint_of_a_task_with_other_settings_is_refused(other, tmp_path):
    path, task, method = tmp_path / "run.checkpoint", fitting("fine-tune"), quick("fine-tune", epochs=4)
    with pytest.raises(KilledError):
        method.forget(task, Request.at(task, np.arange(5)), checkpoint=Dying(path, 2))
    content, task = path.read_bytes(), other_tasks()[other]
    with pytest.raises(InputError, match="is the checkpoint of another run"):
        method.forget(task, Request.at(task, np.arange(5)), checkpoint=Checkpoint(path))
    assert path.read_bytes() == content


def test_a_checkpoint_of_another_version_is_refused(tmp_path, monkeypatch):
    path, task, method = tmp_path / "run.checkpoint", fitting("fine-tune"), quick("fine-tune", epochs=4)
    request = Request.at(task, np.arange(5))
    with monkeypatch.context() as patch:
        patch.setattr(running, "version", lambda _: "0.0.1")
        with pytest.raises(KilledError):
            method.forget(task, request, checkpoint=Dying(path, 2))
    with pytest.raises(InputError, match=r"is the checkpoint of another run \(.* or version\)"):
        method.forget(task, request, checkpoint=Checkpoint(path))


def test_a_checkpoint_whose_pass_is_never_made_gives_no_result(tmp_path, monkeypatch):
    """As after a change of the method: skipping all that was done, it would return the original."""
    path, task, method = tmp_path / "run.checkpoint", fitting("fine-tune"), quick("fine-tune", epochs=4)
    request, plain = Request.at(task, np.arange(5)), NetworkMeter.passes
    with pytest.raises(KilledError):
        method.forget(task, request, checkpoint=Dying(path, 4))
    monkeypatch.setattr(
        NetworkMeter, "passes", lambda self, records, **more: plain(self, records, **{**more, "epochs": 3})
    )
    with pytest.raises(InputError, match="was written at a pass that this run does not make; start afresh with"):
        method.forget(task, request, checkpoint=Checkpoint(path))


def test_what_was_warned_of_before_a_kill_is_warned_of_after_it(tmp_path):
    task = fitting("fine-tune", statistics=True)
    request = Request.at(task, np.arange(2, 33))  # two are left: each pass is one batch of one record
    method = quick("fine-tune", epochs=3, batch_size=1)
    whole = method.forget(task, request).evidence.warnings
    with pytest.raises(KilledError):
        method.forget(task, request, checkpoint=Dying(tmp_path / "run", 3))
    saved = unpack((tmp_path / "run").read_bytes(), "here", CPU)
    assert [text for text in whole if "a batch of one record" in text] == [
        text for text in saved["warnings"] if "a batch of one record" in text
    ]
    assert any("a batch of one record" in text for text in whole)


def test_what_is_packed_is_unpacked():
    state = State.of(perceptron_task().model)
    carry = {"a": (state, {"m": torch.arange(3), "x": [1, 2.5, None, True, "text"]}), "empty": torch.empty(0)}
    found = unpack(pack(carry), "here", CPU)
    assert found["a"][0].digest() == state.digest()
    assert found["a"][1]["x"] == [1, 2.5, None, True, "text"]
    assert torch.equal(found["a"][1]["m"], torch.arange(3))
    assert found["empty"].shape == (0,)
    whole = pack(carry)
    for cut in (0, 7, 40, len(whole) // 2, len(whole) - 1):
        with pytest.raises(InputError, match="here: is a damaged checkpoint"):
            unpack(whole[:cut], "here", CPU)
