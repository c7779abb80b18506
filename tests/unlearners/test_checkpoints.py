"""A run that was killed goes on where it was, and ends with the same bits."""

import numpy as np
import pytest
import torch
from small_networks import convolutional_task, perceptron_task

from certify import unlearners
from certify.core.errors import InputError
from certify.models.networks import State
from certify.unlearners import Request
from certify.unlearners.networks.checkpoint import Checkpoint, pack, unpack

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
        assert resumed.state.digest() == whole.state.digest()
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
