"""Models from a fresh start, one a seed, all of one shape; and seeds that nothing but (seed, world, model) decides."""

import copy
import zlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from certify.attacks.fleets.plan import FleetTask
from certify.core.arguments import shown
from certify.core.errors import InputError
from certify.core.foreign import foreign
from certify.models.networks.state import State


def seed_of(seed: int, purpose: str, model: int) -> int:
    """A seed in [0, 2^63) for one purpose and one model of a fleet."""
    words = np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), model]).generate_state(1, np.uint64)
    return int(words[0] >> 1)


def builder(task: FleetTask) -> Callable[[], nn.Module]:
    """What makes a freshly initialised model."""
    given = task.architecture
    return (lambda: reinitialised(given)) if isinstance(given, nn.Module) else given


def blueprint(task: FleetTask) -> nn.Module:
    """One model of the architecture.

    Raises:
        InputError, ConfigurationError: as for :func:`fresh`; two seeds give the same weights.
    """
    first, second = (seeded(builder(task), seed, "architecture") for seed in (1, 2))
    states = State.of(first), State.of(second)
    moves = [name for name, value in first.named_parameters() if value.requires_grad]
    if not moves:
        raise InputError("no parameter needs a gradient", where="architecture", mend="leave some to train")
    if all(torch.equal(states[0].parameters[name], states[1].parameters[name]) for name in moves):
        raise InputError(
            "gives the same weights for different seeds",
            where="architecture",
            mend="let it draw them from torch's global generator, which is seeded for it",
        )
    return first


def fresh(task: FleetTask, seeds: Sequence[int], like: State, device: torch.device, numbers: Sequence[int]) -> State:
    """Freshly initialised models; copies of ``task.initial`` where it is given.

    Args:
        task: its architecture.
        seeds: one a model.
        like: one model of the architecture.
        device: where they go.
        numbers: of the models in the fleet, for messages.

    Raises:
        ConfigurationError: the function raised something.
        InputError: it made no module, or models that differ in their tensors; a part has no ``reset_parameters``.
    """
    if task.initial is not None:
        return stacked([task.initial], like, [0], "initial").repeat(len(seeds)).to(device)
    build = builder(task)
    made = [seeded(build, seed, "architecture") for seed in seeds]
    return stacked(made, like, numbers, "architecture").to(device)


def stacked(made: Sequence[nn.Module], like: State, numbers: Sequence[int], where: str) -> State:
    """Modules of one architecture as a state.

    Raises:
        InputError: names the first model whose tensors differ in name, shape or type from the architecture's.
    """
    wanted = _signature(like)
    for number, module in zip(numbers, made, strict=True):
        if _signature(State.of(module)) != wanted:
            raise InputError(
                f"model {number} has other tensors than the architecture's",
                where=where,
                mend="all models of a fleet have one architecture and one type of numbers",
            )
    return State.of(*made)


def same_shape(state: State, like: State) -> bool:
    """Whether two states have tensors of the same names, shapes and types."""
    return _signature(state) == _signature(like)


def seeded(build: Callable[[], nn.Module], seed: int, where: str) -> nn.Module:
    """What a function makes when torch's global generator is seeded for it; the generator is restored.

    Raises:
        ConfigurationError: it raised something; InputError: it made no module.
    """
    mend = "it is called without arguments and returns the module"
    if where == "train":
        mend = "it is called with arrays X and y and a seed and returns the module"
    with torch.random.fork_rng(devices=[]), foreign("the function", where, mend):
        torch.default_generator.manual_seed(seed)
        made = build()
    if not isinstance(made, nn.Module):
        raise InputError(f"the function returned {shown(made)}, not a torch module", where=where, mend=mend)
    return made


def reinitialised(model: nn.Module) -> nn.Module:
    """A copy in which every part is initialised anew.

    Raises:
        InputError: a part that owns parameters has no ``reset_parameters``.
    """
    made = copy.deepcopy(model)
    for name, part in made.named_modules():
        if not any(True for _ in part.parameters(recurse=False)):
            continue
        reset = getattr(part, "reset_parameters", None)
        if reset is None:
            raise InputError(
                f"{name or 'the model'} ({type(part).__name__}) owns parameters and has no reset_parameters",
                where="architecture",
                mend="give a function that makes a freshly initialised model",
            )
        reset()
    return made


def _signature(state: State) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    both = {**state.parameters, **{f"{name} (buffer)": value for name, value in state.buffers.items()}}
    return {name: (tuple(value.shape[1:]), value.dtype) for name, value in both.items()}
