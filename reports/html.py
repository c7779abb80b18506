"""One self-contained HTML file: no script, no network, readable on paper, on a phone, in the dark."""

import re
from importlib.resources import files

from certify.core.rounding import format_lower, format_plain, format_upper
from certify.core.verdict import Verdict
from certify.reports import wording
from certify.reports.schema import Document

_SYMBOLS = {"pass": "✓", "fail": "✗", "inconclusive": "?", "refused": "–"}
_CODE = re.compile(r"`([^`]+)`")


def render_html(document: Document) -> str:
    """The report, page one in words for a privacy officer, the evidence behind it."""
    from jinja2 import Environment, StrictUndefined

    from certify.reports import figures

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "upper": format_upper,
        "lower": format_lower,
        "plain": format_plain,
        "clean": wording.clean,
        "powers": _powers,
        "times": wording.times_in_100,
    }
    template = environment.from_string(_resource("report.html.j2"))
    return template.render(
        d=document,
        css=_resource("report.css"),
        curve=figures.privacy_curve(document),
        bounds=figures.distance_bounds(document),
        word=wording.WORDS[document.verdict],
        words=wording.WORDS,
        symbols=_SYMBOLS,
        meaning=document.verdict.meaning,
        tally=wording.tally(document),
        guarantee=wording.guarantee_sentence(document),
        claimed=wording.claims_guarantee(document),
        unnoised=wording.UNNOISED,
        released=wording.release_sentence(document),
        unmet=[entry for entry in document.checks if entry.verdict is not Verdict.PASS],
        remedies=wording.remedies(document),
        plural=wording.plural,
        curve_rows=_thinned(document),
        one_step_caption=wording.ONE_STEP_CAPTION,
        one_step_rows=wording.one_step_rows(document),
    )


def _resource(name: str) -> str:
    return files("certify.reports").joinpath("templates", name).read_text(encoding="utf-8")


def _powers(text: object) -> object:
    """Text with 1e-7 written as a power of ten and `commands` set as code; everything else is escaped."""
    from markupsafe import Markup, escape

    def power(match: re.Match[str]) -> str:
        factor = "" if match[1] == "1" else f"{match[1]} × "
        return f"{factor}10<sup>{match[2].replace('-', '−')}</sup>"

    safe = str(escape(wording.clean(str(text))))
    return Markup(_CODE.sub(r"<code>\1</code>", wording.POWER.sub(power, safe)))  # noqa: S704 - escaped just before


def _thinned(document: Document) -> list[tuple[str, str]]:
    """Every fourth point of the curve, for the table under the figure."""
    return [(format_plain(point.delta, 3), format_upper(point.epsilon)) for point in document.curve[::4]]
