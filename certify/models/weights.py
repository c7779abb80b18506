"""Weights of linear models: ``coef`` (d,) or (K, d) and optional ``intercept`` (K,)."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from certify.core.arrayfiles import read_arrays
from certify.core.arrays import AnyArray, FloatArray
from certify.core.errors import InputError
from certify.core.files import FileRecord, read_bytes

_PICKLED = {".pkl", ".pickle", ".joblib", ".pt", ".pth", ".ckpt", ".bin", ".sav"}


@dataclass(frozen=True, eq=False)
class LinearWeights:
    """Weights as they are stored.

    Attributes:
        coef: (d,) or (K, d), float64, float32 or float16; certified exactly as stored.
        intercept: (K,) or None.
    """

    coef: AnyArray
    intercept: AnyArray | None = None

    @property
    def stored_as(self) -> str:
        """Type of the stored numbers."""
        return str(self.coef.dtype)

    @property
    def parts(self) -> tuple[AnyArray, AnyArray | None]:
        """(coef, intercept)."""
        return self.coef, self.intercept

    @classmethod
    def from_parameters(cls, parameters: FloatArray, *, intercept: bool) -> "LinearWeights":
        """From parameters (K, p), the intercept's column last; a single row becomes (d,)."""
        coef = parameters[:, :-1] if intercept else parameters
        bias = parameters[:, -1].copy() if intercept else None
        return cls(coef[0].copy() if len(coef) == 1 else coef.copy(), bias)

    def same_as(self, other: "LinearWeights") -> bool:
        """Whether every number is equal."""
        bias, other_bias = self.intercept, other.intercept
        if (bias is None) != (other_bias is None) or not np.array_equal(self.coef, other.coef):
            return False
        return bias is None or other_bias is None or bool(np.array_equal(bias, other_bias))


def load_weights(path: Path) -> tuple[LinearWeights, FileRecord]:
    """Read weights from .npz, .npy or .safetensors.

    Raises:
        InputError: missing, damaged, a pickle, without ``coef``, or not floating-point numbers.
    """
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        arrays, record = _read_safetensors(path)
    elif suffix in {".npz", ".npy"} | _PICKLED:
        arrays, record = read_arrays(path)
    else:
        raise InputError(
            f"cannot read weights from a {suffix or 'suffixless'} file",
            where=str(path),
            mend="save them as .npz (coef, intercept), .npy or .safetensors",
        )
    return _weights(path, arrays), record


def _read_safetensors(path: Path) -> tuple[dict[str, AnyArray], FileRecord]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    content, record = read_bytes(path)
    try:
        return dict(load(content)), record
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError):
        raise InputError(
            "is truncated, damaged, or holds a type NumPy does not know",
            where=str(path),
            mend="save it again as float32 or float64",
        ) from None


def _weights(path: Path, arrays: dict[str, AnyArray]) -> LinearWeights:
    coef = arrays.get("coef", arrays.get(""))
    if coef is None:
        raise InputError(
            f"has no array 'coef' (it has: {', '.join(sorted(arrays)) or 'none'})",
            where=str(path),
            mend="save it with numpy.savez(path, coef=..., intercept=...)",
        )
    for name, array in (("coef", coef), ("intercept", arrays.get("intercept"))):
        if array is not None and array.dtype.kind not in "fiu":
            raise InputError(f"{name} has type {array.dtype}, not numbers", where=str(path), mend="save it as float64")
        if array is not None and not np.all(np.isfinite(array)):
            raise InputError(
                f"{name} has {int(np.sum(~np.isfinite(array)))} NaN or infinite entries",
                where=str(path),
                mend="train again; a diverged model cannot be released",
            )
    if coef.ndim not in (1, 2) or coef.size == 0:
        raise InputError(
            f"coef has shape {coef.shape}, not (features,) or (classes, features)",
            where=str(path),
            mend="save the model's coefficient matrix",
        )
    return LinearWeights(coef, arrays.get("intercept"))


def dump_weights(path: Path, weights: LinearWeights) -> bytes:
    """The bytes of a weights file of the kind that ``path`` names.

    Raises:
        InputError: the suffix is none of .npz, .npy (without intercept), .safetensors.
    """
    arrays = {"coef": weights.coef} | ({} if weights.intercept is None else {"intercept": weights.intercept})
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        from safetensors.numpy import save

        return bytes(save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))
    buffer = io.BytesIO()
    if suffix == ".npz":
        np.savez(buffer, **arrays)  # type: ignore[arg-type]  # NumPy types its keywords as flags
    elif suffix == ".npy" and weights.intercept is None:
        np.save(buffer, weights.coef)
    else:
        raise InputError(
            f"cannot write weights{' with an intercept' if suffix == '.npy' else ''} to a {suffix or 'suffixless'} file",
            where=str(path),
            mend="use .npz or .safetensors",
        )
    return buffer.getvalue()
