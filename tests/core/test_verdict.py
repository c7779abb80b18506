"""The order of verdicts and their exit codes."""

import itertools

import pytest

from certify.core.verdict import Verdict, worst

FAIL, REFUSED, INCONCLUSIVE, PASS = Verdict.FAIL, Verdict.REFUSED, Verdict.INCONCLUSIVE, Verdict.PASS


def test_no_evidence_is_a_refusal() -> None:
    assert worst([]) is REFUSED


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_the_worst_wins_whatever_the_order(count: int) -> None:
    order = [FAIL, REFUSED, INCONCLUSIVE, PASS]
    for verdicts in itertools.product(order, repeat=count):
        assert worst(iter(verdicts)) is min(verdicts, key=order.index)


def test_a_pass_needs_everything_to_pass() -> None:
    assert worst([PASS, PASS]) is PASS
    for other in (FAIL, REFUSED, INCONCLUSIVE):
        assert worst([PASS, other, PASS]) is other


@pytest.mark.parametrize(("verdict", "code"), [(PASS, 0), (FAIL, 1), (INCONCLUSIVE, 3), (REFUSED, 4)])
def test_exit_codes(verdict: Verdict, code: int) -> None:
    assert verdict.exit_code == code


def test_every_verdict_has_a_code_of_its_own_and_a_meaning() -> None:
    assert len({verdict.exit_code for verdict in Verdict}) == len(Verdict)
    assert 2 not in {verdict.exit_code for verdict in Verdict}  # kept for mistakes in the input
    assert all(verdict.meaning for verdict in Verdict)


def test_a_verdict_is_its_word() -> None:
    assert [str(verdict) for verdict in Verdict] == ["pass", "fail", "inconclusive", "refused"]
    assert Verdict("refused") is REFUSED
