"""Random Fourier features (Rahimi, Recht 2007): a linear model on them approximates a Gaussian kernel machine."""

from dataclasses import dataclass

import numpy as np

from certify.core.arrays import FloatArray
from certify.core.errors import ConfigurationError
from certify.core.streams import stream


@dataclass(frozen=True, eq=False)
class FourierFeatures:
    """``z(x) = sqrt(1/D) [cos(x W), sin(x W)]`` with W of shape (d, D), so that ``||z(x)|| = 1``.

    ``z(x) . z(x')`` is, in the mean over W, ``exp(-||x - x'||^2 / (2 sigma^2))``.

    Attributes:
        frequencies: W, entries drawn from N(0, 1 / sigma^2).
    """

    frequencies: FloatArray

    @classmethod
    def draw(cls, inputs: int, frequencies: int, *, sigma: float, seed: int = 0) -> "FourierFeatures":
        """Frequencies drawn from a stream of their own.

        Args:
            inputs: d.
            frequencies: D; there are 2 D features.
            sigma: width of the kernel, in units of the inputs.
            seed: root of the stream.

        Raises:
            ConfigurationError: a number that is not above 0.
        """
        if not (inputs > 0 and frequencies > 0 and np.isfinite(sigma) and sigma > 0):
            raise ConfigurationError(
                f"{inputs} inputs, {frequencies} frequencies and sigma {sigma} make no features",
                where="FourierFeatures",
                mend="give numbers above 0",
            )
        drawn = stream(seed, "random-fourier-features").normal(size=(inputs, frequencies))
        return cls(drawn / sigma)

    def __call__(self, X: FloatArray) -> FloatArray:
        """Features (n, 2 D) of inputs (n, d)."""
        phase = X @ self.frequencies
        return np.asarray(np.hstack([np.cos(phase), np.sin(phase)]) / np.sqrt(self.frequencies.shape[1]))
