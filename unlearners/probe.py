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
        step: knobs of one small first step, for the test of its sign.
        oracle: knobs under which a second-order method is to agree with the direct solve on quadratic objectives (ridge, linear
            least squares); without them it still has to remove half of the distance.
        tolerance: how closely: distance to the direct solve over that of the original, with ``oracle``.
        others: a second value of a knob that changes the result.
        contexts: for a knob that acts only then, the other knobs' values.
        inert: knobs of speed or memory, which must not change the result; ``batch_size`` is one of them in a method that is
            deterministic or one-shot.
        steady: knobs under which the number of steps does not depend on what the forgotten records hold, for the test that running
            statistics do not depend on it either.
        rests: why a request of a single record may change nothing, by the method's own rule; where the record holds other
            contents it still has to act.
        reports: knobs of the report, which must change the claim or what the solver says in the evidence, and not the result.
    """

    step: Knobs = field(default_factory=dict)
    oracle: Knobs | None = None
    tolerance: float = 1e-6
    others: Knobs = field(default_factory=dict)
    contexts: Mapping[str, Knobs] = field(default_factory=dict)
    inert: tuple[str, ...] = ()
    steady: Knobs = field(default_factory=dict)
    rests: str = ""
    reports: tuple[str, ...] = ()
