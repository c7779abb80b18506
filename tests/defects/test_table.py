"""docs/defects.md and the tests name each other completely."""

import ast
import re
from pathlib import Path

import pytest

NUMBERS = range(1, 22)


def names_of_tests():
    """Every test function of this folder, by name."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in Path(__file__).parent.glob("test_*.py")]
    return {node.name for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.fixture(scope="module")
def rows(repo_root):
    """Names of tests in the table's last column, by number."""
    text = (repo_root / "docs" / "defects.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| (\d+) \|.*\|(.*)\|$", text, re.MULTILINE)
    assert len(found) == len({number for number, _ in found})
    return {int(number): re.findall(r"`(\w+)`", cell) for number, cell in found}


def test_every_number_stands_in_the_table_once_with_a_test(rows):
    assert sorted(rows) == list(NUMBERS)
    assert all(rows.values())


def test_the_table_names_exactly_the_tests_there_are(rows):
    named = {f"test_defect_{number:02d}_{name}" for number, names in rows.items() for name in names}
    assert named == {name for name in names_of_tests() if re.match(r"test_defect_\d", name)}


@pytest.mark.parametrize("number", NUMBERS)
def test_every_number_has_a_control(number):
    assert any(name.startswith(f"test_control_{number:02d}_") for name in names_of_tests())
