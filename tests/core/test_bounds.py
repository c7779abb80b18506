"""Bounds keep their direction through arithmetic and text, and refuse to mix."""

import math
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify.core.bounds import LowerBound, UpperBound

finite = st.floats(-1e150, 1e150)
positive = st.floats(1e-150, 1e150)


@given(first=finite, second=finite)
def test_a_sum_of_upper_bounds_is_an_upper_bound(first: float, second: float) -> None:
    for total in (UpperBound(first) + UpperBound(second), UpperBound(first) + second, first + UpperBound(second)):
        assert type(total) is UpperBound
        assert Fraction(float(total)) >= Fraction(first) + Fraction(second)


@given(first=finite, second=finite)
def test_a_sum_of_lower_bounds_is_a_lower_bound(first: float, second: float) -> None:
    for total in (LowerBound(first) + LowerBound(second), LowerBound(first) + second, first + LowerBound(second)):
        assert type(total) is LowerBound
        assert Fraction(float(total)) <= Fraction(first) + Fraction(second)


@given(value=finite, factor=st.floats(0, 1e150))
def test_a_multiple_of_an_upper_bound_is_an_upper_bound(value: float, factor: float) -> None:
    for product in (UpperBound(value) * factor, factor * UpperBound(value)):
        assert type(product) is UpperBound
        assert Fraction(float(product)) >= Fraction(value) * Fraction(factor)


@given(value=finite, divisor=positive)
def test_a_part_of_an_upper_bound_is_an_upper_bound(value: float, divisor: float) -> None:
    found = UpperBound(value) / divisor
    assert type(found) is UpperBound
    assert math.isinf(found) or Fraction(float(found)) >= Fraction(value) / Fraction(divisor)


def test_sum_works_on_upper_bounds() -> None:
    total = sum([UpperBound(0.1)] * 10)
    assert type(total) is UpperBound
    assert Fraction(float(total)) >= 10 * Fraction(0.1)


def test_bounds_of_opposite_directions_do_not_mix() -> None:
    upper, lower = UpperBound(1.0), LowerBound(1.0)
    for mix in (
        lambda: upper + lower,
        lambda: lower + upper,
        lambda: upper * lower,
        lambda: upper / UpperBound(2.0),
    ):
        with pytest.raises(TypeError):
            mix()


def test_an_upper_bound_over_a_lower_bound_is_an_upper_bound() -> None:
    assert type(UpperBound(1.0) / LowerBound(3.0)) is UpperBound
    assert Fraction(float(UpperBound(1.0) / LowerBound(3.0))) >= Fraction(1, 3)


@pytest.mark.parametrize("factor", [-1.0, -1e-300, math.nan])
def test_a_negative_multiple_is_no_upper_bound(factor: float) -> None:
    with pytest.raises(ValueError, match="not an upper bound"):
        UpperBound(1.0) * factor


@pytest.mark.parametrize("divisor", [0.0, -1.0, math.nan])
def test_division_by_what_is_not_positive_is_no_upper_bound(divisor: float) -> None:
    with pytest.raises(ValueError, match="not an upper bound"):
        UpperBound(1.0) / divisor


@given(value=finite)
def test_text_is_rounded_in_the_direction_of_the_bound(value: float) -> None:
    assert Decimal(str(UpperBound(value))) >= Decimal(value) >= Decimal(str(LowerBound(value)))
    assert f"{UpperBound(value)}" == str(UpperBound(value))


def test_a_bound_is_a_float_that_shows_what_it_is() -> None:
    assert repr(UpperBound(0.1)) == "UpperBound(0.1)"
    assert repr(LowerBound(0.1)) == "LowerBound(0.1)"
    assert isinstance(UpperBound(1), float)
    assert UpperBound(0.5) == 0.5
    assert f"{UpperBound(0.5):.3f}" == "0.500"
    assert str(UpperBound(math.inf)) == "infinite"
