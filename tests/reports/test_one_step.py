"""One-step bounds in every format that a person reads: beside the certified distance, and never in its place."""

import re
from types import ModuleType

import pytest

from certify.core.verdict import Verdict
from certify.reports.formats import render
from certify.reports.wording import one_step_rows

READ = ("text", "markdown", "html")


def shown(samples: ModuleType, name: str, **changes: object) -> str:
    text = re.sub(r"<[^>]+>|\\\\", "", render(samples.document(**changes), name).decode())
    return re.sub(r"\s+", " ", text)


def test_the_certified_distance_is_the_first_line_and_the_only_one_of_the_gate(samples: ModuleType) -> None:
    rows = one_step_rows(samples.document())
    assert rows[0] == ("Model under review, certified distance", "2.63e-6", "the gate's number")
    assert [row[1:] for row in rows[1:]] == [
        ("2.63e-6", "proven"),
        ("876", "not a proof: takes the original for the exact minimiser"),
        ("none", "not applicable: the loss has no Hessian-Lipschitz constant"),
    ]


@pytest.mark.parametrize("name", READ)
def test_every_format_shows_them_and_says_that_none_decides(samples: ModuleType, name: str) -> None:
    text = shown(samples, name)
    assert "computed before" in text
    assert re.search("none decides|no verdict reads them", text)
    assert "measured after the step" in text
    assert ("not a proof" in text) == (name != "text")  # the terminal shows what is proven, and no more
    assert ("876" in text) == (name != "text")


@pytest.mark.parametrize("name", READ)
def test_what_was_not_computed_says_why(samples: ModuleType, name: str) -> None:
    part = samples.one_step().model_copy(update={"bounds": (), "skipped": "more than 2,500 parameters"})
    assert "more than 2,500 parameters" in shown(samples, name, one_step=part)


@pytest.mark.parametrize("name", READ)
def test_without_an_original_nothing_is_said_of_a_step(samples: ModuleType, name: str) -> None:
    assert "before the step" not in shown(samples, name, one_step=None)


def test_no_format_for_machines_takes_them_for_the_gates_number(samples: ModuleType) -> None:
    for name in ("sarif", "junit"):
        assert render(samples.document(Verdict.FAIL), name) == render(
            samples.document(Verdict.FAIL, one_step=None), name
        )
