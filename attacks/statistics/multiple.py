"""Many tests at once: Holm for a gate, Benjamini-Hochberg for a ranking, and e-values, which average."""

import numpy as np
from scipy.special import logsumexp
from scipy.stats import false_discovery_control

from certify.attacks.statistics.betting import as_level
from certify.core.arrays import AnyArray, FloatArray
from certify.core.errors import InputError


def as_p_values(values: AnyArray) -> FloatArray:
    """(n,) p-values.

    Raises:
        InputError: none, or outside [0, 1].
    """
    found = np.asarray(values, dtype=float)
    if found.ndim != 1 or not found.size or not ((found >= 0) & (found <= 1)).all():
        raise InputError("are not one axis of numbers in [0, 1]", where="p-values", mend="give one p-value a test")
    return found


def as_log_e(values: AnyArray) -> FloatArray:
    """(n,) logs of e-values; minus infinity is one that lost everything.

    Raises:
        InputError: none, or not a number, or plus infinity.
    """
    found = np.asarray(values, dtype=float)
    if found.ndim != 1 or not found.size or np.isnan(found).any() or (found == np.inf).any():
        raise InputError("are not one axis of numbers", where="e-values", mend="give the log of one e-value a test")
    return found


def holm(p_values: AnyArray) -> FloatArray:
    """Adjusted p-values (n,): those at most alpha are rejected, any false one with probability at most alpha, however dependent.

    For the gate: a single false alarm stops a release.

    >>> [round(float(p), 4) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    found = as_p_values(p_values)
    order = np.argsort(found, kind="stable")
    # written out: statsmodels' (a test compares the two) takes a sixth of a second a call and seconds to import
    steps = np.maximum.accumulate(found[order] * np.arange(found.size, 0, -1))
    adjusted = np.empty(found.size)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def benjamini_hochberg(p_values: AnyArray) -> FloatArray:
    """Adjusted p-values (n,): of those at most q, a share of at most q is expected to be false; independent or positively dependent tests.

    For rankings of records, never for a verdict. Where records share models in ways nobody knows, :func:`e_benjamini_hochberg`.
    """
    return np.asarray(false_discovery_control(as_p_values(p_values), method="bh"))


def average_e(log_e: AnyArray) -> float:
    """Log of the average of e-values: an e-value again, however dependent they are.

    Combines attacks on one question: the gate refutes where it reaches ``log(1/alpha)``, and no correction for their number is due.

    >>> round(average_e(np.log([40.0, 0.5, 0.5])), 4) == round(float(np.log(41 / 3)), 4)
    True
    """
    found = as_log_e(log_e)
    return float(logsumexp(found) - np.log(found.size))


def e_benjamini_hochberg(log_e: AnyArray, q: float = 0.05) -> AnyArray:
    """Which tests are rejected, (n,) booleans, with a false discovery rate of at most q under any dependence (Wang and Ramdas 2022).

    Rejected are the k largest e-values, k the largest number with ``k e_(k) >= n/q``.
    """
    found, level = as_log_e(log_e), as_level(q, "q")
    order = np.argsort(-found, kind="stable")
    enough = found[order] + np.log(np.arange(1, found.size + 1)) >= np.log(found.size / level)
    rejected = np.zeros(found.size, dtype=bool)
    if enough.any():
        rejected[order[: np.flatnonzero(enough)[-1] + 1]] = True
    return rejected


def p_of_log_e(log_e: float) -> float:
    """The p-value ``min(1, 1/e)`` of an e-value: valid by Markov's inequality."""
    return float(np.exp(min(0.0, -float(as_log_e(np.array([log_e]))[0]))))


def log_e_of_p(p_value: float, kappa: float = 0.5) -> float:
    """Log of the e-value ``kappa p^(kappa - 1)`` of a p-value: its integral over [0, 1] is one (Vovk and Wang 2021)."""
    p, k = float(as_p_values(np.array([p_value]))[0]), as_level(kappa, "kappa")
    return float(np.log(k) + (k - 1) * np.log(max(p, 5e-324)))
