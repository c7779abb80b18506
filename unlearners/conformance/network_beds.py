"""Network beds: a perceptron, a convolution with batch normalisation, and linear least squares, in double precision."""

import copy
import io
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from certify.core.arrays import AnyArray, FloatArray, IntArray
from certify.core.streams import stream
from certify.models.networks.losses import cross_entropy, loss_named
from certify.models.networks.recipe import Recipe
from certify.models.networks.state import State
from certify.unlearners.conformance.beds import Bed, Numbers, Which
from certify.unlearners.evidence import Budget
from certify.unlearners.interface import Kind, Result, Unlearner
from certify.unlearners.networks.task import NetworkTask, OwnTask
from certify.unlearners.task import Request

RECIPE = Recipe("adam", lr=0.02, epochs=8, batch_size=16)
RECORDS, HELD_OUT, CLASSES = 64, 48, 3


@dataclass
class Passed:
    """Records that passed through a model; copies of the model share it.

    Attributes:
        count: their number, each as often as it passed; blank ones, by which shapes are found out, are none.
        calls: how often the model was called.
        which: their bytes.
    """

    count: int = 0
    calls: int = 0
    which: set[bytes] = field(default_factory=set)

    def positions(self, records: AnyArray) -> IntArray:
        """Positions of the records that passed."""
        return np.flatnonzero([record.tobytes() in self.which for record in records])

    def __deepcopy__(self, memo: dict[int, Any]) -> "Passed":
        return self


@dataclass(frozen=True, eq=False)
class NetworkBed(Bed):
    """A network, its records, and a request.

    Attributes:
        starts: the weights to start from where they are not the original's.
    """

    task: NetworkTask
    kind: Kind = "network"
    starts: State | None = field(default=None, repr=False)

    @property
    def has_statistics(self) -> bool:  # type: ignore[override]
        """Whether running statistics belong to the model."""
        return any(True for _ in self.task.model.buffers())

    @property
    def quadratic(self) -> bool:  # type: ignore[override]
        """Whether one Newton step reaches the minimum."""
        return self.task.loss == "squared"

    def prepared(self, method: Unlearner, seed: int) -> "NetworkBed":
        """With the task that the method's ``prepare`` makes, once."""
        if not method.own_model or isinstance(self.task, OwnTask):
            return self
        prepare: Callable[[NetworkTask, int], OwnTask] = method.prepare  # type: ignore[attr-defined]
        return replace(self, name=f"{self.name}, prepared", task=prepare(self.copied().task, seed))

    @property
    def records(self) -> AnyArray:
        """Inputs."""
        return np.asarray(self.task.X)

    @property
    def named(self) -> NetworkTask:
        """The task."""
        return self.task

    def run(self, method: Unlearner, seed: int, budget: Budget | None) -> Result:
        """On a copy of the task; from ``starts`` where they are given."""
        own = self.copied()
        if own.starts is None:
            return method.forget(own.task, own.request, budget, seed)
        return method.forget_fleet(own.task, [own.request], budget, [seed], starts=own.starts)[0]

    def watched(self) -> tuple["NetworkBed", Passed]:
        """With a model that keeps which records pass through it; models of a stack run one by one, so that no padding passes."""
        seen, own, build = Passed(), self.copied().task, self.task.architecture
        task = replace(
            own,
            model=Odometer(own.model, seen),
            backend="loop",
            initial=None if own.initial is None else Odometer(own.initial, seen),
            architecture=None if build is None else lambda: Odometer(build(), seen),
        )
        return replace(self, task=task), seen

    def copied(self) -> "NetworkBed":
        """A model and arrays of its own."""
        X, y, model = self.task.X.copy(), self.task.y.copy(), copy.deepcopy(self.task.model)
        request = replace(self.request, forgotten=self.request.forgotten.copy())
        return replace(self, task=replace(self.task, model=model, X=X, y=y), request=request)

    def forgetting(self, request: Request, name: str) -> "NetworkBed":
        """Another request."""
        return replace(self, name=f"{self.name}, {name}", request=request)

    def with_task(self, name: str, **changes: Any) -> "NetworkBed":
        """Other fields of the task."""
        return replace(self, name=f"{self.name}, {name}", task=replace(self.task, **changes))

    def spoiled(self, rows: IntArray) -> "NetworkBed":
        """Large inputs of another direction, and other classes or targets."""
        X, y = self.task.X.copy(), self.task.y.copy()
        X[rows] = 5.0 - 3.0 * np.flip(X[rows], axis=-1)
        y[rows] = (y[rows] + 1) % CLASSES if y.dtype.kind == "i" else 2.0 - y[rows]
        name = f"records {rows.min(initial=0)} to {rows.max(initial=0)} ({len(rows)}) spoiled"
        return self.with_task(name, X=X, y=y)

    def spoiled_original(self) -> "NetworkBed":
        """Other weights in the original."""
        model = copy.deepcopy(self.task.model)
        with torch.no_grad():
            for place, value in enumerate(model.parameters()):
                value.add_(0.1 * (place + 1) + value.flip(0))
        return self.with_task("another original", model=model)

    def permuted(self, order: IntArray) -> "NetworkBed":
        """Records in another order; the request follows them."""
        bed = self.with_task("permuted", X=self.task.X[order], y=self.task.y[order])
        return replace(bed, request=Request.at(self.task, np.argsort(order)[self.request.forgotten]))

    def after(self, first: Result, then: Request, *, through_disk: bool = False) -> "NetworkBed":
        """From the first result's state: numbers to start from, or the task of a method that has a memory of its own."""
        name = f"{self.name}, then {then.forgotten.min()} to {then.forgotten.max()}"
        if isinstance(first.state, OwnTask):
            task = _reread(first.state, self.task) if through_disk else first.state
            return replace(self, name=name, request=then, task=task)
        starts: State = first.state
        if through_disk:
            starts = State(_through_disk(starts.parameters), _through_disk(starts.buffers))
        return replace(self, name=name, request=then, starts=starts)

    def start(self) -> Numbers:
        """The original's tensors, or those of ``starts``."""
        return _numbers(State.of(self.task.model) if self.starts is None else self.starts)

    def numbers(self, result: Result) -> Numbers:
        """The state reached; of a task that is the state, what it says its model is."""
        state = result.state
        return _numbers(State.of(state.model) if isinstance(state, OwnTask) else state)

    def shipped(self, result: Result) -> Numbers:
        """The tensors of the module that is returned."""
        return _numbers(State.of(result.model))

    def losses(self, result: Result | None, which: Which) -> FloatArray:
        """Losses of the module, in evaluation mode."""
        device = torch.device("cpu")
        X, y = self.task.held_out_tensors(device) if which == "held-out" else self.task.tensors(device)
        if which != "held-out":
            rows = torch.as_tensor(self.retained() if which == "retain" else self.request.forgotten)
            X, y = X[rows], y[rows]
        model = copy.deepcopy(self.task.model if result is None else result.model).eval()
        with torch.no_grad():
            return np.asarray(loss_named(self.task.loss)(model(X), y).numpy())

    def outputs(self, result: Result | None) -> FloatArray:
        """Probabilities of the classes of all records, (n, C)."""
        model = copy.deepcopy(self.task.model if result is None else result.model).eval()
        with torch.no_grad():
            X = self.task.tensors(torch.device("cpu"))[0]
            return np.asarray(torch.softmax(model(X), dim=1).numpy())


class Convolutional(nn.Module):
    """A convolution with batch normalisation, then a linear layer, on images of 4 x 4."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 4, 3, dtype=torch.float64)
        self.normalisation = nn.BatchNorm2d(4, dtype=torch.float64)
        self.head = nn.Linear(16, CLASSES, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 16) to (B, C)."""
        x = self.convolution(x.reshape(-1, 1, 4, 4))
        return self.head(torch.relu(self.normalisation(x)).flatten(1))  # type: ignore[no-any-return]


def perceptron() -> nn.Module:
    """16-8-3, tanh."""
    hidden = nn.Linear(16, 8, dtype=torch.float64)
    head = nn.Linear(8, CLASSES, dtype=torch.float64)
    return nn.Sequential(OrderedDict(hidden=hidden, bend=nn.Tanh(), head=head))


def affine() -> nn.Module:
    """16-1."""
    return nn.Sequential(OrderedDict(head=nn.Linear(16, 1, dtype=torch.float64)))


@cache
def network_beds() -> tuple[NetworkBed, ...]:
    """The perceptron and the convolutional network, trained until they know their records."""
    return _trained("perceptron", perceptron), _trained("convolution", Convolutional)


@cache
def least_squares_bed() -> NetworkBed:
    """A linear network whose original is the least-squares solution."""
    X, _, rng = _inputs()
    y = X[:RECORDS] @ np.linspace(1, -1, 16) + rng.normal(size=RECORDS)
    model = affine()
    write_solution(model, X[:RECORDS], y)
    task = NetworkTask(
        model, X[:RECORDS], y[:, None], loss="squared", recipe=RECIPE, architecture=affine, initial=affine()
    )
    return NetworkBed("least squares", task, Request.at(task, np.arange(0, RECORDS, 10)))


def write_solution(model: nn.Module, X: FloatArray, y: FloatArray) -> None:
    """Put the least-squares solution into a linear network."""
    solution = least_squares(X, y)
    with torch.no_grad():
        model.get_parameter("head.weight").copy_(torch.from_numpy(solution[None, :-1]))
        model.get_parameter("head.bias").copy_(torch.from_numpy(solution[-1:]))


def least_squares(X: FloatArray, y: FloatArray) -> FloatArray:
    """``argmin ||(X, 1) w - y||``, the intercept last."""
    return np.asarray(np.linalg.lstsq(np.column_stack([X, np.ones(len(X))]), y.ravel(), rcond=None)[0])


def _trained(name: str, build: Callable[[], nn.Module]) -> NetworkBed:
    X, y, _ = _inputs()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(1)
        initial = build()
    model = copy.deepcopy(initial).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(120):
        optimiser.zero_grad()
        cross_entropy(model(torch.from_numpy(X[:RECORDS])), torch.from_numpy(y[:RECORDS])).mean().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    optimiser.zero_grad()
    task = NetworkTask(
        model.eval(),
        X[:RECORDS],
        y[:RECORDS],
        held_out=(X[RECORDS:], y[RECORDS:]),
        recipe=RECIPE,
        architecture=build,
        initial=initial,
        name=name,
    )
    return NetworkBed(name, task, Request.at(task, np.arange(0, RECORDS, 6)))


def _inputs() -> tuple[FloatArray, IntArray, np.random.Generator]:
    """Three overlapping clusters in more dimensions than a few records can fill, so that training learns records by heart."""
    rng = stream(0, "conformance/networks")
    y = rng.integers(0, CLASSES, size=RECORDS + HELD_OUT)
    X = 0.7 * rng.normal(size=(CLASSES, 16))[y] + rng.normal(size=(RECORDS + HELD_OUT, 16))
    return X, y, rng


def _numbers(state: State) -> Numbers:
    return {n: v[0].detach().cpu().numpy().copy() for n, v in {**state.parameters, **state.buffers}.items()}


def _reread(task: OwnTask, plain: NetworkTask) -> OwnTask:
    """A state that is a task, written to a file by its own means and read again for the task it was made from."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state"
        task.save(path)
        return task.load(path, plain)


def _through_disk(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Written to bytes and read again; NumPy's format has no pickle in it."""
    file = io.BytesIO()
    np.savez(file, **{name: value.numpy() for name, value in tensors.items()})  # type: ignore[arg-type]
    file.seek(0)
    with np.load(file) as found:
        return {name: torch.from_numpy(found[name]) for name in tensors}


class Odometer(nn.Module):
    """A model that keeps which records pass through it, whoever calls it and however it is copied or vectorised.

    Attributes:
        inner: the model.
        seen: shared by all copies.
    """

    def __init__(self, inner: nn.Module, seen: Passed) -> None:
        super().__init__()
        self.inner, self.seen = inner, seen

    def forward(self, x: Tensor) -> Tensor:
        """Keep, then call the model."""
        self.seen.calls += 1
        _Mark.apply(x, self.seen)  # type: ignore[no-untyped-call]
        return self.inner(x)  # type: ignore[no-any-return]

    def reset_parameters(self) -> None:
        """Nothing of its own."""


class _Mark(torch.autograd.Function):
    """The identity; torch tells it over how many copies it is vectorised."""

    @staticmethod
    def forward(x: Tensor, seen: Passed, copies: int = 1) -> Tensor:
        """Keep the records that are not blank."""
        rows = x.detach().flatten(1)
        rows = rows[(rows != 0).any(dim=1)]
        seen.count += len(rows) * copies
        seen.which.update(row.tobytes() for row in rows.cpu().numpy())
        return x.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing to keep."""

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Tensor, seen: Passed, copies: int = 1) -> tuple[Tensor, int | None]:
        """One level of vectorisation: one record for all, or each its own."""
        place = in_dims[0]
        if place is None:
            _Mark.apply(x, seen, copies * info.batch_size)  # type: ignore[no-untyped-call]
        else:
            _Mark.apply(x.movedim(place, 0).flatten(0, 1), seen, copies)  # type: ignore[no-untyped-call]
        return x, place
