"""How far unlearned models lie from retrained ones, in weights and in predictions, against retrained ones among themselves."""

from certify.attacks.distances.compare import function_distances, weight_distances
from certify.attacks.distances.klom import Klom, klom_per_record
from certify.attacks.distances.null import REMINDER, Distance, Shift, against_pool, against_rows, directional
from certify.attacks.distances.parameters import Stack

__all__ = [
    "REMINDER",
    "Distance",
    "Klom",
    "Shift",
    "Stack",
    "against_pool",
    "against_rows",
    "directional",
    "function_distances",
    "klom_per_record",
    "weight_distances",
]
