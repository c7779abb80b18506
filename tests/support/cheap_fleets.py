"""Fleets nobody trained: phi is Gaussian, with a level of each model, so that records of a model hang together.

Retrained and unlearned models of a row share their records and nothing else. ``left`` moves phi of forgotten records in the unlearned
models: 0 is retraining, above it under-forgetting, below it over-forgetting.
"""

import numpy as np

from certify.attacks.observations import Cell, Observations
from certify.core.arrays import FloatArray


def fleet(
    models: int = 32,
    records: int = 120,
    *,
    left: float = 0.0,
    gain: float = 2.0,
    level: float = 0.3,
    broken: float = 0.0,
    seed: int = 0,
    forget: float = 0.2,
) -> Observations:
    """All worlds and signals.

    Args:
        models: K.
        records: N.
        left: what the forgotten record still adds to phi in an unlearned model.
        gain: what a record adds in a model that was trained on it.
        level: standard deviation of the level that all records of a model share.
        broken: what ``again`` and ``retrained`` differ by at forgotten records: retraining that is not one law.
        seed: of everything.
        forget: share of records that a model forgets; as many are out as are retained.
    """
    rng = np.random.default_rng(seed)
    cells = np.repeat([0, 1, 2], [round(records * (1 - forget) / 2)] * 2 + [0])
    cells = np.concatenate([cells, np.full(records - len(cells), 2)])
    assignment = np.stack([rng.permutation(cells) for _ in range(models)])
    hardness = rng.normal(scale=2.0, size=records)
    forgotten, retained = assignment == Cell.FORGET, assignment == Cell.RETAIN

    def world(moved: FloatArray) -> dict[str, FloatArray]:
        noise = rng.normal(size=(models, records)) + level * rng.normal(size=(models, 1))
        phi = hardness + moved + noise
        return {
            "phi": phi,
            "entropy": np.exp(-np.abs(phi)),
            "modified-entropy": np.logaddexp(0, -phi),
            "correct": (phi > 0) * 1.0,
        }

    worlds = {
        "original": world(gain * (forgotten | retained)),
        "unlearned": world(gain * retained + left * forgotten),
        "retrained": world(gain * retained),
        "again": world(gain * retained + broken * forgotten),
    }
    return Observations(assignment, worlds)
