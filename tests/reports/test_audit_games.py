"""Checks of one attack in one game as one line; games in words."""

from types import ModuleType

import pytest

from certify.core.verdict import Verdict
from certify.reports.audit_games import by_game, check_lines, in_words, lines_not_passed
from certify.reports.audit_wording import sentence
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


def test_a_share_and_a_distance_are_said_without_terms(audits: ModuleType) -> None:
    share = audits.tpr_finding(
        Verdict.FAIL, 0.125, 0.04, 0.27, statistic="share of forgotten records flagged at FPR 0.01", game="retrain"
    )
    under = in_words(share.model_copy(update={"direction": "under-forgetting"}))
    assert under.startswith("12.5 in 100 of the forgotten records look more familiar to this model")
    assert under.endswith("chance explains 1 in 100.")
    assert "less familiar" in in_words(share.model_copy(update={"direction": "over-forgetting"}))
    ratio = "distance to retrained models over theirs to each other"
    distance = audits.tpr_finding(
        Verdict.FAIL, 1.8, 1.6, 2.0, statistic=ratio, game="retrain", attack="function-distance", title="distance of predictions (js, forget)"
    )  # fmt: skip
    assert in_words(distance) == "The model lies 1.8 times as far from retrained models as these lie from each other."
    text = sentence(audits.UNDER.audit.model_copy(update={"findings": (distance,), "strongest": distance.id}))
    assert (
        "Distance to retrained models over theirs to each other, as distance of predictions (js, forget), is 1.8"
        in text
    )
    assert "on all records" not in text


def test_what_more_models_would_settle_is_one_remedy(audits: ModuleType) -> None:
    numbers = (82, 32, 50, 44514)
    findings = tuple(
        audits.tpr_finding(Verdict.INCONCLUSIVE, 0.1, 0.0, 1.0, id=f"f{k}", needed_models=number)
        for k, number in enumerate(numbers)
    )
    entries = tuple(
        CheckEntry(
            id=one.id, title=one.id, verdict=Verdict.INCONCLUSIVE, summary="open", remedy=f"about {one.needed_models}"
        )
        for one in findings
    )
    audit = audits.INCONCLUSIVE.audit.model_copy(update={"findings": findings, "strongest": None})
    document = audits.INCONCLUSIVE.model_copy(update={"audit": audit, "checks": entries})
    (one,) = remedies(document)
    assert one.title == "4 inconclusive checks of shadow models"
    assert one.remedy == "about 50 shadow models would settle half, 44,514 all: `certify audit --models 50`"
    scored = audit.model_copy(update={"design": audit.design.model_copy(update={"source": "scores"})})
    (one,) = remedies(document.model_copy(update={"audit": scored}))
    assert one.remedy == "about 50 shadow models would settle half, 44,514 all: score 50 models of each world"
    two = document.model_copy(update={"checks": entries[:2]})
    assert len(remedies(two)) == 2


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
