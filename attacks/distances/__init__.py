"""How far unlearned models lie from retrained ones, in weights and in predictions, against retrained ones among themselves."""

from certify.attacks.distances.compare import function_distances, weight_distances
from certify.attacks.distances.klom import Klom, klom_per_record
from certify.attacks.distances.null import REMINDER, Distance, against_pool, against_rows
from certify.attacks.distances.parameters import Stack
from certify.attacks.distances.shift import Shift, directional

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
