"""A certificate before its adversaries: an auditor with the optimal test, a poisoner, a chooser of the worst records.

Each has a control that must be caught: the noise removed, a bound computed beforehand instead of measured, an unlearner that stops listening.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from by_path import load

from certify import Objective, attacks, bound_distance, unlearners
from certify.core.verdict import Verdict
from certify.data.dataset import Dataset
from certify.gate.check import check
from certify.gate.inputs import Inputs, load_inputs
from certify.gate.ledger import Ledger
from certify.gate.load import load_spec
from certify.gate.measure import charged_mu
from certify.gate.release import noised, release
from certify.models.weights import LinearWeights, load_weights
from certify.privacy.noise import add_noise
from certify.unlearners import ConvexTask, Request

project = load("gate/release_project")
OBJECTIVE = Objective("logistic", l2=5.0)


# ------------------------------------------------------------------- the audit of a certificate, from file to interval

DRAWS, DELTA = 5_000, 2e-3
# a statement that fails once in a million runs even if the certificate is met exactly
CONFIDENCE = 1 - 1e-6


class Audited:
    """A model that passes with mu of about 1, its certificate, and the reference it was certified against."""

    def __init__(self, folder: Path) -> None:
        spec = project.make(folder, forget=tuple(range(12)))
        original = load_weights(folder / "original.npz")[0].coef.ravel()
        self.reference = load_weights(folder / "unlearned.npz")[0].coef.ravel()
        self.shift = original - self.reference
        self.noise_std = float(np.linalg.norm(self.shift))
        # nothing is unlearned: the noise alone must carry the guarantee, and the certificate says how far it does
        text = spec.read_text().replace("unlearned.npz", "original.npz").replace("epsilon = 1.0", "epsilon = 4.0")
        text = text.replace("delta = 1e-5", f"delta = {DELTA}")
        spec.write_text(text.replace("noise_std = 0.05", f"noise_std = {self.noise_std}"))
        self.result = check(spec)
        self.inputs: Inputs = load_inputs(load_spec(spec))

    @property
    def certified(self) -> float:
        assert self.result.verdict is Verdict.PASS
        epsilon = self.result.report.guarantee.epsilon
        assert epsilon is not None
        return epsilon

    def scores(self, weights: np.ndarray) -> np.ndarray:
        """The optimal statistic: the projection on the known difference of means, in standard deviations, centred between them."""
        direction = self.shift / np.linalg.norm(self.shift)
        scores: np.ndarray = ((weights - self.reference) @ direction) / self.noise_std - 0.5
        return scores

    def proved(self, released: np.ndarray, reference: np.ndarray) -> float:
        """Epsilon proved by thresholds that were fixed before; the error is shared among them."""
        cuts, found = (0.0, 0.7, -0.7), []
        for cut in cuts:
            hits, alarms = int(np.sum(self.scores(released) > cut)), int(np.sum(self.scores(reference) > cut))
            confidence = 1 - (1 - CONFIDENCE) / len(cuts)
            found.append(attacks.epsilon_lower_bound(hits, DRAWS, alarms, DRAWS, DELTA, confidence))
        return float(max(found))


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Audited:
    return Audited(tmp_path_factory.mktemp("audit") / "p")


@pytest.fixture(scope="module")
def worlds(audited: Audited) -> tuple[np.ndarray, np.ndarray]:
    """The gate's own draws: released weights, and the reference with the same noise."""
    released = np.array([noised(audited.inputs).coef.ravel() for _ in range(DRAWS)])
    reference = add_noise(np.tile(audited.reference, DRAWS), audited.noise_std).reshape(DRAWS, -1)
    return released, reference


def test_the_optimal_test_on_real_releases_does_not_refute_the_certificate(audited: Audited, worlds: Any) -> None:
    assert audited.result.report.guarantee.mu == pytest.approx(1.0, rel=0.1)
    assert audited.proved(*worlds) <= audited.certified


def test_the_audit_has_teeth(audited: Audited, worlds: Any) -> None:
    assert audited.proved(*worlds) > 0.3 * audited.certified


def test_control_with_the_noise_removed_the_audit_refutes_the_certificate(audited: Audited) -> None:
    original = audited.inputs.model.parameters.ravel()
    bare = np.tile(original, (DRAWS, 1)), np.tile(audited.reference, (DRAWS, 1))
    assert audited.proved(*bare) > audited.certified


def test_control_with_a_quarter_of_the_noise_the_audit_refutes_the_certificate(audited: Audited, worlds: Any) -> None:
    released, reference = worlds
    original = audited.inputs.model.parameters.ravel()
    quiet = original + (released - original) / 4, audited.reference + (reference - audited.reference) / 4
    assert audited.proved(*quiet) > audited.certified


# ------------------------------------------------------------------------- poison that makes deletion expensive


def poisoned(size: float) -> tuple[Dataset, Request]:
    """Six records that look like the others (size 1), or lie far out with the wrong label; they ask to be forgotten."""
    rng = np.random.default_rng(8)
    X = rng.normal(size=(300, 3))
    y = (X @ [1.0, -1.0, 0.5] + rng.logistic(size=300) > 0).astype(float)
    X[:6] *= size
    if size > 1:
        y[:6] = X[:6] @ [1.0, -1.0, 0.5] < 0
    data = Dataset(X, y, np.array([f"person-{i}" for i in range(300)]))
    return data, Request.at(data, np.arange(6))


def retained(data: Dataset, gone: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features and targets of all other records."""
    return np.delete(np.asarray(data.X), gone, axis=0), np.delete(data.y, gone)


def computed_beforehand(data: Dataset, w: np.ndarray, request: Request) -> float:
    """gamma ||X|| ||step|| ||X step||, gamma = 1/4: what a budget is charged that does not measure."""
    X, y = retained(data, request.forgotten)
    p = 1 / (1 + np.exp(-X @ w))
    hessian = (X.T * (p * (1 - p))) @ X + OBJECTIVE.l2 * np.eye(3)
    step = np.linalg.solve(hessian, X.T @ (p - y) + OBJECTIVE.l2 * w)
    return float(0.25 * np.linalg.norm(X, 2) * np.linalg.norm(step) * np.linalg.norm(X @ step))


def unlearn(data: Dataset, request: Request) -> tuple[int, float, float, float]:
    """Newton until certified: iterations, certified and true distance, and the charge computed beforehand."""
    w = project.fitted(data.X, data.y)
    original = LinearWeights.from_parameters(w, intercept=False)
    method = unlearners.get("newton")(tolerance=1e-6)
    done = method.forget(ConvexTask(OBJECTIVE, data, original), request)
    X, y = retained(data, request.forgotten)
    certified = float(bound_distance(OBJECTIVE, X, y, done.model.coef).distance)
    true = float(np.linalg.norm(done.state - project.fitted(X, y)))
    return done.evidence.counts["iterations"], certified, true, computed_beforehand(data, w.ravel(), request)


def test_poison_does_not_slow_down_what_is_measured() -> None:
    benign, poison = unlearn(*poisoned(1.0)), unlearn(*poisoned(20.0))
    assert poison[0] <= benign[0] + 2
    for _, certified, true, _ in (benign, poison):
        assert true <= certified * (1 + 1e-3) + 1e-12
        assert certified <= 1e-6


def test_control_a_bound_computed_beforehand_is_what_the_poison_slows_down() -> None:
    # a budget of such charges is spent after far fewer poisoned deletions, each ending in a retraining
    assert unlearn(*poisoned(20.0))[3] > 50 * unlearn(*poisoned(1.0))[3]


def test_poison_is_charged_by_the_policy_like_any_other_record(tmp_path: Path) -> None:
    totals = []
    for size in (1.0, 20.0):
        spec = project.make(tmp_path / f"p{size:.0f}", forget=tuple(range(6)))
        data, request = poisoned(size)
        kept = retained(data, request.forgotten)
        np.savez(spec.parent / "train.npz", X=data.X, y=data.y, ids=data.ids)
        np.savez(spec.parent / "original.npz", coef=project.fitted(data.X, data.y))
        np.savez(spec.parent / "unlearned.npz", coef=project.fitted(*kept))
        part = release(spec).result.report.release
        assert part is not None
        totals.append(part.total_mu)
    assert totals[0] == totals[1]


# ----------------------------------------------------------------- whoever sees a release chooses whom to forget next


class Chooser:
    """Rounds of deletion: after each release, the records it fits worst ask to be forgotten."""

    def __init__(self, spec: Path) -> None:
        self.spec, self.folder = spec, spec.parent
        with np.load(self.folder / "train.npz") as file:
            self.data = Dataset(file["X"], file["y"], file["ids"])
        self.gone: list[int] = []
        self.state = LinearWeights.from_parameters(project.fitted(self.data.X, self.data.y), intercept=False)

    def choose(self, released: np.ndarray, count: int = 8) -> None:
        margin = (2 * self.data.y - 1) * (self.data.X @ released.ravel())
        worst = [int(row) for row in np.argsort(margin) if int(row) not in self.gone]
        self.gone += worst[:count]

    def request(self, rows: list[int]) -> Request:
        return Request.at(self.data, np.array(sorted(rows)))

    def unlearn(self, rows: list[int]) -> None:
        """From the last secret state, never from a release."""
        method = unlearners.get("newton")(steps=2)
        self.state = method.forget(ConvexTask(OBJECTIVE, self.data, self.state), self.request(rows)).model
        np.savez(self.folder / "unlearned.npz", coef=self.state.coef)
        (self.folder / "forget.txt").write_text("\n".join(f"person-{row}" for row in self.gone))

    def truth(self) -> float:
        kept = retained(self.data, np.array(self.gone))
        return float(np.linalg.norm(self.state.coef.ravel() - project.fitted(*kept).ravel()))


def test_adaptive_deletion_of_the_worst_records_stays_certified_round_after_round(tmp_path: Path) -> None:
    spec = project.make(tmp_path / "p")
    chooser = Chooser(spec)
    released, charged = chooser.state.coef, charged_mu(load_spec(spec).spec.policy)
    for number in range(1, 6):
        chooser.choose(released)
        chooser.unlearn(chooser.gone)
        done = release(spec)
        assert done.result.verdict is Verdict.PASS
        bounds, part = done.result.report.bounds, done.result.report.release
        assert bounds is not None
        assert part is not None
        # two Newton steps a round, from the state of the round before: what earlier rounds left over is measured too
        assert 0 < chooser.truth() <= bounds.distance < 1.2 * chooser.truth()
        assert part.total_mu == pytest.approx(charged * number**0.5)
        assert done.weights is not None
        released = load_weights(done.weights)[0].coef
    with Ledger.open(spec.parent / "certify-ledger.sqlite", spec.parent / "certify-ledger.key") as ledger:
        totals = [ledger.totals()[ledger.pseudonym(f"person-{row}")] for row in chooser.gone]
    assert totals == pytest.approx([charged * (5 - index // 8) ** 0.5 for index in range(40)])


def test_control_an_unlearner_that_ignores_the_later_requests_fails(tmp_path: Path) -> None:
    spec = project.make(tmp_path / "p")
    chooser = Chooser(spec)
    chooser.choose(chooser.state.coef)
    first = list(chooser.gone)
    chooser.unlearn(first)
    assert release(spec).result.verdict is Verdict.PASS
    chooser.choose(chooser.state.coef)
    chooser.unlearn(first)
    done = release(spec)
    assert done.result.verdict is Verdict.FAIL
    assert done.weights is None
