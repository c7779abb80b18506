"""Rounding against ourselves: what is printed about a bound is never better than the bound."""

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal


def up(value: float) -> float:
    """The next float above ``value``: a bound stays a bound after one rounded operation."""
    return math.nextafter(value, math.inf)


def down(value: float) -> float:
    """The next float below ``value``."""
    return math.nextafter(value, -math.inf)


def _significant(value: float, digits: int, rounding: str, exact: Decimal | None = None) -> str:
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "infinite" if value > 0 else "minus infinity"
    rounded = Context(prec=digits, rounding=rounding).create_decimal(Decimal(value) if exact is None else exact)
    if rounded == 0:
        return "0"
    exponent = rounded.adjusted()
    if -4 <= exponent < 6:
        text = f"{rounded:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    mantissa = f"{rounded.scaleb(-exponent):f}"
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa}e{exponent}"


def format_upper(value: float, digits: int = 3) -> str:
    """Decimal text of an upper bound, rounded up to ``digits`` significant digits.

    >>> format_upper(0.26805), format_upper(1.0000000001e-7), format_upper(float("inf"))
    ('0.269', '1.01e-7', 'infinite')
    """
    return _significant(value, digits, ROUND_CEILING)


def format_lower(value: float, digits: int = 3) -> str:
    """Decimal text of a lower bound, rounded down to ``digits`` significant digits.

    >>> format_lower(0.26805)
    '0.268'
    """
    return _significant(value, digits, ROUND_FLOOR)


def format_plain(value: float, digits: int = 6) -> str:
    """Decimal text of a number that is given, not bounded (a policy limit, a count).

    >>> format_plain(1e-5), format_plain(0.01), format_plain(1.0)
    ('1e-5', '0.01', '1')
    """
    # repr, not the binary expansion: 1e-5 was written as 1e-5
    return _significant(value, digits, ROUND_HALF_EVEN, Decimal(repr(float(value))) if math.isfinite(value) else None)
