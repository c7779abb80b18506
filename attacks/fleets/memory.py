"""How many models fit at once: what one needs, measured on one, against what is free."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from certify.attacks.fleets.training import Backend, Trainer, look_size
from certify.core.errors import InputError
from certify.models.networks.state import State

_MEMINFO = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")
_UNKNOWN = 4 << 30
"""Bytes taken for free where the system does not tell."""
_SHARE = {"cpu": 0.5, "cuda": 0.8}
"""Of what is free, for a block: the unlearner's own work is not known beforehand."""
MOST = {"cpu": 64, "cuda": 512}
"""Models in a block at most: beyond, nothing runs faster, and a kill loses more."""


def available(device: torch.device) -> int:
    """Bytes that a fleet may take on a device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] * _SHARE["cuda"])
    return int(free_memory() * _SHARE["cpu"])


def free_memory() -> int:
    """Bytes free in main memory, as the system or the control group of the process says."""
    found = [_UNKNOWN]
    if _MEMINFO.is_file():
        lines = dict(line.split(":", 1) for line in _MEMINFO.read_text(encoding="ascii").splitlines() if ":" in line)
        if "MemAvailable" in lines:
            found = [int(lines["MemAvailable"].split()[0]) * 1024]
    limit, used = _GROUP / "memory.max", _GROUP / "memory.current"
    if limit.is_file() and used.is_file() and limit.read_text(encoding="ascii").strip().isdigit():
        found.append(int(limit.read_text(encoding="ascii")) - int(used.read_text(encoding="ascii")))
    return max(0, min(found))


def bytes_per_model(trainer: Trainer, like: State, records: int, backend: Backend, kept: int = 0) -> int:
    """What one model of a block needs.

    Its weights in up to three worlds at once and in those that are kept until the block is done, and for each model that is trained at the same time the gradient, the optimiser's memory, what the forward pass
    keeps for the backward one (measured on one batch), and the order of a pass.

    Args:
        trainer: architecture, records, recipe.
        like: one model.
        records: that one model is trained on.
        backend: how models run; in a loop only one at a time is trained.
        kept: worlds whose weights the block keeps.
    """
    weights = sum(value.numel() * value.element_size() for value in (*like.parameters.values(), *like.buffers.values()))
    if backend == "loop" or trainer.recipe is None:
        return (4 + kept) * weights
    slots = 2 if trainer.recipe.optimiser != "sgd" else int(trainer.recipe.momentum > 0)
    batch = min(records, trainer.recipe.batch_size)
    passing = kept_for_backward(trainer, like, batch)
    looking = passing * look_size(MOST[trainer.X.device.type], backend) // batch
    return weights * (4 + kept + slots) + max(2 * passing, looking) + 16 * records


def kept_for_backward(trainer: Trainer, like: State, batch: int) -> int:
    """Bytes that one model's training pass over a batch keeps, inputs included."""
    parameters = {name: value[0].to(trainer.X.device) for name, value in like.parameters.items()}
    leaves = {name: value.clone().requires_grad_(name in trainer.moving) for name, value in parameters.items()}
    buffers = {name: value[0].to(trainer.X.device).clone() for name, value in like.buffers.items()}
    own = {value.untyped_storage().data_ptr() for value in leaves.values()}
    seen: dict[int, int] = {}

    def keep(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = int(storage.nbytes())
        return value

    x = trainer.X[torch.arange(batch, device=trainer.X.device) % len(trainer.X)]
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        outputs = torch.func.functional_call(trainer.training, (leaves, buffers), (x,))
    return int(sum(seen.values()) + outputs.numel() * outputs.element_size() * 4 + x.numel() * x.element_size())


def fits(each: int, device: torch.device) -> int:
    """Models that fit on a device, each needing so many bytes."""
    return available(device) // max(1, each)


def block_size(models: int, each: int, device: torch.device, most: int | None = None) -> int:
    """Models in a block, so that blocks are even, fit, and hold ``most`` at most.

    Raises:
        InputError: not even one model fits.
    """
    room = fits(each, device)
    if room < 1:
        raise InputError(
            f"one model needs about {shown_bytes(each)} and {shown_bytes(available(device))} may be used",
            where="fleet",
            mend="use a smaller model or batch_size, or another device",
        )
    limit = min(models, MOST[device.type], room, most or models)
    return math.ceil(models / math.ceil(models / limit))


def check_results_fit(models: int, records: int, worlds: int, signals: int, size: int) -> int:
    """Bytes of all signals of a fleet.

    Raises:
        InputError: they are more than main memory has free.
    """
    total = models * records * worlds * signals * size
    free = free_memory()
    if 2 * total > free:  # once in blocks, once joined
        raise InputError(
            f"what {models} models say of {records} records takes {shown_bytes(2 * total)}, and {shown_bytes(free)} are free",
            where="fleet",
            mend="keep fewer signals (phi alone), or read the blocks one by one with run_blocks",
        )
    return total


def check_weights_fit(models: int, like: torch.nn.Module) -> int:
    """Bytes of the weights of so many models at once.

    Raises:
        InputError: they are more than main memory has free.
    """
    tensors = (*like.parameters(), *like.buffers())
    total, free = models * sum(value.numel() * value.element_size() for value in tensors), free_memory()
    if total > free:
        raise InputError(
            f"the weights of {models:,} models take {shown_bytes(total)}, and {shown_bytes(free)} are free",
            where="fleet",
            mend="ask for fewer models",
        )
    return total


def shown_bytes(count: float) -> str:
    """Bytes for people.

    >>> shown_bytes(123), shown_bytes(4.2e9)
    ('123 B', '4.2 GB')
    """
    units: Sequence[str] = ("B", "kB", "MB", "GB", "TB")
    place = min(len(units) - 1, max(0, int(math.log10(max(1, count)) // 3)))
    return f"{count / 1000**place:.3g} {units[place]}"
