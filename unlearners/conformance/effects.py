"""What the method does to the model: something (1), in the right direction (2), without ruin (9)."""

import numpy as np

from certify.core.errors import InputError
from certify.unlearners.conformance.beds import Bed, same
from certify.unlearners.conformance.findings import Finding, fails, passes, spares
from certify.unlearners.conformance.trials import Trials
from certify.unlearners.interface import Result

BAND = (0.1, 0.75, 0.15)
"""Where the loss attack's AUC, forgotten against held-out records, has to lie: at least the first; at most the second, or the
original's and the third more. Both sides are leaks. With 11 against 48 records its standard deviation is about 0.1."""


def no_op(trials: Trials) -> Finding:
    """1. A request changes a tensor of the model that is shipped, and of the state that goes with it.

    Public ports trained an optimiser's own copy and returned another, or took the distance to a teacher that was the student.
    """
    for bed in trials.beds():
        result = trials.run(bed)
        if trials.is_control:
            if not same(trials.start(bed), bed.shipped(result)):
                return fails(f"{bed.name}: declared a control, which does nothing, and the result is not the original")
            continue
        if not same(bed.numbers(result), bed.shipped(result)):
            return fails(f"{bed.name}: the model that is returned is not the state that was reached")
        if same(trials.start(bed), bed.numbers(result)):
            return fails(f"{bed.name}: no tensor changed, the result is the original")
    return passes("a control, which does nothing" if trials.is_control else "a request changes the model")


def sign(trials: Trials) -> Finding:
    """2. One small step of an ascending method raises the forgotten loss; of a method of the retained records, lowers theirs."""
    method = trials.method
    descends = method.family == "gradient" and not method.reads_forgotten and not method.ascends
    if not (method.ascends or descends):
        return spares("declares neither ascent on the forgotten records nor descent on the retained ones alone")
    which = "forget" if method.ascends else "retain"
    for bed in trials.beds():
        if bed.has_statistics:
            continue  # running statistics move the loss as well
        before, after = (
            float(np.mean(bed.losses(result, which)))  # type: ignore[arg-type]
            for result in (None, trials.run(bed, _small_step(trials)))
        )
        if not (after > before if method.ascends else after < before):
            word = "raise" if method.ascends else "lower"
            return fails(
                f"{bed.name}: one small step was to {word} the {which} loss and moved it by {after - before:.3g}"
            )
    return passes(f"one small step {'raises' if method.ascends else 'lowers'} the {which} loss")


def finite(trials: Trials) -> Finding:
    """9. The result is finite, and the forgotten records' losses do not stand out from unseen ones, on either side.

    An attack that knows only the loss tells forgotten from held-out records with an AUC near one half after retraining. Far
    below, the losses are driven so high that they give the records away. Far above the original's, the records
    are more exposed than if nothing had been done.
    """
    low, high, more = BAND
    notes = []
    for bed in trials.beds():
        try:
            result = trials.run(bed)
        except InputError as error:
            return fails(f"{bed.name}: {error}")
        if not all(bool(np.isfinite(value).all()) for value in bed.numbers(result).values()):
            return fails(f"{bed.name}: a number of the result is not finite")
        before, after = exposure(bed, None), exposure(bed, result)
        if after < low:
            return fails(f"{bed.name}: over-forgetting, the loss attack's AUC is {after:.2f}, below {low}")
        if after > max(high, before + more):
            return fails(f"{bed.name}: more exposed than the original, AUC {after:.2f} after {before:.2f}")
        notes.append(f"{bed.name} {after:.2f}")
    return passes(f"finite; AUC of the loss attack: {', '.join(notes)}")


def exposure(bed: Bed, result: Result | None) -> float:
    """AUC of the attack that takes a small loss for membership: the share of pairs in which a forgotten record's loss is lower."""
    forgotten, unseen = bed.losses(result, "forget")[:, None], bed.losses(result, "held-out")[None]
    return float(np.mean((forgotten < unseen) + 0.5 * (forgotten == unseen)))


def _small_step(trials: Trials) -> dict[str, object]:
    """One pass, one batch, plain SGD, a tenth of the step size, as far as the method has such knobs."""
    wanted = {"epochs": 1, "batch_size": 1_000, "optimiser": "sgd", "momentum": 0.0, "weight_decay": 0.0}
    method = trials.build()
    found: dict[str, object] = {name: value for name, value in wanted.items() if hasattr(method, name)}
    if isinstance(getattr(method, "lr", None), float):
        found["lr"] = method.lr / 10  # type: ignore[attr-defined]
    return found
