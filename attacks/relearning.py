"""Relearning (game "relearning"): how quickly an unlearned model gets back what it forgot, beside how quickly a retrained one does.

Two fine-tunes. On the forgotten records: passes until the loss is what the original's was; over the same for a retrained model this is the
anamnesis index (Chundawat et al. 2023), below 1 where something was left, above 1 where the model was pushed away. On the retained records
alone: the forgotten ones are only looked at, and what comes back was never gone (Siddiqui et al. 2025). A retrained model relearns too, since
records resemble each other, so that a curve means nothing without the curves of retrained models under the same fine-tune in the same order of records.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import t as student

from certify.core.arguments import as_number, as_whole
from certify.core.arrays import AnyArray, FloatArray, IntArray
from certify.core.errors import ArgumentError
from certify.core.streams import stream

if TYPE_CHECKING:
    from certify.models.networks import Bench, Recipe, State


@dataclass(frozen=True, eq=False)
class Curve:
    """What K models say of their forgotten records, before the fine-tune and after each of its passes.

    Attributes:
        accuracy: on the forgotten records, (K, passes + 1).
        loss: mean loss there, (K, passes + 1).
    """

    accuracy: FloatArray
    loss: FloatArray

    @property
    def area(self) -> FloatArray:
        """Mean accuracy over the passes of the fine-tune, by the trapezoidal rule, (K,); the accuracy itself without a pass."""
        inner = 0.5 * (self.accuracy[:, 1:] + self.accuracy[:, :-1])
        return inner.mean(axis=1) if inner.shape[1] else self.accuracy[:, 0]

    @property
    def regained(self) -> FloatArray:
        """Accuracy after the last pass minus accuracy before the first, (K,)."""
        return self.accuracy[:, -1] - self.accuracy[:, 0]


def relearn(
    bench: "Bench",
    state: "State",
    records: Sequence[IntArray],
    forget: Sequence[IntArray],
    recipe: "Recipe",
    *,
    name: str = "relearn",
) -> Curve:
    """Fine-tune K models and look at their forgotten records after each pass.

    Args:
        bench: data, loss and one seed for each model; use the same one for unlearned and retrained models, so that both see
            the same records in the same order.
        state: K models; not changed.
        records: what each model is fine-tuned on: its forgotten records, or its retained ones.
        forget: each model's forgotten records.
        recipe: of the fine-tune; its ``epochs`` are the passes.
        name: of the random stream of the order of records.

    Raises:
        ArgumentError: lists that do not fit the models, or a model that forgot nothing.
        InputError: a loss or a weight is not finite.
    """
    import torch

    from certify.models.networks.bench import one_pass

    if not len(records) == len(forget) == len(bench.seeds) == state.models:
        raise ArgumentError(
            f"{state.models} models, {len(bench.seeds)} seeds, {len(records)} and {len(forget)} lists of records",
            where="relearning",
            mend="give one of each a model",
        )
    if not all(len(rows) for rows in (*records, *forget)):
        raise ArgumentError("a model has no records", where="relearning", mend="leave such models out")
    optimiser = recipe.build()
    memory = optimiser.start(bench.network.moving(state))
    seen = [_look(bench, state, forget)]
    for epoch in range(recipe.epochs):
        for batch in one_pass(records, recipe.batch_size, bench.seeds, name, epoch, bench.device):
            gradient = bench.gradient(state, batch, train=True)
            factors = [recipe.factor((epoch + done) / recipe.epochs) for done in batch.done]
            factor = torch.tensor(factors, dtype=torch.float64, device=bench.device)
            state, memory = bench.step(optimiser, state, gradient, memory, batch, factor=factor, purpose=name)
        seen.append(_look(bench, state, forget))
    accuracy, loss = (np.stack(column, axis=1) for column in zip(*seen, strict=True))
    return Curve(accuracy, loss)


def _look(bench: "Bench", state: "State", forget: Sequence[IntArray]) -> tuple[FloatArray, FloatArray]:
    """Accuracy and mean loss of each model on its forgotten records, (K,) each."""
    import torch

    from certify.models.networks.losses import correct

    right, losses = [], []
    for rows, outputs in zip(forget, bench.outputs_of(state, forget), strict=True):
        labels = bench.y[torch.as_tensor(rows, device=bench.device)]
        right.append(float(correct(outputs, labels).double().mean()))
        losses.append(float(bench.loss(outputs, labels).double().mean()))
    return np.array(right), np.array(losses)


def passes_to_reach(curve: Curve, original_loss: AnyArray, *, margin: float = 0.05) -> FloatArray:
    """Passes until the loss on the forgotten records is within ``margin`` of the original's, (K,); infinite if never.

    Straight between two passes; 0 for a model that is there already.

    Args:
        curve: of a fine-tune on the forgotten records.
        original_loss: mean loss of each original model on its forgotten records, (K,).
        margin: as a part of the distance from the original's loss to the curve's start; a part of the loss itself
            would ask for nothing where the original's loss is 0.

    Raises:
        ArgumentError: shapes that do not fit, or a margin outside [0, 1).
    """
    start, goal = curve.loss[:, 0], np.asarray(original_loss, dtype=np.float64)
    if goal.shape != start.shape or not 0 <= as_number(margin, "margin") < 1:
        raise ArgumentError(
            f"{goal.shape} losses of originals for {start.shape} models, margin {margin}",
            where="relearning",
            mend="give one loss a model, and a margin in [0, 1)",
        )
    goal = goal + margin * np.maximum(start - goal, 0.0)
    there = curve.loss <= goal[:, None]
    first = np.where(there.any(axis=1), there.argmax(axis=1), -1)
    result = np.where(first < 0, np.inf, first.astype(np.float64))
    for model in np.flatnonzero(first > 0).tolist():
        high, low = curve.loss[model, first[model] - 1], curve.loss[model, first[model]]
        result[model] = first[model] - 1 + (high - goal[model]) / (high - low)
    return result


def anamnesis_index(unlearned: Curve, retrained: Curve, original_loss: AnyArray, *, margin: float = 0.05) -> FloatArray:
    """Passes of the unlearned model over passes of the retrained one until both are back, (K,).

    1 is ideal; below 1 something was left, above 1 the model was pushed away (over-unlearning shows too). 1 where both are there at
    once, and NaN where neither comes back. The target is the same for both: within ``margin`` of the original's loss, on the way from the
    retrained model's loss.

    Args:
        unlearned: curves of a fine-tune on the forgotten records.
        retrained: those of retrained models under the same fine-tune.
        original_loss: see :func:`passes_to_reach`.
        margin: likewise.

    Raises:
        ArgumentError: shapes that do not fit.
    """
    goal = np.asarray(original_loss, dtype=np.float64)
    if unlearned.loss.shape != retrained.loss.shape:
        raise ArgumentError("curves differ in shape", where="relearning", mend="pair unlearned and retrained models")
    needed = passes_to_reach(retrained, goal, margin=margin)
    common = goal + margin * np.maximum(retrained.loss[:, 0] - goal, 0.0)
    found = passes_to_reach(unlearned, common, margin=0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        index = np.where((found == 0) & (needed == 0), 1.0, found / needed)
    return np.asarray(index)


def curve_p_values(unlearned: Curve, retrained: Curve, *, two_sided: bool = True) -> FloatArray:
    """Conformal p-value of each unlearned model's area among those of retrained models, (K,).

    ``(1 + #{retrained >= unlearned}) / (1 + R)``; two-sided, twice the smaller of both directions. Exact for one model that forgot
    the *same* records as the R retrained ones left out: under exact retraining it is one of them. Ties count against the finding.
    Never below ``1 / (1 + R)``: 19 retrained models are the least for a one-sided 5 %, 39 for a two-sided one.

    Args:
        unlearned: of the fine-tune on the retained records, (K, passes + 1).
        retrained: of R retrained models, the same fine-tune.
        two_sided: forgetting too thoroughly is a leak as well.
    """
    found, null = unlearned.area, np.sort(retrained.area)
    above = len(null) - np.searchsorted(null, found, side="left")
    below = np.searchsorted(null, found, side="right")
    one = np.minimum(above, below) if two_sided else above
    return np.asarray(np.minimum(1.0, (2 if two_sided else 1) * (1.0 + one) / (1 + len(null))))


def paired_p_value(
    unlearned: Curve, retrained: Curve, *, two_sided: bool = True, draws: int = 9999, seed: int = 0
) -> float:
    """One p-value for a fleet, each of whose K unlearned models has a retrained one of the same draw of records.

    Under exact retraining the two of a pair are exchangeable, so that the sign of each difference of areas is a fair coin, whatever the
    draws of records do to the areas: a sign-flip test of the mean difference, exact at any number of draws. Never below ``2^-K`` (twice that two-sided).

    Args:
        unlearned: (K, passes + 1).
        retrained: the same; row k of the draw of row k.
        two_sided: see :func:`curve_p_values`.
        draws: of random signs; all of them where there are fewer.
        seed: of the signs.

    Raises:
        ArgumentError: curves that do not pair up.
    """
    if unlearned.accuracy.shape != retrained.accuracy.shape:
        raise ArgumentError("curves differ in shape", where="relearning", mend="pair unlearned and retrained models")
    gap = unlearned.area - retrained.area
    models, count = len(gap), as_whole(draws, "draws")
    everything = models < 60 and 2**models <= count
    if everything:
        signs = 1 - 2 * ((np.arange(2**models)[:, None] >> np.arange(models)) & 1)
    else:
        signs = stream(seed, "relearning").choice([-1, 1], size=(count, models))
    null, found = signs @ gap, gap.sum()
    null, found = (np.abs(null), abs(found)) if two_sided else (null, found)
    reached = int(np.sum(null >= found - 1e-12 * np.abs(gap).sum()))  # the observed signs are among the null's
    return reached / len(signs) if everything else (1 + reached) / (1 + count)


def band(curves: AnyArray, *, confidence: float = 0.95) -> tuple[FloatArray, FloatArray]:
    """Confidence band of the mean curve over models, for all passes at once: lower and upper ends, (passes + 1,) each.

    Student's interval at each pass, with the error shared out over the passes (Bonferroni). Assumes that means over models are about
    normal; models are the independent unit. Not clipped to [0, 1].

    Args:
        curves: accuracies or losses, (K, passes + 1), at least two models.
        confidence: of the band.

    Raises:
        ArgumentError: fewer than two models, or a confidence that makes no sense.
    """
    values, level = np.asarray(curves, dtype=np.float64), as_number(confidence, "confidence")
    if values.ndim != 2 or len(values) < 2 or not 0 < level < 1:
        raise ArgumentError(
            f"a band from curves of shape {values.shape} at {level:g}",
            where="relearning",
            mend="give at least two models, and a confidence between 0 and 1",
        )
    models, looks = values.shape
    width = student.isf((1 - level) / (2 * looks), models - 1) * values.std(axis=0, ddof=1) / np.sqrt(models)
    return values.mean(axis=0) - width, values.mean(axis=0) + width
