"""The outcomes of a check. Text, JSON and the exit code all read the same value."""

from collections.abc import Iterable
from enum import StrEnum


class Verdict(StrEnum):
    """Outcome of one check, or of all of them together."""

    PASS = "pass"  # noqa: S105 - not a password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    REFUSED = "refused"

    @property
    def exit_code(self) -> int:
        """The process's exit code: 0 pass, 1 fail, 3 inconclusive, 4 refused."""
        return _EXIT_CODES[self]

    @property
    def meaning(self) -> str:
        """One sentence for a reader who sees the word for the first time."""
        return _MEANINGS[self]


_EXIT_CODES = {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.INCONCLUSIVE: 3, Verdict.REFUSED: 4}

_MEANINGS = {
    Verdict.PASS: "every required check was made and meets the policy",
    Verdict.FAIL: "what was proven or found exceeds the policy",
    Verdict.INCONCLUSIVE: "the evidence is too weak to decide either way",
    Verdict.REFUSED: "nothing could be certified: an assumption is not met or a required check could not run",
}

_WORST_FIRST = (Verdict.FAIL, Verdict.REFUSED, Verdict.INCONCLUSIVE, Verdict.PASS)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The overall verdict, in the order fail, refused, inconclusive, pass.

    No verdict at all is ``REFUSED``: absence of evidence never reads as a pass.
    """
    seen = set(verdicts)
    return next((verdict for verdict in _WORST_FIRST if verdict in seen), Verdict.REFUSED)
