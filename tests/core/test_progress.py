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
