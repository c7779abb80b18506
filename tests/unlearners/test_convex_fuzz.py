"""Linear models of every kind against minima found by another route: certificates and guarantees hold, however records are stored."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_minimum import LOSSES, PlainMinimum

from certify import Objective, bound_distance, unlearners
from certify.core import arrayfiles
from certify.core.errors import AssumptionViolatedError, CertifyError
from certify.data.dataset import Dataset
from certify.models.weights import LinearWeights
from certify.unlearners import Claim, ConvexTask, Request

SIGNS = {"logistic", "squared-hinge", "softplus-hinge"}
METHODS: list[tuple[str, dict[str, Any]]] = [
    ("retrain", {}),
    ("newton", {}),
    ("newton", {"steps": None, "tolerance": 1e-7}),
    ("ngd", {}),
    ("ngd", {"information": "retained"}),
    ("ngd", {"gradient": "forgotten"}),
    ("curenewton", {}),
    ("curenewton", {"L": 0.3, "steps": 3}),
    ("pinv-newton", {}),
    ("damped-newton", {}),
    ("damped-newton", {"damping": 0.01, "steps": 3}),
    ("muso", {}),
    ("muso", {"predictor": "iterate", "rounds": 5}),
]
REFUSALS = (
    "no strong-convexity modulus could be proved",
    "has no bound on its third derivative to derive L from; give L",
    "no label stands for what a model with the",
    "so there is no Fisher information; use --method newton",
    "is singular to working precision; penalise every weight",
)
STORED = ("dense", "single", "sparse", "mapped", "in its file", "by columns")


@dataclass(frozen=True)
class Drawn:
    """A task with its minima, on all records and on the retained ones."""

    task: ConvexTask
    request: Request
    full: PlainMinimum
    best: PlainMinimum
    X: np.ndarray
    kept: np.ndarray

    def distance(self, w):
        return float(np.linalg.norm(w - self.best.w))

    def certified(self, model):
        data = self.task.dataset
        weights = None if data.sample_weight is None else data.sample_weight[self.kept]
        parts = model.coef if model.intercept is None else model.parts
        return float(bound_distance(self.task.objective, self.X[self.kept], data.y[self.kept], parts, weights).distance)


def stored(kind, X, folder):
    if kind == "single":
        return X.astype(np.float32)
    if kind == "sparse":
        return scipy.sparse.csr_array(X)
    if kind == "mapped":
        np.save(folder / "X.npy", X)
        return np.load(folder / "X.npy", mmap_mode="r")
    if kind == "in its file":
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(arrayfiles, "LAZY_BYTES", 0)
            np.savez(folder / "X.npz", X=X)
            return arrayfiles.read_rows(folder / "X.npz", ("X",))[0]["X"]
    return np.asfortranarray(X) if kind == "by columns" else X


def draw(seed, folder, *, loss, kind="dense", one_vs_rest=False, intercept="none", weighted=False):
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(16, 60)), int(rng.integers(1, 5))
    outputs = 3 if one_vs_rest else 2 + seed % 2 if loss == "softmax" else 1
    X = rng.normal(size=(n, d)) * 10 ** rng.uniform(-1, 0.5) * (rng.random((n, d)) < 0.7)
    X = X.astype(np.float32).astype(float)  # so that single precision stores the same numbers
    score = X @ rng.normal(size=d)
    y = targets(rng, loss, score, outputs, classes=one_vs_rest or loss == "softmax")
    weights = np.where(rng.random(n) < 0.1, 0.0, rng.uniform(0.2, 3, n)) if weighted else None
    options = {"smoothing": 0.3} if loss == "softplus-hinge" else {}
    l2, free = float(10 ** rng.uniform(-2, 1.5)), intercept == "free"
    objective = Objective(
        loss, l2, fit_intercept=intercept != "none", penalize_intercept=not free, one_vs_rest=one_vs_rest, **options
    )
    data = Dataset(stored(kind, X, folder), y, np.arange(n), weights)
    gone = rng.choice(np.arange(5, n - 5), int(rng.integers(1, n // 4 + 1)), replace=False)
    kept = np.setdiff1d(np.arange(n), gone)
    a = np.ones(n) if weights is None else weights
    more = {"l2": l2, "intercept": intercept != "none", "free": free, "outputs": outputs, "one_vs_rest": one_vs_rest}
    full, best = (PlainMinimum(loss, X[rows], y[rows], a[rows], **more) for rows in (np.arange(n), kept))
    start = full.w + (10 ** rng.uniform(-8, -1) if seed % 3 else 0.0) * rng.normal(size=full.w.shape)
    original = LinearWeights.from_parameters(start, intercept=intercept != "none")
    return Drawn(ConvexTask(objective, data, original), Request.at(data, gone), full, best, X, kept)


def targets(rng, loss, score, outputs, *, classes):
    n = len(score)
    if classes:
        y = rng.integers(0, outputs, n)
        y[:outputs] = y[-outputs:] = np.arange(outputs)  # retained, whoever is forgotten
        return y
    if loss in SIGNS:
        y = (score + rng.normal(size=n) > 0).astype(int)
        y[:2] = y[-2:] = 0, 1
        return y
    if loss == "poisson":
        return rng.poisson(np.exp(np.clip(score, -3, 2))) + (np.arange(n) < 1.0)
    if loss == "gamma":
        return rng.gamma(2, np.exp(np.clip(score, -2, 2))) + 1e-3
    return score + rng.standard_t(2, n)


@st.composite
def cases(draw_):
    loss = draw_(st.sampled_from([*LOSSES, "softmax"]))
    return {
        "seed": draw_(st.integers(0, 2**32)),
        "loss": loss,
        "kind": draw_(st.sampled_from(STORED)),
        "one_vs_rest": loss in SIGNS and draw_(st.booleans()),
        "intercept": draw_(st.sampled_from(["none", "penalised", "free"])),
        "weighted": draw_(st.booleans()),
    }


def is_ambiguous(objective):
    """Whether there may be many minima: then a distance to the one that SciPy found says nothing."""
    flat = objective.loss in {"softmax", "squared-hinge"}
    return flat and objective.fit_intercept and not objective.penalize_intercept


@pytest.mark.parametrize(("name", "knobs"), METHODS, ids=[f"{name}-{i}" for i, (name, _) in enumerate(METHODS)])
@given(case=cases())
@settings(max_examples=12)
def test_what_is_certified_or_promised_holds(tmp_path_factory, name, knobs, case):
    drawn = draw(folder=tmp_path_factory.mktemp("data"), **case)
    try:
        result = unlearners.get(name)(**knobs).forget(drawn.task, drawn.request)
    except CertifyError as error:
        refusal = error
    else:
        refusal = None
    if refusal is not None:
        assert any(words in str(refusal) for words in REFUSALS), str(refusal)
        return
    assert np.all(np.isfinite(result.state))
    if is_ambiguous(drawn.task.objective):
        assert result.claim is Claim.NONE
        return
    off = max(0.0, drawn.distance(result.state) - drawn.best.error)
    try:
        assert off <= drawn.certified(result.model) * (1 + 1e-9)
    except AssumptionViolatedError:  # no modulus: nothing may be claimed as exact
        assert result.claim is not Claim.EXACT
    for promised in ("gamma", "gamma_data", "certificate before rounding"):
        rounding = 1e-11 if "rounding" in promised else 0.0
        assert off <= result.evidence.solver.get(promised, np.inf) * (1 + 1e-6) + rounding, promised
    if result.claim is Claim.EXACT:
        assert off <= 1e-6


@given(case=cases())
@settings(max_examples=10)
def test_the_certificate_of_the_original_is_not_far_from_the_truth(tmp_path_factory, case):
    """Else the test above could not fail."""
    case |= {"intercept": "penalised", "one_vs_rest": False, "loss": "logistic"}
    drawn = draw(folder=tmp_path_factory.mktemp("data"), **case)
    result = unlearners.get("newton")().forget(drawn.task, drawn.request)
    off = drawn.distance(result.state)
    if 1e-7 < off < 1e-3:
        assert drawn.certified(result.model) < 1.5 * off


@pytest.mark.parametrize("loss", ["logistic", "softmax", "poisson"])
@pytest.mark.parametrize(("name", "knobs"), METHODS[1::3])
def test_how_records_are_stored_changes_nothing(tmp_path, loss, name, knobs):
    found = {}
    for kind in STORED:
        drawn = draw(7, tmp_path, loss=loss, kind=kind, intercept="penalised", weighted=True)
        if (name, loss) == ("curenewton", "poisson"):
            knobs = {"L": 0.3, "steps": 3}
        found[kind] = unlearners.get(name)(**knobs).forget(drawn.task, drawn.request).state
    for kind, state in found.items():
        np.testing.assert_allclose(state, found["dense"], rtol=1e-9, atol=1e-11, err_msg=kind)


@pytest.mark.parametrize("loss", ["logistic", "poisson"])
def test_a_minimum_at_infinity_is_claimed_by_nobody(loss):
    """One class alone among the retained records, and an intercept without penalty."""
    rng = np.random.default_rng(0)
    data = Dataset(
        rng.normal(size=(20, 2)),
        np.r_[2.0, np.zeros(19)] if loss == "poisson" else np.r_[1, np.zeros(19)],
        np.arange(20),
    )
    objective = Objective(loss, 1.0, fit_intercept=True, penalize_intercept=False)
    task = ConvexTask(objective, data, LinearWeights(np.zeros(2), np.zeros(1)))
    result = unlearners.get("retrain")().forget(task, Request.at(data, np.array([0])))
    assert result.claim is Claim.NONE


def test_one_vs_rest_with_a_class_that_is_gone_claims_nothing():
    rng = np.random.default_rng(0)
    y = np.r_[2, np.zeros(9), np.ones(10)].astype(int)
    data = Dataset(rng.normal(size=(20, 2)), y, np.arange(20))
    objective = Objective("logistic", 1.0, fit_intercept=True, penalize_intercept=False, one_vs_rest=True)
    task = ConvexTask(objective, data, LinearWeights(np.zeros((3, 2)), np.zeros(3)))
    result = unlearners.get("retrain")().forget(task, Request.at(data, np.array([0])))
    assert (result.claim, "no strong-convexity modulus could be proved" in result.reason) == (Claim.NONE, True)
    fixed = ConvexTask(Objective("logistic", 1.0, fit_intercept=True, one_vs_rest=True), data, task.original)
    assert unlearners.get("retrain")().forget(fixed, Request.at(data, np.array([0]))).claim is Claim.EXACT


@pytest.mark.parametrize(("name", "knobs"), METHODS)
@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_records_without_weight_are_forgotten_by_standing_still(tmp_path, loss, name, knobs):
    drawn = draw(7, tmp_path, loss=loss, intercept="penalised", weighted=True)
    data = drawn.task.dataset
    weights = np.where(np.isin(np.arange(len(data)), drawn.request.forgotten), 0.0, 1.0)
    whole = PlainMinimum(
        loss, drawn.X, data.y, weights, l2=drawn.task.objective.l2, intercept=True, outputs=drawn.best.w.shape[0]
    )
    task = ConvexTask(
        drawn.task.objective,
        Dataset(data.X, data.y, data.ids, weights),
        LinearWeights.from_parameters(whole.w, intercept=True),
    )
    result = unlearners.get(name)(**knobs).forget(task, drawn.request)
    np.testing.assert_allclose(result.state, whole.w, atol=1e-7)
