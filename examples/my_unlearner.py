"""A new unlearning method in twenty lines, checked when this file is run.

To register it, name it in your package's pyproject.toml, and ``certify.unlearners.get("anchored-ascent")`` finds it:

    [project.entry-points."certify.unlearners"]
    anchored-ascent = "my_package.my_unlearner:AnchoredAscent"

Its whole test file:

    from certify.unlearners import conformance
    from my_package.my_unlearner import AnchoredAscent

    test_anchored_ascent = conformance.suite(AnchoredAscent)
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from certify.models.networks import Sgd, State
from certify.unlearners import Claim, Unlearner, conformance
from certify.unlearners.networks import NetworkMeter


@dataclass(frozen=True)
class AnchoredAscent(Unlearner):
    """Steps along ``anchor * grad L_R - grad L_F``, both over all records, so that the retained loss holds the model back.

    Args:
        lr: step size.
        steps: their number.
        anchor: weight of the retained records' loss.
    """

    name: ClassVar[str] = "anchored-ascent"
    summary: ClassVar[str] = "full-batch ascent on the forgotten records, held back by the retained ones"
    needs: ClassVar[str] = "the original model, the retained and the forgotten records"
    reference: ClassVar[str] = "this example"
    claim: ClassVar[Claim] = Claim.NONE
    kinds = ("network",)
    family = "gradient"
    reads_forgotten = True

    lr: Annotated[float, Field(gt=0)] = 0.01
    steps: Annotated[int, Field(ge=1)] = 5
    anchor: Annotated[float, Field(ge=0)] = 2.0

    def run_networks(self, meter: NetworkMeter, state: State) -> State:
        """Every tensor has a leading axis of models; the meter reads, counts and stops."""
        optimiser = Sgd(self.lr)
        memory = optimiser.start(meter.network.moving(state))
        for _ in range(self.steps):
            retain = meter.mean_gradient(state, meter.records("retain"))
            forget = meter.mean_gradient(state, meter.records("forget"))
            gradient = retain.scaled(self.anchor).plus(forget.scaled(-1.0))
            state, memory = meter.step(optimiser, state, gradient, memory)
        return state


if __name__ == "__main__":
    report = conformance.check(AnchoredAscent)
    print(report)
    raise SystemExit(0 if report.passed else 1)
