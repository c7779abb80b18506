"""What a method tells the conformance suite about its knobs; most methods need tell nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Knobs = Mapping[str, Any]


@dataclass(frozen=True)
class Probe:
    """Settings under which :mod:`certify.unlearners.conformance` tries a method on its tiny tasks.

    The suite starts from the method's defaults with ``batch_size`` 8 and at most 3 ``epochs``, or from what its ``quick`` says, and finds other values of a
    knob by itself: twice, half, the other words of a ``Literal``, each also under other words of the remaining knobs. What it
    cannot guess stands here.

    Attributes:
        oracle: knobs under which a second-order method is to agree with the direct solve on quadratic objectives (ridge, linear
            least squares), to 1e-6 of the original's distance; without them it still has to remove half of the distance.
        others: a second value of a knob that changes the result.
        contexts: for a knob that acts only then, the other knobs' values.
        inert: knobs of speed or memory, which must not change the result, and for networks must change how records pass through
            the model; ``batch_size`` is one of them in a method that is deterministic or one-shot.
        steady: knobs under which the number of steps does not depend on what the forgotten records hold, for the test that running
            statistics do not depend on it either; without these knobs they may, where the numbers of steps do differ.
        alone: knobs under which a request of a single record changes something, where by the method's own rule it need not under
            the others; under those the record's contents still have to matter.
        reports: knobs of the report, which must change the claim or what the solver says in the evidence, and not the result.
    """

    oracle: Knobs | None = None
    others: Knobs = field(default_factory=dict)
    contexts: Mapping[str, Knobs] = field(default_factory=dict)
    inert: tuple[str, ...] = ()
    steady: Knobs = field(default_factory=dict)
    alone: Knobs = field(default_factory=dict)
    reports: tuple[str, ...] = ()
