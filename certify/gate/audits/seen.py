"""What an audit saw, from start to end: filled by the runner, read by what makes the document."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from certify.attacks.audits.exchangeable import together
from certify.attacks.audits.findings import Control, Finding, RequestAudit
from certify.attacks.audits.fleet import FleetAudit
from certify.attacks.audits.judge import settled
from certify.attacks.audits.membership import Levels
from certify.attacks.observations import Observations
from certify.gate.audits.plan import Plan
from certify.gate.audits.scores import Scores
from certify.gate.load import LoadedSpec

if TYPE_CHECKING:
    from certify.gate.audits.linear import Linear
    from certify.gate.audits.review import Review
    from certify.gate.networks import NetworkInputs


@dataclass(eq=False)
class Seen:
    """Everything an audit saw.

    Attributes:
        loaded: the spec.
        plan: what it asks for.
        levels: rates and confidences.
        source: "fleet", "scores" or "checkpoints".
        method: the method under audit, in words.
        fleets: observations by slice, with what attacks found on them.
        request: what was found of the model under review.
        scores: the scores file, where there is one.
        inputs: what the spec names, where networks were loaded.
        review: the models of this very request.
        linear: what is known of a linear model and its refitted shadows; None for networks.
        left_out: what was not tested, and why.
        seconds: from start to end.
        trained: models trained.
        kept: of these, taken from an earlier run.
        forecast: seconds that were forecast before the first training.
        notes: what else is worth knowing.
        asked: shadow models that were asked for in the place of the spec's; None where the spec says.
    """

    loaded: LoadedSpec
    plan: Plan
    levels: Levels
    source: str = "fleet"
    method: str = "not named"
    fleets: dict[str, tuple[Observations, FleetAudit]] = field(default_factory=dict)
    request: list[RequestAudit] = field(default_factory=list)
    scores: Scores | None = None
    inputs: "NetworkInputs | None" = None
    review: "Review | None" = None
    linear: "Linear | None" = None
    left_out: list[str] = field(default_factory=list)
    seconds: float = 0.0
    trained: int = 0
    kept: int = 0
    forecast: float | None = None
    notes: list[str] = field(default_factory=list)
    asked: int | None = None

    @property
    def command(self) -> str:
        """What makes the same audit again."""
        models = "" if self.asked is None else f" --models {self.asked}"
        return f"certify audit {self.loaded.path.name}{models}"

    @property
    def findings(self) -> list[Finding]:
        """All of them, corrected for how many there are."""
        found = [one for _, audit in self.fleets.values() for one in audit.findings]
        request = together(self.request)
        found += [one for part in request for one in part.findings]
        pools = [(part.findings, part.pool) for part in request if part.odd_one_out]
        retrained = {one.attack: len(pool) - 1 for found_of, pool in pools if pool is not None for one in found_of}
        return settled(found, self.plan.alpha, retrained=retrained)

    @property
    def controls(self) -> list[Control]:
        """All of them."""
        found = [
            one if name == "all" else replace(one, id=f"{one.id}-{name}", slice=name, name=f"{one.name} ({name})")
            for name, (_, audit) in self.fleets.items()
            for one in audit.controls
        ]
        return found + [one for part in self.request for one in part.controls]
