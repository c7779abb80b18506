"""Suggestions for unknown names."""

import pytest

from certify.core.names import did_you_mean

KNOWN = ["logistic", "softmax", "squared", "poisson"]


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [("logistik", "logistic"), ("soft_max", "softmax"), ("square", "squared"), ("poison", "poisson")],
)
def test_a_slip_is_answered_with_the_nearest_name(name: str, suggestion: str) -> None:
    assert did_you_mean(name, KNOWN) == f"did you mean {suggestion!r}?"


@pytest.mark.parametrize("name", ["", "xyzzy", "hinge"])
def test_what_is_near_nothing_is_answered_with_all_names_in_order(name: str) -> None:
    assert did_you_mean(name, iter(KNOWN)) == "known are logistic, poisson, softmax, squared"
