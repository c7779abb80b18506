"""Fresh initialisation, verified tensor by tensor: an oracle that keeps trained weights is no oracle."""

import copy
from collections.abc import Callable, Collection, Sequence

import torch
from torch import nn

from certify.core.arguments import shown
from certify.core.errors import InputError
from certify.core.foreign import foreign
from certify.models.networks.generators import seeded_elsewhere, seeded_generators
from certify.models.networks.network import Network
from certify.models.networks.state import State
from certify.unlearners.networks.parts import inside
from certify.unlearners.networks.task import NetworkTask

_CALLED = {"architecture": "without arguments", "train": "with arrays X and y and a seed"}


def fresh(task: NetworkTask, seeds: Sequence[int], device: torch.device) -> State:
    """One freshly initialised model a seed.

    Made by ``task.architecture``, or by every part's own ``reset_parameters`` on a copy of the original. The global
    generators are seeded while a model is made and restored afterwards. Parameters that may not move (they need no gradient, or
    ``task.trainable`` leaves them out) are those of the original, and so are the buffers of parts that were put in evaluation mode
    by hand: training would never bring their running statistics back.

    Raises:
        InputError: a part cannot be initialised, a trained tensor survived, or two seeds gave the same model.
    """
    original = State.of(task.model)
    build = task.architecture or (lambda: reinitialised(task.model))
    made = [seeded(build, seed) for seed in seeds]
    state = State.of(*made)
    network = Network.of(task.model, trainable=task.trainable)
    kept = {n: v for n, v in original.repeat(len(made)).parameters.items() if n not in network.trainable}
    check_fresh(state, original, "architecture", frozenset(kept))
    if len(set(seeds)) > 1 and len({state.digest(model) for model in range(len(made))}) == 1:
        raise InputError(
            "gives the same weights for different seeds",
            where="architecture",
            mend="let it draw them from torch's global generator, which is seeded for it",
        )
    frozen = [name for name, part in network.training.named_modules() if not part.training]
    still = {n: v for n, v in original.repeat(len(made)).buffers.items() if n.rpartition(".")[0] in frozen}
    return state.with_parameters(kept).with_buffers(still).to(device)


def fresh_parts(
    task: NetworkTask, state: State, parts: Sequence[str], moving: Collection[str], seeds: Sequence[int]
) -> State:
    """The state with the parameters of some parts that may move, and the parts' buffers, initialised anew; one seed a model.

    Raises:
        InputError: as for :func:`fresh`, of the parts alone.
    """

    def build() -> nn.Module:
        return reinitialised(task.model, parts) if task.architecture is None else task.architecture()

    made = State.of(*(seeded(build, seed) for seed in seeds)).to(state.device)
    original = State.of(task.model).to(state.device)
    kept = {name: value for name, value in state.parameters.items() if name not in moving or not inside(name, parts)}
    check_fresh(made, original, "architecture", frozenset(kept))
    buffers = {name: value for name, value in made.buffers.items() if inside(name, parts)}
    return State(made.parameters, state.buffers).with_parameters(kept).with_buffers(buffers)


def reinitialised(model: nn.Module, parts: Sequence[str] | None = None) -> nn.Module:
    """A copy in which the named parts (all of them by default) and everything inside them is initialised anew.

    Raises:
        InputError: a part that owns parameters has no ``reset_parameters``.
    """
    made = copy.deepcopy(model)
    for name, part in made.named_modules():
        if parts is not None and not inside(name, parts):
            continue
        if not any(True for _ in part.parameters(recurse=False)):
            continue
        reset = getattr(part, "reset_parameters", None)
        if reset is None:
            raise InputError(
                f"{name or 'the model'} ({type(part).__name__}) owns parameters and has no reset_parameters",
                where="model",
                mend="give the task an architecture: a function that makes a freshly initialised model",
            )
        reset()
    return made


def seeded(build: Callable[[], nn.Module], seed: int, what: str = "architecture") -> nn.Module:
    """What a function makes when the global generators (torch's, NumPy's, Python's) are seeded for it; they are restored.

    Raises:
        ConfigurationError, InputError: it raised something, or returned no module; ``what`` names it.
    """
    mend = f"it is called {_CALLED.get(what, '')} and returns the module"
    with seeded_generators(seed), seeded_elsewhere(seed), foreign("the function", what, mend):
        made = build()
    if not isinstance(made, nn.Module):
        raise InputError(f"the function returned {shown(made)}, not a torch module", where=what, mend=mend)
    return made


def check_fresh(state: State, original: State, where: str, kept: frozenset[str] = frozenset()) -> None:
    """Refuse models that hold trained weights of the original.

    A tensor that varies and equals the original's was not initialised; a constant one (a bias of zeros) may be equal.

    Args:
        state: the new models.
        original: the original.
        where: what made them, for the message.
        kept: names that are the original's by right.

    Raises:
        InputError: names the first tensor that survived, or other tensors than the original's.
    """
    if _shapes(state) != _shapes(original):
        raise InputError(
            "makes a model with other tensors than the original's",
            where=where,
            mend="give one of the original's own architecture and type of numbers",
        )
    for name, value in state.parameters.items():
        old = original.parameters[name].to(value.device)
        survives = any(torch.equal(value[model], old[0]) for model in range(len(value)))
        if name not in kept and survives and old.numel() > 1 and bool((old != old.flatten()[0]).any()):
            raise InputError(
                f"{name} still holds the original's weights after a fresh initialisation",
                where=where,
                mend="make a new model in it, without loading a checkpoint",
            )


def _shapes(state: State) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (value.shape[1:], value.dtype) for name, value in state.parameters.items()}
