"""Arguments of public functions: of the right type or refused in one line, and values as messages show them."""

import math
import numbers
from decimal import Decimal
from typing import Any

import numpy as np

from certify.core.arrays import AnyArray
from certify.core.errors import ArgumentError
from certify.core.rounding import down, up

_LONGEST = 40
_LARGEST = 2**53


def shown(value: object) -> str:
    """A value that somebody gave, in a message: a number in its shortest form, anything else by its type, a text cut short.

    >>> shown(1e150), shown(10**150), shown(0.1), shown(3), shown(float("nan")), shown("ab"), shown([1.0])
    ('1e150', '1e150', '0.1', '3', 'nan', "'ab'", 'a list')
    """
    if isinstance(value, bool | None):
        return str(value)
    if isinstance(value, str):
        return repr(value if len(value) <= _LONGEST else value[:_LONGEST] + "...")
    if isinstance(value, numbers.Real | Decimal):
        return _shown_number(value)
    name = type(value).__name__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def _shown_number(value: Any) -> str:
    try:
        number = float(value)
    except (OverflowError, ValueError):
        return "a number beyond float64"
    if isinstance(value, numbers.Integral) and abs(number) < 1e15:
        return str(int(value))
    return shortest(number)


def shortest(number: float) -> str:
    """The shortest decimal text that reads back as the same float, without padding.

    >>> shortest(1e150), shortest(1e-150), shortest(25.0), shortest(0.001), shortest(1234567.0)
    ('1e150', '1e-150', '25', '0.001', '1234567')
    """
    mantissa, letter, exponent = repr(float(number)).partition("e")
    return mantissa.removesuffix(".0") + (f"e{int(exponent)}" if letter else "")


def as_number(value: object, name: str) -> float:
    """A real number as a float; NaN and infinities are numbers here.

    Raises:
        ArgumentError: of another type, or beyond float64.
    """
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real | Decimal):
        raise ArgumentError(f"must be a number, not {shown(value)}", where=name, mend="give one number")
    try:
        return float(value)
    except (OverflowError, ValueError):
        raise ArgumentError(f"is {shown(value)}", where=name, mend="give a smaller one") from None


def at_least(value: object, name: str) -> float:
    """:func:`as_number`, rounded up where float64 does not hold the number."""
    number = as_number(value, name)
    return up(number) if number < value else number  # type: ignore[operator]  # a number: Python compares them exactly


def at_most(value: object, name: str) -> float:
    """:func:`as_number`, rounded down where float64 does not hold the number."""
    number = as_number(value, name)
    return down(number) if number > value else number  # type: ignore[operator]


def as_whole(value: object, name: str) -> int:
    """A whole number as an int.

    Raises:
        ArgumentError: of another type.
    """
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, float | np.floating) and math.isfinite(value) and value == int(value):
        value = int(value)
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Integral):
        raise ArgumentError(f"must be a whole number, not {shown(value)}", where=name, mend="give one whole number")
    whole = int(value)
    if abs(whole) > _LARGEST:
        raise ArgumentError(f"is {shown(whole)}, beyond 2^53", where=name, mend="give a smaller one")
    return whole


def as_flag(value: object, name: str) -> bool:
    """True or False.

    Raises:
        ArgumentError: anything else, however true Python finds it.
    """
    if not isinstance(value, bool | np.bool_):
        raise ArgumentError(f"must be True or False, not {shown(value)}", where=name, mend="give one of the two")
    return bool(value)


def require_type(value: Any, kinds: type | tuple[type, ...], name: str, mend: str) -> Any:
    """The value itself, when it is of one of these types.

    Raises:
        ArgumentError: it is not.
    """
    kinds = kinds if isinstance(kinds, tuple) else (kinds,)
    if not isinstance(value, kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise ArgumentError(f"must be {wanted}, not {shown(value)}", where=name, mend=mend)
    return value


def as_array(values: Any, name: str) -> AnyArray:
    """Real numbers or truths as a NumPy array: from a torch tensor, on any device and of any type, or from anything NumPy reads.

    Raises:
        ArgumentError: texts, objects, complex or sparse numbers, lists of different lengths.

    >>> as_array([[1, 2], [3, 4]], "X").shape
    (2, 2)
    """
    if hasattr(values, "detach") and hasattr(values, "cpu"):
        values = values.detach().cpu()
        values = (values.double() if values.is_floating_point() else values).numpy()  # NumPy has no bfloat16
    try:
        found = np.asarray(values)
    except (TypeError, ValueError, OverflowError):
        found = np.asarray(None)
    if found.dtype.kind not in "fiub":
        raise ArgumentError("is no array of numbers", where=name, mend="give a numeric array")
    return found
