"""What is printed about a bound is never better than the bound."""

import math
import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify.core.rounding import down, format_lower, format_plain, format_upper, up

finite = st.floats(allow_nan=False, allow_infinity=False)
digits = st.integers(1, 12)

# plain decimals between 1e-4 and 1e6, else a mantissa and a bare exponent; no trailing zeros, no "-0", no "1E+6"
SHAPE = re.compile(r"-?(0|[1-9]\d*)(\.\d*[1-9])?(e-?[1-9]\d*)?")


@given(value=finite, count=digits)
def test_upper_text_is_never_below_the_value(value: float, count: int) -> None:
    assert Decimal(format_upper(value, count)) >= Decimal(value)


@given(value=finite, count=digits)
def test_lower_text_is_never_above_the_value(value: float, count: int) -> None:
    assert Decimal(format_lower(value, count)) <= Decimal(value)


@given(value=finite, count=digits)
def test_text_is_within_one_unit_of_the_last_digit(value: float, count: int) -> None:
    unit = Decimal(1).scaleb(Decimal(value).adjusted() - count + 1)
    written = Decimal(repr(value))  # what a given number looks like: 5e-324 is not its binary expansion
    for text, exact in (
        (format_upper(value, count), Decimal(value)),
        (format_lower(value, count), Decimal(value)),
        (format_plain(value, count), written),
    ):
        assert abs(Decimal(text) - exact) <= unit


@given(value=finite, count=digits)
def test_text_has_one_shape(value: float, count: int) -> None:
    for text in (format_upper(value, count), format_lower(value, count), format_plain(value, count)):
        assert SHAPE.fullmatch(text), text
        assert text != "-0"


@given(value=finite)
def test_upper_and_lower_are_mirror_images(value: float) -> None:
    mirrored = format_lower(-value)
    assert format_upper(value) == (
        mirrored[1:] if mirrored.startswith("-") else mirrored if value == 0 else "-" + mirrored
    )


@given(value=st.floats(1e-300, 1e300))
def test_seventeen_digits_of_plain_text_are_the_value(value: float) -> None:
    assert float(format_plain(value, 17)) == value


@pytest.mark.parametrize(
    ("value", "upper", "lower", "plain"),
    [
        (0.0, "0", "0", "0"),
        (-0.0, "0", "0", "0"),
        (1.0, "1", "1", "1"),
        (1.0000000000000002, "1.01", "1", "1"),
        (0.1, "0.101", "0.1", "0.1"),  # the float is a little above one tenth
        (0.9999999, "1", "0.999", "1"),
        (100.0, "100", "100", "100"),
        (123456.0, "124000", "123000", "123456"),
        (999999.5, "1e6", "999000", "1e6"),
        (1e6, "1e6", "1e6", "1e6"),
        (1e-4, "0.000101", "0.0001", "0.0001"),
        (9.9e-5, "9.9e-5", "9.89e-5", "9.9e-5"),
        (1e-5, "1.01e-5", "1e-5", "1e-5"),
        (5e-324, "4.95e-324", "4.94e-324", "5e-324"),
        (-0.12345, "-0.123", "-0.124", "-0.12345"),
        (math.inf, "infinite", "infinite", "infinite"),
        (-math.inf, "minus infinity", "minus infinity", "minus infinity"),
        (math.nan, "not a number", "not a number", "not a number"),
    ],
)
def test_known_texts(value: float, upper: str, lower: str, plain: str) -> None:
    assert (format_upper(value), format_lower(value), format_plain(value)) == (upper, lower, plain)


@given(value=finite)
def test_up_and_down_are_the_neighbours(value: float) -> None:
    assert down(value) < value < up(value)
    assert down(up(value)) == value


def test_up_from_the_largest_float_is_infinite() -> None:
    assert up(1.7976931348623157e308) == math.inf
