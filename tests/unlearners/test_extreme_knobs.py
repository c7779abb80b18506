"""Knobs at the ends of their ranges: a result, or one line that names the knob or the step; never an error of torch's."""

from dataclasses import fields
from typing import get_type_hints

import numpy as np
import pytest
from every_method import NAMES, fitting, forgotten, quick

from certify import unlearners
from certify.core.errors import CertifyError, ConfigurationError
from certify.unlearners import Budget, Request


def knobs_of(name, kind):
    hints = get_type_hints(unlearners.get(name))
    return [knob.name for knob in fields(unlearners.get(name)) if hints[knob.name] in (kind, kind | None)]


def outcome(name, knobs, task, **more):
    """What is said in one line, or the result."""
    try:
        return "", forgotten(quick(name, **knobs), task, Request.at(task, np.arange(7)), **more)
    except CertifyError as error:
        return str(error), None


REALS = [(name, knob) for name in NAMES for knob in knobs_of(name, float)]
COUNTS = [
    (name, knob)
    for name in NAMES
    if name != "sisa"
    for knob in knobs_of(name, int)
    if (name, knob) != ("unsir", "noise")
]  # fills the memory


@pytest.mark.parametrize(("name", "knob"), REALS)
def test_no_knob_is_infinite(name, knob):
    with pytest.raises(ConfigurationError, match=rf"{name}\.{knob}: inf makes no sense"):
        quick(name, **{knob: float("inf")})


@pytest.mark.parametrize("value", [1e308, 5e-324])
@pytest.mark.parametrize(("name", "knob"), REALS)
def test_the_largest_and_the_smallest_number(name, knob, value):
    said, result = outcome(name, {knob: value}, fitting(name))
    if result is None:
        assert said.startswith((name, "gradient: has shape", "cubic step: "))
        assert "\n" not in said
    else:
        assert all(bool(value.isfinite().all()) for value in result.model.parameters())


@pytest.mark.parametrize(("name", "knob"), COUNTS)
def test_more_than_any_machine_counts(name, knob):
    said, result = outcome(name, {knob: 10**30}, fitting(name), budget=Budget(seconds=0.05))
    assert result is not None or said.startswith((f"{name}.{knob}: ", "budget.seconds: "))


def test_a_bar_over_more_than_a_length_can_be_is_drawn_without_an_end():
    from certify.core.progress import _length

    assert _length(range(10**30)) is None
    assert _length(range(7)) == 7
    assert _length(iter(range(7))) is None
