"""Every mistake of public code that is rebuilt in :mod:`broken_methods` is found, by the checks that are named there."""

import itertools
import re

import numpy as np
import pytest
from broken_methods import MISTAKES, Sound

from certify.core import metrics
from certify.unlearners import conformance


@pytest.mark.parametrize("method", MISTAKES, ids=lambda kind: kind.name)
def test_a_mistake_is_found_by_the_checks_that_are_named(method):
    report = conformance.check(method, MISTAKES[method])
    assert report.failures == MISTAKES[method], str(report)


def test_a_sound_method_passes_every_check():
    report = conformance.check(Sound)
    assert report.passed, str(report)
    assert {finding.check for finding in report.findings if finding.outcome == "pass"} >= {
        *("no-op", "sign", "mask-integrity", "tombstones", "batch-size", "finite", "knob-liveness"),
        *("determinism", "isolation", "budget", "measures"),
    }


def test_every_check_but_the_measures_finds_some_mistake():
    found = {name for checks in MISTAKES.values() for name in checks}
    assert found == set(conformance.CHECKS) - {"measures"}


def unclipped(p, q):
    """KL to the mixture of log-probabilities with the mean over all entries: C times too small, infinite at 0."""
    p, q = np.asarray(p), np.asarray(q)
    with np.errstate(divide="ignore", invalid="ignore"):
        middle = 0.5 * (p + q)
        parts = 0.5 * (p * np.log(p / middle) + q * np.log(q / middle))
    return np.nan_to_num(parts).mean(axis=1)


def infinite(p, q):
    """``sum p log(p / q)`` both ways: no mixture, so infinite where a probability is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return 0.5 * np.sum(p * np.log(p / q) + q * np.log(q / p), axis=1)


def scaled(p, q):
    """Divided by the number of records once more."""
    return metrics.js_divergence(p, q) / len(np.asarray(p))


def wrong_columns(p, labels):
    """The labels' columns are taken for every record, and log p stands where log(1 - p) should."""
    p = np.clip(np.asarray(p), 1e-30, 1)
    out = np.log(p) * (1 - p)
    out[:, labels] = np.log(p[:, labels]) * (1 - p[:, labels])
    return -out.sum(axis=1)


def drops_the_maximum(left, right):
    """Bins open at the right end: the largest sample is in none of them."""
    both = np.concatenate([left, right])
    edges = np.linspace(both.min(), both.max(), 21)
    p, q = (np.array([((x >= a) & (x < b)).sum() + 0.5 for a, b in itertools.pairwise(edges)]) for x in (left, right))
    p, q = p / p.sum(), q / q.sum()
    return float(np.sum(p * np.log(p / q)))


def noisy(left, right):
    """A value that is as large where nothing is to be found."""
    return 1.0 + metrics.binned_divergence(left, right) * 1e-3 if len(left) != 200 else 0.0


@pytest.mark.parametrize(
    ("name", "broken", "trouble"),
    [
        ("js_divergence", unclipped, "is not SciPy's"),
        ("js_divergence", infinite, r"leaves \[0, log 2\]"),
        ("js_divergence", scaled, "is not SciPy's"),
        ("modified_entropy", wrong_columns, "is not the sum of its definition"),
        ("binned_divergence", drops_the_maximum, "drops the largest samples"),
        ("binned_divergence", noisy, "where nothing is to be found"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_broken_measure_is_found(name, broken, trouble):
    finding = conformance.check_measures(conformance.Measures(**{name: broken}))
    assert finding.outcome == "fail"
    assert re.search(trouble, finding.why)


def test_the_toolkits_measures_pass():
    assert conformance.check_measures(conformance.Measures()).outcome == "pass"
