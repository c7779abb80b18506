"""Whether the measures measure (15): known values, SciPy's values, and the value where nothing is to be found."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from certify.core import metrics
from certify.core.arrays import FloatArray
from certify.core.streams import stream
from certify.unlearners.conformance.findings import Finding, fails, passes
from certify.unlearners.conformance.trials import Trials

_CLOSE = 1e-9


@dataclass(frozen=True)
class Measures:
    """The measures of a toolkit; those of :mod:`certify.core.metrics` unless others are given to be checked.

    Attributes:
        js_divergence: rows of probabilities (n, C) twice to (n,), in nats.
        modified_entropy: probabilities (n, C) and classes (n,) to (n,).
        binned_divergence: two samples of margins to a number.
    """

    js_divergence: Callable[..., Any] = metrics.js_divergence
    modified_entropy: Callable[..., Any] = metrics.modified_entropy
    binned_divergence: Callable[..., Any] = metrics.binned_divergence


def measures(trials: Trials) -> Finding:
    """15. The measures by which results are compared pass their own tests, on fixed cases and on the method's own predictions."""
    pairs = [_cases()]
    for bed in trials.beds("network"):
        from certify.unlearners.conformance.network_beds import NetworkBed

        assert isinstance(bed, NetworkBed)
        pairs.append((bed.outputs(None), bed.outputs(trials.run(bed))))
    return check_measures(Measures(), pairs)


def check_measures(given: Measures, pairs: list[tuple[FloatArray, FloatArray]] | None = None) -> Finding:
    """Hold measures to SciPy, to the definition, and to the value between two samples of one distribution."""
    for p, q in pairs or [_cases()]:
        trouble = _js(given, p, q) or _entropy(given, p) or _size(given, p, q)
        if trouble:
            return fails(trouble)
    trouble = _binned(given)
    return fails(trouble) if trouble else passes("the measures equal SciPy's, and have the right null")


def _js(given: Measures, p: FloatArray, q: FloatArray) -> str:
    from scipy.spatial.distance import jensenshannon

    found = np.asarray(given.js_divergence(p, q))
    if found.shape != (len(p),) or not np.all((found >= 0) & (found <= np.log(2) + 1e-12)):
        return "the Jensen-Shannon divergence leaves [0, log 2]"
    with np.errstate(invalid="ignore"):  # SciPy takes the root of a sum that rounding can make negative
        theirs = np.nan_to_num(jensenshannon(p, q, axis=1)) ** 2
    if not np.allclose(found, theirs, atol=_CLOSE):
        return "the Jensen-Shannon divergence is not SciPy's"
    return "" if np.allclose(found, given.js_divergence(q, p), atol=_CLOSE) else "the divergence is not symmetric"


def _size(given: Measures, p: FloatArray, q: FloatArray) -> str:
    """The mean over records repeated ten times is the mean."""
    once, often = (float(np.mean(given.js_divergence(np.tile(p, (k, 1)), np.tile(q, (k, 1))))) for k in (1, 10))
    return "" if abs(once - often) <= _CLOSE else "the divergence depends on the number of records"


def _entropy(given: Measures, p: FloatArray) -> str:
    labels = np.arange(len(p)) % p.shape[1]
    found = np.asarray(given.modified_entropy(p, labels))
    with np.errstate(divide="ignore", invalid="ignore"):
        for row, label, value in zip(p, labels, found, strict=True):
            terms = [
                -(1 - x) * np.log(x) if j == label and x < 1 else -x * np.log1p(-x) if j != label and x > 0 else 0.0
                for j, x in enumerate(row)
            ]
            if not (value == sum(terms) or abs(value - sum(terms)) <= 1e-6 * max(1.0, abs(value))):
                return "the modified entropy is not the sum of its definition"
    return ""


def _binned(given: Measures) -> str:
    """Every sample counts, the largest too; nothing is found between equal samples, and more with fewer of them."""
    rng = stream(0, "conformance/margins")
    sample = rng.normal(size=200)
    if abs(given.binned_divergence(sample, sample)) > _CLOSE:
        return "the binned divergence of a sample from itself is not 0"
    low, high = np.zeros(9), np.ones(9)
    if not given.binned_divergence(np.append(low, high), np.append(low, low)) > 0.1:
        return "the binned divergence drops the largest samples"
    null, apart = (
        float(np.mean([given.binned_divergence(rng.normal(size=100), rng.normal(shift, size=100)) for _ in range(20)]))
        for shift in (0.0, 2.0)
    )
    return "" if 0 <= null < 0.5 * apart else f"the binned divergence is {null:.2g} where nothing is to be found"


def _cases() -> tuple[FloatArray, FloatArray]:
    """Rows with zeros, equal rows, disjoint rows, and ten classes drawn at random."""
    rng = stream(0, "conformance/probabilities")
    p, q = rng.dirichlet(np.full(10, 0.3), size=(2, 40))
    p[0], q[0] = np.eye(10)[0], np.eye(10)[1]
    p[1] = q[1]
    return p, q
