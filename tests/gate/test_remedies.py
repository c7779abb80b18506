"""What a reader is told to do about a finding that did not pass."""

from dataclasses import replace

import pytest

from certify.attacks.audits.doing_nothing import EMPTY, without_passes_of_ruined
from certify.attacks.audits.findings import Finding, joined
from certify.attacks.audits.fleet import FleetAudit
from certify.core.verdict import Verdict
from certify.gate.audits.entries import Fleet, entry_of

OPEN = Finding(
    id="release-lira-under",
    attack="release-lira",
    title="LiRA of one model",
    game="retrain",
    slice="all",
    statistic="share of forgotten records flagged at FPR 0.01",
    value=0.05,
    lower=0.006,
    upper=0.17,
    confidence=0.95,
    verdict=Verdict.INCONCLUSIVE,
    limit=0.0271,
    units=40,
    direction="under-forgetting",
)


def test_one_model_beside_a_fleet_is_not_sent_to_the_attack_that_was_played() -> None:
    alone = entry_of(OPEN).remedy
    beside = entry_of(OPEN, Fleet(models=64, elsewhere=False, forgotten=20.0)).remedy
    assert alone is not None
    assert beside is not None
    assert alone.endswith("audit the method, with u-lira")
    assert "u-lira" not in beside
    assert "checks of the method" in beside


def test_a_note_is_joined_to_another_and_never_to_nothing() -> None:
    assert joined("first", "second") == "first; second"
    assert joined("first", "") == "first"


@pytest.mark.parametrize("note", ["", "mean AUC within a model 0.500"])
def test_a_pass_that_is_taken_back_says_why(note: str) -> None:
    audit = FleetAudit((replace(OPEN, verdict=Verdict.PASS, note=note),), (), (), ())
    found = without_passes_of_ruined(audit, ["privacy"]).findings[0]
    assert found.verdict is Verdict.INCONCLUSIVE
    assert not found.note.startswith(EMPTY)
    assert not found.note.endswith("; ")
    assert found.note.endswith(note)
