"""Composition of Gaussian releases."""

import math
from collections.abc import Iterable

from certify.core.rounding import up


def total_mu(values: Iterable[float]) -> float:
    """Upper bound on the mu of several releases together: ``sqrt(sum mu_t^2)``, rounded up.

    Holds also when each release is chosen after seeing the earlier ones (a filter: Smith, Thakurta 2022).

    >>> total_mu([3.0, 4.0]) >= 5.0
    True
    """
    charged = list(values)
    if any(not value >= 0 for value in charged):
        raise ValueError("every mu must be at least 0")
    return up(math.hypot(*charged) * (1 + 2.0**-50)) if charged else 0.0
