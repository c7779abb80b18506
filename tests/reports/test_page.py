"""The page as something a person reads: figures with words, headings in order, colours that can be told apart."""

import re
from importlib.resources import files
from itertools import pairwise
from types import ModuleType

import pytest

from certify.core.verdict import Verdict
from certify.reports.formats import render
from certify.reports.html import _powers
from certify.reports.pdf import _literal_colors
from certify.reports.schema import Document

CSS = files("certify.reports").joinpath("templates", "report.css").read_text(encoding="utf-8")
PALETTES = [dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)]


def luminance(color: str) -> float:
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_every_ink_can_be_read_in_light_in_dark_and_on_paper() -> None:
    assert len(PALETTES) == 3
    for palette in PALETTES:
        for ink in ("ink", "soft", "accent", "limit", "pass", "fail", "inconclusive", "refused"):
            for ground in ("paper", "wash"):
                assert contrast(palette[ink], palette[ground]) >= 4.5, (ink, ground, palette)


def test_headings_come_in_order_and_there_is_one_main(document: Document) -> None:
    text = render(document, "html").decode()
    levels = [int(level) for level in re.findall(r"<h(\d)", text)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert text.count("<main") == 1
    assert '<html lang="en">' in text


def test_each_figure_says_in_words_what_it_shows(samples: ModuleType) -> None:
    text = render(samples.document(), "html").decode()
    for name in ("curve", "bounds"):
        spoken = re.search(rf'<svg role="img" aria-labelledby="{name}-title" aria-describedby="{name}-desc"', text)
        assert spoken
        assert re.search(rf'<title id="{name}-title">.+</title>\n<desc id="{name}-desc">.+</desc>', text)
    assert "refined Newton: 2.63 × 10⁻⁶" in text


def test_figures_take_their_ink_from_the_page(samples: ModuleType) -> None:
    drawn = re.findall(r"<svg .*?</svg>", render(samples.document(), "html").decode(), re.DOTALL)
    assert len(drawn) == 2
    for figure in drawn:
        assert "var(--ink)" in figure
        assert "var(--accent)" in figure
        assert set(re.findall(r"#[0-9a-f]{6}", figure)) <= {"#ffffff"}  # the fill of what is clipped away


def test_a_pdfs_figures_have_their_colours_written_out(samples: ModuleType) -> None:
    page = _literal_colors(render(samples.document(), "html").decode())
    assert not [figure for figure in re.findall(r"<svg .*?</svg>", page, re.DOTALL) if "var(" in figure]
    assert PALETTES[0]["accent"] in page.partition("<svg")[2]


def test_the_unnoised_file_is_said_not_to_be_covered(samples: ModuleType) -> None:
    for name in ("html", "markdown"):
        assert "without that noise, is not itself covered" in render(samples.document(), name).decode()
        assert "without that noise" not in render(samples.document(Verdict.FAIL), name).decode()


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.REFUSED])
def test_page_one_says_what_went_wrong_before_what_would_mend_it(samples: ModuleType, verdict: Verdict) -> None:
    page_one = render(samples.document(verdict), "html").decode().split("</section>")[0]
    assert (
        page_one.index("What went wrong") < page_one.index("summary of privacy") < page_one.index("What would mend it")
    )
    assert "take one Newton step" in page_one


# ------------------------------------------------------------------------------------------ print of formulas, phones


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("||w - w*|| <= 2.63e-6", '‖w − w*‖ ≤ <span class="whole">2.63 × 10<sup>−6</sup></span>'),
        ("1.75 x 2^-53, 16 x 2^-53", "1.75 × 2<sup>−53</sup>, 16 × 2<sup>−53</sup>"),
        ("(l2/2) ||w||^2", "(l2/2) ‖w‖<sup>2</sup>"),
        ("H >= 0.5 M", "H ≥ 0.5 M"),
        ("a<b and 1e-5x", "a&lt;b and 1e-5x"),
        # what is to be typed stays as it is typed, and an option stays whole
        ("run `certify unlearn --set tolerance=1e-6`", 'run <code>certify unlearn <span class="whole">--set</span> tolerance=1e-6</code>'),
        ("`a || b <= c^2`", "<code>a || b &lt;= c^2</code>"),
        ("<script>`<b>`", "&lt;script&gt;<code>&lt;b&gt;</code>"),
        ("one ` alone", "one ` alone"),
    ],
)  # fmt: skip
def test_formulas_are_printed_and_commands_are_left_alone(text: str, printed: str) -> None:
    assert str(_powers(text)) == printed


def test_on_a_phone_every_part_of_a_table_of_cards_takes_the_full_width(samples: ModuleType) -> None:
    """A caption that stays a table's caption while its table becomes a block is as narrow as one letter."""
    phone = CSS.partition("@media (max-width: 40rem)")[2].partition("@media print")[0]
    (blocks,) = re.findall(r"([^{}]*)\{ display: block;", phone)
    named = {part.strip() for part in blocks.split(",")}
    assert ".cards.named tbody th { width: auto;" in phone
    page = render(samples.document(), "html").decode()
    parts = {
        tag
        for table in re.findall(r'<table class="cards.*?</table>', page, re.DOTALL)
        for tag in re.findall(r"<(\w+)", table)
    }
    assert parts >= {"caption", "tbody", "tr"}
    for tag in parts & {"caption", "tbody", "tr", "td", "th"}:
        assert f"table.cards {tag}" in named
