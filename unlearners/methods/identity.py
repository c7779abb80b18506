"""Identity: does nothing. A control: a gate that passes it checks nothing."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from certify.core.arrays import FloatArray
from certify.unlearners.evidence import Claim, Meter
from certify.unlearners.interface import Kind, Unlearner

if TYPE_CHECKING:
    from certify.models.networks.state import State
    from certify.unlearners.networks.meter import NetworkMeter


@dataclass(frozen=True)
class Identity(Unlearner):
    """Returns the original model unchanged."""

    name: ClassVar[str] = "identity"
    summary: ClassVar[str] = "does nothing; a control that must fail"
    needs: ClassVar[str] = "the original model"
    reference: ClassVar[str] = "-"
    claim: ClassVar[Claim] = Claim.NONE
    kinds: ClassVar[tuple[Kind, ...]] = ("convex", "network")
    family: ClassVar[str] = "control"

    def run(self, meter: Meter, start: FloatArray) -> FloatArray:
        """A copy of the start."""
        meter.iterate()
        return start.copy()

    def run_networks(self, meter: "NetworkMeter", state: "State") -> "State":
        """The models they were."""
        del meter
        return state
