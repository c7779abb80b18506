"""Fleets of perceptrons (64-32-10) on 800 digits with wrong labels, for the pages of figures: worlds that all methods share are made once."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from certify import unlearners
from certify.attacks.audits.doing_nothing import without_empty_passes
from certify.attacks.audits.findings import Finding
from certify.attacks.audits.fleet import FleetAudit, audit_fleet
from certify.attacks.audits.judge import rate_limit, settled
from certify.attacks.audits.membership import Levels
from certify.attacks.fleets.blocks import Block, prepare
from certify.attacks.fleets.fleet import FleetPlan, FleetTask, run_fleet
from certify.attacks.fleets.ordinary import undisturbed
from certify.attacks.observations import Cell, Observations
from certify.core.streams import stream
from certify.core.verdict import Verdict
from certify.gate.audits.method import Method
from certify.models.networks import Recipe, State
from certify.unlearners import NetworkTask, Unlearner

RECORDS, WRONG = 800, 0.1
OUT, FORGET = 0.5, 0.15
RECIPE = Recipe("adam", lr=1e-2, epochs=60, batch_size=64)
EPSILON, DELTA, ALPHA, FPR = 1.0, 1e-5, 0.05, 0.01
GAMES = ("retrain", "privacy")
METHODS: dict[str, dict[str, object]] = {
    "retrain": {},
    "fine-tune": {"lr": 0.05, "epochs": 10, "batch_size": 64},
    "random-labels": {"lr": 0.05, "epochs": 10, "batch_size": 64},
    "random-labels, without momentum": {"lr": 0.05, "epochs": 10, "batch_size": 64, "momentum": 0.0},
    "neggrad-plus": {"lr": 0.02, "epochs": 10, "batch_size": 64, "alpha": 0.95},
    "gradient-ascent": {"lr": 0.01, "epochs": 5, "batch_size": 64},
    "scrub": {"lr": 0.05, "epochs": 10, "batch_size": 64},
    "identity": {},
}
"""With settings at which each keeps its accuracy on unseen records within a few points of retraining's (the table shows it).

After a comma: the same method with other settings.
"""


def perceptron() -> nn.Module:
    """64-32-10."""
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


@dataclass(frozen=True, eq=False)
class Digits:
    """Records.

    Attributes:
        X: (N, 64).
        y: labels, some of them wrong, (N,).
        wrong: which, (N,).
    """

    X: np.ndarray
    y: np.ndarray
    wrong: np.ndarray

    @classmethod
    def some(cls, records: int = RECORDS, seed: int = 0) -> "Digits":
        """The first of them in an order drawn by chance."""
        X, y = load_digits(return_X_y=True)
        generator = stream(seed, "digits-audit")
        chosen = generator.permutation(len(X))[:records]
        wrong = generator.random(records) < WRONG
        labels = np.where(wrong, (y[chosen] + generator.integers(1, 10, records)) % 10, y[chosen])
        return cls((X[chosen] / 16).astype(np.float32), labels.astype(np.int64), wrong)

    @property
    def fleet(self) -> FleetTask:
        """For shadow models."""
        return FleetTask(perceptron, self.X, self.y, identity="digits-audit")

    @property
    def task(self) -> NetworkTask:
        """For unlearners."""
        return NetworkTask(perceptron(), self.X, self.y, recipe=RECIPE, architecture=perceptron)


def coins(models: int, records: int, seed: int = 0, out: float = OUT, forget: float = FORGET) -> np.ndarray:
    """Cells drawn one by one, (K, N): given that a record is not retained, "forgotten" is a coin of chance forget / (out + forget)."""
    u = stream(seed, "digits-audit/cells").random((models, records))
    return np.where(u < out, int(Cell.OUT), np.where(u < out + forget, int(Cell.FORGET), int(Cell.RETAIN)))


@dataclass(eq=False)
class _Keep:
    """An unlearner that does nothing and keeps what it was given."""

    blocks: list[Block] = field(default_factory=list)

    def __call__(self, block: Block) -> State:
        self.blocks.append(block)
        return block.originals

    identity = "keep"


@dataclass(eq=False)
class Worlds:
    """Original and retrained models, observed once; and the originals themselves, to be unlearned by one method after the other.

    Attributes:
        digits: the records.
        plan: how models were trained.
        seen: the worlds that do not depend on the method.
        blocks: originals with their requests.
    """

    digits: Digits
    plan: FleetPlan
    seen: Observations
    blocks: list[Block]

    @classmethod
    def of(
        cls, digits: Digits, models: int, seed: int = 0, recipe: Recipe = RECIPE, assignment: np.ndarray | None = None
    ) -> "Worlds":
        """Train them."""
        signals = ("phi", "entropy", "correct")
        plan = FleetPlan(recipe, seed=seed, signals=signals, backend="vmap", block=models)
        keep = _Keep()
        cells = coins(models, len(digits.X), seed) if assignment is None else assignment
        seen = run_fleet(digits.fleet, plan, cells, keep)
        return cls(digits, plan, seen, keep.blocks)

    def after(self, unlearner: Unlearner) -> Observations:
        """The worlds with models that this method has unlearned: what :func:`run_fleet` with the method gives, bit for bit."""
        method, parts = Method(unlearner, replace(self.digits.task, recipe=self.plan.recipe)), []
        for block in self.blocks:
            with undisturbed(block.device, "float32", deterministic=False):
                trainer, _ = prepare(block.task, block.plan, block.device)
                state, names = method(block), [str(model) for model in block.models]
                parts.append(trainer.look(state, block.plan.signals, "vmap", names, torch.float32))
        unlearned = {name: np.concatenate([part[name].numpy() for part in parts]) for name in self.plan.signals}
        return Observations(self.seen.assignment, {**self.seen.worlds, "unlearned": unlearned}, self.seen.ids)

    def methods(self, chosen: dict[str, dict[str, object]]) -> Iterator[tuple[str, Observations]]:
        """Each method's observations, one after the other."""
        for name, knobs in chosen.items():
            yield name, self.after(unlearners.get(name.partition(",")[0])(**knobs))


@dataclass(frozen=True, eq=False)
class Gate:
    """What the gate said.

    Attributes:
        audit: all it found.
        findings: settled.
        verdict: of all findings that decide.
        refused: controls that misbehaved.
    """

    audit: FleetAudit
    findings: list[Finding]
    verdict: Verdict
    refused: list[str]

    @property
    def failed_by(self) -> list[str]:
        """Ids of findings that fail."""
        return [one.id for one in self.findings if one.verdict is Verdict.FAIL]


def gate(observations: Observations, attacks: tuple[str, ...], seed: int = 0) -> Gate:
    """The gate's decision at epsilon 1, delta 1e-5, confidence 95 %, TPR limited at a false-positive rate of 1 %."""
    findings = len(attacks) * (2 * len(GAMES) + 2)
    levels = Levels(FPR, 1 - ALPHA, 1 - ALPHA / findings, DELTA)
    rates = {game: rate_limit(game, FPR, EPSILON, DELTA) for game in GAMES}
    audit = audit_fleet(observations, attacks, GAMES, levels, rates=rates, epsilon=EPSILON, seed=seed)
    audit = without_empty_passes(audit, observations, levels, rates)
    found = settled(audit.findings, ALPHA)
    verdicts = [one.verdict for one in found if one.verdict is not None]
    worst = (
        Verdict.FAIL
        if Verdict.FAIL in verdicts
        else Verdict.PASS
        if verdicts and all(one is Verdict.PASS for one in verdicts)
        else Verdict.INCONCLUSIVE
    )
    return Gate(audit, found, worst, [one.id for one in audit.controls if not one.ok])
