"""An audit in every format: what it says under each outcome, and what it may never say."""

import json
import math
import re
import xml.etree.ElementTree as ET
from types import ModuleType

import pytest
from pydantic import ValidationError

from certify.core.errors import InputError
from certify.core.verdict import Verdict
from certify.reports.audit_tables import audit_numbers, detectable_words, finding_row
from certify.reports.audit_wording import (
    BELOW_CHANCE,
    HONEST,
    WHY_RETRAIN,
    audit_verdict,
    interval,
    leading,
    measured,
    sentence,
)
from certify.reports.formats import FORMATS, render
from certify.reports.schema import Audit, Document, contradicts_itself, fields_of, parse_document
from certify.reports.text import render_text

KEYS = ("audit-pass", "audit-under", "audit-over", "audit-inconclusive", "audit-refused", "audit-beside")
QUICK = ("text", "markdown", "sarif", "junit")
READ = ("text", "markdown", "html")


@pytest.fixture(params=KEYS)
def audited(request: pytest.FixtureRequest, audits: ModuleType) -> Document:
    found: Document = audits.ALL[request.param]
    return found


def plain(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>|\\", "", text))


def undrawn(document: Document) -> Document:
    """The document without what is drawn: its sentences and tables take no time."""
    nothing = {"roc": (), "histograms": (), "ranking": None, "distances": (), "relearning": ()}
    return with_audit(document, **nothing)


def shown(document: Document, name: str) -> str:
    return plain(render(undrawn(document), name).decode())


def with_audit(document: Document, **changes: object) -> Document:
    assert document.audit is not None
    return document.model_copy(update={"audit": document.audit.model_copy(update=changes)})


# ------------------------------------------------------------------------------------------------------------- the schema


def test_an_audited_document_survives_its_json(audited: Document) -> None:
    assert parse_document(audited.to_json(), where="x") == audited


def test_an_infinite_end_is_a_string_in_json(audits: ModuleType) -> None:
    raw = json.loads(audits.UNDER.to_json(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    ends = {finding["id"]: finding["upper"] for finding in raw["audit"]["findings"]}
    assert ends["epsilon"] == "Infinity"


def test_the_audit_came_with_schema_1_2_and_older_documents_are_read(audits: ModuleType, samples: ModuleType) -> None:
    assert "audit" in fields_of("1.2")
    assert "audit" not in fields_of("1.1")
    old = samples.document().to_dict() | {"schema_version": "1.1"}
    del old["audit"]
    assert parse_document(json.dumps(old), where="x").audit is None


def damaged(document: Document, *path: str | int, value: object) -> str:
    raw = document.to_dict()
    place = raw["audit"]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return json.dumps(raw)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("roc", 0, "tpr"), [0.5]),
        (("roc", 0, "fpr", 0), 1.5),
        (("roc", 0, "null_lower"), [0.1]),
        (("histograms", 0, "edges"), [0.0, 1.0]),
        (("histograms", 0, "edges", 1), 99.0),
        (("relearning", 0, "passes"), [1.0]),
        (("relearning", 0, "unlearned", "lower"), []),
        (("findings", 0, "value"), "NaN"),
        (("findings", 0, "p_value"), 1.01),
        (("findings", 0, "id"), "epsilon"),
        (("findings", 0, "verdict"), "maybe"),
        (("findings", 0, "direction"), "sideways"),
        (("controls", 0, "expectation"), "may be caught"),
        (("design", "source"), "hearsay"),
        (("design", "two_sided"), None),
        (("strongest",), "no such"),
    ],
)
def test_a_damaged_audit_is_refused_in_one_line(audits: ModuleType, path: tuple[str | int, ...], value: object) -> None:
    with pytest.raises(InputError, match="damaged") as caught:
        parse_document(damaged(audits.UNDER, *path, value=value), where="x")
    assert "\n" not in str(caught.value)


def test_parts_cannot_be_changed(audits: ModuleType) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        audits.PASS.audit.strongest = None


@pytest.mark.parametrize("key", KEYS)
def test_samples_do_not_contradict_themselves(audits: ModuleType, key: str) -> None:
    assert not contradicts_itself(audits.ALL[key])


def test_no_pass_stands_beside_a_failed_finding_or_a_misbehaving_control(audits: ModuleType) -> None:
    passed, failed, refused = audits.PASS, audits.UNDER.audit, audits.REFUSED.audit
    assert contradicts_itself(with_audit(passed, findings=failed.findings))
    assert contradicts_itself(with_audit(passed, controls=refused.controls))


# ------------------------------------------------------------------------------------------------------------ the sentence


def test_each_outcome_has_its_sentence(audits: ModuleType) -> None:
    said = {key: sentence(document.audit) for key, document in audits.ALL.items()}
    assert said["audit-pass"] == said["audit-beside"]
    assert said["audit-pass"].startswith("No leak above 0.0143 was found (TPR at FPR 0.01 of U-LiRA on all records).")
    assert said["audit-pass"].endswith("The audit would have seen a leak above 0.031 with probability 0.9.")
    assert said["audit-under"].startswith("A leak was found: under-forgetting.")
    assert "the policy allows at most 0.05" in said["audit-under"]
    assert "give 0.0104 (0.00619 to 0.0163)" in said["audit-under"]  # what retrained models give
    assert said["audit-over"].startswith("A leak was found: over-forgetting. AUC of RMIA")
    assert "gives them away as well" in said["audit-over"]
    assert "the limit (at most 0.05) lies inside that interval" in said["audit-inconclusive"]
    assert "About 310 models of each world" in said["audit-inconclusive"]
    assert said["audit-refused"].startswith(
        "The audit is refused. 1 of 2 controls did not come out as it must (original"
    )
    assert "counts neither for the method nor against it" in said["audit-refused"]


def test_a_misbehaving_control_is_a_refusal_whatever_the_findings_say(audits: ModuleType) -> None:
    assert audit_verdict(audits.REFUSED.audit) is Verdict.REFUSED
    passing = audits.PASS.audit.model_copy(update={"controls": audits.REFUSED.audit.controls})
    assert audit_verdict(passing) is Verdict.REFUSED
    assert "No leak" not in sentence(passing)
    page = shown(audits.REFUSED, "html")
    assert "what hangs on it counts neither for the method nor against it" in page
    assert "The strongest evidence" not in page


def test_a_leak_that_another_attack_found_stays_found(audits: ModuleType) -> None:
    """The control of one attack says nothing of another: fail comes before refused, as in every check."""
    failing = audits.UNDER.audit.model_copy(update={"controls": audits.REFUSED.audit.controls})
    assert audit_verdict(failing) is Verdict.FAIL
    assert sentence(failing).startswith("A leak was found")
    assert "1 of 2 controls did not come out as it must" in sentence(failing)


def test_many_misbehaving_controls_are_counted_and_three_are_named(audits: ModuleType) -> None:
    bad = tuple(audits.REFUSED.audit.controls[1].model_copy(update={"name": f"control {k}"}) for k in range(5))
    said = sentence(audits.REFUSED.audit.model_copy(update={"controls": bad}))
    assert "5 of 5 controls did not come out as they must" in said
    assert "; 2 more)" in said
    assert "control 3" not in said


def test_findings_that_decide_nothing_are_no_pass(audits: ModuleType) -> None:
    audit = audits.PASS.audit
    silent = tuple(finding.model_copy(update={"verdict": None}) for finding in audit.findings)
    informing = audit.model_copy(update={"findings": silent})
    assert audit_verdict(informing) is None
    assert sentence(informing).startswith("For information, deciding nothing:")
    assert "No leak" not in sentence(informing)


def test_an_audit_without_findings_has_nothing_to_say(audits: ModuleType) -> None:
    empty = audits.PASS.audit.model_copy(update={"findings": (), "strongest": None})
    assert leading(empty) is None
    assert sentence(empty) == "The audit has no finding."
    for name in READ:
        assert "No leak" not in shown(with_audit(audits.PASS, findings=(), strongest=None), name)


def test_the_worst_finding_leads_when_the_named_one_passed(audits: ModuleType) -> None:
    found = audits.OVER.audit.model_copy(update={"strongest": "u-lira-privacy"})
    assert found.evidence.verdict is Verdict.PASS
    assert leading(found).id == "auc-retrain"


def test_what_would_have_been_seen_is_not_made_up(audits: ModuleType) -> None:
    audit = audits.PASS.audit
    first = audit.findings[0].model_copy(update={"minimum_detectable": None})
    unknown = audit.model_copy(update={"findings": (first, *audit.findings[1:])})
    assert "would have seen was not computed" in sentence(unknown)


def test_an_audit_that_could_have_seen_nothing_says_so(audits: ModuleType) -> None:
    finding = audits.tpr_finding(Verdict.INCONCLUSIVE, 0.1, 0.0, 1.0, minimum_detectable=1.0)
    audit = audits.INCONCLUSIVE.audit.model_copy(update={"findings": (finding,), "strongest": finding.id})
    assert "However strong a leak, the audit would not have seen it with probability 0.9" in sentence(audit)
    assert detectable_words(finding) == "none, however strong, with probability 0.9"
    assert detectable_words(finding.model_copy(update={"minimum_detectable": 0.5})) == "0.5, with probability 0.9"


def test_a_two_sided_limit_is_named_on_both_sides(audits: ModuleType) -> None:
    audit = audits.PASS.audit.model_copy(update={"strongest": "auc-retrain"})
    assert re.search(r"No leak outside 0\.49\d to 0\.53\d was found \(AUC", sentence(audit))


def test_what_has_no_interval_is_given_none(audits: ModuleType) -> None:
    finding = audits.PASS.audit.findings[0].model_copy(update={"value": 0.87, "lower": 0.87, "upper": 0.87})
    assert measured(finding) == "0.87 (no interval)"


def test_the_limit_is_said_to_be_inside_only_where_it_is(audits: ModuleType) -> None:
    audit = audits.INCONCLUSIVE.audit
    first = audit.findings[0].model_copy(update={"upper": 0.04})
    assert "lies inside" not in sentence(audit.model_copy(update={"findings": (first, *audit.findings[1:])}))


@pytest.mark.parametrize(
    ("lower", "upper", "words"),
    [
        (0.12345, 0.23451, "0.123 to 0.235"),
        (0.12345, math.inf, "at least 0.123"),
        (-math.inf, 0.23451, "at most 0.235"),
        (-math.inf, math.inf, "no interval"),
        (-0.12345, -0.1, "-0.124 to -0.1"),
    ],
)
def test_intervals_are_rounded_outwards(audits: ModuleType, lower: float, upper: float, words: str) -> None:
    finding = audits.PASS.audit.findings[0].model_copy(update={"lower": lower, "upper": upper})
    assert interval(finding) == words


# ----------------------------------------------------------------------------------------------------------- every format


@pytest.mark.parametrize("name", QUICK)
def test_the_same_document_gives_the_same_bytes(audited: Document, name: str) -> None:
    assert render(audited, name) == render(audited, name)


@pytest.mark.parametrize("key", KEYS)
def test_what_a_person_reads_says_what_was_found_and_what_was_not_tested(audits: ModuleType, key: str) -> None:
    document = audits.ALL[key]
    said = plain(sentence(document.audit))
    for name, text in ((name, shown(document, name)) for name in READ):
        assert said in text
        assert "came out as they must" in text or (name, key) == ("html", "audit-refused")  # it says which did not
        assert "label-only attacks" in text
        assert plain(HONEST) in text


@pytest.mark.parametrize("key", KEYS)
def test_no_format_says_that_a_model_is_private(audits: ModuleType, key: str) -> None:
    for text in (shown(audits.ALL[key], name) for name in (*QUICK, "html")):
        assert not re.search(
            r"\b(compliant|anonymous|is private|are private|no leak was found|is safe)\b", text.lower()
        )


@pytest.mark.parametrize("name", READ)
def test_evidence_under_a_pass_is_not_called_a_guarantee(audits: ModuleType, name: str) -> None:
    text = shown(audits.PASS, name)
    assert "Evidence, not proof: no leak above the policy's limits" in text.replace("&#39;", "'")
    assert "nobody can tell" not in text
    assert "standard deviation" not in text  # no noise is added, and none is spoken of


def test_text_is_ascii_and_fits_one_screen(audited: Document) -> None:
    lines = render_text(audited).splitlines()
    assert all(line.isascii() for line in lines)
    assert max(map(len, lines)) <= 100
    assert len(lines) <= 45


def test_sarif_has_the_numbers_of_a_finding_with_its_check_and_others_inform(audits: ModuleType) -> None:
    run = json.loads(render(audits.UNDER, "sarif"))["runs"][0]
    results = {result["ruleId"]: result for result in run["results"]}
    assert {rule["id"] for rule in run["tool"]["driver"]["rules"]} == set(results)
    assert results["u-lira-privacy"]["kind"] == "fail"
    assert results["u-lira-privacy"]["properties"]["adjusted_p"] == 8.4e-7
    assert results["epsilon"]["properties"]["upper"] == "inf"  # JSON has no infinity
    assert results["loss"]["kind"] == "informational"
    assert results["loss"]["level"] == "none"
    assert "null 0.502" in results["loss"]["message"]["text"]
    assert results["control-original"]["properties"] == {"value": 0.142, "p_value": 1e-9}


def test_junit_counts_checks_alone(audited: Document) -> None:
    suite = ET.fromstring(render(audited, "junit"))[0]
    assert len(suite.findall("testcase")) == len(audited.checks)
    red = int(suite.attrib["failures"]) + int(suite.attrib["errors"])
    assert (red == 0) == (audited.verdict is Verdict.PASS)


def test_machines_get_every_number_of_a_finding(audits: ModuleType) -> None:
    numbers = dict(audit_numbers(audits.UNDER, "u-lira-privacy"))
    assert numbers["lower"] == audits.UNDER.audit.findings[0].lower
    assert numbers["direction"] == "under-forgetting"
    assert audit_numbers(audits.UNDER, "request") == []
    assert audit_numbers(audits.UNDER, "") == []


def test_a_finding_for_information_has_no_verdict_word(audits: ModuleType) -> None:
    rows = [finding_row(finding) for finding in audits.PASS.audit.findings]
    assert [row[1] for row in rows] == ["PASS"] * 4 + ["for information"]
    assert finding_row(audits.UNDER.audit.findings[0])[1] == "FAIL (under-forgetting)"


def test_the_two_questions_are_answered_with_this_audits_numbers(audits: ModuleType) -> None:
    for key in KEYS[:5]:
        page_one = shown(audits.ALL[key], "html").split("Decision")[0]
        assert WHY_RETRAIN in page_one
        assert BELOW_CHANCE in page_one
        assert "Yes. Every finding that has a null" in page_one
    assert "is 0.501 (0.486 to 0.516)" in shown(audits.OVER, "html").split("Decision")[0]


def test_no_comparison_with_retraining_is_claimed_where_none_was_made(audits: ModuleType) -> None:
    def bare(audit: Audit) -> Audit:
        nothing = {"null_mean": None, "null_lower": None, "null_upper": None, "corrected": None}
        findings = tuple(finding.model_copy(update=nothing) for finding in audit.findings)
        design = audit.design.model_copy(update={"two_sided": False})
        return audit.model_copy(update={"findings": findings, "design": design})

    page = shown(audits.PASS.model_copy(update={"audit": bare(audits.PASS.audit)}), "html")
    assert "No. No finding of this audit has its retrain null" in page
    assert "It is: every finding" not in page
    assert "looked for under-forgetting alone" in page
    assert "on both sides" not in page


def test_an_audit_without_controls_says_so(audits: ModuleType) -> None:
    bare = with_audit(audits.PASS, controls=())
    for name in READ:
        assert "no control was run" in shown(bare, name).lower()


def test_every_format_is_tried() -> None:
    assert set(FORMATS) == {*QUICK, "html", "json", "pdf"}
