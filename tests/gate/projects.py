"""A small project as a user has it: data, request, weights and spec in a folder, each easy to spoil."""

import io
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from certify.convex.objective import Objective
from certify.data.dataset import Dataset
from certify.models.weights import LinearWeights, dump_weights
from certify.unlearners import ConvexTask, Request, get

HINGES = ("squared-hinge", "huber-hinge", "softplus-hinge")
RECORDS, FEATURES, FORGOTTEN = 200, 3, (3, 50, 77, 121)
SPEC = {
    "release": {"model": "unlearned.npz", "kind": "glm", "original": "original.npz"},
    "objective": {"loss": "logistic", "l2": 4.0},
    "data": {"path": "train.npz", "forget": "forget.txt"},
    "policy": {"epsilon": 1.0, "delta": 1e-5, "noise_std": 0.005},
}


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def npy(array: Any, *, allow_pickle: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


def draw(loss: str = "logistic", *, records: int = RECORDS, features: int = FEATURES, seed: int = 0) -> dict[str, Any]:
    """Arrays of a training set for a loss: X, y and string ids."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(records, features))
    score = X @ np.linspace(1.0, -0.5, features)
    targets = {
        "logistic": lambda: (rng.random(records) < 1 / (1 + np.exp(-score))).astype(float),
        "squared": lambda: score + rng.normal(size=records),
        "poisson": lambda: rng.poisson(np.exp(0.5 * score)).astype(float),
        "softmax": lambda: np.argmax(rng.gumbel(size=(records, 3)) + np.outer(score, [1.0, 0.0, -1.0]), axis=1),
        "gamma": lambda: rng.gamma(2.0, np.exp(0.5 * score)) + 1e-3,
    }
    kind = {"pseudo-huber": "squared", "log-cosh": "squared", **dict.fromkeys(HINGES, "logistic")}.get(loss, loss)
    kind = "softmax" if loss.endswith("one-vs-rest") else kind
    return {"X": X, "y": targets[kind](), "ids": np.array([f"person-{number:04d}" for number in range(records)])}


def dataset(arrays: dict[str, Any]) -> Dataset:
    return Dataset(arrays["X"], arrays["y"], arrays["ids"], arrays.get("sample_weight"))


def train(objective: Objective, arrays: dict[str, Any], forgotten: tuple[int, ...] = ()) -> LinearWeights:
    """The minimiser on all records but the forgotten ones."""
    kept = dataset(arrays).without(np.array(forgotten, dtype=int)) if forgotten else dataset(arrays)
    # retraining asks for a request: a record of weight 0 stands for the one that is forgotten
    X, y = np.vstack([kept.X, kept.X[:1]]), np.append(kept.y, kept.y[:1])
    weight = np.ones(len(kept)) if kept.sample_weight is None else kept.sample_weight
    padded = Dataset(X, y, np.arange(len(X)), np.append(weight, 0.0))
    return get("retrain")().forget(ConvexTask(objective, padded), Request.at(padded, np.array([len(kept)]))).model


def declared(loss: str) -> dict[str, Any]:
    """[objective] of a project."""
    name, _, rest = loss.partition(" ")
    smoothing = {"smoothing": 0.5} if name in HINGES[1:] else {}
    return {"loss": name, "l2": 4.0, **smoothing, **({"one_vs_rest": True} if rest else {})}


@cache
def _files(loss: str) -> dict[str, bytes]:
    arrays, objective = draw(loss), Objective(**declared(loss))
    original = train(objective, arrays)
    request = Request.at(dataset(arrays), np.array(FORGOTTEN))
    unlearned = get("newton")(steps=2).forget(ConvexTask(objective, dataset(arrays), original), request).model
    return {
        "train.npz": npz(**arrays),
        "forget.txt": "".join(f"{arrays['ids'][row]}\n" for row in FORGOTTEN).encode(),
        "original.npz": dump_weights(Path("original.npz"), original),
        "unlearned.npz": dump_weights(Path("unlearned.npz"), unlearned),
    }


def csv_text(arrays: dict[str, Any]) -> str:
    """The records as a table with the columns who, a, b, c, outcome."""
    rows = zip(arrays["ids"], arrays["X"], arrays["y"], strict=True)
    lines = [f"{who}," + ",".join(repr(float(value)) for value in (*x, y)) for who, x, y in rows]
    return "\n".join(["who,a,b,c,outcome", *lines]) + "\n"


def poke(array: np.ndarray, place: Any, value: float) -> np.ndarray:
    """The array with one entry replaced."""
    changed = np.array(array, dtype=np.float64)
    changed[place] = value
    return changed


@dataclass
class Project:
    """A folder that passes `certify check` until a test spoils it."""

    folder: Path
    loss: str = "logistic"
    spec: dict[str, Any] = field(default_factory=lambda: {name: dict(table) for name, table in SPEC.items()})

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.spec["objective"] = declared(self.loss)
        for name, content in _files(self.loss).items():
            self.write(name, content)
        self.save()

    @property
    def path(self) -> Path:
        return self.folder / "certify.toml"

    @property
    def X(self) -> np.ndarray:
        return self.arrays["X"]

    @property
    def y(self) -> np.ndarray:
        return self.arrays["y"]

    @property
    def arrays(self) -> dict[str, Any]:
        return draw(self.loss)

    def write(self, name: str, content: bytes | str) -> Path:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def data(self, **changes: Any) -> None:
        """The training file with some arrays replaced, added or, given None, left out."""
        arrays = {**self.arrays, **changes}
        self.write("train.npz", npz(**{name: value for name, value in arrays.items() if value is not None}))

    def weights(self, name: str = "unlearned.npz", **arrays: Any) -> "Project":
        self.write(name, npz(**arrays))
        return self

    def put(self, key: str, value: Any) -> "Project":
        """Set ``table.key`` (or a deeper one) and write the spec."""
        *tables, last = key.split(".")
        table = self.spec
        for name in tables:
            table = table.setdefault(name, {})
        table[last] = value
        return self.save()

    def drop(self, key: str) -> "Project":
        *tables, last = key.split(".")
        table = self.spec
        for name in tables:
            table = table[name]
        del table[last]
        return self.save()

    def save(self) -> "Project":
        self.write("certify.toml", toml(self.spec))
        return self

    def snapshot(self) -> dict[str, bytes]:
        """Everything in the folder, byte for byte: whatever fails must leave it as it was."""
        paths = sorted(self.folder.rglob("*"))
        return {str(path.relative_to(self.folder)): path.read_bytes() if path.is_file() else b"" for path in paths}

    def remove(self, name: str) -> None:
        (self.folder / name).unlink()

    def table(self, text: str | bytes | None = None, **columns: Any) -> None:
        """Read records from train.csv: the same ones when no text is given, under [data.columns] as given."""
        self.write("train.csv", csv_text(self.arrays) if text is None else text)
        self.spec["data"]["path"] = "train.csv"
        named = {"target": "outcome", "id": "who", **columns}
        self.put("data.columns", {key: name for key, name in named.items() if name is not None})


def toml(table: dict[str, Any], prefix: str = "") -> str:
    """A spec as TOML text."""
    lines = [f"{key} = {_value(value)}" for key, value in table.items() if not isinstance(value, dict)]
    for key, value in table.items():
        if isinstance(value, dict):
            lines += ["", f"[{prefix}{key}]", toml(value, f"{prefix}{key}.")]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else repr(value)
