"""The demo's material: real health insurance records, two models, a request, and specs to start editing from.

Data: ``randhie`` of statsmodels, from the RAND Health Insurance Experiment, public domain. Features are divided by fixed
numbers from the code book, not by anything fitted to the data: a scaler fitted on the forgotten records would void the
certificate.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from certify.convex.objective import Objective
from certify.convex.problem import bind
from certify.core.arrays import AnyArray, FloatArray, IntArray
from certify.core.files import make_folder, write_files
from certify.core.streams import stream
from certify.models.weights import LinearWeights, dump_weights
from certify.unlearners import Budget
from certify.unlearners.evidence import Meter
from certify.unlearners.methods.retrain import Retrain

FORGOTTEN = 50
_SEED = 20261121
_TARGET = "mdvis"
_SCALES = {
    "lncoins": 5.0, "idp": 1.0, "lpi": 8.0, "fmde": 9.0, "physlm": 1.0, "disea": 60.0, "hlthg": 1.0, "hlthf": 1.0, "hlthp": 1.0,
}  # fmt: skip


@dataclass(frozen=True)
class Story:
    """One of the demo's models."""

    folder: str
    title: str
    loss: str
    l2: float
    noise_std: float
    counts: bool

    def targets(self, visits: FloatArray) -> FloatArray:
        """What the model predicts: whether there was a visit, or how many."""
        return visits if self.counts else (visits > 0).astype(np.float64)

    @property
    def objective(self) -> Objective:
        """The declared objective."""
        return Objective(self.loss, l2=self.l2, fit_intercept=True)


STORIES = (
    Story("any-visit", "any doctor visit in the year", "logistic", 16.0, 0.005, counts=False),
    Story("visit-count", "number of doctor visits", "poisson", 16.0, 0.005, counts=True),
)


@dataclass(frozen=True, eq=False)
class Records:
    """The records, split into training and test."""

    X: FloatArray
    visits: FloatArray
    ids: AnyArray
    train: IntArray
    test: IntArray
    forgotten: IntArray

    def __len__(self) -> int:
        return len(self.X)


def load_records() -> Records:
    """All records, a fixed fifth kept for testing, and the ids of those who ask to be forgotten."""
    from statsmodels.datasets import randhie

    table = randhie.load_pandas().data
    X = np.column_stack([table[name].to_numpy(dtype=np.float64) / scale for name, scale in _SCALES.items()])
    ids = np.array([f"record-{number:05d}" for number in range(1, len(X) + 1)])
    order = stream(_SEED, "split").permutation(len(X))
    test, train = np.sort(order[: len(X) // 5]), np.sort(order[len(X) // 5 :])
    forgotten = np.sort(stream(_SEED, "request").choice(train, FORGOTTEN, replace=False))
    return Records(X, table[_TARGET].to_numpy(dtype=np.float64), ids, train, test, forgotten)


def _npz(records: Records, story: Story, rows: IntArray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, X=records.X[rows], y=story.targets(records.visits[rows]), ids=records.ids[rows])
    return buffer.getvalue()


def train_original(records: Records, story: Story) -> LinearWeights:
    """The model before the deletion: trained on every training record."""
    y = story.targets(records.visits[records.train])
    problem = bind(story.objective, records.X[records.train], y)
    parameters = Retrain().run(Meter(problem, Budget()), np.zeros(problem.shape))
    return LinearWeights.from_parameters(parameters, intercept=True)


def write_story(folder: Path, records: Records, story: Story) -> tuple[Path, Path | None]:
    """Write data, request, original weights and two specs: one for the unlearned model, one for the unchanged.

    Returns:
        The story's folder, and where an edited certify.toml of an earlier run was kept, if there was one.
    """
    home = make_folder(folder / story.folder)
    spec = _spec(story, "unlearned.npz").encode()
    kept = _keep_edited(home / "certify.toml", spec)
    write_files(
        {
            home / "train.npz": _npz(records, story, records.train),
            home / "test.npz": _npz(records, story, records.test),
            home / "forget.txt": ("\n".join(records.ids[records.forgotten].tolist()) + "\n").encode(),
            home / "original.npz": dump_weights(home / "original.npz", train_original(records, story)),
            home / "certify.toml": spec,
            home / "unchanged.toml": _spec(story, "original.npz").encode(),
        }
    )
    return home, kept


def _keep_edited(path: Path, fresh: bytes) -> Path | None:
    """An edited spec of an earlier run is the user's work: it is moved aside, not overwritten."""
    if not path.is_file() or path.read_bytes() == fresh:
        return None
    number = 1
    while (kept := path.with_name(f"certify.edited-{number}.toml")).exists():
        number += 1
    path.rename(kept)
    return kept


def _spec(story: Story, model: str) -> str:
    return f"""\
# {story.title}, from health insurance records. Try:  certify check {"" if model == "unlearned.npz" else "unchanged.toml"}

[release]
model = "{model}"
kind = "glm"
original = "original.npz"

[objective]                       # sum_i loss(x_i . w, y_i) + (l2/2) ||w||^2
loss = "{story.loss}"
l2 = {story.l2}
fit_intercept = true
penalize_intercept = true

[data]
path = "train.npz"                # X, y, ids
forget = "forget.txt"             # the {FORGOTTEN} ids that ask to be forgotten
test = "test.npz"

[policy]
epsilon = 1.0
delta = 1e-5
noise_std = {story.noise_std}
tolerance = 1e-4                  # largest certified distance to the retrained weights
"""
