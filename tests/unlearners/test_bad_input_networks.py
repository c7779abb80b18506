"""Unusual and bad input, for every method for networks: it does its work, or says in one line what is wrong."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from every_method import BATCH, CLASSES, NAMES, RECIPE, RECORDS, changed, fitting, forgotten, quick, tiny
from torch import nn

from certify import unlearners
from certify.core.errors import CertifyError, ConfigurationError, InputError
from certify.models.networks import Bench, Network, State, collate
from certify.unlearners import NetworkTask, Request

every_method = pytest.mark.parametrize("name", NAMES)
AT_REST = {"identity", "ssd"}  # does nothing; selects nothing on records drawn at random, which it reports
WITH_STEP_SIZE = [name for name in NAMES if "lr" in {knob.name for knob in fields(unlearners.get(name))}]
ASKED = {
    "one": np.array([3]),
    "fewer than a batch": np.arange(BATCH - 3),
    "a class": np.arange(1, RECORDS, CLASSES),
    "all but one": np.arange(1, RECORDS),
}


def one_line(error) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 300
    return text


def sound(result, task, request):
    """Finite, measured, and something moved where the method moves anything."""
    assert bool(result.state.is_finite().all()) if isinstance(result.state, State) else True
    assert all(bool(torch.isfinite(value).all()) for value in result.model.parameters())
    outputs = result.model.eval()(torch.as_tensor(task.X[:4]).to(next(result.model.parameters()).dtype))
    assert bool(torch.isfinite(outputs).all())
    kept = RECORDS if request.members is None else len(request.members)
    assert result.evidence.reads["retain"].records <= kept - len(request.forgotten)
    assert result.evidence.reads["forget"].records <= len(request.forgotten)
    told = any("no tensor changed" in warning for warning in result.evidence.warnings)
    assert told == (not any(change.changed for change in result.evidence.tensors))
    assert not told or result.evidence.method in AT_REST


@every_method
@pytest.mark.parametrize("asked", ASKED)
def test_any_size_of_the_forget_set(name, asked):
    task = fitting(name)
    request = Request.at(task, ASKED[asked])
    result = forgotten(quick(name), task, request)
    sound(result, task, request)
    reads_in_batches = "batch_size" in result.evidence.knobs and result.evidence.reads["forget"].records
    if asked == "one" and name in {"gradient-ascent", "npo", "delete", "boundary-shrink", "neggrad-plus", "scrub"}:
        assert reads_in_batches
        assert f"the forget set of 1 records is smaller than a batch of {BATCH}" in result.evidence.warnings


@every_method
def test_records_that_are_no_members_are_never_read(name):
    task = fitting(name)
    request = Request.at(task, np.arange(3), members=np.arange(20))
    if name == "sisa":
        with pytest.raises(InputError, match="records were forgotten before this task was prepared"):
            quick(name).forget(task, request)
        return
    sound(forgotten(quick(name), task, request), task, request)  # the toolkit refuses a stray read


@every_method
def test_copies_among_the_retained_records_are_warned_of(name):
    task = fitting(name)
    X = task.X.copy()
    X[[20, 25]] = X[0]
    task = changed(task, X=X)
    request = Request.at(task, np.arange(5))
    result = forgotten(quick(name), task, request)
    sound(result, task, request)
    told = [w for w in result.evidence.warnings if "exact copies" in w]
    assert told == ["2 retained records are exact copies of forgotten ones: their influence stays, by any method"]


@every_method
@pytest.mark.parametrize("asked", [np.arange(0, 32, 4), np.arange(1, RECORDS)], ids=["last batch", "only record"])
def test_a_lone_record_passes_through_batch_normalisation(name, asked):
    task = fitting(name, statistics=True)
    request = Request.at(task, asked)
    assert (RECORDS - len(asked)) % BATCH == 1
    result = forgotten(quick(name), task, request)
    sound(result, task, request)
    assert torch.isfinite(torch.cat([b.flatten().double() for b in result.model.buffers()])).all()
    if name in {"fine-tune", "retrain", "l1-sparse", "not"}:
        assert "a batch of one record was normalised by the running statistics" in " ".join(result.evidence.warnings)


def test_a_lone_record_uses_the_running_statistics_and_leaves_them():
    task = fitting("fine-tune", statistics=True)
    network, state = Network.of(task.model), State.of(task.model)
    bench = Bench(network, *task.tensors(torch.device("cpu")))

    def told(rows):
        return bench.gradient(state, collate([np.array(rows)]), train=True)

    pair = told([4, 5])
    assert not network.met_lone_record
    assert any(not torch.equal(pair.buffers[n], v) for n, v in state.buffers.items())
    lone, evaluated = told([4]), bench.gradient(state, collate([np.array([4])]))
    assert network.met_lone_record
    assert all(torch.equal(lone.buffers[n], v) for n, v in state.buffers.items())
    for tensor, value in evaluated.tensors.items():  # no dropout here: the same as in evaluation
        torch.testing.assert_close(lone.tensors[tensor], value)


def test_without_running_statistics_a_lone_record_is_refused():
    model = nn.Sequential(nn.Linear(16, 5), nn.BatchNorm1d(5, track_running_stats=False), nn.Linear(5, 3))
    task = tiny()
    bench = Bench(Network.of(model), *task.tensors(torch.device("cpu")))
    bench.gradient(State.of(model), collate([np.array([4, 5])]), train=True)
    with pytest.raises(InputError) as error:
        bench.gradient(State.of(model), collate([np.array([4])]), train=True)
    assert "a batch of one record has no statistics to normalise by" in one_line(error)


@pytest.mark.parametrize("name", WITH_STEP_SIZE)
def test_a_step_that_overflows_is_named_and_nothing_comes_back(name):
    task = fitting(name)
    knobs = {"lr": 1e300} | ({"bounded": False} if name == "gradient-ascent" else {})
    method = quick(name, **knobs)
    before = {key: value.clone() for key, value in task.model.state_dict().items()}
    if name == "curenewton-stochastic":  # it halves a step that climbs
        assert any(
            "lr was halved" in w for w in forgotten(method, task, Request.at(task, np.arange(9))).evidence.warnings
        )
        return
    with pytest.raises(InputError) as error:
        forgotten(method, task, Request.at(task, np.arange(9)))
    line = one_line(error)
    assert line.startswith(f"{name}: the loss or a weight is not finite after step ")
    assert line.endswith("lower lr, clip the gradient, or bring the features to one scale; no weights were written")
    assert all(torch.equal(before[key], value) for key, value in task.model.state_dict().items())


@every_method
def test_records_whose_loss_overflows_are_refused_or_survived(name):
    """Inputs near the largest number there is: finite to look at, infinite in the first product."""
    task = fitting(name)
    task = changed(task, X=(task.X * 1e38).clip(-3e38, 3e38).astype(np.float32))
    task.model.get_parameter("head.weight").requires_grad_()
    request = Request.at(task, np.arange(9))
    try:
        result = forgotten(quick(name), task, request)
    except CertifyError as error:
        text = str(error)
        assert name in text or "a feature is not finite" in text
        assert "\n" not in text
        return
    assert all(bool(torch.isfinite(value).all()) for value in result.model.state_dict().values())


def test_an_original_that_is_not_finite_is_refused_before_the_first_step():
    task = tiny()
    with torch.no_grad():
        task.model.get_parameter("head.bias")[0] = float("nan")
    with pytest.raises(InputError, match="a weight is not finite before the first step"):
        quick("fine-tune").forget(task, Request.at(task, np.arange(3)))


@every_method
def test_models_and_devices_that_cannot_be_worked_on_are_refused(name):
    given, method = fitting(name), quick(name)
    request = Request.at(given, np.arange(5))
    flat = NetworkTask(nn.Flatten(), given.X[:, :CLASSES], given.y, recipe=RECIPE, held_out=None)
    with pytest.raises(InputError, match="the model has no parameters") as error:
        method.forget(flat, request)
    one_line(error)
    frozen = fitting(name)
    frozen.model.requires_grad_(requires_grad=False)
    with pytest.raises(ConfigurationError, match="no parameter that needs a gradient matches") as error:
        method.forget(frozen, request)
    one_line(error)
    with pytest.raises(
        InputError, match=r"device: cuda:63 is asked for and \d+ GPUs are here; use cpu or auto"
    ) as error:
        method.forget(changed(given, device="cuda:63"), request)
    one_line(error)
    with pytest.raises(InputError, match=r"head: the classes are 0 to 7 and the model's outputs have shape \(1, 3\)"):
        method.forget(changed(given, y=given.y + 5 * (given.y == 2)), request)


# --- memory

SHORTAGES = {
    "cuda": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "linux": RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."),
    "windows": RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
    "cublas": RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    "python": MemoryError(),
}


def starve(monkeypatch, error):
    def give_up(*given, **more):
        raise error

    for part in [
        "gradient",
        "outputs",
        "input_gradient",
        "hessian_product",
        "gauss_newton_product",
        "sample_gradients",
    ]:
        monkeypatch.setattr(Network, part, give_up)


@pytest.mark.parametrize("kind", SHORTAGES)
@pytest.mark.parametrize("name", [name for name in NAMES if name != "identity"])
def test_out_of_memory_says_what_halves_the_need(name, kind, monkeypatch):
    task, method = fitting(name), quick(name)
    starve(monkeypatch, SHORTAGES[kind])
    with pytest.raises(InputError) as error:
        method.forget(task, Request.at(task, np.arange(5)))
    line = one_line(error)
    assert line.startswith(f"{name}: out of memory with one model; ")
    assert line.endswith(" halves what a step needs")
    half = max(1, (getattr(method, "batch_size", None) or 8) // 2)
    knob = f"--set batch_size={half}" if getattr(method, "batch_size", None) else "in the recipe batch_size=4"
    assert knob in line
    assert ("trainable" in line) == hasattr(method, "max_parameters")


def test_the_allocators_own_message_is_known(monkeypatch):
    """Not a message of ours: torch is asked for more than any machine has."""
    task = tiny()

    def starved(*given, **more):
        return torch.empty(2**55)

    monkeypatch.setattr(Network, "gradient", starved)
    with pytest.raises(InputError, match="out of memory with one model"):
        quick("fine-tune").forget(task, Request.at(task, np.arange(5)))


def test_out_of_memory_of_a_fleet_points_to_fewer_at_once(monkeypatch):
    task = tiny()
    starve(monkeypatch, SHORTAGES["linux"])
    with pytest.raises(
        InputError, match="out of memory with 4 models in a batch; at_once=2 models or --set batch_size=4"
    ):
        quick("fine-tune").forget_fleet(task, [Request.at(task, np.arange(5))] * 4)


def test_other_errors_of_torch_are_left_alone(monkeypatch):
    task = tiny()
    starve(monkeypatch, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        quick("fine-tune").forget(task, Request.at(task, np.arange(5)))


def test_passes_that_only_add_up_follow_the_batch_size(monkeypatch):
    seen = []
    plain = Network.outputs
    monkeypatch.setattr(
        Network, "outputs", lambda self, state, x, **more: seen.append(x.shape[1]) or plain(self, state, x, **more)
    )
    task = tiny()
    request = Request.at(task, np.arange(20))
    for size in (1, 2):
        seen.clear()
        quick("delete", batch_size=size).forget(task, request)
        assert max(seen) == 8 * size
