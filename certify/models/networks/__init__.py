"""Floor 1: K networks of one architecture as stacked parameters, their derivatives, optimisers, batches and training."""

from certify.models.networks.batches import Batch, collate, epochs
from certify.models.networks.bench import Bench
from certify.models.networks.features import features
from certify.models.networks.network import Gradient, Loss, Network
from certify.models.networks.optimisers import Adam, Memory, Optimiser, Sgd
from certify.models.networks.recipe import Recipe, optimiser_of
from certify.models.networks.state import State

__all__ = [
    "Adam",
    "Batch",
    "Bench",
    "Gradient",
    "Loss",
    "Memory",
    "Network",
    "Optimiser",
    "Recipe",
    "Sgd",
    "State",
    "collate",
    "epochs",
    "features",
    "optimiser_of",
]
