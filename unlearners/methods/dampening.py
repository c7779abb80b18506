"""SSD: dampen the parameters that matter more to the forgotten records than to the rest."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field

from certify.models.networks.state import State, rows
from certify.unlearners.evidence import Claim
from certify.unlearners.interface import Kind, Unlearner
from certify.unlearners.networks.fisher import empirical_fisher
from certify.unlearners.networks.meter import NetworkMeter
from certify.unlearners.probe import Probe


@dataclass(frozen=True)
class SelectiveDampening(Unlearner):
    """``w * min(1, strength I_D / I_F)`` where ``I_F > selection I_D``, w elsewhere; no training.

    I is the mean over records of the squared gradient of the record's loss, on forgotten (F) and on all (D) records. The paper's:
    the two rules and their knobs. Our reading: gradients of single records. The public code squares means over batches, which
    depends on the size of the batch and, where fewer records are forgotten than a batch holds, inflates one side of the comparison.

    Meant for classes and sub-classes. On records drawn at random it often selects nothing, which is reported (``selected``), or
    ruins the model, and which of the two varies with the training seed. A parameter without
    importance to either side is left as it is.

    Args:
        selection: how many times larger a parameter's importance to F than to D must be.
        strength: factor on the dampening; more than 1 dampens less.
        compared_with: records that make up D: "all", or "retain".
        batch_size: records in one batch of gradients; the result does not depend on it but for rounding.
    """

    name: ClassVar[str] = "ssd"
    summary: ClassVar[str] = "dampen the parameters that matter more to the forgotten records than to all"
    needs: ClassVar[str] = "the original model, the retained and the forgotten records"
    reference: ClassVar[str] = "Foster et al. 2024"
    claim: ClassVar[Claim] = Claim.NONE
    kinds: ClassVar[tuple[Kind, ...]] = ("network",)
    family: ClassVar[str] = "dampen"
    reads_forgotten: ClassVar[bool] = True
    # With so few records no weight matters ten times as much to the forgotten ones as to all.
    quick: ClassVar[Mapping[str, Any]] = MappingProxyType({"selection": 1.0, "strength": 0.5})
    # No weight matters more to a record that the model is sure of than to all.
    conformance: ClassVar[Probe] = Probe(alone={"selection": 1e-6, "strength": 1e-9})

    selection: Annotated[float, Field(gt=0)] = 10.0
    strength: Annotated[float, Field(ge=0)] = 1.0
    compared_with: Literal["all", "retain"] = "all"
    batch_size: Annotated[int, Field(ge=1)] = 64

    def run_networks(self, meter: NetworkMeter, state: State) -> State:
        """Importances of both sides, then one multiplication. Running statistics are left alone."""
        retain, forget = meter.records("retain"), meter.records("forget")
        important = empirical_fisher(meter, state, forget, batch_size=self.batch_size)
        usual = empirical_fisher(meter, state, retain, batch_size=self.batch_size)
        if self.compared_with == "all":
            shares = [len(f) / (len(f) + len(r)) for f, r in zip(forget, retain, strict=True)]
            share = torch.tensor(shares, dtype=torch.float64, device=meter.device)
            usual = {name: torch.lerp(value, important[name], _wide(share, value)) for name, value in usual.items()}
        meter.charge("steps", meter.models)
        selected = {name: important[name] > self.selection * usual[name] for name in usual}
        meter.report("selected", torch.stack([rows(m).sum(dim=1) for m in selected.values()]).sum(dim=0))
        damped = {}
        for name, mask in selected.items():
            ratio = self.strength * usual[name] / torch.where(mask, important[name], 1.0)
            factor = torch.where(mask, torch.clamp(ratio, max=1.0), 1.0)
            damped[name] = state.parameters[name] * factor
        return state.with_parameters(damped)


def _wide(share: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return share.to(like.dtype).reshape(-1, *([1] * (like.dim() - 1)))
