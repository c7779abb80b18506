"""Random streams derived by name from one root seed; no global state is read or written."""

import hashlib

import numpy as np


def stream(seed: int, name: str) -> np.random.Generator:
    """A generator for the purpose ``name``: same seed and name, same numbers, whatever else was drawn."""
    words = np.frombuffer(hashlib.sha256(name.encode()).digest(), dtype=np.uint32)
    return np.random.default_rng(np.random.SeedSequence([seed, *words.tolist()]))
