"""The page of an audit: well formed, figures with words and numbers, phones and paper, hostile text and numbers."""

import math
import re
from html.parser import HTMLParser
from importlib.resources import files
from itertools import pairwise
from types import ModuleType
from typing import Any

import pytest

from certify.reports import audit_figures as figures
from certify.reports.drawing import label
from certify.reports.formats import render
from certify.reports.pdf import _literal_colors
from certify.reports.schema import Audit, Document

CSS = files("certify.reports").joinpath("templates", "report.css").read_text(encoding="utf-8")
KEYS = ("audit-pass", "audit-under", "audit-over", "audit-inconclusive", "audit-refused", "audit-beside")
VOID = {"meta", "br", "hr", "use", "path", "rect"}
FREE = {"verdict", "status", "kind", "schema_version", "noise_shape", "step", "source", "expectation", "direction"}
POISON = "<script>alert(1)</script>\x1b[31m\u202e\x00|`*_$x^$ \u4e2d {{ 7771 * 3 }} \n"


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def plain(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", text))


def page_of(document: Document, audit: Audit) -> str:
    return render(document.model_copy(update={"audit": audit}), "html").decode()


@pytest.mark.parametrize("key", KEYS)
def test_the_page_is_well_formed_and_needs_nothing_from_outside(pages: dict[str, str], key: str) -> None:
    page = _Page(pages[key])
    assert page.open == []
    assert not {"script", "link", "img", "iframe", "object", "base"} & set(page.tags)
    references = [value or "" for name, value in page.attributes if name in ("href", "src", "xlink:href", "action")]
    assert all(value.startswith("#") for value in references)
    assert "@import" not in pages[key]
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    used = {value[1:] for name, value in page.attributes if name == "href" and value}
    named = {value for name, value in page.attributes if name in ("aria-labelledby", "aria-describedby") and value}
    assert used | named | set(re.findall(r"url\(#([\w-]+)\)", pages[key])) <= set(ids)


@pytest.mark.parametrize("key", KEYS)
def test_headings_come_in_order(pages: dict[str, str], key: str) -> None:
    levels = [int(level) for level in re.findall(r"<h(\d)", pages[key])]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_the_same_audit_gives_the_same_page(audits: ModuleType, pages: dict[str, str]) -> None:
    assert render(audits.UNDER, "html").decode() == pages["audit-under"]


def test_each_figure_has_a_caption_and_words(audits: ModuleType, pages: dict[str, str]) -> None:
    text, audit = pages["audit-under"], audits.UNDER.audit
    expected = len(audit.roc) + len(audit.histograms) + len(audit.relearning) + 2  # the ranking, the distances
    assert text.count("<figure>") == text.count("<figcaption") == text.count('role="img"') == expected
    for name in ("roc0", "roc1", "scores0", "ranking", "distances", "relearning0"):
        assert re.search(rf'<title id="{name}-title">.+</title>\n<desc id="{name}-desc">.+</desc>', text)
    assert "at false-positive rate 0.01 the true-positive rate is 0.0924" in text
    assert "L2, whole model: 2 times the null's median" in text


def test_each_fleet_has_its_ranking_under_a_heading_of_its_own(audits: ModuleType) -> None:
    audit = audits.UNDER.audit
    other = audit.ranking.model_copy(update={"slice": "memorised"})
    document = audits.UNDER.model_copy(update={"audit": audit.model_copy(update={"further_rankings": (other,)})})
    text = render(document, "html").decode()
    assert "<h2>Records that are told apart best: all records</h2>" in text
    assert "<h2>Records that are told apart best: memorised records</h2>" in text
    assert '<title id="ranking1-title">' in text


def test_every_word_of_page_one_is_explained(pages: dict[str, str]) -> None:
    text = pages["audit-under"]
    assert 'href="#words"' in text
    words = text.partition('<h2 id="words">')[2]
    for word in ("epsilon, delta", "TPR at an FPR", "p (p-value)", "shadow model, world", "AUC", "null, control"):
        assert f"<dt>{word}</dt>" in words


@pytest.mark.parametrize("key", KEYS)
def test_figures_take_their_ink_from_the_page(pages: dict[str, str], key: str) -> None:
    drawn = re.findall(r"<svg .*?</svg>", pages[key], re.DOTALL)
    assert len(drawn) >= 8
    for figure in drawn:
        assert "var(--ink)" in figure
        assert set(re.findall(r"#[0-9a-f]{6}", figure)) <= {"#ffffff"}
        assert set(re.findall(r"var\(--(\w+)\)", figure)) <= set(re.findall(r"--(\w+):", CSS))


def test_a_pdfs_figures_have_their_colours_written_out(pages: dict[str, str]) -> None:
    literal = _literal_colors(pages["audit-under"])
    assert not [figure for figure in re.findall(r"<svg .*?</svg>", literal, re.DOTALL) if "var(" in figure]


def test_page_one_holds_what_an_officer_signs(pages: dict[str, str]) -> None:
    page_one = plain(pages["audit-pass"].split("</section>")[0])
    for words in (
        "The claim: The unlearned models cannot be told from models retrained without the records.",
        "The reference: retrain",
        "PASS",
        "The strongest evidence",
        "U-LiRA",
        "bootstrap over models (BCa)",
        "fails with probability at most 0.05",
        "Smallest leak it would have seen 0.031, with probability 0.9",
        "Not tested: label-only attacks",
        "takes the operator to be honest",
        "Not finding a leak is not a proof",
        "Signature",
    ):
        assert words in page_one or words.replace("seen 0", "seen0") in page_one, words
    assert "noise added" not in page_one


def test_what_failed_and_what_would_mend_it_stand_on_page_one(pages: dict[str, str]) -> None:
    page_one = plain(pages["audit-under"].split("</section>")[0])
    assert page_one.index("What did not pass") < page_one.index("What would mend it")
    assert "should not be released on the strength of this report" in page_one
    assert "Not finding a leak" not in page_one


def test_a_certificate_with_an_audit_keeps_its_guarantee_on_page_one(pages: dict[str, str]) -> None:
    page_one = plain(pages["audit-beside"].split("</section>")[0])
    assert page_one.index("nobody can tell the release") < page_one.index("What attacks saw")
    rest = plain(pages["audit-beside"].partition("</section>")[2])
    for words in ("Privacy curve", "Findings of the audit", "Controls", "Design and cost of the audit"):
        assert words in rest


@pytest.mark.parametrize("verdict", ["under", "inconclusive", "refused"])
def test_no_certificate_is_claimed_for_a_network(pages: dict[str, str], verdict: str) -> None:
    text = plain(pages[f"audit-{verdict}"])
    assert "nobody can tell" not in text
    assert "No leak" not in text.split("Decision")[0]


def test_the_rows_of_the_ranking_are_places_and_nothing_else(audits: ModuleType, pages: dict[str, str]) -> None:
    ranking = audits.UNDER.audit.ranking
    assert all(f"row {item.row}" in pages["audit-under"] for item in ranking.records)
    assert "231 records of 800 stood out" in plain(pages["audit-under"])
    assert set(type(ranking.records[0]).model_fields) == {
        "rank", "row", "value", "lower", "upper", "p_value", "adjusted_p", "direction",
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------------ hostile documents


def poisoned(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: poisoned(part, name) for name, part in value.items()}
    if isinstance(value, list):
        return [poisoned(part, key) for part in value]
    infinite = value in ("Infinity", "-Infinity")
    return POISON if isinstance(value, str) and key not in FREE and not infinite else value


def poison(document: Document) -> Document:
    raw = poisoned(document.to_dict())
    for place, finding in enumerate(raw["audit"]["findings"]):
        finding |= {"id": f"{POISON}{place}", "source": POISON}
    for curve in raw["audit"]["relearning"]:
        curve["kind"] = POISON
    raw["audit"]["strongest"] = raw["audit"]["findings"][0]["id"]
    return Document.model_validate(raw)


@pytest.mark.parametrize("name", ["html", "markdown", "text", "sarif", "junit"])
def test_no_field_of_an_audit_can_steer_a_terminal_or_a_page(audits: ModuleType, name: str) -> None:
    for key in ("audit-under",) if name == "html" else KEYS:
        text = render(poison(audits.ALL[key]), name).decode()
        assert not {"\x1b", "\u202e", "\x00"} & set(text)
        assert "\\u001b" not in text
        assert "23313" not in text  # nothing was run as a template
        if name in ("html", "markdown", "junit"):
            assert not re.search(r"(?<!\\)<script", re.sub(r"`[^`]*`", "", text))


def test_labels_of_figures_are_no_formulas(audits: ModuleType) -> None:
    item = audits.UNDER.audit.histograms[0].model_copy(update={"axis": r"$\frac{1}{$ cost $5", "title": "<b>&"})
    drawn = figures.histogram_figures(audits.UNDER.audit.model_copy(update={"histograms": (item,)}))[0]
    assert "cost $5" in drawn
    assert "<b>" not in drawn
    assert label("a\x1b[31m\nb") == "a [31m b"


@pytest.mark.parametrize("value", [0.0, 5e-324, 1e99, 1e308, -math.inf])
def test_figures_stand_any_number(audits: ModuleType, value: float) -> None:
    audit = audits.UNDER.audit
    rate = min(max(value, 0.0), 1.0)
    curve = audit.roc[0]
    update: dict[str, Any] = {
        "roc": (
            curve.model_copy(update={"fpr": (rate, *curve.fpr[1:]), "lower": (rate, *curve.lower[1:])}),
            curve.model_copy(update=dict.fromkeys(("fpr", "tpr", "lower", "upper"), ())),
            curve.model_copy(update=dict.fromkeys(("null_fpr", "null_tpr", "null_lower", "null_upper"), ())),
        ),
        "distances": tuple(
            item.model_copy(update={"value": value, "ratio": value, "null_values": (value, 1.0)})
            for item in audit.distances
        ),
        "ranking": audit.ranking.model_copy(
            update={"records": (audit.ranking.records[0].model_copy(update={"value": value, "lower": value, "upper": value}),)}
        ),
        "relearning": (
            audit.relearning[0].model_copy(
                update={"unlearned": audit.relearning[0].unlearned.model_copy(update={"mean": (value,) * 11, "upper": (value,) * 11})}
            ),
        ),
        "findings": (audit.findings[0].model_copy(update={"value": value, "lower": value, "upper": value}), *audit.findings[1:]),
    }  # fmt: skip
    assert "right alarms" in page_of(audits.UNDER, audit.model_copy(update=update))


@pytest.mark.parametrize(
    ("edges", "drawn"),
    [
        ((0.0, 1.0, 2.0), True),
        ((-math.inf, 0.0, 1.0, math.inf), True),
        ((-math.inf, math.inf), False),
        ((-1e300, 0.0, 1.0, 2.0), False),
    ],
)
def test_open_bins_are_drawn_as_wide_as_their_neighbours(
    audits: ModuleType, edges: tuple[float, ...], drawn: bool
) -> None:
    first = audits.UNDER.audit.histograms[0]
    series = tuple(part.model_copy(update={"counts": (1,) * (len(edges) - 1)}) for part in first.series)
    item = first.model_copy(update={"edges": edges, "series": series})
    found = figures.histogram_figures(audits.UNDER.audit.model_copy(update={"histograms": (item,)}))[0]
    assert bool(found) == drawn


def test_an_empty_audit_has_a_page(audits: ModuleType) -> None:
    empty = audits.PASS.audit.model_copy(
        update=dict.fromkeys(("findings", "controls", "roc", "histograms", "distances", "relearning", "ceilings", "not_tested"), ())
        | {"ranking": None, "strongest": None}
    )  # fmt: skip
    text = page_of(audits.PASS, empty)
    assert "No control was run" in text
    assert "<svg" not in text


def test_a_long_null_is_thinned_and_keeps_its_ends() -> None:
    values = [float(value) for value in range(5000)]
    thinned = figures._spread(values[::-1])
    assert len(thinned) == figures.DOTS
    assert (thinned[0], thinned[-1]) == (0.0, 4999.0)
    assert figures._spread([3.0, 1.0]) == [1.0, 3.0]


def test_a_curve_of_many_steps_is_drawn_by_those_that_can_be_seen(audits: ModuleType) -> None:
    many = tuple((k + 1) / 20_000 for k in range(20_000))
    rows = figures._visible([(rate, rate) for rate in many], 1e-4)
    assert 100 < len(rows) <= figures._COLUMNS + 2
    assert (rows[0], rows[-1]) == ((many[0],) * 2, (1.0, 1.0))
    assert set(rows) <= {(rate, rate) for rate in many}  # measured points, none made up
    assert rows == sorted(rows)


def test_curves_beyond_the_twelfth_stand_in_the_table(audits: ModuleType) -> None:
    curve = audits.UNDER.audit.roc[0]
    nothing = {"histograms": (), "ranking": None, "distances": (), "relearning": ()}
    many = tuple(curve.model_copy(update={"attack": f"attack {k}"}) for k in range(14))
    text = page_of(audits.UNDER, audits.UNDER.audit.model_copy(update=nothing | {"roc": many}))
    assert text.count('role="img"') == 12
    assert "The first 12 of 14 curves are drawn" in text
    assert text.count("attack 13") == 3  # its measured points


def test_one_record_far_from_the_others_does_not_press_them_together(audits: ModuleType) -> None:
    ranking = audits.UNDER.audit.ranking
    even = tuple(
        item.model_copy(update={"value": 2.0 + k / 10, "lower": 1.0, "upper": 4.0})
        for k, item in enumerate(ranking.records)
    )
    far = (*even[:-1], even[-1].model_copy(update={"value": 175.0, "lower": 160.0, "upper": 190.0}))

    assert not figures._far_apart([item.value for item in even])
    assert figures._far_apart([item.value for item in far])
    text = figures.ranking_figure(ranking.model_copy(update={"records": far}))
    assert ">100<" in text.replace(" ", "")  # a decade on the axis
    assert ">100<" not in figures.ranking_figure(ranking.model_copy(update={"records": even})).replace(" ", "")


def test_histograms_that_are_not_drawn_are_counted(audits: ModuleType) -> None:
    first = audits.UNDER.audit.histograms[0]
    nothing = {"roc": (), "ranking": None, "distances": (), "relearning": ()}
    endless = first.model_copy(update={"edges": tuple(1e200 * (1 + k) for k in range(len(first.edges)))})
    assert "histograms" not in plain(page_of(audits.UNDER, audits.UNDER.audit.model_copy(update=nothing)))
    many = (endless, *(first.model_copy(update={"title": f"attack {k}"}) for k in range(13)))
    text = page_of(audits.UNDER, audits.UNDER.audit.model_copy(update=nothing | {"histograms": many}))
    assert text.count('role="img"') == 11
    assert "Of 14 histograms the first 12 are drawn; 1 has no finite scale to draw on" in plain(text)
    alone = page_of(audits.UNDER, audits.UNDER.audit.model_copy(update=nothing | {"histograms": (endless,)}))
    assert "Of 1 histogram 1 has no finite scale" in plain(alone)


def test_no_two_worlds_of_a_figure_are_drawn_alike() -> None:
    tones = figures._tones(["unlearned", "retrained", "retrained in the place", "never seen", "original"])
    assert len(set(tones)) == 5
    assert figures._tones(["unlearned"]) == tones[:1]


def test_rates_of_the_table_are_measured_points(audits: ModuleType) -> None:
    curve = audits.UNDER.audit.roc[0]
    points = figures.at_rates(curve)
    assert [round(point[0], 6) for point in points] == [0.001, 0.01, 0.1]
    assert all(point in zip(curve.fpr, curve.tpr, curve.lower, curve.upper, strict=True) for point in points)
    assert figures.at_rates(curve, rates=(1e-9,)) == []


# ---------------------------------------------------------------------------------------------------------- phones, paper


def test_on_a_phone_every_pair_is_a_column_and_cells_have_names(pages: dict[str, str]) -> None:
    phone = CSS.rpartition("@media (max-width: 40rem)")[2].partition("@media print")[0]
    assert ".pairs, .facts { grid-template-columns: 1fr; }" in phone
    assert "attr(data-label)" in phone
    assert 'data-label="null"' in pages["audit-under"]


def test_no_width_of_wide_screens_survives_on_a_phone() -> None:
    wide = CSS.partition("@media (max-width: 40rem)")[0]
    outside = re.sub(r"@media[^{]*\{(?:[^{}]*\{[^{}]*\})*\s*\}", "", wide)
    assert "nth-child" not in outside
