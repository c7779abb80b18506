"""Stopping before the last shadow model: pairs of unlearned and retrained models as they come, valid however often one looks."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from certify.attacks.audits.findings import Finding
from certify.attacks.audits.fleet import FleetAudit, audit_fleet
from certify.attacks.audits.judge import settled
from certify.attacks.audits.membership import LEAST_MODELS, Levels
from certify.attacks.audits.playing import plays, score_of
from certify.attacks.observations import Observations
from certify.attacks.registry import ATTACKS
from certify.attacks.scores.games import GAMES
from certify.attacks.statistics.sequential import pair_wealth
from certify.core.arrays import FloatArray
from certify.core.verdict import Verdict
from certify.gate.audits.plan import Plan


@dataclass(eq=False)
class Early:
    """A fleet looked at after each block.

    Each new model and its retrained twin are scored by the models of earlier blocks alone, so that under perfect unlearning the two
    could be exchanged whatever was seen before; the bets on their difference are a martingale, and one over its largest value is a p-value
    at any time (Ville). The look may then stop: where a limit is exceeded by this p-value, whatever the audit's other findings will be, and all
    controls are in order, more models only cost.

    Attributes:
        plan: attacks, games, limits; :func:`watched` says which attack is played pair by pair.
        levels: of the audit.
        seed: of permutations.
        name: of the kind of forget sets.
        games: that are played on this fleet; by default all of the plan.
        pairs: mean scores of the unlearned and the retrained models so far.
    """

    plan: Plan
    levels: Levels
    seed: int
    name: str = "all"
    games: tuple[str, ...] | None = None
    pairs: list[tuple[float, float]] = field(default_factory=list)

    @property
    def p_value(self) -> float:
        """Valid at any time, two-sided."""
        if not self.pairs:
            return 1.0
        both = np.array(self.pairs)
        return min(1.0, math.exp(-float(pair_wealth(both[:, 0], both[:, 1]).max())))

    def watch(self, blocks: Iterator[Observations]) -> tuple[Observations, FleetAudit | None]:
        """Take blocks until a limit is surely exceeded, or there are none left.

        Returns:
            What was observed, and the audit if it stopped early.
        """
        parts: list[Observations] = []
        for part in blocks:
            before = sum(one.models for one in parts)
            parts.append(part)
            seen = Observations.join(parts)
            if before:
                self._add(seen, before)
            if seen.models >= LEAST_MODELS and self.p_value <= self.plan.alpha:
                found = self.corrected(self.audit(seen))
                if self.settles(found):
                    return seen, found
        return Observations.join(parts), None

    def audit(self, seen: Observations) -> FleetAudit:
        """All attacks on what was seen."""
        plan = self.plan
        return audit_fleet(
            seen,
            plan.membership,
            plan.games if self.games is None else self.games,
            self.levels,
            rates=plan.rates,
            epsilon=plan.epsilon,
            slice_name=self.name,
            seed=self.seed,
        )

    def settles(self, found: FleetAudit) -> bool:
        """Whether more models would change nothing: something fails, and will whatever p-values are still to come."""
        own = sum(plays(attack, game) for attack in self.plan.membership for game in self.plan.games)
        kinds = [ATTACKS[name].kind for name in self.plan.request]
        others = own * (self.plan.slices - 1) + kinds.count("relearning") + self.plan.coins
        judged = settled(found.findings, self.plan.alpha, others=others, request="distance" in kinds)
        failed = any(one.verdict is Verdict.FAIL for one in judged)
        # a control that few models leave open would have the failure refused
        return failed and all(control.ok for control in found.controls)

    def corrected(self, found: FleetAudit) -> FleetAudit:
        """The audit with p-values that hold although one looked before: none is below the one that holds at any time."""
        least = self.p_value
        return replace(found, findings=tuple(_at_least(one, least) for one in found.findings))

    def _add(self, seen: Observations, before: int) -> None:
        """Scores of the newest block's models and their twins, by the earlier blocks alone."""
        new = np.arange(before, seen.models)
        name = watched(self.plan.membership)
        assert name is not None
        trials = score_of(name)(seen, GAMES["retrain"], new)
        positive = np.asarray(trials.positive).astype(bool)
        for model in new:
            mine = trials.models == model
            both = trials.scores[mine & positive], trials.scores[mine & ~positive]
            if all(len(side) for side in both):
                self.pairs.append((_robust(both[0]), _robust(both[1])))


def _robust(scores: FloatArray) -> float:
    """Mean of scores cut off at +-20: a log likelihood ratio beyond says no more, and one record must not drown the others."""
    return float(np.clip(scores, -20.0, 20.0).mean())


def _at_least(one: Finding, least: float) -> Finding:
    return one if one.p_value is None else replace(one, p_value=max(one.p_value, least))


def watched(names: Sequence[str]) -> str | None:
    """The attack that is played pair by pair: the first against retrained models that has shadow models, or else the first at all."""
    able = [name for name in names if plays(name, "retrain")]
    return next((name for name in able if ATTACKS[name].shadows), able[0] if able else None)
