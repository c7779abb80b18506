"""What the theorem of relabelling asks for, condition by condition; a run that misses one claims nothing."""

from typing import TYPE_CHECKING

from certify.unlearners.networks.meter import NetworkMeter
from certify.unlearners.relabelling.heads import Heads

if TYPE_CHECKING:
    from certify.unlearners.methods.muso import Muso


def declared(meter: NetworkMeter, head: Heads) -> list[str]:
    """Conditions on the task that fail."""
    recipe = meter.task.recipe
    found = {
        f"the loss is {meter.task.loss}, not squared": meter.task.loss != "squared",
        "more than the head moves": not head.alone,
        "what does not move differs from the weights before training": head.alone and not head.same_start,
        "the features change with the batch (batch normalisation in training mode)": meter.network.has_batch_statistics,
    }
    if recipe is not None:
        found |= {
            f"the original was trained by {recipe.optimiser}, not by plain SGD": recipe.optimiser != "sgd",
            f"the original was trained with weight decay {recipe.weight_decay:g}": recipe.weight_decay > 0,
        }
    return [text for text, failed in found.items() if failed]


def trained_on(method: "Muso") -> list[str]:
    """Conditions on the method's own training that fail."""
    found = {
        f"{method.optimiser} is not plain SGD": method.optimiser != "sgd",
        f"weight decay {method.weight_decay:g} is not 0": method.weight_decay > 0,
    }
    return [text for text, failed in found.items() if failed]


def refuse_exactness(meter: NetworkMeter, failed: list[str]) -> None:
    """One warning that names each condition that fails."""
    if failed:
        meter.warn(f"not exact: {'; '.join(failed)}")
