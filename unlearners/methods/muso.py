"""MUSO: labels for the forgotten records under which training on all records is retraining without them."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from certify.convex.heads import heads
from certify.convex.problem import Problem
from certify.convex.solve import line_search
from certify.core.arrays import FloatArray
from certify.unlearners.evidence import Claim, Meter
from certify.unlearners.interface import Kind, Unlearner
from certify.unlearners.methods.retrain import minimise
from certify.unlearners.relabelling.means import mean_prediction, relabelled, require_mean

if TYPE_CHECKING:
    from certify.models.networks.state import State
    from certify.unlearners.networks.meter import NetworkMeter

_INNER = 200
"""Newton iterations on one relabelled objective."""


@dataclass(frozen=True)
class Muso(Unlearner):
    """Relabel the forgotten records with what the retrained model would say of them, and train on.

    Linear models (generalised linear models with a ridge penalty; our corollary): each round predicts the retrained weights,
    relabels the forgotten records with the predicted weights' mean prediction, and minimises the objective on all records, so
    relabelled. Labels that agree with the minimiser they lead to belong to the retrained weights (:mod:`relabelling.means
    <certify.unlearners.relabelling.means>`); the certificate measures how near they are, and the claim follows it.

    Networks in which the head alone moves, with squared loss (the paper's theorem, :mod:`relabelling.theory
    <certify.unlearners.relabelling.theory>`): exact where the original interpolates, its features are linearly independent
    records by record, and both trainings are plain SGD from the same start. Every condition is measured; a run that misses one
    claims nothing and says which.

    Other networks (the paper's algorithm, alternating): once an epoch the map from features to labels is refreshed, and all
    records are trained on, the forgotten ones with labels of that map. No guarantee. It needs the start of the original's
    training (``task.initial``), for exactness is relative to retraining *from the same start*; hard labels lose it even where
    theory holds. With more sampled records than features the projector is the identity, the labels are the original's own and
    nothing is forgotten: the evidence has ``map_moved``, and a warning where it is small. The paper's settings for a ResNet-18 are
    Adam, lr 3e-5, 2 epochs for random records, AdamW, lr 2.8e-4, cosine, 5 epochs for a class.

    The projector is solved in its N x N or D x D form in double precision; the released code's inverse by Woodbury's identity
    is off by a factor of 1/ridge.

    Args:
        rounds: for linear models, rounds after which it gives up with a warning.
        predictor: for linear models, a Newton step on the retained records, or "iterate" for the present weights, which
            converges linearly.
        tolerance: distance to the retrained weights up to which a run claims to be exact. Linear models: certified, absolute.
            Networks: measured, relative to the distance of the original.
        algorithm: for networks, "linear" (the theorem), "alternating", or "auto": linear where it can be exact.
        fit: for "linear", go to the "limit" of SGD in closed form, or there by "descent" with the optimiser below.
        labels: for "alternating", "hard" (the paper's) is the label's largest entry, "soft" the label itself.
        sample: share of the retained records whose features make the projector, drawn anew each epoch.
        ridge_start: ridge in the projector in the first epoch.
        ridge_end: in the last one; half a cosine between.
        drift: add ``(features now - features of the original) W_p`` to the labels.
        lr: step size.
        epochs: passes over all records.
        batch_size: records in a batch.
        optimiser: "sgd", "adam" or "adamw".
        momentum: of SGD.
        weight_decay: see the optimisers.
        schedule: "constant" or "cosine".
    """

    name: ClassVar[str] = "muso"
    summary: ClassVar[str] = (
        "relabel with what the retrained model would say, and train on (exact for some linear models)"
    )
    needs: ClassVar[str] = "the original model, all records; for networks the weights before training"
    reference: ClassVar[str] = "Yang et al. 2024; certify.unlearners.relabelling.means (generalised linear models)"
    claim: ClassVar[Claim] = Claim.NONE
    kinds: ClassVar[tuple[Kind, ...]] = ("convex", "network")
    family: ClassVar[str] = "relabel"
    reads_forgotten: ClassVar[bool] = True
    stochastic: ClassVar[bool] = True

    rounds: Annotated[int, Field(ge=1)] = 20
    predictor: Literal["newton", "iterate"] = "newton"
    tolerance: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-8
    algorithm: Literal["auto", "linear", "alternating"] = "auto"
    fit: Literal["limit", "descent"] = "limit"
    labels: Literal["hard", "soft"] = "hard"
    sample: Annotated[float, Field(gt=0, le=1)] = 0.2
    ridge_start: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-6
    ridge_end: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-2
    drift: bool = True
    lr: Annotated[float, Field(gt=0)] = 1e-3
    epochs: Annotated[int, Field(ge=1)] = 5
    batch_size: Annotated[int, Field(ge=1)] = 128
    optimiser: Literal["sgd", "adam", "adamw"] = "adam"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    schedule: Literal["constant", "cosine"] = "constant"

    def run(self, meter: Meter, start: FloatArray) -> FloatArray:
        """Relabel and minimise until the certificate says that the retrained weights are reached.

        Raises:
            ConfigurationError: the loss has no mean prediction, or the objective an L1 term.
            AssumptionViolatedError: l2 is 0, so that nothing can be certified.
        """
        forgotten = meter.forgotten
        assert forgotten is not None
        require_mean((heads(meter.problem) or (meter.problem,))[0])
        w = start
        for _ in range(self.rounds):
            w = self._round(meter, forgotten, w)
            meter.iterate()
            bound = meter.certify(w)
            if bound.distance <= self.tolerance:
                meter.claim = (Claim.EXACT, f"certified within {float(bound.distance):.2g} of the retrained weights")
                return w
        what = f"certified within {float(bound.distance):.2g} only after {self.rounds} rounds, above the tolerance"
        meter.claim = (Claim.APPROXIMATE, what)
        meter.warnings.append(what)
        return w

    def _round(self, meter: Meter, forgotten: Problem, w: FloatArray) -> FloatArray:
        """One prediction, relabelling and minimisation; one-vs-rest head by head."""
        own, gone = heads(meter.problem), heads(forgotten)
        if own:
            parts = zip(own, gone, strict=True)
            return np.vstack([self._round(replace(meter, problem=r), u, w[[k]]) for k, (r, u) in enumerate(parts)])
        labels = mean_prediction(forgotten, self._predicted(meter, w))
        problem = relabelled(meter.problem, forgotten, labels)
        return minimise(replace(meter, problem=problem), w, _INNER, "training on relabelled records")

    def _predicted(self, meter: Meter, w: FloatArray) -> FloatArray:
        """A guess at the retrained weights."""
        if self.predictor == "iterate":
            return w
        gradient = meter.gradient(w)
        step = meter.newton_step(w, gradient)
        shortened = line_search(meter.problem, w, step, gradient)
        return w - step if shortened is None else shortened

    def run_networks(self, meter: "NetworkMeter", state: "State") -> "State":
        """The theorem where the head alone moves and the loss is squared, else the alternating algorithm.

        Raises:
            InputError: the task has no ``initial``, or the head's input is no vector a record.
            ConfigurationError: the head is no linear layer, or the knobs do not fit the task.
        """
        from certify.unlearners.relabelling.alternating import alternate
        from certify.unlearners.relabelling.heads import Heads
        from certify.unlearners.relabelling.linear import unlearn_linear

        head = Heads.of(meter, state)
        fits = head.alone and meter.task.loss == "squared"
        if self.algorithm == "linear" or (self.algorithm == "auto" and fits):
            return unlearn_linear(self, meter, state, head)
        return alternate(self, meter, state, head)
