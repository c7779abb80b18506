"""EU-k and CF-k: train the last layers alone on the retained records, from fresh weights or from the old ones."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import nn

from certify.models.networks.state import State
from certify.unlearners.evidence import Claim
from certify.unlearners.interface import Kind, Unlearner
from certify.unlearners.networks.fresh import fresh_parts
from certify.unlearners.networks.meter import NetworkMeter
from certify.unlearners.networks.parts import check_frozen, last_layers, named_parts, only
from certify.unlearners.networks.repair import Repair
from certify.unlearners.probe import Probe

_PROBE = Probe(others={"k": 2}, contexts={"parts": {"k": 2}})
"""The head by its path is the last layer by its number."""


@dataclass(frozen=True)
class ExactLast(Unlearner):
    """EU-k: the last k layers initialised anew and trained on the retained records by the task's recipe, the others frozen.

    The paper's: the rule. Our reading: the layers are given by number or by path; a layer is a module that owns a weight of two
    or more axes, counted in order of registration, and normalisations behind the first of them go along. Frozen parts run in
    evaluation mode, so their running statistics do not move and they are bit for bit those of the original, which is checked; so
    is that each initialised tensor differs from the original's.

    Exact only for the layers that were trained again: the frozen layers were trained with the forgotten records and still hold
    them. Fails against poisoned features.

    Args:
        k: number of layers; not used where ``parts`` is given.
        parts: paths of modules, separated by commas.
        epochs: passes over the retained records; None is the recipe's number.
        lr: step size; None is the recipe's.
    """

    name: ClassVar[str] = "eu-k"
    summary: ClassVar[str] = "initialise the last k layers anew and train them alone on the retained records"
    needs: ClassVar[str] = "the original model, the retained records, the recipe"
    reference: ClassVar[str] = "Goel et al. 2022"
    claim: ClassVar[Claim] = Claim.NONE
    kinds: ClassVar[tuple[Kind, ...]] = ("network",)
    family: ClassVar[str] = "reinitialise"
    stochastic: ClassVar[bool] = True
    quick: ClassVar[Mapping[str, Any]] = MappingProxyType({"epochs": 3})
    conformance: ClassVar[Probe] = _PROBE

    k: Annotated[int, Field(ge=1)] = 1
    parts: str | None = None
    epochs: Annotated[int, Field(ge=1)] | None = None
    lr: Annotated[float, Field(gt=0)] | None = None

    def run_networks(self, meter: NetworkMeter, state: State) -> State:
        """Initialise, train, check what stayed."""
        chosen = _chosen(meter.task.model, self.k, self.parts, self.name)
        recipe = meter.task.need_recipe()
        recipe = replace(recipe, epochs=self.epochs or recipe.epochs, lr=self.lr or recipe.lr)
        with only(meter, chosen):
            begin = fresh_parts(meter.task, state, chosen, meter.network.trainable, meter.seeds)
            end = meter.train(begin, meter.records("retain"), recipe, name="retain")
        check_frozen(state, end, chosen, self.name)
        return end


@dataclass(frozen=True)
class CatastrophicLast(Repair):
    """CF-k: the last k layers trained on from their old weights on the retained records, the others frozen.

    Layers, frozen parts and their statistics as in :class:`ExactLast`. Weaker than EU-k at the same cost: it starts from what the
    layers hold of the forgotten records, and the frozen layers keep what they hold.

    Args:
        k: number of layers; not used where ``parts`` is given.
        parts: paths of modules, separated by commas.
        lr, epochs, batch_size, optimiser, momentum, weight_decay, schedule, warmup: see
            :class:`~certify.unlearners.networks.repair.Repair`.
    """

    name: ClassVar[str] = "cf-k"
    summary: ClassVar[str] = "train the last k layers alone on the retained records, from the old weights"
    needs: ClassVar[str] = "the original model, the retained records"
    reference: ClassVar[str] = "Goel et al. 2022"
    claim: ClassVar[Claim] = Claim.NONE
    kinds: ClassVar[tuple[Kind, ...]] = ("network",)
    family: ClassVar[str] = "gradient"
    stochastic: ClassVar[bool] = True
    conformance: ClassVar[Probe] = _PROBE

    k: Annotated[int, Field(ge=1)] = 1
    parts: str | None = None

    def run_networks(self, meter: NetworkMeter, state: State) -> State:
        """Train, check what stayed."""
        chosen = _chosen(meter.task.model, self.k, self.parts, self.name)
        with only(meter, chosen):
            end = self.repair(meter, state)
        check_frozen(state, end, chosen, self.name)
        return end


def _chosen(model: nn.Module, k: int, parts: str | None, name: str) -> tuple[str, ...]:
    return last_layers(model, k, f"{name}.k") if parts is None else named_parts(model, parts, f"{name}.parts")
