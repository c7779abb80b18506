"""Mistakes that public code makes in judging unlearning, each rebuilt in miniature: for the page of benchmarks/broken_metrics.py alone.

Nothing here is used by the library. What is right stands in certify.attacks.
"""

import numpy as np
from scipy import stats


def klom_without_its_right_edge(unlearned: np.ndarray, retrained: np.ndarray, bins: int = 20) -> np.ndarray:
    """KLoM of each record, (N,): bins by ``digitize``, so that the largest margin of each record is in no bin; no null."""
    found = []
    for one, two in zip(unlearned.T, retrained.T, strict=True):
        edges = np.linspace(min(one.min(), two.min()), max(one.max(), two.max()), bins + 1)
        counts = [np.bincount(np.digitize(side, edges), minlength=bins + 2)[1 : bins + 1] for side in (one, two)]
        p, q = (count / count.sum() for count in counts)
        kept = p > 0
        found.append(np.sum(p[kept] * np.log(p[kept] / np.maximum(q[kept], 1e-5))))
    return np.array(found)


def modified_entropy_by_columns(p: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Modified entropy, (n,): every label that occurs marks its column in *all* rows, and log p stands where log(1 - p) belongs."""
    occurs = np.isin(np.arange(p.shape[1]), labels)
    chance = np.where(occurs, 1 - p, p)
    return -(chance * np.log(np.maximum(p, 1e-30))).sum(axis=1)


def auc(members: np.ndarray, others: np.ndarray) -> float:
    """Share of pairs in which the member has the larger score; ties count half."""
    ranks = stats.rankdata(np.concatenate([members, others]))
    size = len(members)
    return float((ranks[:size].sum() - size * (size + 1) / 2) / (size * len(others)))


def forgotten_against_retained_gate(forget: np.ndarray, retain: np.ndarray) -> bool:
    """Passes where the AUC of forgotten ("members") against retained records ("non-members") is in 0.4 to 0.6."""
    return 0.4 <= auc(forget, retain) <= 0.6


def best_threshold_alarm(trained: np.ndarray, alpha: float) -> bool:
    """One run: records in the order of their scores, (m,), true where trained on; the threshold that guesses best, tested as if given."""
    right = (~trained).sum() + np.concatenate([[0], np.cumsum(np.where(trained, 1, -1))])
    return bool(stats.binom.sf(right.max() - 1, len(trained), 0.5) <= alpha)


def best_grid_alarm(trained: np.ndarray, alpha: float, step: int = 20) -> bool:
    """One run: guesses for the k+ largest and the k- smallest scores, the pair of numbers (a grid) with the smallest p-value."""
    size = len(trained)
    places = np.arange(0, size + 1, step)
    top = np.concatenate([[0], np.cumsum(trained)])[places]
    bottom = np.concatenate([[0], np.cumsum(~trained[::-1])])[places]
    guesses = places[:, None] + places[None, :]
    fits = (guesses > 0) & (guesses <= size)
    return bool(stats.binom.sf((top[:, None] + bottom[None, :])[fits] - 1, guesses[fits], 0.5).min() <= alpha)


def best_clopper_pearson_alarm(world: np.ndarray, alpha: float) -> bool:
    """Two worlds of n scores in one order, (2n,): an exact limit at level alpha for each rate, at the threshold that pays best."""
    n = len(world) // 2
    counts = np.arange(n + 1)
    lower = np.where(counts > 0, stats.beta.ppf(alpha, np.maximum(counts, 1), n - counts + 1), 0.0)
    upper = np.where(counts < n, stats.beta.ppf(1 - alpha, counts + 1, np.maximum(n - counts, 1)), 1.0)
    hits, alarms = np.cumsum(world), np.cumsum(~world)
    return bool(np.any(lower[hits] > upper[alarms]) or np.any(lower[n - alarms] > upper[n - hits]))


def best_katz_alarm(world: np.ndarray, alpha: float) -> bool:
    """The same with the normal interval of the logarithm of a ratio (Katz), over thresholds and directions."""
    n, quantile = len(world) // 2, stats.norm.isf(alpha)
    hits, alarms = np.cumsum(world), np.cumsum(~world)

    def pays(one: np.ndarray, two: np.ndarray) -> bool:
        kept = (one > 0) & (two > 0) & ((one < n) | (two < n))
        x, y = one[kept], two[kept]
        return bool(np.any(np.log(x / y) > quantile * np.sqrt(1 / x - 1 / n + 1 / y - 1 / n)))

    return any(
        pays(one, two) for one, two in ((hits, alarms), (alarms, hits), (n - hits, n - alarms), (n - alarms, n - hits))
    )
