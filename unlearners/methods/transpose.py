"""CT: transpose the kernels of the convolutions, then train on the retained records."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field
from torch import nn

from certify.core.errors import ConfigurationError
from certify.models.networks.state import State
from certify.unlearners.evidence import Claim
from certify.unlearners.interface import Kind
from certify.unlearners.networks.meter import NetworkMeter
from certify.unlearners.networks.repair import Repair

_TWO_AXES = (nn.Conv2d, nn.ConvTranspose2d, nn.Conv3d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class KernelTranspose(Repair):
    """Every convolution's kernel with its last two spatial axes exchanged, then gradient descent on the retained records.

    The entry of the 2023 competition: transposition of all kernels and three passes. Our reading: kernels whose two axes differ
    in length are left as they are, with a warning; normalisations and biases are not touched. The transposed network sees the
    image mirrored on its diagonal, and the training undoes what that breaks.

    Fails where a network has no convolution (refused), and forgets little where kernels are nearly symmetric. Layers behind the
    convolutions, a large linear head above all, keep what they hold of the forgotten records but for the training.

    Args:
        lr, epochs, batch_size, optimiser, momentum, weight_decay, schedule, warmup: see
            :class:`~certify.unlearners.networks.repair.Repair`.
    """

    name: ClassVar[str] = "ct"
    summary: ClassVar[str] = "transpose the kernels of the convolutions, then train on the retained records"
    needs: ClassVar[str] = "a convolutional original model, the retained records"
    reference: ClassVar[str] = "NeurIPS 2023 unlearning competition, fifth place; Cadet et al. 2024 (CT)"
    claim: ClassVar[Claim] = Claim.NONE
    kinds: ClassVar[tuple[Kind, ...]] = ("network",)
    family: ClassVar[str] = "reinitialise"
    stochastic: ClassVar[bool] = True

    epochs: Annotated[int, Field(ge=1)] = 3

    def run_networks(self, meter: NetworkMeter, state: State) -> State:
        """Transpose once, then train."""
        return self.repair(meter, transposed(meter, state))


def transposed(meter: NetworkMeter, state: State) -> State:
    """The state with the last two axes of every movable square kernel exchanged.

    Raises:
        ConfigurationError: no such kernel is larger than one pixel.
    """
    model = meter.task.model
    names = [
        f"{name}.weight" if name else "weight" for name, part in model.named_modules() if isinstance(part, _TWO_AXES)
    ]
    found = {name: value for name, value in meter.network.moving(state).items() if name in names}
    square = {name: value for name, value in found.items() if value.shape[-1] == value.shape[-2] > 1}
    if not square:
        raise ConfigurationError(
            "the model has no convolution with a square kernel larger than one pixel that may move",
            where=meter.name,
            mend="use a method for any network (not, msg, eu-k)",
        )
    uneven = [name for name, value in found.items() if value.shape[-1] != value.shape[-2]]
    if uneven:
        meter.warn(f"kernels that are not square were not transposed: {', '.join(uneven)}")
    return state.with_parameters({name: value.transpose(-1, -2).contiguous() for name, value in square.items()})
