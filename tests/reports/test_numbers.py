"""Numbers are rounded against ourselves: upper bounds up, lower bounds and limits down."""

import re
from fractions import Fraction
from types import ModuleType

import pytest

from certify.reports.formats import render
from certify.reports.wording import superscripts, times_in_100


def page(samples: ModuleType, **changes: object) -> str:
    return re.sub(r"<[^>]+>", "", render(samples.document(**changes), "html").decode())


@pytest.mark.parametrize(
    ("probability", "words"),
    [
        (0.5, "50"),
        (0.50003, "50.1"),
        (0.501, "50.2"),  # the float is a little above 0.501
        (0.625, "62.5"),
        (0.999999, "100"),
        (1.0, "100"),
        (0.00100412, "0.101"),
        (0.0, "0"),
    ],
)
def test_a_probability_is_never_shown_smaller_than_it_is(probability: float, words: str) -> None:
    assert times_in_100(probability) == words
    assert Fraction(words) >= 100 * Fraction(probability)


def test_the_smallest_eigenvalue_is_a_lower_bound_and_rounded_down(samples: ModuleType) -> None:
    assert re.search(r"Hessian, at least\s*650\s", page(samples, bounds=samples.bounds(modulus=650.9)))


def test_the_largest_distance_that_passes_is_rounded_down(samples: ModuleType) -> None:
    policy = samples.document().policy.model_copy(update={"distance_limit": 0.0012369})
    shown = page(samples, policy=policy)
    assert re.search(r"policy lets pass\s*0\.00123\s", shown)
    assert "limit 0.00123" in shown  # in the figure
    assert "0.00124" not in shown


def test_the_attackers_limits_are_rounded_up(samples: ModuleType) -> None:
    assert "0.101 of 100" in page(samples)


@pytest.mark.parametrize(("text", "words"), [("1e-7", "10⁻⁷"), ("2.5e12", "2.5 × 10¹²"), ("0.01", "0.01"), ("a1e5b", "a1e5b")])  # fmt: skip
def test_powers_of_ten_where_no_markup_can_be_had(text: str, words: str) -> None:
    assert superscripts(text) == words
