"""The self-test of exp and its relatives: passes here, agrees with mpmath, and notices a worse library."""

from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest

from certify import Objective, bound_distance
from certify.convex import selftest
from certify.convex.losses.base import FUNCTION_ERROR, UNIT
from certify.core.errors import AssumptionViolatedError


@pytest.fixture
def afresh() -> Any:
    selftest.function_error.cache_clear()
    yield
    selftest.function_error.cache_clear()


def test_this_machine_passes_and_errs_at_all(afresh: None) -> None:
    assert 0.5 <= selftest.function_error() <= FUNCTION_ERROR / UNIT / 2


@pytest.mark.parametrize("entry", selftest._FUNCTIONS, ids=lambda entry: entry[0])
def test_the_reference_is_right_to_forty_digits(oracle: Any, entry: Any) -> None:
    name, _, exact, limit = entry
    mp = oracle.mp
    known = {"expit": lambda x: 1 / (1 + mp.exp(-x)), "hypot": lambda x: mp.sqrt(1 + x * x)}.get(name) or getattr(
        mp, name
    )
    with localcontext(selftest._DIGITS):
        for x in selftest._arguments()[::7].tolist():
            if abs(x) < limit and (x > -1 or name != "log1p"):
                found = mp.mpf(str(exact(Decimal(x))))
                assert abs(found / known(mp.mpf(x)) - 1) < mp.mpf(10) ** -30, x


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize("error", [9 * UNIT, 1e-3, np.inf, np.nan])
def test_a_worse_function_is_refused_by_name(
    afresh: None, monkeypatch: pytest.MonkeyPatch, place: int, error: float
) -> None:
    name, computed, exact, limit = selftest._FUNCTIONS[place]

    def worse(x: np.ndarray) -> np.ndarray:
        values = computed(x)
        values[len(values) // 2] *= 1 + error
        return values

    functions = list(selftest._FUNCTIONS)
    functions[place] = (name, worse, exact, limit)
    monkeypatch.setattr(selftest, "_FUNCTIONS", tuple(functions))
    with pytest.raises(AssumptionViolatedError, match=f"{name} is wrong by"):
        bound_distance(Objective("logistic", 1.0), [[1.0]], [1.0], [0.0])


def test_a_slip_in_a_vector_kernel_alone_is_noticed(afresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    name, computed, exact, limit = selftest._FUNCTIONS[0]

    def worse(x: np.ndarray) -> np.ndarray:
        values = computed(x)
        return values if len(values) == 1 or not x.flags.c_contiguous else values * (1 + 20 * UNIT)

    monkeypatch.setattr(selftest, "_FUNCTIONS", ((name, worse, exact, limit),))
    with pytest.raises(AssumptionViolatedError, match="exp is wrong by"):
        selftest.function_error()
