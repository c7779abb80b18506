"""Code of the user's: one line for whatever it does, with its place and without its words."""

import importlib
import os
import sys
from pathlib import Path

import pytest

from certify.core.errors import ConfigurationError, InputError
from certify.core.foreign import explained, foreign


def said(error: BaseException | type[BaseException]) -> str:
    with pytest.raises(ConfigurationError) as caught, foreign("it", "here", "mend it"):
        raise error
    return str(caught.value)


LINE = said.__code__.co_firstlineno + 2


@pytest.mark.parametrize(
    "kind", [ValueError, KeyError, AssertionError, OSError, EOFError, GeneratorExit, RecursionError]
)
def test_what_is_raised_is_named_by_type_and_line_alone(kind: type[BaseException]) -> None:
    line = said(kind("person-0003 is ill"))
    assert line == f"here: it raised {kind.__name__} (test_foreign.py, line {LINE}); mend it"


def test_leaving_is_no_way_out() -> None:
    assert said(SystemExit(0)) == f"here: it ends the program (test_foreign.py, line {LINE}); mend it"


@pytest.mark.parametrize("error", [InputError("ours"), MemoryError(), KeyboardInterrupt()])
def test_what_others_explain_comes_through(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, foreign("it", "here", "mend it"):
        raise error
    assert caught.value is error
    mine = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError), explained("it", "here", "mend it", lambda found: found is mine):
        raise mine


def test_a_module_that_is_no_python_is_named_by_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "certify_test_broken.py").write_text("x = 1\n\ny = (\n")
    monkeypatch.syspath_prepend(tmp_path)
    expected = r"importing it raised SyntaxError \(certify_test_broken.py, line 3\)"
    with pytest.raises(ConfigurationError, match=expected), foreign("importing it", "here", "mend it"):
        importlib.import_module("certify_test_broken")
    sys.modules.pop("certify_test_broken", None)


def test_nothing_of_ours_is_shown_as_the_users() -> None:
    with pytest.raises(ConfigurationError) as caught, foreign("it", "here", "mend it"):
        sys.path.index("nowhere", "not a number")  # type: ignore[arg-type]
    assert "(test_foreign.py, line" in str(caught.value)


def test_the_working_directory_is_as_it_was(tmp_path: Path) -> None:
    before = Path.cwd()
    with foreign("it", "here", "mend it"):
        os.chdir(tmp_path)
    assert Path.cwd() == before

    def wanders() -> None:
        os.chdir(tmp_path)
        raise ValueError

    with pytest.raises(ConfigurationError), foreign("it", "here", "mend it"):
        wanders()
    assert Path.cwd() == before
