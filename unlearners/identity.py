"""Identity: does nothing. A control: a gate that passes it checks nothing."""

from dataclasses import dataclass
from typing import ClassVar

from certify.core.arrays import FloatArray
from certify.unlearners.evidence import Meter
from certify.unlearners.interface import Claim, Unlearner


@dataclass(frozen=True)
class Identity(Unlearner):
    """Returns the original model unchanged."""

    name: ClassVar[str] = "identity"
    summary: ClassVar[str] = "does nothing; a control that must fail"
    needs: ClassVar[str] = "the original model"
    reference: ClassVar[str] = "-"
    claim: ClassVar[Claim] = Claim.NONE

    def run(self, meter: Meter, start: FloatArray) -> FloatArray:
        """A copy of the start."""
        meter.iterate()
        return start.copy()
