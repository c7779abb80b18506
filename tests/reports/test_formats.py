"""What every format owes: every check, the verdict, determinism, and safety from hostile strings."""

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import pytest

from certify.core.errors import ConfigurationError
from certify.core.verdict import Verdict
from certify.reports.formats import FORMATS, render
from certify.reports.schema import Document, Release
from certify.reports.text import render_text

TEXTUAL = [name for name in FORMATS if name != "pdf"]
VOID = {"meta", "br", "hr", "use", "path", "rect"}


@pytest.mark.parametrize("name", TEXTUAL)
def test_the_same_document_gives_the_same_bytes(document: Document, name: str) -> None:
    assert render(document, name) == render(document, name)


@pytest.mark.parametrize("name", TEXTUAL)
@pytest.mark.parametrize("verdict", list(Verdict))
def test_every_check_and_the_verdict_are_shown(samples: ModuleType, name: str, verdict: Verdict) -> None:
    shown = render(samples.document(verdict), name).decode()
    assert "title of request" in shown
    assert "summary of privacy" in shown or name == "junit"
    assert verdict.value.upper() in shown or name in ("json", "sarif", "junit")


@pytest.mark.parametrize("name", ["text", "markdown", "html"])
def test_upper_bounds_are_rounded_up_and_no_guarantee_is_claimed_without_a_pass(samples: ModuleType, name: str) -> None:
    passed = render(samples.document(), name).decode()
    assert "0.000884" in passed  # 8.835e-4 rounded up
    assert "0.000883 " not in passed
    failed = re.sub(r"\s+", " ", render(samples.document(Verdict.FAIL), name).decode())
    assert "No guarantee" in failed
    assert "nobody can tell" not in failed
    assert "take one Newton step" in failed


def test_no_renderer_says_what_no_report_may_say(document: Document) -> None:
    for name in TEXTUAL:
        shown = render(document, name).decode().lower()
        assert not re.search(r"\b(compliant|anonymous|is private)\b", shown)


def test_text_of_users_cannot_steer_a_terminal(samples: ModuleType) -> None:
    shown = render_text(samples.hostile())
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert render_text(samples.document(), color=True) != render_text(samples.document())


def test_text_is_ascii_and_fits_a_hundred_columns(samples: ModuleType) -> None:
    for key in ("pass", "fail", "refused", "inconclusive"):
        shown = render_text(samples.ALL[key])
        assert shown.isascii()
        assert max(map(len, shown.splitlines())) <= 100


class _Page(HTMLParser):
    """Tags that open and close in order, attributes, and ids."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        assert self.open, f"stray </{tag}>"
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def parsed(document: Document) -> _Page:
    page = _Page()
    page.feed(render(document, "html").decode())
    return page


def test_html_is_well_formed_and_needs_nothing_from_outside(document: Document) -> None:
    page = parsed(document)
    assert page.open == []
    assert not {"script", "link", "img", "iframe", "object", "base"} & set(page.tags)
    references = [value or "" for name, value in page.attributes if name in ("href", "src", "xlink:href", "action")]
    assert all(value.startswith("#") for value in references)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "@import" not in render(document, "html").decode()


def test_html_ids_are_unique_and_references_lead_somewhere(document: Document) -> None:
    page = parsed(document)
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    used = {value[1:] for name, value in page.attributes if name == "href" and value}
    labels = {value for name, value in page.attributes if name == "aria-labelledby" and value}
    text = render(document, "html").decode()
    assert used | labels | set(re.findall(r"url\(#([\w-]+)\)", text)) <= set(ids)


def test_each_figure_has_a_text_alternative_and_its_numbers_beside_it(samples: ModuleType) -> None:
    text = render(samples.document(), "html").decode()
    assert text.count("<figure>") == text.count("<figcaption") == text.count('role="img"') == 2
    assert "The same as numbers" in text
    assert "2.63 × 10<sup>−6</sup>" in text  # 2.6250001e-6 rounded up


def test_a_bound_that_does_not_apply_says_so(samples: ModuleType) -> None:
    text = render(samples.unbounded(), "html").decode()
    assert text.count("does not apply") == 6  # three drawn, three in the words for who cannot see them
    assert "infinite" in text


def test_html_shows_every_digest(samples: ModuleType) -> None:
    document = samples.document()
    text = render(document, "html").decode()
    request = document.request
    files = [
        document.subject.model,
        document.subject.original,
        request.data,
        request.forget,
        document.reproduction.spec,
    ]
    assert all(file.sha256 in text for file in files)
    assert request.retained_digest in text


def test_page_one_comes_first_and_holds_the_sign_off(samples: ModuleType) -> None:
    page_one = render(samples.document(), "html").decode().split("</section>")[0]
    for words in ("at most 50.1 times in 100", "What this does not cover", "Signature", "50 records of 16,152"):
        assert words in re.sub(r"<[^>]+>", "", page_one)


def test_hostile_strings_stay_text_in_html_and_markdown(samples: ModuleType) -> None:
    assert "<script" not in render(samples.hostile(), "html").decode()
    shown = render(samples.hostile(), "markdown").decode()
    assert not re.search(r"(?<!\\)<script", shown)
    rows = [line for line in shown.splitlines() if line.startswith("| ") and "script" in line]
    assert rows
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 4 for row in rows)


def test_sarif_kinds_and_levels_go_together(document: Document) -> None:
    run = json.loads(render(document, "sarif"))["runs"][0]
    kinds = {"pass": "pass", "fail": "fail", "inconclusive": "open", "refused": "review"}
    assert [result["kind"] for result in run["results"]] == [kinds[check.verdict] for check in document.checks]
    for result in run["results"]:
        assert (result["level"] == "none") == (result["kind"] != "fail")
        assert result["partialFingerprints"]
        uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        assert re.fullmatch(r"[\w./%~:@!$&'()*+,;=-]+", uri)
    invocation = run["invocations"][0]
    assert invocation["executionSuccessful"] == (document.verdict is not Verdict.REFUSED)
    assert invocation["exitCode"] == document.exit_code
    assert bool(invocation["toolExecutionNotifications"]) == (document.verdict is Verdict.REFUSED)


def test_sarif_rule_ids_are_those_of_the_checks_and_each_is_described(samples: ModuleType) -> None:
    run = json.loads(render(samples.document(), "sarif"))["runs"][0]
    assert {rule["id"] for rule in run["tool"]["driver"]["rules"]} == {result["ruleId"] for result in run["results"]}


def test_junit_counts_agree_with_its_cases(document: Document) -> None:
    suite = ET.fromstring(render(document, "junit"))[0]
    assert len(suite.findall("testcase")) == int(suite.attrib["tests"]) == len(document.checks)
    assert len(suite.findall("testcase/failure")) == int(suite.attrib["failures"])
    assert len(suite.findall("testcase/error")) == int(suite.attrib["errors"])
    red = int(suite.attrib["failures"]) + int(suite.attrib["errors"])
    assert (red == 0) == (document.verdict is Verdict.PASS)


def test_json_is_the_document(document: Document) -> None:
    assert json.loads(render(document, "json")) == document.to_dict()


def test_an_unknown_format_names_the_nearest(samples: ModuleType) -> None:
    with pytest.raises(ConfigurationError, match="markdown"):
        render(samples.document(), "markdwn")


def test_a_missing_weasyprint_says_what_to_install(samples: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    with pytest.raises(ConfigurationError, match=r"certify-unlearning\[pdf\]"):
        render(samples.document(), "pdf")


@pytest.mark.parametrize("module", ["certify.reports", "certify.reports.formats", "certify.reports.text"])
def test_cheap_modules_import_nothing_heavy(module: str) -> None:
    script = f"import sys, {module}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"jinja2", "matplotlib", "torch", "numpy", "scipy"} & set(done.stdout.split())


def test_renderers_know_the_document_and_the_core_alone(repo_root: Path) -> None:
    for path in (repo_root / "reports").glob("*.py"):
        for line in path.read_text(encoding="utf-8").splitlines():
            found = re.match(r"\s*(?:from|import) certify\.(\w+)", line)
            assert found is None or found[1] in ("core", "reports"), f"{path.name}: {line}"


def test_a_release_is_said_in_every_format_a_person_reads(samples: ModuleType) -> None:
    released = samples.document(
        release=Release(
            number=2,
            file=samples.digest("released-0002.npz"),
            noise_std=0.005,
            grid_bits=100,
            charged_mu=0.26805112,
            total_mu=0.37908153,
            ledger="ab",
            ledger_sequence=3,
            ledger_previous="cd",
        )
    )
    for name in ("text", "markdown", "html"):
        shown = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", render(released, name).decode()))
        assert "Released as released-0002.npz" in shown
        assert "total mu 0.38" in shown
        assert "Released as" not in render(samples.document(), name).decode()
