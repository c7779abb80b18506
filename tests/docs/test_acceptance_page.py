"""docs/acceptance.md names tests that exist, and every row has one."""

import ast
import re

import pytest
from by_path import load

ROOT = load("docs/readme").ROOT
TEXT = (ROOT / "docs" / "acceptance.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in TEXT.splitlines() if line.startswith("| ")]
ROWS = [row for row in ROWS if row[0] != "row"]
NAMES = [f"{letter}{number}" for letter, last in (("N", 10), ("C", 11), ("M", 10)) for number in range(1, last + 1)]


@pytest.mark.parametrize("name", [*NAMES, *(f"4.{number}" for number in range(1, 7))])
def test_every_row_is_there(name):
    assert any(name in row[0].split(", ") for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[3].rpartition("::")[2].strip("`"))
def test_the_test_that_a_row_names_exists(row):
    assert len(row) == 5
    file, _, name = row[3].strip("`").partition("::")
    place = ROOT / (file if "/" in file else f"tests/unlearners/{file}")
    functions = {node.name for node in ast.parse(place.read_text(encoding="utf-8")).body if hasattr(node, "name")}
    assert name in functions


def test_tests_that_carry_a_rows_name_are_named():
    """A test called ``test_n4_...`` shows row N4, and stands in the table."""
    named = {row[3].strip("`").partition("::")[2] for row in ROWS}
    for file in ("ngd", "relabelling", "muso", "across_methods"):
        source = (ROOT / "tests" / "unlearners" / f"test_{file}.py").read_text(encoding="utf-8")
        for name in re.findall(r"^def (test_(?:n\d+|m\d+|4_\d)_\w+)\(", source, re.MULTILINE):
            assert name in named or name in NOT_ROWS, name


NOT_ROWS = {  # they go beyond the tables
    "test_n1_a_hinge_has_none_and_is_refused",
    "test_n3_more_than_there_is_cannot_be_taken_out",
    "test_m7_even_the_right_identity_breaks_down_at_a_small_ridge",
    "test_m9_on_frozen_features_the_theorem_holds_and_only_the_head_moves",
}
