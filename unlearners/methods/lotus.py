"""LoTUS: the original's own answers to forgotten records, smoothed until they are answered like records never seen."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from certify.core.arrays import FloatArray, IntArray
from certify.core.streams import stream
from certify.models.networks.recipe import optimiser_of
from certify.models.networks.state import State
from certify.unlearners.evidence import Claim
from certify.unlearners.interface import Kind, Unlearner
from certify.unlearners.networks.meter import NetworkMeter
from certify.unlearners.networks.pairing import resting, sampled, two_sided
from certify.unlearners.networks.rewind import errors_of
from certify.unlearners.networks.targets import Targets, logits_of, need_classes, soft_cross_entropy
from certify.unlearners.probe import Probe


@dataclass(frozen=True)
class Lotus(Unlearner):
    """Cross-entropy to noisy answers of the original, on the forgotten records and a sample of the retained ones.

    With z the original's logits and g Gumbel noise, new in each epoch, the target is ``softmax((z + g) / t)`` for a forgotten
    record and the class ``argmax(z + g)`` for a retained one. The temperature follows what is left to forget,
    ``t = exp(alpha (accuracy_F(model) - accuracy_V(original)))``, V the held-out records, and a model rests for good once
    ``accuracy_F <= accuracy_V - margin``. Our readings: the accuracies are measured before each epoch, and batches mix both
    parts. Correctly labelled random records are hardly moved, as in the paper's own table; accuracy is all it looks at.

    Args:
        lr: step size.
        epochs: passes over the forgotten records and the sample, at most.
        batch_size: records in a batch.
        alpha: how fast the temperature grows with the gap of accuracy.
        sample: share of the retained records.
        margin: how far below the held-out accuracy it stops.
        optimiser: "sgd", "adam" or "adamw".
        momentum: of SGD.
        weight_decay: see the optimisers.
    """

    name: ClassVar[str] = "lotus"
    summary: ClassVar[str] = "smooth the original's answers to forgotten records down to held-out accuracy"
    needs: ClassVar[str] = "the original model, the retained and the forgotten records, held-out records"
    reference: ClassVar[str] = "Spartalis et al. 2025 (LoTUS)"
    claim: ClassVar[Claim] = Claim.NONE
    kinds: ClassVar[tuple[Kind, ...]] = ("network",)
    family: ClassVar[str] = "distil"
    reads_forgotten: ClassVar[bool] = True
    stochastic: ClassVar[bool] = True
    # A model that rests has fewer passes over retained records behind it; with this margin none ever rests.
    conformance: ClassVar[Probe] = Probe(steady={"margin": 0.99})

    lr: Annotated[float, Field(gt=0)] = 0.05
    epochs: Annotated[int, Field(ge=1)] = 10
    batch_size: Annotated[int, Field(ge=1)] = 64
    alpha: Annotated[float, Field(gt=0)] = 4.0
    sample: Annotated[float, Field(gt=0, le=1)] = 0.3
    margin: Annotated[float, Field(ge=0, lt=1)] = 0.01
    optimiser: Literal["sgd", "adam", "adamw"] = "sgd"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 0.0

    def run_networks(self, meter: NetworkMeter, state: State) -> State:
        """One forward pass of the original; before each epoch one of the forgotten records; one step a batch."""
        need_classes(meter, state)
        forget = meter.records("forget")
        sample = sampled(meter, self.sample, "lotus/sample")
        answers = list(zip(logits_of(meter, state, forget), logits_of(meter, state, sample), strict=True))
        records = [np.concatenate(parts) for parts in zip(forget, sample, strict=True)]
        unseen = _accuracy(meter, state, meter.records("held-out"))
        optimiser = optimiser_of(self.optimiser, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)
        memory = optimiser.start(meter.network.moving(state))
        awake = torch.ones(meter.models, dtype=torch.bool, device=meter.device)
        for epoch in range(self.epochs):
            gap = _accuracy(meter, state, forget) - unseen
            awake = awake & torch.from_numpy(gap > -self.margin).to(meter.device)
            if not bool(awake.any()):
                break
            aims = [
                noisy_targets(own, others, float(np.exp(self.alpha * gap[model])), meter.seeds[model], epoch)
                for model, (own, others) in enumerate(answers)
            ]
            targets = Targets.of(meter, records, aims)
            for batch in meter.passes(records, epochs=1, batch_size=self.batch_size, name="mixed", first=epoch):
                state, memory, awake, places, values = meter.at(
                    batch, state, memory, awake, targets.places, targets.values
                )
                targets = Targets(places, values)
                part = resting(batch, awake)
                if not bool(part.active.any()):
                    continue
                gradient = two_sided(meter, state, part, soft_cross_entropy, lambda side: (targets.at(side),))  # noqa: B023
                state, memory = meter.step(optimiser, state, gradient, memory, part)
            meter.mark(state)
        return state


def noisy_targets(forget: Tensor, retain: Tensor, temperature: float, seed: int, epoch: int) -> Tensor:
    """``softmax((z + g) / temperature)`` of forgotten records, then ``argmax(z + g)`` as one-hot of retained ones, (n, C)."""
    generator = stream(seed, f"gumbel/{epoch}")
    soft, hard = (z + torch.from_numpy(generator.gumbel(size=tuple(z.shape))).to(z) for z in (forget, retain))
    classes = functional.one_hot(hard.argmax(dim=1), hard.shape[1]).to(soft.dtype)
    return torch.cat([torch.softmax(soft / temperature, dim=1), classes])


def _accuracy(meter: NetworkMeter, state: State, records: list[IntArray]) -> FloatArray:
    return np.array([1.0 - wrong.mean() for wrong in errors_of(meter, state, records)])
