"""Progress changes nothing about the items, and says nothing unless it was asked and someone is watching."""

import io
import sys

import pytest

from certify.core import progress
from certify.core.progress import progress_shown, track


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("terminal", [True, False])
def test_the_items_come_through_unchanged(monkeypatch: pytest.MonkeyPatch, *, enabled: bool, terminal: bool) -> None:
    screen = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    with progress_shown(enabled=enabled):
        assert list(track(range(5), "working")) == [0, 1, 2, 3, 4]
        assert list(track(iter("abc"), "working")) == ["a", "b", "c"]
        assert list(track([], "working")) == []
    assert "working" not in screen.getvalue()  # nothing here takes two seconds


@pytest.mark.parametrize(
    ("enabled", "terminal", "shown"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_slow_work_shows_a_bar_only_when_asked_and_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, *, enabled: bool, terminal: bool, shown: bool
) -> None:
    screen = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress, "_PATIENCE", -1.0)
    with progress_shown(enabled=enabled):
        list(track(range(3), "working"))
    assert ("working" in screen.getvalue()) is shown


def test_the_permission_ends_with_its_block(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(progress, "_PATIENCE", -1.0)
    with pytest.raises(RuntimeError), progress_shown(enabled=True):
        raise RuntimeError
    list(track(range(3), "working"))
    assert screen.getvalue() == ""


def test_an_abandoned_loop_closes_its_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress_shown(enabled=True):
        for item in track(range(10), "working"):
            if item == 3:
                break
        assert list(track(range(2), "again")) == [0, 1]


HIDDEN, SHOWN = "\x1b[?25l", "\x1b[?25h"


def watched(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal on which every bar is due at once; no fixture, since pytest puts its own standard error in place after those."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress, "_PATIENCE", -1.0)
    return terminal


def test_an_interrupted_loop_leaves_the_terminal_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = watched(monkeypatch)
    stdout, held = sys.stdout, []

    def interrupted() -> None:
        loop = track(range(10), "working")
        held.append(loop)  # as a traceback holds it: the loop does not come to its own end
        for item in loop:
            if item == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), progress_shown(enabled=True):
        interrupted()
    text = screen.getvalue()
    assert HIDDEN in text
    assert text.rindex(SHOWN) > text.rindex(HIDDEN)
    assert sys.stdout is stdout


def test_work_that_takes_no_time_touches_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = watched(monkeypatch)
    monkeypatch.setattr(progress, "_PATIENCE", 2.0)
    with progress_shown(enabled=True):
        assert len(list(track(range(1000), "working"))) == 1000
    assert screen.getvalue() == ""


def test_a_loop_of_short_steps_is_drawn_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = watched(monkeypatch)
    with progress_shown(enabled=True):
        for _ in track(range(20_000), "working"):
            pass
    assert 1 <= screen.getvalue().count("working") < 200


def test_loops_inside_loops_have_a_bar_each(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = watched(monkeypatch)
    monkeypatch.setattr(progress, "_PAUSE", 0.0)
    with progress_shown(enabled=True):
        assert [(a, b) for a in track(range(3), "outer") for b in track(range(3), "inner")] == [
            (a, b) for a in range(3) for b in range(3)
        ]
    text = screen.getvalue()
    assert "outer" in text
    assert "inner" in text
    assert text.rindex(SHOWN) > text.rindex(HIDDEN)


def test_a_terminal_that_cannot_move_its_cursor_shows_none(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = watched(monkeypatch)
    monkeypatch.setenv("TERM", "dumb")
    with progress_shown(enabled=True):
        list(track(range(3), "working"))
    assert screen.getvalue() == ""
