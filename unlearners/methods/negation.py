"""NoT: negate the parameters of chosen layers, then train on the retained records."""

from dataclasses import dataclass
from typing import ClassVar

from certify.core.errors import InputError
from certify.models.networks.state import State
from certify.unlearners.evidence import Claim
from certify.unlearners.interface import Kind
from certify.unlearners.networks.meter import NetworkMeter
from certify.unlearners.networks.parts import inside, layers, named_parts
from certify.unlearners.networks.repair import Repair


@dataclass(frozen=True)
class Negation(Repair):
    """Chosen layers multiplied by -1, then gradient descent on the retained records.

    The paper's: negation of whole layers, the first one above all, and no use of the forgotten records. Our reading: weights and
    biases of the layer are both negated; buffers are not. In front of an odd activation (tanh) the negation of a layer amounts to
    that of what the next layer reads; where the same is done to two layers in a row without a bias, the two cancel, and so
    such a choice is not made by default.

    Fails where the negated layer is cheap to repair: a small first layer is learned anew while deeper layers keep what they hold.

    Args:
        layers: paths of modules, separated by commas; None is the first one that owns a weight of two or more axes.
        lr, epochs, batch_size, optimiser, momentum, weight_decay, schedule, warmup: see
            :class:`~certify.unlearners.networks.repair.Repair`.
    """

    name: ClassVar[str] = "not"
    summary: ClassVar[str] = "negate chosen layers (the first by default), then train on the retained records"
    needs: ClassVar[str] = "the original model, the retained records"
    reference: ClassVar[str] = "Khalil et al. 2025 (NoT)"
    claim: ClassVar[Claim] = Claim.NONE
    kinds: ClassVar[tuple[Kind, ...]] = ("network",)
    family: ClassVar[str] = "reinitialise"
    stochastic: ClassVar[bool] = True

    layers: str | None = None

    def run_networks(self, meter: NetworkMeter, state: State) -> State:
        """Negate once, then train."""
        return self.repair(meter, self.negated(meter, state))

    def negated(self, meter: NetworkMeter, state: State) -> State:
        """The state with the movable parameters of the layers negated.

        Raises:
            ConfigurationError: a path is no module.
            InputError: nothing in the layers may move.
        """
        model = meter.task.model
        chosen = layers(model)[:1] if self.layers is None else named_parts(model, self.layers, "not.layers")
        found = {name: -value for name, value in meter.network.moving(state).items() if inside(name, chosen)}
        if not found:
            raise InputError(
                "no parameter of the chosen layers may move", where=meter.name, mend="set layers to ones that may"
            )
        return state.with_parameters(found)
