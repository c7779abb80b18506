"""Knobs are held to their annotations, in code and as text."""

from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
from pydantic import Field

from certify.core.errors import ConfigurationError
from certify.core.knobs import check_knobs, check_names, parse_knob


@dataclass(frozen=True)
class Settings:
    lr: Annotated[float, Field(gt=0)] = 0.1
    steps: Annotated[int, Field(ge=1)] = 3
    way: Literal["up", "down"] = "up"
    on: bool = True
    limit: Annotated[float, Field(gt=0)] | None = None


@pytest.mark.parametrize("given", [{}, {"lr": 1}, {"limit": None}, {"limit": 2.0}, {"way": "down"}, {"on": False}])
def test_what_fits_passes(given):
    check_knobs(Settings(**given), "here")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"lr": 0.0}, r"here\.lr: 0 makes no sense .*the default is 0\.1"),
        ({"lr": float("nan")}, r"here\.lr: nan"),
        ({"lr": "1"}, r"here\.lr: '1'"),
        ({"steps": 1.5}, r"here\.steps: 1\.5"),
        ({"steps": True}, r"here\.steps: True"),
        ({"way": "left"}, r"here\.way: 'left'"),
        ({"on": 1}, r"here\.on: 1"),
        ({"limit": -1.0}, r"here\.limit: -1 makes"),
        (
            {"lr": float("inf")},
            r"here\.lr: inf makes no sense \(input should be a finite number\); the default is 0\.1",
        ),
        ({"limit": float("inf")}, r"here\.limit: inf makes no sense .*; the default is None"),
        ({"limit": [1.0]}, r"here\.limit: a list makes no sense"),
    ],
)
def test_what_does_not_fit_is_named(given, named):
    with pytest.raises(ConfigurationError, match=named):
        check_knobs(Settings(**given), "here")


def test_what_is_infinite_by_default_may_be():
    @dataclass(frozen=True)
    class Open:
        most: Annotated[float, Field(gt=0)] = float("inf")

    check_knobs(Open(), "here")
    check_knobs(Open(most=2.0), "here")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [("lr", "1e-3", 1e-3), ("steps", "7", 7), ("on", "false", False), ("limit", "none", None), ("way", "down", "down")],
)
def test_text_is_read(name, text, value):
    assert parse_knob(Settings, name, text) == value


@pytest.mark.parametrize(("name", "text"), [("lr", "fast"), ("steps", "0"), ("way", "left"), ("lr", "none")])
def test_text_that_does_not_fit_is_refused(name, text):
    with pytest.raises(ConfigurationError, match=f"--set: {name}={text} makes no sense"):
        parse_knob(Settings, name, text)


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(ConfigurationError, match="method has no knob 'step'; did you mean 'steps'"):
        check_names(Settings, ["lr", "step"], "method")
