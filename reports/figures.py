"""Figures of a certificate: the privacy curve and the bounds on the distance."""

import math
from typing import TYPE_CHECKING

from certify.core.rounding import format_lower, format_plain, format_upper
from certify.reports.drawing import ACCENT, LARGEST, LIMIT, decades, draw, drawable
from certify.reports.schema import Document
from certify.reports.wording import superscripts

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def privacy_curve(document: Document) -> str:
    """epsilon as a function of delta, with the policy's point. Empty when there is no curve."""
    points = [(p.delta, p.epsilon) for p in document.curve if drawable(p.delta) and drawable(p.epsilon)]
    if not points:
        return ""
    policy = document.policy
    largest = max(epsilon for _, epsilon in points)
    description = superscripts(
        f"The epsilon of this release is at most {format_upper(largest)} at every delta shown and falls as delta grows. "
        f"The policy allows epsilon {format_plain(policy.epsilon)} at delta {format_plain(policy.delta)}."
    )
    words = ("Privacy curve: epsilon at each delta", description)
    return draw(lambda axes: _curve(axes, document, points), name="curve", size=(5.6, 3.1), words=words)


def distance_bounds(document: Document) -> str:
    """The bounds on a logarithmic axis, with the policy's limit. Empty when none was measured."""
    if document.bounds is None:
        return ""
    described = [f"{name}: {_label(value)}" for name, value in _rows(document)]
    limit = document.policy.distance_limit
    if limit is not None:
        described.append(f"the policy's limit: {superscripts(format_lower(limit))}")
    words = ("Upper bounds on the distance to the retrained weights", "; ".join(described) + ".")
    return draw(lambda axes: _bounds(axes, document), name="bounds", size=(5.6, 2.2), words=words)


def _curve(axes: "Axes", document: Document, points: list[tuple[float, float]]) -> None:
    """Logarithmic both ways: a release well within the policy would be a line on the floor of a linear axis."""
    policy = document.policy
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.plot(*zip(*points, strict=True), color=ACCENT, label="this release, at most")
    marks = [epsilon for _, epsilon in points]
    if drawable(policy.delta):
        axes.axvline(policy.delta, color=LIMIT, linestyle=(0, (2, 3)), linewidth=1.2)
        if drawable(policy.epsilon):
            axes.plot([policy.delta], [policy.epsilon], "D", color=LIMIT, markersize=8, label="the policy's limit")
            marks.append(policy.epsilon)
    top = max(marks) * 4
    # towards large delta the curve falls to zero, which no logarithmic axis shows: two decades of it suffice
    bottom = max(min(marks), min(max(points, key=lambda point: point[1])[1], max(marks)) / 100) / 2
    axes.set_ylim(min(bottom, top / 200), top)
    decades(axes.yaxis)
    decades(axes.xaxis)
    axes.set_xlabel("delta")
    axes.set_ylabel("epsilon")
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2, borderaxespad=0)


def _rows(document: Document) -> list[tuple[str, float]]:
    bounds = document.bounds
    assert bounds is not None
    gap = [] if bounds.duality_gap is None else [("duality gap", bounds.duality_gap)]
    return [
        *gap,
        ("refined Newton", bounds.refined),
        ("self-concordance", bounds.self_concordant),
        ("strong convexity", bounds.strong_convexity),
    ]


def _bounds(axes: "Axes", document: Document) -> None:
    rows, limit = _rows(document), document.policy.distance_limit
    span = _span([value for _, value in rows] + ([] if limit is None else [limit]))
    axes.set_xscale("log")
    axes.set_xlim(*span)
    for height, (_, value) in enumerate(rows):
        _lollipop(axes, height, value, span)
    if limit is not None and drawable(limit):
        axes.axvline(limit, color=LIMIT, linestyle=(0, (4, 3)), linewidth=1.6)
        text = f"policy's limit {superscripts(format_lower(limit))}"
        axes.annotate(
            text, (limit, len(rows) - 0.5), xytext=(0, 3), textcoords="offset points", color=LIMIT, ha="center"
        )
    axes.set_yticks(range(len(rows)), [label for label, _ in rows])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.5, len(rows) - 0.5)
    decades(axes.xaxis)
    axes.set_xlabel("distance to the retrained weights, at most")


def _span(values: list[float]) -> tuple[float, float]:
    """Limits of the axis: every value, some room before, and room for a label behind."""
    decades = [math.log10(value) for value in values if drawable(value)] or [-3.0]
    low, high = min(decades), max(decades)
    width = max(high - low, 2.0)
    return 10.0 ** (low - 0.15 * width - 0.3), 10.0 ** min(high + 0.4 * width, LARGEST + 15)


def _label(value: float) -> str:
    return superscripts(format_upper(value)) if math.isfinite(value) else "does not apply"


def _lollipop(axes: "Axes", height: int, value: float, span: tuple[float, float]) -> None:
    if not math.isfinite(value):
        axes.annotate(_label(value), (span[0], height), xytext=(6, 0), textcoords="offset points", va="center", style="italic")  # fmt: skip
        return
    place = min(max(value, span[0]), span[1])
    axes.hlines(height, span[0], place, color=ACCENT, linewidth=5, alpha=0.35)
    axes.plot([place], [height], "o", color=ACCENT, markersize=8)
    axes.annotate(_label(value), (place, height), xytext=(9, 0), textcoords="offset points", va="center")
