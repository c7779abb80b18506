"""What docs/audits.md shows is what happens."""

import json
import re
from pathlib import Path

import pytest
from by_path import load

readme = load("docs/readme")
TEXT = (readme.ROOT / "docs" / "audits.md").read_text(encoding="utf-8")
BLOCKS = readme.blocks(TEXT)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audits")
    for mark, body in BLOCKS.items():
        if mark.startswith("file: "):
            (folder / mark.removeprefix("file: ")).write_text(body, encoding="utf-8")
    return folder


@pytest.mark.parametrize("block", ["run", "scores", "coins"])
def test_the_commands_end_as_the_page_says(project: Path, block: str) -> None:
    for line in BLOCKS[block].strip().splitlines():
        expected = re.search(r"# exit (\d)$", line)
        done = readme.shell(line, project)
        assert done.returncode == (int(expected[1]) if expected else 0), f"{line}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr


def test_every_key_of_an_audit_stands_in_the_table_with_its_default() -> None:
    from certify.gate.spec import AuditSpec

    table = TEXT.split("## Keys")[1].split("\n## ")[0]
    for name, field in AuditSpec.model_fields.items():
        row = next(line for line in table.splitlines() if line.startswith("|") and f"`{name}`" in line.split("|")[1])
        if isinstance(field.default, int | float | str):
            assert json.dumps(field.default) in row, name


def test_every_game_stands_on_the_page() -> None:
    from certify.attacks.scores.games import GAMES

    assert all(f"| `{name}` |" in TEXT for name in GAMES)
