"""One self-contained HTML file: no script, no network, readable on paper, on a phone, in the dark."""

import re
from importlib.resources import files

from certify.core.rounding import format_lower, format_plain, format_upper
from certify.reports import wording
from certify.reports.schema import Document

_SYMBOLS = {"pass": "✓", "fail": "✗", "inconclusive": "?", "refused": "–"}
_CODE = re.compile(r"`([^`]+)`")
_OPTION = re.compile(r"(?<!\S)(--[\w-]+)")
_RAISED = re.compile(r"([\w‖])\^(-?\d+)\b")
_SIGNS = {" &lt;= ": " ≤ ", " &gt;= ": " ≥ ", "‖w - w*‖": "‖w − w*‖", " x 2^": " × 2^", " x row norm": " × row norm"}


def render_html(document: Document) -> str:
    """The report, page one in words for a privacy officer, the evidence behind it."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    from certify.reports import figures
    from certify.reports.audit_games import check_lines, lines_not_passed
    from certify.reports.audit_page import audit_view

    environment = Environment(
        loader=FunctionLoader(_resource),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    audit = audit_view(document)
    environment.filters |= {
        "upper": format_upper,
        "lower": format_lower,
        "plain": format_plain,
        "clean": wording.clean,
        "powers": _powers,
        "times": wording.times_in_100,
    }
    template = environment.get_template("report.html.j2")
    return template.render(
        d=document,
        a=audit,
        audited=audit is not None and document.subject.kind == "torch" and not wording.claims_guarantee(document),
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
        lines=check_lines(document),
        unmet=lines_not_passed(document),
        remedies=wording.remedies(document),
        plural=wording.plural,
        curve_rows=_thinned(document),
        one_step_caption=wording.ONE_STEP_CAPTION,
        one_step_rows=wording.one_step_rows(document),
    )


def _resource(name: str) -> str:
    return files("certify.reports").joinpath("templates", name).read_text(encoding="utf-8")


def _powers(text: object) -> object:
    """Text with formulas as they are printed and `commands` set as code, letter by letter; everything else is escaped."""
    from markupsafe import Markup, escape

    parts = _CODE.split(str(escape(wording.clean(str(text)))))
    set_ = [_command(part) if place % 2 else _printed(part) for place, part in enumerate(parts)]
    return Markup("".join(set_))  # noqa: S704 - escaped just before


def _printed(safe: str) -> str:
    """Escaped text with powers, norms and comparisons as a book has them; a number is not broken over two lines."""

    def power(match: re.Match[str]) -> str:
        factor = "" if match[1] == "1" else f"{match[1]} × "
        return f'<span class="whole">{factor}10<sup>{(match[2] + match[3]).replace("-", "−")}</sup></span>'

    text = wording.POWER.sub(power, safe).replace("||", "‖")
    for plain, sign in _SIGNS.items():
        text = text.replace(plain, sign)
    return _RAISED.sub(lambda match: f"{match[1]}<sup>{match[2].replace('-', '−')}</sup>", text)


def _command(safe: str) -> str:
    """A command as code; an option is not broken after its dashes."""
    whole = _OPTION.sub(r'<span class="whole">\1</span>', safe)
    return f"<code>{whole}</code>"


def _thinned(document: Document) -> list[tuple[str, str]]:
    """Every fourth point of the curve, for the table under the figure."""
    return [(format_plain(point.delta, 3), format_upper(point.epsilon)) for point in document.curve[::4]]
