"""An incompetent teacher for the forgotten records, the original for a sample of the retained ones."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field

from certify.core.streams import stream
from certify.models.networks.recipe import optimiser_of
from certify.models.networks.state import State
from certify.unlearners.evidence import Claim
from certify.unlearners.interface import Kind, Unlearner
from certify.unlearners.networks.fresh import fresh
from certify.unlearners.networks.meter import NetworkMeter
from certify.unlearners.networks.pairing import sampled, two_sided
from certify.unlearners.networks.targets import Targets, logits_of, need_probabilities, taught


@dataclass(frozen=True)
class BadTeacher(Unlearner):
    """Descent on ``T^2 KL(teacher || model)``: a freshly initialised teacher for forgotten records, the original for the others.

    Batches mix the forgotten records and one random sample of the retained ones; both teachers' outputs are computed once. The
    target on the forgotten records hangs on one random teacher and is close to uniform, which is visible: no retrained model
    answers so. The divergence is a record's, not divided by the number of classes as in public code, so a learning rate from
    there is C times too large here; the factor T^2 keeps gradients comparable over temperatures (ours).
    The paper takes Adam and one epoch.

    Args:
        lr: step size.
        epochs: passes over the forgotten records and the sample.
        batch_size: records in a batch.
        sample: share of the retained records.
        temperature: T, of both softmaxes.
        optimiser: "sgd", "adam" or "adamw".
        momentum: of SGD.
        weight_decay: see the optimisers.
    """

    name: ClassVar[str] = "bad-teacher"
    summary: ClassVar[str] = "learn forgotten records from a random network, a sample of the others from the original"
    needs: ClassVar[str] = "the original model, the retained and the forgotten records, a fresh initialisation"
    reference: ClassVar[str] = "Chundawat et al. 2023 (bad teaching)"
    claim: ClassVar[Claim] = Claim.NONE
    kinds: ClassVar[tuple[Kind, ...]] = ("network",)
    family: ClassVar[str] = "distil"
    reads_forgotten: ClassVar[bool] = True
    stochastic: ClassVar[bool] = True

    lr: Annotated[float, Field(gt=0)] = 0.05
    epochs: Annotated[int, Field(ge=1)] = 5
    batch_size: Annotated[int, Field(ge=1)] = 128
    sample: Annotated[float, Field(gt=0, le=1)] = 0.3
    temperature: Annotated[float, Field(gt=0)] = 1.0
    optimiser: Literal["sgd", "adam", "adamw"] = "sgd"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 0.0

    def run_networks(self, meter: NetworkMeter, state: State) -> State:
        """One forward pass of either teacher, then one step a batch."""
        need_probabilities(meter)
        seeds = [int(stream(seed, "bad-teacher/teacher").integers(2**62)) for seed in meter.seeds]
        incompetent = fresh(meter.task, seeds, meter.device)
        forget = meter.records("forget")
        sample = sampled(meter, self.sample, "bad-teacher/sample")
        lessons = zip(logits_of(meter, incompetent, forget), logits_of(meter, state, sample), strict=True)
        records = [np.concatenate(parts) for parts in zip(forget, sample, strict=True)]
        targets = Targets.of(meter, records, [torch.cat(parts) for parts in lessons])
        loss = taught(self.temperature)
        optimiser = optimiser_of(self.optimiser, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)
        memory = optimiser.start(meter.network.moving(state))
        for batch in meter.passes(records, epochs=self.epochs, batch_size=self.batch_size, name="mixed"):
            state, memory = meter.at(batch, state, memory)
            gradient = two_sided(meter, state, batch, loss, lambda part: (targets.at(part),))
            state, memory = meter.step(optimiser, state, gradient, memory, batch)
        return state
