"""Checks of one attack in one game as one line; games in words."""

from types import ModuleType

import pytest

from certify.core.verdict import Verdict
from certify.reports.audit_games import by_game, check_lines, in_words, lines_not_passed
from certify.reports.schema import CheckEntry, Document
from certify.reports.text import render_text
from certify.reports.wording import remedies


@pytest.fixture
def crowded(audits: ModuleType) -> Document:
    """Two attacks in two games, two directions and two statistics each, as audits of a method have them."""
    base, findings, checks = audits.UNDER.audit.findings[0], [], []
    for attack, title in (("u-lira", "U-LiRA"), ("modified-entropy", "modified entropy threshold")):
        for game in ("retrain", "privacy"):
            for side in ("under-forgetting", "over-forgetting"):
                for statistic in ("TPR at FPR 0.01", "epsilon lower bound"):
                    caught = attack == "u-lira" and side == "under-forgetting" and statistic.startswith("TPR")
                    name = f"{attack}-{game}-{side}-{statistic}"
                    verdict, value = (Verdict.FAIL, 0.25) if caught else (Verdict.PASS, 0.001)
                    findings.append(base.model_copy(update={
                        "id": name, "attack": attack, "title": title, "game": game, "direction": side, "verdict": verdict,
                        "statistic": statistic, "value": value,
                    }))  # fmt: skip
                    checks.append(CheckEntry(
                        id=name, title=name, verdict=verdict, summary=f"{statistic} is {value}", measured=value, limit=0.05,
                        quantity=statistic, remedy="unlearn more" if caught else None,
                    ))  # fmt: skip
    audit = audits.UNDER.audit.model_copy(update={"findings": tuple(findings)})
    return audits.UNDER.model_copy(update={"audit": audit, "checks": tuple(checks)})


def test_one_line_an_attack_and_game_with_the_worst_verdict(crowded: Document) -> None:
    lines = check_lines(crowded)
    assert [(line.title, line.verdict) for line in lines] == [
        ("U-LiRA, against retrained models", Verdict.FAIL),
        ("U-LiRA, forgotten or never seen", Verdict.FAIL),
        ("modified entropy threshold, against retrained models", Verdict.PASS),
        ("modified entropy threshold, forgotten or never seen", Verdict.PASS),
    ]
    assert lines[0].summary == "under-forgetting: TPR at FPR 0.01 is 0.25; 1 of 4 checks fail"
    assert lines[2].summary.endswith("all 4 checks pass")
    assert [entry for line in lines for entry in line.entries] == list(crowded.checks)  # none is lost
    assert lines_not_passed(crowded) == lines[:2]
    assert lines[0].remedies == ("unlearn more",)


def test_long_titles_do_not_break_the_columns(crowded: Document) -> None:
    shown = render_text(crowded).splitlines()
    assert max(map(len, shown)) <= 100
    assert len(shown) <= 45
    verdicts = {line.index(" FAIL ") for line in shown if line.startswith("U-LiRA, ") and " FAIL " in line}
    assert len(verdicts) == 1


def test_a_certificate_keeps_a_line_for_each_check(samples: ModuleType) -> None:
    document = samples.document()
    assert [line.entries for line in check_lines(document)] == [(entry,) for entry in document.checks]


def test_checks_of_the_same_name_stay_apart(samples: ModuleType) -> None:
    document = samples.document()
    twice = document.model_copy(update={"checks": document.checks[:1] * 2})
    assert len(check_lines(twice)) == 2


def test_findings_stand_under_the_question_they_answer(crowded: Document) -> None:
    assert crowded.audit is not None
    questions = by_game(crowded.audit)
    assert len(questions) == 2
    assert all(question.endswith("?") for question, _ in questions)
    assert sum(len(found) for _, found in questions) == len(crowded.audit.findings)


def test_the_gravest_comes_first_and_distances_stand_in_their_own_table(crowded: Document) -> None:
    assert crowded.audit is not None
    checks = tuple(
        entry.model_copy(update={"verdict": Verdict.INCONCLUSIVE, "remedy": "more models"}) if place == 0 else entry
        for place, entry in enumerate(crowded.checks)
    )
    mixed = crowded.model_copy(update={"checks": checks})
    assert [line.verdict for line in lines_not_passed(mixed)] == [Verdict.FAIL, Verdict.INCONCLUSIVE]
    assert [entry.remedy for entry in remedies(mixed)] == ["unlearn more", "more models"]
    informs = crowded.audit.findings[0].model_copy(update={"attack": "parameter-distance", "verdict": None})
    audit = crowded.audit.model_copy(update={"findings": (*crowded.audit.findings, informs)})
    assert audit.distances
    shown = [finding for _, findings in by_game(audit) for finding in findings]
    assert sorted(one.id for one in shown) == sorted(one.id for one in crowded.audit.findings)


def test_a_rate_is_said_without_terms(crowded: Document) -> None:
    assert crowded.audit is not None
    said = {
        one.game: in_words(one)
        for one in crowded.audit.findings
        if one.statistic.startswith("TPR") and one.value == 0.25
    }
    assert (
        said["retrain"]
        == "Where it wrongly points at 1 in 100 records in retrained models, it points at 25 in 100 in unlearned ones."
    )
    assert said["privacy"].endswith("it rightly names 25 in 100 forgotten ones.")
    assert in_words(crowded.audit.findings[1]) == ""
