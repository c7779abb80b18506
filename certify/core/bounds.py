"""Upper and lower bounds as types, so that a bound cannot silently become its opposite."""

from typing import Self

from certify.core.rounding import down, format_lower, format_upper, up


class _Bound(float):
    """A float that remembers its direction and refuses to mix with the other one."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({float(self)!r})"

    def __format__(self, spec: str) -> str:
        return format(float(self), spec) if spec else str(self)

    def _same_direction(self, other: float) -> None:
        if isinstance(other, _Bound) and type(other) is not type(self):
            raise TypeError(f"cannot combine {type(self).__name__} and {type(other).__name__}: directions differ")


class UpperBound(_Bound):
    """The true value is at most this. Sums and non-negative multiples are rounded up; text is rounded up.

    >>> print(UpperBound(0.1) + UpperBound(0.2))
    0.301
    """

    def __str__(self) -> str:
        return format_upper(float(self))

    def __add__(self, other: float) -> Self:
        self._same_direction(other)
        return type(self)(up(float(self) + float(other)))

    __radd__ = __add__

    def __mul__(self, factor: float) -> Self:
        self._same_direction(factor)
        if not factor >= 0:
            raise ValueError("an upper bound times a negative number is not an upper bound")
        return type(self)(up(float(self) * float(factor)))

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> Self:
        if isinstance(divisor, UpperBound):
            raise TypeError("an upper bound divided by an upper bound bounds nothing")
        if not divisor > 0:
            raise ValueError("an upper bound divided by a number that is not positive is not an upper bound")
        return type(self)(up(float(self) / float(divisor)))


class LowerBound(_Bound):
    """The true value is at least this. Text is rounded down."""

    def __str__(self) -> str:
        return format_lower(float(self))

    def __add__(self, other: float) -> Self:
        self._same_direction(other)
        return type(self)(down(float(self) + float(other)))

    __radd__ = __add__
