"""Three outcomes: a violation shown, its absence shown, or too little seen, and then how much more would settle it.

A test that is "not significant" says nothing of a leak it could not have seen. FAIL needs the whole interval beyond a limit, PASS
needs it within; anything else is INCONCLUSIVE. Both errors are at most (1 - confidence)/2 where the interval leaves out as
much on each side; an interval that is proven makes the decision proven, and a plan, however rough, changes nothing about it.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from certify.attacks.estimates import Estimate
from certify.attacks.statistics.betting import as_level, as_values, log_slack, log_wealth, mean_interval
from certify.core.arguments import as_number, shown
from certify.core.arrays import AnyArray, FloatArray
from certify.core.errors import ArgumentError
from certify.core.rounding import format_plain
from certify.core.streams import stream
from certify.core.verdict import Verdict

_MOST = 1 << 15  # units that a plan looks at before it says "more than"
_DRAWS = 200


@dataclass(frozen=True)
class Decision:
    """What an estimate says of limits.

    Attributes:
        verdict: FAIL, PASS or INCONCLUSIVE.
        estimate: the quantity, with its interval.
        low: smallest value allowed (forgetting too much, where the quantity shows it); minus infinity for none.
        high: largest value allowed.
        detectable: the smallest value above ``high`` that as many units would have called FAIL, with the power planned for;
            infinite where none would be.
        needed: units that would settle it with that power, were the estimate the truth; 0 where it is settled, None where no
            number looked at would do (the estimate lies at a limit).
        power: planned for.
    """

    verdict: Verdict
    estimate: Estimate
    low: float
    high: float
    detectable: float
    needed: int | None
    power: float

    def __str__(self) -> str:
        found = self.estimate
        what = f"{_plain(found.value)} [{_plain(found.lower)}, {_plain(found.upper)}] over {found.units}"
        limits = (
            f"at most {_plain(self.high)}" if self.low == -math.inf else f"{_plain(self.low)} to {_plain(self.high)}"
        )
        if self.verdict is Verdict.FAIL:
            return f"{what}: beyond {limits}"
        seen = (
            f"would have seen {_plain(self.detectable)}"
            if math.isfinite(self.detectable)
            else "would have seen nothing"
        )
        seen += f" with probability {_plain(self.power)}"
        if self.verdict is Verdict.PASS:
            return f"{what}: within {limits}; {seen}"
        more = f"{self.needed} would settle it" if self.needed is not None else "no number looked at would settle it"
        return f"{what}: cannot be told from {limits}; {seen}; {more}"


def _plain(value: float) -> str:
    return format_plain(value, 3)


def as_limits(low: object, high: object) -> tuple[float, float]:
    """Limits, the first below the second.

    Raises:
        ArgumentError: they leave nothing between.
    """
    first, second = as_number(low, "low"), as_number(high, "high")
    if not first < second:
        raise ArgumentError(
            f"{shown(first)} is not below {shown(second)}", where="low", mend="leave room between the limits"
        )
    return first, second


def judge(lower: float, upper: float, low: float, high: float) -> Verdict:
    """FAIL where the interval lies beyond a limit, PASS where it lies within both, else INCONCLUSIVE; NaN decides nothing."""
    if lower > high or upper < low:
        return Verdict.FAIL
    return Verdict.PASS if low <= lower and upper <= high else Verdict.INCONCLUSIVE


def decide(estimate: Estimate, high: float, low: float = -math.inf, power: float = 0.8) -> Decision:
    """The verdict on any interval; the plan takes its half-widths to shrink with the square root of the units.

    The plan, with h the half-width on the side concerned (the larger one where the lower end is 0 or below, since a rate's is cut off there), z the normal quantile of the interval's confidence and z' that of the
    power: a leak of ``high + h (1 + z'/z)`` would have been seen; ``units (h (1 + z'/z)/distance)^2`` units would settle it,
    distance the estimate's from the nearest limit. :func:`decide_mean` plans without the approximation.

    Args:
        estimate: the quantity.
        high: largest value allowed.
        low: smallest value allowed.
        power: chance of a decision that the plan aims at.
    """
    low, high = as_limits(low, high)
    chance, level = as_level(power, "power"), as_level(estimate.confidence)
    verdict = judge(estimate.lower, estimate.upper, low, high)
    reach = 1 + max(0.0, float(ndtri(chance))) / float(ndtri((1 + level) / 2))
    below, above = estimate.value - estimate.lower, estimate.upper - estimate.value
    # a lower end that stands at 0 is cut off there: how far a leak would spread is then told by the other end at best
    spread = below if estimate.lower > 0 else max(below, above)
    detectable = high + spread * reach
    needed: int | None = 0
    if verdict is Verdict.INCONCLUSIVE:
        needed = _scaled(estimate, low, high, below * reach, above * reach)
    return Decision(verdict, estimate, low, high, math.inf if math.isnan(detectable) else detectable, needed, chance)


def _scaled(estimate: Estimate, low: float, high: float, below: float, above: float) -> int | None:
    value = estimate.value
    if value > high:
        ratios = [below / (value - high)]
    elif value < low:
        ratios = [above / (low - value)]
    else:
        ratios = [
            width / room if room > 0 else math.inf for width, room in ((above, high - value), (below, value - low))
        ]
    worst = max(ratios)
    if not math.isfinite(worst):
        return None
    found = math.ceil(estimate.units * max(1.0, worst) ** 2)
    return max(found, estimate.units + 1) if found <= 1e9 else None


def decide_mean(
    values: AnyArray,
    high: float,
    low: float = -math.inf,
    confidence: float = 0.95,
    power: float = 0.8,
    seed: int = 0,
) -> Decision:
    """The verdict on the mean of independent values in [0, 1] by betting; the plan by drawing such values again.

    How many units would settle it is found by drawing that many from the values, with replacement, and looking how often the
    interval decides. What could have been seen is found by adding to the values (cut off at 1) and drawing as many as there are.

    Args:
        values: (n,) one number a model.
        high: largest mean allowed.
        low: smallest mean allowed.
        confidence: of the interval, two-sided.
        power: chance of a decision that the plan aims at.
        seed: of the draws.
    """
    low, high = as_limits(low, high)
    found, chance = as_values(values), as_level(power, "power")
    estimate = mean_interval(found, confidence)
    verdict = judge(estimate.lower, estimate.upper, low, high)
    plan = _Plan(found, low, high, confidence, chance, seed)
    needed = plan.units() if verdict is Verdict.INCONCLUSIVE else 0
    return Decision(verdict, estimate, low, high, plan.detectable(), needed, chance)


@dataclass(frozen=True, eq=False)
class _Plan:
    values: FloatArray
    low: float
    high: float
    confidence: float
    power: float
    seed: int

    def _excluded(self, sample: FloatArray, limit: float) -> int:
        """-1 where a sample's interval lies below the limit, 1 above, 0 where it contains it."""
        if not 0 <= limit <= 1:
            return 1 if limit < 0 else -1
        with np.errstate(divide="ignore", invalid="ignore"):
            up = log_wealth(sample / limit) if limit > 0 else (math.inf if sample.any() else 0.0)
            down = log_wealth((1 - sample) / (1 - limit)) if limit < 1 else (0.0 if (sample == 1).all() else math.inf)
        target = -math.log1p(-self.confidence) + log_slack(sample.size) + math.log(2)
        if np.logaddexp(up, down) < target:
            return 0
        return 1 if sample.mean() > limit else -1

    def _decided(self, values: FloatArray, n: int, *, fail_alone: bool) -> float:
        generator, decided = stream(self.seed, f"plan {n}"), 0
        for _ in range(_DRAWS):
            sample = generator.choice(values, n)
            over = self._excluded(sample, self.high)
            if fail_alone:
                decided += over > 0
            else:
                under = self._excluded(sample, self.low)
                decided += over > 0 or under < 0 or (over < 0 and under > 0)
        return decided / _DRAWS

    def units(self) -> int | None:
        """Units that settle it with the power asked for, to about a tenth."""
        n = self.values.size
        while self._decided(self.values, n, fail_alone=False) < self.power:
            n *= 2
            if n > _MOST:
                return None
        low, high = max(self.values.size, n // 2), n
        while high - low > max(1, low // 10):
            middle = (low + high) // 2
            low, high = (
                (low, middle) if self._decided(self.values, middle, fail_alone=False) >= self.power else (middle, high)
            )
        return max(high, self.values.size + 1)

    def detectable(self) -> float:
        """The mean at which as many units would have failed with the power asked for."""
        if self.high >= 1:
            return math.inf
        low, high = self.high - float(self.values.mean()), 1.0

        def seen(shift: float) -> bool:
            return self._decided(np.clip(self.values + shift, 0, 1), self.values.size, fail_alone=True) >= self.power

        if not seen(high):
            return math.inf
        for _ in range(12):
            middle = (low + high) / 2
            low, high = (low, middle) if seen(middle) else (middle, high)
        return float(np.clip(self.values + high, 0, 1).mean())
