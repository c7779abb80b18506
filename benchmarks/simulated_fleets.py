"""Observations drawn like those of a real fleet: its means, variances, and the dependence among the records of a model."""

from dataclasses import dataclass

import numpy as np

from certify.attacks.observations import Cell, Observations

PLACES = ("retrained", "identity", "half")
"""Who stands in the unlearned models' place: retrained ones; the originals as they are; originals that forgot half of it."""


@dataclass(frozen=True, eq=False)
class Likeness:
    """What is kept of a real fleet.

    Attributes:
        unseen: mean phi of each record in models that never saw it, (N,).
        seen: in models that did, (N,).
        factors: deviations of real models from these means, (K, N), over the square root of their number: models drawn from them
            have the covariance that the real ones had.
        shared: share of the variance that two models retrained on the same records have in common.
    """

    unseen: np.ndarray
    seen: np.ndarray
    factors: np.ndarray
    shared: float

    @classmethod
    def of(cls, real: Observations) -> "Likeness":
        """From original and twice retrained models."""
        values, inside = [], []
        for world in ("original", "retrained", "again"):
            values.append(np.asarray(real.get(world), dtype=np.float64))
            inside.append(real.assignment == Cell.RETAIN if world != "original" else real.assignment != Cell.OUT)
        phi, known = np.concatenate(values), np.concatenate(inside)
        seen, unseen = (
            np.where(side, phi, 0).sum(axis=0) / np.maximum(side.sum(axis=0), 1) for side in (known, ~known)
        )
        apart = phi - np.where(known, seen, unseen)
        models = len(values[0])
        first, second = (part / part.std() for part in (apart[models : 2 * models], apart[2 * models :]))
        shared = float(np.clip(np.mean(first * second), 0, 0.95))
        return cls(unseen, seen, apart / np.sqrt(len(apart) - 1), shared)

    def draw(self, assignment: np.ndarray, place: str, seed: int) -> Observations:
        """A fleet of such models."""
        generator = np.random.default_rng([seed, PLACES.index(place)])
        models = len(assignment)
        common = generator.normal(size=(models, len(self.factors)))

        def world(*, forgotten: float) -> np.ndarray:
            """Models that know the forgotten records so far: 0 not at all, 1 like retained ones."""
            own = generator.normal(size=common.shape)
            noise = (np.sqrt(self.shared) * common + np.sqrt(1 - self.shared) * own) @ self.factors
            known = np.select([assignment == Cell.RETAIN, assignment == Cell.FORGET], [1.0, forgotten], 0.0)
            return self.unseen + known * (self.seen - self.unseen) + noise

        worlds = {"original": world(forgotten=1.0), "retrained": world(forgotten=0.0), "again": world(forgotten=0.0)}
        worlds["unlearned"] = (
            worlds["original"] if place == "identity" else world(forgotten=0.5 if place == "half" else 0.0)
        )
        return Observations(assignment, {name: {"phi": values} for name, values in worlds.items()})
