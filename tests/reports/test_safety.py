"""Documents nobody should have written: hostile metadata, contradictory claims, numbers at the ends of the floats."""

import math
import re
import xml.etree.ElementTree as ET
from types import ModuleType
from typing import Any

import pytest

from certify.core.verdict import Verdict
from certify.reports.formats import FORMATS, render
from certify.reports.schema import CurvePoint, Document
from certify.reports.text import render_text
from certify.reports.wording import claims_guarantee

TEXTUAL = [name for name in FORMATS if name not in ("pdf", "json")]
STRUCTURE = {"verdict", "status", "kind", "schema_version", "noise_shape", "step"}
POISON = "<script>\x1b[31m\u202e\x00|`*_\n"


def poisoned(value: Any, key: str = "") -> Any:
    """The document with every free string replaced, keys of tables included."""
    if isinstance(value, dict):
        free = key in ("libraries", "counts")
        return {POISON if free else name: poisoned(part, name) for name, part in value.items()}
    if isinstance(value, list):
        return [poisoned(part, key) for part in value]
    return POISON if isinstance(value, str) and key not in STRUCTURE else value


@pytest.fixture(params=[Verdict.PASS, Verdict.FAIL])
def poison(request: pytest.FixtureRequest, samples: ModuleType) -> Document:
    return Document.model_validate(poisoned(samples.document(request.param).to_dict()))


@pytest.mark.parametrize("name", TEXTUAL)
def test_no_field_at_all_can_steer_a_terminal_or_a_page(poison: Document, name: str) -> None:
    shown = render(poison, name).decode()
    assert not {"\x1b", "\u202e", "\x00"} & set(shown)
    assert "\\u001b" not in shown
    if name in ("html", "markdown", "junit"):
        assert not re.search(r"(?<!\\)<script", re.sub(r"`[^`]*`", "", shown))  # code is inert
    if name == "junit":
        ET.fromstring(shown)


def test_lines_of_a_terminal_start_where_they_belong(samples: ModuleType) -> None:
    long = samples.document(checks=(samples.entry("x", Verdict.FAIL, title="word " * 60, summary="reason " * 40),))
    lines = render_text(long).splitlines()
    assert max(len(line) - len(line.lstrip()) for line in lines) <= 50
    assert sum(line.count("reason") for line in lines) == 40


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.REFUSED])
@pytest.mark.parametrize("name", ["text", "markdown", "html"])
def test_without_a_pass_no_guarantee_is_shown_whatever_the_document_claims(
    samples: ModuleType, verdict: Verdict, name: str
) -> None:
    passed = samples.document()
    claimed = samples.document(verdict, guarantee=passed.guarantee, attacker=passed.attacker)
    shown = re.sub(r"\s+", " ", render(claimed, name).decode())
    assert not claims_guarantee(claimed)
    assert "nobody can tell" not in shown
    assert "No guarantee" in shown
    assert "is right <strong>at most" not in shown


@pytest.mark.parametrize("value", [0.0, 5e-324, 1e-300, 1e308, math.inf, math.nan])
def test_figures_stand_any_bound(samples: ModuleType, value: float) -> None:
    bounds = samples.bounds(distance=value, refined=value, self_concordant=value, strong_convexity=value)
    shown = render(samples.document(bounds=bounds), "html").decode()
    assert ("does not apply" in shown) == (not math.isfinite(value))


@pytest.mark.parametrize("limit", [0.0, 5e-324, 1e308, math.inf])
def test_figures_stand_any_policy(samples: ModuleType, limit: float) -> None:
    policy = samples.document().policy.model_copy(
        update={"epsilon": limit, "delta": min(limit, 1.0), "distance_limit": limit}
    )
    assert render(samples.document(policy=policy), "html").count(b'role="img"') == 2


@pytest.mark.parametrize(
    ("points", "drawn"),
    [
        ([], False),
        ([(1e-5, 0.0)], False),
        ([(0.0, 1.0)], False),
        ([(1e-5, math.inf)], False),
        ([(1e-5, 1.0)], True),
        ([(1e-9, math.inf), (1e-7, 2.0), (1e-5, 1.0), (1e-1, 0.0)], True),
    ],
)
def test_a_curve_is_drawn_where_a_logarithmic_axis_has_a_place(
    samples: ModuleType, points: list[tuple[float, float]], drawn: bool
) -> None:
    curve = tuple(CurvePoint(delta=delta, epsilon=epsilon) for delta, epsilon in points)
    shown = render(samples.document(curve=curve), "html").decode()
    assert ("curve-title" in shown) == drawn
