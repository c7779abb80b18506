"""What a check finds, and all findings of one method."""

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["pass", "fail", "not applicable"]


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        outcome: "pass", "fail" or "not applicable".
        why: one line: what was compared, what is wrong, or why it does not apply.
        check: name of the check.
    """

    outcome: Outcome
    why: str
    check: str = ""


def passes(why: str) -> Finding:
    """The method passes."""
    return Finding("pass", why)


def fails(why: str) -> Finding:
    """The method fails."""
    return Finding("fail", " ".join(why.split()))


def spares(why: str) -> Finding:
    """The check does not apply."""
    return Finding("not applicable", why)


@dataclass(frozen=True)
class Report:
    """All findings of one method.

    Attributes:
        method: its name.
        findings: one for each check, in order.
    """

    method: str
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return not self.failures

    @property
    def failures(self) -> tuple[str, ...]:
        """Names of the checks that failed."""
        return tuple(finding.check for finding in self.findings if finding.outcome == "fail")

    def __getitem__(self, check: str) -> Finding:
        for finding in self.findings:
            if finding.check == check:
                return finding
        raise KeyError(check)

    def __str__(self) -> str:
        """A table with one line a check."""
        words = {"pass": "pass", "fail": "FAIL", "not applicable": "-"}
        width = max((len(finding.check) for finding in self.findings), default=0)
        lines = [f"{words[finding.outcome]:<5} {finding.check:<{width}}  {finding.why}" for finding in self.findings]
        failed = len(self.failures)
        return "\n".join([f"{self.method}: {'conforms' if not failed else f'{failed} checks fail'}", *lines])
