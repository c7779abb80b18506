"""Figures of an audit: ROC curves, score histograms, the ranking of records, distances beside their null, relearning."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from certify.core.rounding import format_plain
from certify.reports.audit_games import distance_label, part_label
from certify.reports.audit_pictures import Band, DistanceFinding, Histogram, Ranking, RelearningCurve, RocCurve
from certify.reports.audits import Audit
from certify.reports.drawing import ACCENT, INK, LIMIT, MUTED, OTHER, SOFT, decades, draw, label
from certify.reports.wording import clean, superscripts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SMALL = (4.0, 3.3)
ROWS = 40
"""Distances that are drawn; the table has them all."""
DOTS = 60
"""Dots of a row."""
CURVES = 12
"""ROC curves, and histograms, that are drawn; the table has the numbers of every curve."""
_COLUMNS = 400  # a curve of thousands of steps has no more than that many that can be seen
_LARGEST = 1e100  # beyond, the arithmetic of an axis leaves the floats
_DASHED = (0, (4, 2))


def roc_figures(audit: Audit) -> list[str]:
    """One figure a curve; empty text for those beyond the first twelve."""
    return [_roc_figure(curve, f"roc{place}") if place < CURVES else "" for place, curve in enumerate(audit.roc)]


def histogram_figures(audit: Audit) -> list[str]:
    """One figure a histogram; empty text where the edges have no place on an axis."""
    return [_histogram_figure(item, f"scores{place}") for place, item in enumerate(audit.histograms[:CURVES])]


def relearning_figures(audit: Audit) -> list[str]:
    """One figure a curve."""
    return [_relearning_figure(item, f"relearning{place}") for place, item in enumerate(audit.relearning)]


def distance_figure(audit: Audit) -> str:
    """Every distance over the median of its null, the null's own values as dots. Empty without any."""
    rows = [item for item in audit.distances if item.ratio and _finite(item.ratio) and _finite(item.value)][:ROWS]
    if not rows:
        return ""
    described = "; ".join(
        f"{distance_label(item.name)}, {part_label(item.part)}: {format_plain(item.ratio or 0, 3)} times the null's median"
        for item in rows
    )
    words = (
        "Distances to the retrained models beside the distances of retrained models to each other",
        described + ".",
    )
    size = (5.6, 0.9 + 0.27 * len(rows))
    return draw(lambda axes: _strips(axes, rows), name="distances", size=size, words=words)


def ranking_figures(audit: Audit) -> list[str]:
    """One figure a fleet, empty where nothing can be drawn."""
    return [ranking_figure(one, f"ranking{place or ''}") for place, one in enumerate(audit.rankings)]


def ranking_figure(ranking: Ranking, name: str = "ranking") -> str:
    """The first records with their intervals. Empty without any."""
    rows = [item for item in ranking.records if _finite(item.value)][:20]
    if not rows:
        return ""
    described = "; ".join(f"row {item.row}: {format_plain(item.value, 3)}" for item in rows)
    words = (f"{clean(ranking.statistic)} of the records that are told apart best", superscripts(described) + ".")

    def paint(axes: "Axes") -> None:
        for height, item in enumerate(rows):
            low, high = (end if _finite(end) else item.value for end in (item.lower, item.upper))
            axes.hlines(height, low, high, color=ACCENT, linewidth=4, alpha=0.35)
            axes.plot([item.value], [height], "o", color=ACCENT, markersize=6)
        if _far_apart(
            [abs(item.value) for item in rows]
        ):  # a record that few models saw, all alike, has a tiny deviation
            axes.set_xscale("symlog", linthresh=1.0)
            _plain_ticks(axes)
        axes.set_yticks(range(len(rows)), [f"row {item.row:,}" for item in rows])
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel(label(ranking.statistic))

    return draw(paint, name=name, size=(5.6, 0.9 + 0.24 * len(rows)), words=words)


def _far_apart(values: Sequence[float]) -> bool:
    """Whether the largest would press the others together on an even scale."""
    return max(values) > 10 * max(1.0, sorted(values)[len(values) // 2])


def _plain_ticks(axes: "Axes") -> None:
    from matplotlib.ticker import FuncFormatter, NullLocator

    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: superscripts(format_plain(value, 3))))


def _legend(axes: "Axes") -> None:
    """Above the axes, in the way of no curve; long names one below the other."""
    letters = sum(map(len, axes.get_legend_handles_labels()[1]))
    axes.legend(
        frameon=False, loc="lower left", bbox_to_anchor=(-0.14, 1.03), ncols=3 if letters < 40 else 1, borderaxespad=0, fontsize=9.5,
        columnspacing=1, handlelength=1.6, handletextpad=0.5,
    )  # fmt: skip


def _finite(value: float) -> bool:
    return abs(value) < _LARGEST


# ------------------------------------------------------------------------------------------------------------- ROC curves


def _roc_figure(curve: RocCurve, name: str) -> str:
    points = at_rates(curve)
    described = "; ".join(
        f"at false-positive rate {format_plain(fpr, 3)} the true-positive rate is {format_plain(tpr, 3)}, "
        f"{format_plain(lower, 3)} to {format_plain(upper, 3)}"
        for fpr, tpr, lower, upper in points
    )
    words = (f"ROC curve of {clean(curve.attack)}, {clean(curve.game)}", superscripts(described) + ".")
    return draw(lambda axes: _roc(axes, curve), name=name, size=SMALL, words=words)


def at_rates(curve: RocCurve, rates: Sequence[float] = (0.001, 0.01, 0.1)) -> list[tuple[float, float, float, float]]:
    """The measured points with the largest false-positive rates up to each of ``rates``: no rate is made up between points."""
    columns = sorted(zip(curve.fpr, curve.tpr, curve.lower, curve.upper, strict=True))
    found = [[column for column in columns if 0 < column[0] <= rate] for rate in rates]
    return list(dict.fromkeys(part[-1] for part in found if part))


def _roc(axes: "Axes", curve: RocCurve) -> None:
    """Both axes logarithmic and alike, so that guessing is the diagonal."""
    smallest = min((rate for rate in (*curve.fpr, *curve.null_fpr) if rate >= 1e-6), default=1e-2)
    floor = min(10.0 ** math.floor(math.log10(smallest)), 0.1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.plot([floor, 1], [floor, 1], color=SOFT, linestyle=(0, (1, 2.5)), linewidth=1.2, label="guessing")
    null = _columns((curve.null_fpr, curve.null_tpr, curve.null_lower, curve.null_upper), floor)
    _steps(axes, null, color=SOFT, label="retrained", dashed=True)
    _steps(axes, _columns((curve.fpr, curve.tpr, curve.lower, curve.upper), floor), color=ACCENT, label="unlearned")
    axes.set_xlim(floor, 1)
    axes.set_ylim(floor, 1.05)
    decades(axes.xaxis)
    decades(axes.yaxis)
    axes.set_xlabel("false-positive rate")
    axes.set_ylabel("true-positive rate")
    _legend(axes)


def _columns(columns: Sequence[Sequence[float]], floor: float) -> list[tuple[float, ...]]:
    """Points by rising rate, nothing below the floor of the axes; columns that are missing stay away."""
    rows = _visible(sorted(zip(*(column for column in columns if column), strict=True)), floor)
    return [tuple(max(value, floor * 0.9) for value in column) for column in zip(*rows, strict=True)]


def _visible(rows: list[tuple[float, ...]], floor: float) -> list[tuple[float, ...]]:
    """Of the rows that fall on one column of the logarithmic axis, the last one; the first row of all stays."""
    if len(rows) <= _COLUMNS:
        return rows
    width = -math.log10(floor) / _COLUMNS
    kept = {round(math.log10(max(row[0], floor)) / width): row for row in rows}
    return [rows[0], *kept.values()]


def _steps(axes: "Axes", columns: list[tuple[float, ...]], *, color: str, label: str, dashed: bool = False) -> None:
    if len(columns) < 2:
        return
    style = _DASHED if dashed else "-"
    axes.plot(columns[0], columns[1], drawstyle="steps-post", color=color, linestyle=style, label=label)
    if len(columns) == 4:
        axes.fill_between(
            columns[0], columns[2], columns[3], step="post", color=color, alpha=0.12 if dashed else 0.22, linewidth=0
        )


# ------------------------------------------------------------------------------------------------------------- histograms


def _tones(names: Sequence[str]) -> list[tuple[str, bool]]:
    """Colour of each world, and whether its line is dashed: the same in every figure, and no two alike in one."""
    known = {"unlearned": (ACCENT, False), "retrained": (SOFT, True), "original": (OTHER, False)}
    spare = iter([(LIMIT, False), (INK, True), (LIMIT, True), (INK, False)])
    taken: list[tuple[str, bool]] = []
    for name in names:
        own = next((tone for word, tone in known.items() if word in name.lower()), None)
        taken.append(own if own is not None and own not in taken else next(spare, (INK, True)))
    return taken


def _histogram_figure(item: Histogram, name: str) -> str:
    edges = _closed(item.edges)
    if not edges or not item.series:
        return ""
    totals = "; ".join(f"{clean(part.label)}: {sum(part.counts):,} scores" for part in item.series)
    return draw(lambda axes: _stairs(axes, item, edges), name=name, size=SMALL, words=(clean(item.title), totals + "."))


def _closed(edges: Sequence[float]) -> list[float]:
    """Edges that can be drawn: an open bin at an end is as wide as its neighbour."""
    if len(edges) < 4:
        return list(edges) if len(edges) > 1 and all(map(_finite, edges)) else []
    first = edges[0] if math.isfinite(edges[0]) else 2 * edges[1] - edges[2]
    last = edges[-1] if math.isfinite(edges[-1]) else 2 * edges[-2] - edges[-3]
    closed = [first, *edges[1:-1], last]
    return closed if all(map(_finite, closed)) else []


def _stairs(axes: "Axes", item: Histogram, edges: list[float]) -> None:
    for part, (color, dashed) in zip(item.series, _tones([part.label for part in item.series]), strict=True):
        total = max(sum(part.counts), 1)
        shares = [count / total for count in part.counts]
        axes.stairs(shares, edges, fill=True, color=color, alpha=0.14)
        axes.stairs(
            shares, edges, color=color, linewidth=1.8, linestyle=_DASHED if dashed else "-", label=label(part.label, 28)
        )
    axes.set_ylim(bottom=0)
    axes.margins(y=0.1)
    axes.set_xlabel(label(item.axis))
    axes.set_ylabel("share of scores in bin")
    _legend(axes)


# -------------------------------------------------------------------------------------------------- distances, relearning


def _strips(axes: "Axes", rows: list[DistanceFinding]) -> None:
    """A row a distance. The null is scaled like the value, so that its median is 1."""
    everything = [1.0]
    for height, item in enumerate(rows):
        ratio = item.ratio or 0.0
        unit = ratio / item.value if item.value else 0.0
        null = [value * unit for value in _spread(item.null_values) if _finite(value * unit)]
        axes.plot(null, [height] * len(null), "o", color=SOFT, markersize=3.5, alpha=0.45, markeredgewidth=0)
        axes.plot([ratio], [height], "D", color=ACCENT, markersize=7)
        everything += [*null, ratio]
    axes.axvline(1, color=MUTED, linewidth=1.2, zorder=0)
    positive = [value for value in everything if value > 0]
    if max(positive) > 5 * min(positive):
        axes.set_xscale("log")
        _ratios(axes, max(positive) / min(positive))
    axes.set_yticks(
        range(len(rows)), [label(f"{distance_label(item.name)}, {part_label(item.part)}", 34) for item in rows]
    )
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel("multiple of the median of the null")


def _ratios(axes: "Axes", span: float) -> None:
    """Ticks that read as multiples."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if span > 300 else (1.0, 2.0, 5.0), numticks=9))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: superscripts(format_plain(value, 3))))


def _spread(values: Sequence[float]) -> list[float]:
    """At most 60 of the values, evenly over their order, both ends among them."""
    ordered = sorted(values)
    if len(ordered) <= DOTS:
        return ordered
    return [ordered[round(place * (len(ordered) - 1) / (DOTS - 1))] for place in range(DOTS)]


def _relearning_figure(item: RelearningCurve, name: str) -> str:
    def ends(band: Band) -> str:
        return (
            f"{format_plain(band.mean[0], 3)} before, {format_plain(band.mean[-1], 3)} after" if band.mean else "none"
        )

    bands = {"unlearned": item.unlearned, "retrained": item.retrained, "original": item.original}
    drawn = {world: band for world, band in bands.items() if band is not None}
    described = "; ".join(f"{world}: {ends(band)}" for world, band in drawn.items())
    words = (f"{clean(item.metric)}, training on {clean(item.kind)}", superscripts(described) + ".")

    def paint(axes: "Axes") -> None:
        for (world, band), (color, dashed) in zip(drawn.items(), _tones(list(drawn)), strict=True):
            low, middle, high = (_drawn(column) for column in (band.lower, band.mean, band.upper))
            behind: dict[str, Any] = (
                {"linewidth": 3.2, "zorder": 1.8} if world == "original" else {}
            )  # lines may lie on one another
            axes.plot(item.passes, middle, color=color, linestyle=_DASHED if dashed else "-", label=world, **behind)
            axes.fill_between(item.passes, low, high, color=color, alpha=0.18, linewidth=0)
        axes.set_xlabel("passes over the retained records")
        axes.set_ylabel(label(item.metric, 34))
        _legend(axes)

    return draw(paint, name=name, size=SMALL, words=words) if item.passes and all(map(_finite, item.passes)) else ""


def _drawn(column: Sequence[float]) -> list[float]:
    return [value if _finite(value) else math.nan for value in column]
