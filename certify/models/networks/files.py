"""Weights of networks in files: .safetensors or .npz, one array a name of the ``state_dict``; pickles are never opened."""

import io
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from certify.core.arrayfiles import read_arrays
from certify.core.errors import InputError
from certify.core.files import FileRecord, read_bytes

SUFFIXES = (".safetensors", ".npz")

_HOW = "load it where you trust it and save it with safetensors.torch.save_file(model.state_dict(), path)"


def load_network(path: Path, module: nn.Module) -> tuple[nn.Module, FileRecord]:
    """Fill a module with the weights in a file; returns the module, and the file's digest.

    A tensor that several layers share may stand under one of its names or under all of them (``safetensors.torch.save_model``
    writes one).

    Raises:
        InputError: missing, damaged, a pickle, not finite, names and shapes that are not the module's, or different numbers under
            the names of one shared tensor.
    """
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        tensors, record = _read_safetensors(path)
    elif suffix == ".npz":
        arrays, record = read_arrays(path)
        tensors = {
            name: torch.from_numpy(np.array(array)) for name, array in arrays.items() if array.dtype.kind in "fiubc"
        }
    else:
        raise InputError(
            f"cannot read a network from a {suffix or 'suffixless'} file",
            where=str(path),
            mend=f"pickles run code; {_HOW}",
        )
    tensors = _shared(path, tensors, module)
    _check(path, tensors, module.state_dict())
    module.load_state_dict(tensors)
    return module, record


def dump_network(path: Path, module: nn.Module) -> bytes:
    """The bytes of a weights file of the kind that ``path`` names.

    Raises:
        InputError: the suffix is neither .safetensors nor .npz, or NumPy has no such numbers (bfloat16).
    """
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in module.state_dict().items()}
    if path.suffix.lower() == ".safetensors":
        from safetensors.torch import save

        return bytes(save(tensors))
    check_suffix(path)
    odd = [name for name, value in tensors.items() if value.dtype is torch.bfloat16]
    if odd:
        raise InputError(
            f"NumPy cannot hold the bfloat16 numbers of {odd[0]}", where=str(path), mend="name a .safetensors file"
        )
    buffer = io.BytesIO()
    np.savez(buffer, **{name: value.numpy() for name, value in tensors.items()})
    return buffer.getvalue()


def check_suffix(path: Path) -> None:
    """Refuse a name that weights cannot be written to.

    Raises:
        InputError: the suffix is neither .safetensors nor .npz.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"cannot write a network to a {path.suffix or 'suffixless'} file",
            where=str(path),
            mend="use .safetensors or .npz",
        )


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], FileRecord]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    content, record = read_bytes(path)
    try:
        return dict(load(content)), record
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError):
        raise InputError("is truncated or damaged", where=str(path), mend="save it again") from None


def _shared(path: Path, tensors: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """The tensors with those that layers share under each of their names."""
    groups: dict[int, list[str]] = {}
    for name, value in module.state_dict(keep_vars=True).items():
        groups.setdefault(id(value), []).append(name)
    found = dict(tensors)
    for names in groups.values():
        given = [name for name in names if name in tensors]
        for name in given[1:]:
            first, other = tensors[given[0]], tensors[name]
            if first.shape != other.shape or not torch.equal(first, other):
                raise InputError(
                    f"{given[0]} and {name} are one tensor in the architecture and differ here",
                    where=str(path),
                    mend="name the architecture these weights belong to",
                )
        found |= {name: tensors[given[0]] for name in names if given}
    return found


def _check(path: Path, tensors: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    missing, strange = sorted(set(wanted) - set(tensors)), sorted(set(tensors) - set(wanted))
    if missing or strange:
        what = f"has no {missing[0]}" if missing else f"has {strange[0]}, which the architecture has not"
        more = len(missing) + len(strange) - 1
        others = f" (and {more} more names differ)" if more else ""
        raise InputError(f"{what}{others}", where=str(path), mend="name the architecture these weights belong to")
    for name, own in wanted.items():
        value = tensors[name]
        if value.shape != own.shape:
            raise InputError(
                f"{name} has shape {tuple(value.shape)}, the architecture's has {tuple(own.shape)}",
                where=str(path),
                mend="name the architecture these weights belong to",
            )
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise InputError(
                f"{name} holds NaN or infinite numbers",
                where=str(path),
                mend="train again; a diverged model cannot be used",
            )
