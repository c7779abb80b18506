"""The README's marked blocks: what the tests run, and what `python tests/docs/readme.py` writes anew.

Marks are HTML comments on the line before a fenced block: ``file: NAME`` (a file of the walk-through), ``run`` (shell
commands), ``python`` (a session), ``transcript: NAME`` (real output of the command of that name).
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
TRANSCRIPTS = {
    "demo": ("certify demo", "."),
    "check": ("certify check", "certify-demo/any-visit"),
    "unchanged": ("certify check unchanged.toml", "certify-demo/visit-count"),
}
_BLOCK = re.compile(r"<!-- (?P<mark>[^\n]*?) -->\n```\w+\n(?P<body>.*?)```\n", re.DOTALL)


def blocks(text: str) -> dict[str, str]:
    """Marked blocks by their mark."""
    return {match["mark"]: match["body"] for match in _BLOCK.finditer(text)}


def shell(command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command line as a user would, with this environment's console script first on the path."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "NO_COLOR": "1"}
    return subprocess.run(
        ["bash", "-c", command], cwd=cwd, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )  # fmt: skip


def masked(text: str) -> str:
    """Numbers and runs of dots and spaces replaced: they may differ in the last digit from machine to machine."""
    text = re.sub(r"\d[\d,]*(\.\d+)?(e-?\d+)?", "#", text)
    return re.sub(r"[ .=-]{2,}", " ", re.sub(r"\s+", " ", text)).strip()


def transcripts(folder: Path) -> dict[str, str]:
    """Real output of each transcript's command, in order: the later ones need the demo's files."""
    shown = {}
    for name, (command, where) in TRANSCRIPTS.items():
        done = shell(command, folder / where)
        prompt = command if where == "." else f"cd {where} && {command}"
        shown[name] = f"$ {prompt}\n{done.stdout.rstrip()}\n"
    return shown


def main() -> None:
    """Write the transcripts into the README."""
    text = README.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        for name, body in transcripts(Path(folder)).items():
            mark = f"<!-- transcript: {name} -->\n```text\n"
            start = text.index(mark) + len(mark)
            text = text[:start] + body + text[text.index("```\n", start) :]
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
