"""SISA: replay equals training without the forgotten records, tombstones hold, the state survives the disk."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_networks import Convolutional, digits, perceptron
from torch import nn
from wrong_labels import accuracies, after, mislabelled

from certify import unlearners
from certify.core.errors import ArgumentError, BudgetExceededError, ConfigurationError, InputError
from certify.models.networks import Recipe, State
from certify.unlearners import Budget, Claim, Request
from certify.unlearners.methods.sisa import Sisa
from certify.unlearners.networks import shard_files
from certify.unlearners.networks.checkpoint import Checkpoint
from certify.unlearners.networks.shard_files import pack, read
from certify.unlearners.networks.shards import assignment, load, save
from certify.unlearners.networks.task import NetworkTask

RECIPE = Recipe("adam", lr=0.01, epochs=4, batch_size=16)


def double(build):
    return lambda: build().double()


def task_of(build=perceptron, rows=None, **more) -> NetworkTask:
    """The first 120 digits, or some of them, in double precision, one model after another: replays agree bit for bit."""
    X, y = digits()
    rows = np.arange(120) if rows is None else rows
    more = {"recipe": RECIPE, "architecture": double(build), "ids": rows, "backend": "loop", **more}
    torch.manual_seed(7)
    return NetworkTask(double(build)().eval(), X[rows].astype(float), y[rows], **more)


def same(first: nn.Module, second: nn.Module) -> bool:
    other = second.state_dict()
    return all(torch.equal(value, other[name]) for name, value in first.state_dict().items())


@pytest.mark.parametrize("build", [perceptron, Convolutional])
@pytest.mark.parametrize("knobs", [{"shards": 3, "slices": 3}, {"shards": 1, "slices": 1}, {"shards": 4, "slices": 2}])
def test_replay_is_the_ensemble_trained_without_the_forgotten_records_bit_for_bit(build, knobs):
    method = Sisa(**knobs)
    gone = np.array([3, 50, 51, 119])
    task = task_of(build)
    ready = method.prepare(task, seed=5)
    result = method.forget(ready, Request.at(ready, gone))
    never = method.prepare(task_of(build, np.setdiff1d(np.arange(120), gone)), seed=5)
    assert same(result.model, never.model)
    assert not same(result.model, ready.model)
    assert result.claim == Claim.EXACT
    assert "equal, for the same seed" in result.reason


def test_two_requests_are_one_request_and_the_first_is_never_read_again():
    method = Sisa(shards=3, slices=2)
    ready = method.prepare(task_of(), seed=1)
    first = method.forget(ready, Request.at(ready, np.array([1, 2])))
    then = first.state
    poisoned = np.asarray(then.X).copy()
    poisoned[[1, 2]] = 1e6  # whoever reads these trains another model
    second = method.forget(replace(then, X=poisoned), Request.at(then, np.array([7])))
    at_once = method.forget(ready, Request.at(ready, np.array([1, 2, 7])))
    assert same(second.model, at_once.model)
    assert second.evidence.reads["forget"].records == 0
    assert not second.state.alive[[1, 2, 7]].any()
    with pytest.raises(InputError, match="no member"):
        method.forget(then, Request.at(then, np.array([2])))


def test_the_port_that_brings_the_forgotten_back_fails_this():
    """A miniature of a public port: balanced chunks, leftovers dropped, and each request cutting from the full data again."""

    class Port:
        def __init__(self, n, shards):
            self.parts = [list(range(s * (n // shards), (s + 1) * (n // shards))) for s in range(shards)]

        def forget(self, row):
            return sorted(r for part in self.parts for r in part if r != row)

    port = Port(23, 6)
    assert len({r for part in port.parts for r in part}) == 18  # five records were never trained on
    port.forget(1)
    assert 1 in port.forget(7)
    ready = Sisa(shards=6, slices=2).prepare(task_of(rows=np.arange(23)), seed=0)
    assert sorted(np.concatenate(ready.stages(ready.alive)[-1]).tolist()) == list(range(23))
    state = Sisa(shards=6, slices=2).forget(ready, Request.at(ready, np.array([1]))).state
    state = Sisa(shards=6, slices=2).forget(state, Request.at(state, np.array([7]))).state
    assert sorted(np.concatenate(state.stages(state.alive)[-1]).tolist()) == [r for r in range(23) if r not in {1, 7}]


def test_the_assignment_knows_ids_and_the_seed_and_nothing_else():
    task = task_of()
    shard, part = assignment(task, 3, 4, 3)
    scrambled = replace(task, X=task.X[::-1].copy(), y=task.y[::-1].copy())
    assert np.array_equal(shard, assignment(scrambled, 3, 4, 3)[0])
    rows = np.arange(40, 120)
    fewer = assignment(task_of(rows=rows), 3, 4, 3)
    assert np.array_equal(shard[rows], fewer[0])
    assert np.array_equal(part[rows], fewer[1])
    assert not np.array_equal(shard, assignment(task, 4, 4, 3)[0])
    counts = np.bincount(shard * 3 + part, minlength=12)
    assert counts.min() > 0
    assert counts.max() < 30


def test_only_the_shard_concerned_is_replayed_and_only_from_its_slice():
    method = Sisa(shards=3, slices=3)
    ready = method.prepare(task_of(), seed=2)
    shard, part = assignment(ready, 2, 3, 3)
    row = int(np.flatnonzero((shard == 1) & (part == 2))[0])
    result = method.forget(ready, Request.at(ready, np.array([row])))
    moved = {change.name.split(".")[1] for change in result.evidence.tensors if change.changed}
    assert moved == {"1"}
    rest = int((shard == 1).sum()) - 1
    assert result.evidence.counts["gradients"] == rest * ready.epochs
    assert result.evidence.reads["retain"].records == rest
    assert result.evidence.reads["forget"].records == 0
    assert result.evidence.solver["shards_replayed"] == 1
    assert result.evidence.solver["prepare_gradients"] == ready.prepared > 0
    assert result.state.prepared == ready.prepared + rest * ready.epochs


def test_the_prediction_is_the_mean_of_the_members_probabilities_without_untrained_ones():
    ready = Sisa(shards=3).prepare(task_of(), seed=2)
    x = torch.tensor(ready.X[:9])
    each = torch.stack([torch.softmax(member(x), dim=1) for member in ready.model.members])
    assert torch.allclose(torch.softmax(ready.model(x), dim=1), each.mean(dim=0))
    ready.model.trained[1] = False
    assert torch.allclose(ready.model(x).exp(), each[[0, 2]].mean(dim=0))


def test_a_shard_that_loses_all_its_records_is_left_out():
    method = Sisa(shards=3)
    ready = method.prepare(task_of(rows=np.arange(30)), seed=2)
    gone = np.flatnonzero(assignment(ready, 2, 3, 2)[0] == 0)
    model = method.forget(ready, Request.at(ready, gone)).model
    assert model.trained.tolist() == [False, True, True]
    assert torch.isfinite(model(torch.tensor(ready.X))).all()


def test_the_state_survives_the_disk(tmp_path):
    method = Sisa(shards=3, slices=2)
    task = task_of(Convolutional)
    ready = method.prepare(task, seed=9)
    after_one = method.forget(ready, Request.at(ready, np.array([4]))).state
    digest = save(tmp_path / "state.safetensors", after_one)
    assert digest == hashlib.sha256((tmp_path / "state.safetensors").read_bytes()).hexdigest()
    assert (tmp_path / "state.safetensors").stat().st_mode & 0o077 == 0
    back = load(tmp_path / "state.safetensors", task, digest)
    assert same(back.model, after_one.model)
    assert not back.alive[4]
    first, second = (method.forget(state, Request.at(state, np.array([8]))) for state in (back, after_one))
    assert same(first.model, second.model)
    assert back.prepared == after_one.prepared


def test_a_state_that_was_damaged_or_is_foreign_is_refused(tmp_path):
    path = tmp_path / "state.safetensors"
    task = task_of()
    digest = save(path, Sisa(shards=2).prepare(task, seed=0))
    content = path.read_bytes()
    with pytest.raises(InputError, match="has another digest"):
        load(path, task, "0" * 64)
    for place in (20, len(content) - 5):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(InputError, match="is damaged"):
            load(path, task)
    for short in (b"", content[:5], content[:-9], b"\x80\x04K\x01."):
        path.write_bytes(short)
        with pytest.raises(InputError, match="damaged, or no state of sisa"):
            load(path, task)
    save_file({"a": torch.zeros(2)}, path, {"certify": json.dumps({}), "sha256": ""})
    with pytest.raises(InputError, match="damaged, or no state of sisa"):
        load(path, task)
    path.write_bytes(content)
    with pytest.raises(InputError, match="other records"):
        load(path, task_of(rows=np.arange(1, 121)))
    with pytest.raises(InputError, match="another architecture"):
        load(path, task_of(Convolutional))
    assert load(path, task, digest).seed == 0


def test_seeds_and_knobs_matter():
    request = Request.at(task_of(), np.arange(3))

    def outcome(seed=0, **knobs):
        model = Sisa(**knobs).forget(task_of(), request, seed=seed).model
        return torch.cat([value.flatten() for value in model.members[0].parameters()])

    base = outcome()
    assert torch.equal(base, outcome())
    for other in (outcome(1), outcome(shards=4), outcome(slices=3), outcome(epochs=2)):
        assert not torch.equal(base, other)


def test_what_cannot_be_done_is_said_in_one_line():
    task = task_of()
    ready = Sisa(shards=2).prepare(task, seed=0)
    request = Request.at(task, np.arange(3))
    with pytest.raises(ConfigurationError, match="was prepared with 2 shards and 2 slices"):
        Sisa(shards=3).forget(ready, request)
    with pytest.raises(InputError, match="recipe"):
        Sisa().prepare(replace(task, recipe=None))
    with pytest.raises(ConfigurationError, match="the loss is squared"):
        Sisa().prepare(replace(task, loss="squared"))
    with pytest.raises(BudgetExceededError, match="sample_gradients"):
        Sisa(shards=2).forget(ready, request, Budget(sample_gradients=10))
    with pytest.raises(ConfigurationError, match="leave starts out"):
        Sisa(shards=2).forget_fleet(ready, [request], starts=ready.checkpoints[0])
    with pytest.raises(InputError, match="forgotten before this task was prepared"):
        Sisa(shards=2).forget(task, request.then(task, np.array([9])))


@pytest.mark.parametrize("build", [perceptron, Convolutional])
def test_request_after_request_through_the_disk_is_training_without_them_all_bit_for_bit(tmp_path, build):
    """Records of one shard and of others, early and late slices; what was forgotten is poisoned before the next request."""
    method, task = Sisa(shards=3, slices=3), task_of(build)
    state, gone, path = method.prepare(task, seed=5), np.empty(0, dtype=int), tmp_path / "state.safetensors"
    shard, part = assignment(state, 5, 3, 3)
    first = np.flatnonzero((shard == 0) & (part == 2))[:1]  # late, then early in the same shard, then elsewhere
    for now in (first, np.flatnonzero((shard == 0) & (part == 0))[:2], np.flatnonzero(shard == 2)[:3]):
        result = method.forget(state, Request.at(state, now))
        gone = np.union1d(gone, now)
        never = method.prepare(task_of(build, np.setdiff1d(np.arange(120), gone)), seed=5)
        assert same(result.model, never.model)
        for mine, theirs in zip(result.state.checkpoints, never.checkpoints, strict=True):
            assert [mine.digest(s) for s in range(3)] == [theirs.digest(s) for s in range(3)]
        assert result.evidence.reads["forget"].records == 0
        X = np.asarray(task.X).copy()
        X[gone] = 1e6
        state = load(path, replace(task, X=X), save(path, result.state))
        assert np.flatnonzero(~state.alive).tolist() == gone.tolist()
    for again in gone:
        with pytest.raises(InputError, match="no member"):
            method.forget(state, Request.at(state, np.array([again])))


def test_a_replay_by_another_training_is_refused(tmp_path):
    """It would not be what training from nothing gives, which the claim says."""
    path, task, request = tmp_path / "state.safetensors", task_of(), Request.at(task_of(), np.arange(3))
    ready = Sisa(shards=2).prepare(task, seed=0)
    save(path, ready)
    for other in ({"recipe": replace(RECIPE, lr=0.02)}, {"recipe": None}, {"trainable": ("2.*",)}):
        with pytest.raises(InputError, match="was trained by another recipe or loss, or moved other parameters"):
            load(path, replace(task, **other))
    with pytest.raises(ConfigurationError, match="2 shards and 2 slices, 3 passes a stage; use the same knobs"):
        Sisa(shards=2, epochs=1).forget(ready, request)
    kept = Sisa(shards=2, epochs=1).prepare(task, seed=0)
    with pytest.raises(ConfigurationError, match="1 passes a stage"):
        Sisa(shards=2).forget(kept, request)
    assert Sisa(shards=2, epochs=3).forget(ready, request).claim == Claim.EXACT  # three is what the recipe means


def test_what_is_no_fleet_is_refused_in_one_line():
    method, task = Sisa(shards=2), task_of()
    request = Request.at(task, np.arange(3))
    with pytest.raises(ConfigurationError, match="2 requests and 1 seeds do not fit"):
        method.forget_fleet(task, [request, request], seeds=[1])
    with pytest.raises(ConfigurationError, match="0 requests"):
        method.forget_fleet(task, [])
    for wrong in (request, [np.arange(3)]):
        with pytest.raises(ArgumentError, match="requests"):
            method.forget_fleet(task, wrong)
    with pytest.raises(ArgumentError, match="budget"):
        method.forget(task, request, 3)
    for name in ("shards", "slices"):
        with pytest.raises(ConfigurationError, match=rf"sisa\.{name}: 1e30 {name} for 120 records"):
            Sisa(**{name: 10**30}).prepare(task)


def test_each_of_a_fleet_is_what_it_is_alone():
    method, task = Sisa(shards=2), task_of()
    requests = [Request.at(task, np.arange(2)), Request.at(task, np.arange(5, 9))]
    together = method.forget_fleet(task, requests, seeds=[3, 4])
    assert all("was not prepared" in result.evidence.warnings[-1] for result in together)
    assert not method.forget(method.prepare(task), requests[0]).evidence.warnings
    for seed, request, result in zip((3, 4), requests, together, strict=True):
        assert same(result.model, method.forget(task, request, seed=seed).model)


def test_wrong_labels_are_gone_after_replay():
    assert accuracies("perceptron", mislabelled("perceptron")[0].model)[0] > 0.9
    wrong, test = after("perceptron", "sisa", shards=2, epochs=10)
    assert wrong < 0.2
    assert test > 0.8
    assert unlearners.get("sisa").claim == Claim.EXACT


class KilledError(Exception):
    """Stands for a kill signal."""


class Dying(Checkpoint):
    """Keeps every pass, and dies right after its n-th write."""

    def __init__(self, path, writes):
        super().__init__(path, interval=0.0)
        self.left, self.begins = writes, []

    def save(self, content):
        super().save(content)
        self.begins.append(content["begins"])
        self.left -= 1
        if self.left == 0:
            raise KilledError


@pytest.mark.parametrize("build", [perceptron, Convolutional])
@pytest.mark.parametrize(("writes", "begins"), [(1, "sisa/0/0"), (3, "sisa/1/0"), (6, "sisa/2/1")])
def test_a_preparation_that_was_killed_between_stages_or_in_one_goes_on_with_the_same_bits(
    tmp_path, build, writes, begins
):
    method, task, path = Sisa(shards=3, slices=3), task_of(build), tmp_path / "run.checkpoint"
    whole, dying = method.prepare(task, seed=5), Dying(path, writes)
    with pytest.raises(KilledError):
        method.prepare(task, seed=5, checkpoint=dying)
    assert dying.begins[-1] == begins
    with pytest.raises(InputError, match="is the checkpoint of another run"):
        method.prepare(task, seed=6, checkpoint=Checkpoint(path))
    ready = Request.at(whole, np.arange(3))
    with pytest.raises(InputError, match="is the checkpoint of another run"):
        method.forget(whole, ready, checkpoint=Checkpoint(path))
    again = method.prepare(task, seed=5, checkpoint=Checkpoint(path))
    for mine, theirs in zip(again.checkpoints, whole.checkpoints, strict=True):
        assert [mine.digest(s) for s in range(3)] == [theirs.digest(s) for s in range(3)]
    assert again.prepared == whole.prepared


@pytest.mark.parametrize("writes", [1, 2, 3, 4])
def test_a_replay_that_was_killed_goes_on_with_the_same_bits_and_counts(tmp_path, writes):
    """Of one shard the last slice alone is replayed: its earlier stages have to come from the state, not from the checkpoint."""
    method, path = Sisa(shards=3, slices=3), tmp_path / "run.checkpoint"
    ready = method.prepare(task_of(), seed=5)
    shard, part = assignment(ready, 5, 3, 3)
    rows = np.append(np.flatnonzero((shard == 0) & (part == 2))[:1], np.flatnonzero((shard == 2) & (part == 1))[:1])
    request = Request.at(ready, np.sort(rows))
    whole, dying = method.forget(ready, request), Dying(path, writes)
    with pytest.raises(KilledError):
        method.forget(ready, request, checkpoint=dying)
    result = method.forget(ready, request, checkpoint=Checkpoint(path))
    assert "taken up from a checkpoint of a run that had stopped" in result.evidence.warnings
    for mine, theirs in zip(result.state.checkpoints, whole.state.checkpoints, strict=True):
        assert [mine.digest(s) for s in range(3)] == [theirs.digest(s) for s in range(3)]
    for fact in ("counts", "reads", "traces", "tensors"):
        assert getattr(result.evidence, fact) == getattr(whole.evidence, fact)


def test_a_budget_bounds_the_preparation_and_both_together():
    method, task = Sisa(shards=2), task_of()
    request = Request.at(task, np.arange(3))
    cost = method.prepare(task).prepared
    both = method.forget(task, request).evidence.counts["gradients"]
    replay = both - cost
    with pytest.raises(BudgetExceededError, match=f"the budget of {cost - 1} gradients of records is used up"):
        method.prepare(task, budget=Budget(sample_gradients=cost - 1))
    assert method.prepare(task, budget=Budget(sample_gradients=cost)).prepared == cost
    with pytest.raises(BudgetExceededError, match="seconds"):
        method.prepare(task, budget=Budget(seconds=0))
    with pytest.raises(BudgetExceededError, match=f"the budget of {cost - 1} gradients"):
        method.forget(task, request, Budget(sample_gradients=cost - 1))
    with pytest.raises(BudgetExceededError, match="used up before sisa was done, its preparation included"):
        method.forget(task, request, Budget(sample_gradients=both - 1))
    assert method.forget(task, request, Budget(sample_gradients=both)).evidence.counts["gradients"] == both
    ready = method.prepare(task)
    assert method.forget(ready, request).evidence.counts["gradients"] == replay > 0
    assert method.forget(ready, request, Budget(sample_gradients=replay)).claim == Claim.EXACT


def test_a_state_is_read_without_the_records_that_are_gone_and_with_no_others(tmp_path):
    method, task, path = Sisa(shards=3), task_of(), tmp_path / "state.safetensors"
    ready = method.prepare(task, seed=5)
    first = method.forget(ready, Request.at(ready, np.arange(4))).state
    save(path, first)
    rows = np.arange(4, 120)
    less = load(path, task_of(rows=rows))
    assert less.alive.all()
    second = method.forget(less, Request.at(less, np.array([0])))  # record 4
    at_once = method.forget(ready, Request.at(ready, np.arange(5)))
    assert same(second.model, at_once.model)
    save(path, second.state)
    back = load(path, task)  # who is gone stays so, though its records are here again
    assert np.flatnonzero(~back.alive).tolist() == [0, 1, 2, 3, 4]
    assert same(back.model, at_once.model)
    for others in (np.arange(6, 120), np.append(rows, 130), rows[::-1].copy()):
        with pytest.raises(InputError, match="other records"):
            load(path, task_of(rows=others))
    X = np.asarray(task.X).copy()
    X[7, 3] += 1e-9
    with pytest.raises(InputError, match="other records"):
        load(path, replace(task, X=X))
    assert not set(path.read_bytes().split(b'"')) & {
        b"0",
        b"1",
        b"2",
        b"3",
        b"4",
    }  # ids of the gone, but for a keyed hash


def test_equal_states_are_equal_files(tmp_path):
    task = task_of()
    digests = {save(tmp_path / "state.safetensors", Sisa(shards=2, epochs=1).prepare(task)) for _ in range(4)}
    assert len(digests) == 1


def test_a_state_that_is_whole_by_its_digests_and_makes_no_sense_is_one_line(tmp_path, monkeypatch):
    path, task = tmp_path / "state.safetensors", task_of()
    save(path, Sisa(shards=2, epochs=1).prepare(task))
    saved = read(path)
    first, *rest = saved.states
    broken = first.with_parameters({"0.bias": torch.full_like(first.parameters["0.bias"], torch.nan)})
    path.write_bytes(pack(saved.head, (broken, *rest)))
    with pytest.raises(InputError, match="holds NaN or infinite numbers"):
        load(path, task)
    longer = first.with_parameters({"0.bias": torch.cat([first.parameters["0.bias"]] * 2)})
    for states in ((longer, *rest), (*rest[:-1], State({}, first.parameters))):
        monkeypatch.setattr(shard_files, "_digests", lambda _: [])
        path.write_bytes(pack(saved.head, states))
        with pytest.raises(InputError, match="is damaged"):
            load(path, task)
    monkeypatch.undo()
    for name, value in (
        ("shards", 3),
        ("slices", 10**9),
        ("seed", "-1"),
        ("epochs", "many"),
        ("gone", 7),
        ("blank", "x"),
    ):
        path.write_bytes(pack({**saved.head, name: value}, saved.states))
        with pytest.raises(InputError, match="is damaged"):
            load(path, task)
