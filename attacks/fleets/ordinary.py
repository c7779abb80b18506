"""What ordinary training takes for granted: torch's generators, optimisers by name, batches of one record."""

import contextlib
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from certify.models.networks.recipe import Recipe

BATCH_STATISTICS = nn.modules.batchnorm._BatchNorm  # noqa: SLF001 - the common base of all batch normalisations
_TOO_FEW = "more than 1 value per channel"
"""In torch's refusal to normalise a batch by itself."""


def torch_optimiser(recipe: Recipe, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
    """The optimiser of a recipe, from ``torch.optim``, fused."""
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(
            parameters, lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay, fused=True
        )
    kind = torch.optim.AdamW if recipe.optimiser == "adamw" else torch.optim.Adam
    return kind(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)


def schedule(optimiser: torch.optim.Optimizer, recipe: Recipe, done: float) -> None:
    """The step size when a share ``done`` of the steps is done."""
    if recipe.schedule != "constant" or recipe.warmup:
        optimiser.param_groups[0]["lr"] = recipe.lr * recipe.factor(done)


def called(module: nn.Module, x: Tensor) -> Tensor:
    """A training pass; one record, which has no statistics of its own, is normalised by the running ones, which stay."""
    if len(x) > 1:
        return module(x)  # type: ignore[no-any-return]
    before = {name: value.clone() for name, value in module.named_buffers()}
    try:
        return module(x)  # type: ignore[no-any-return]
    except ValueError as error:
        if _TOO_FEW not in str(error):
            raise
    for name, value in module.named_buffers():  # parts before the one that refused were there already
        value.copy_(before[name])
    parts = [part for part in module.modules() if isinstance(part, BATCH_STATISTICS) and part.training]
    try:
        for part in parts:
            part.eval()
        return module(x)  # type: ignore[no-any-return]
    finally:
        for part in parts:
            part.train()


def draws(module: nn.Module, X: Tensor) -> bool:
    """Whether a training pass of two records draws from torch's generators."""
    with torch.no_grad(), forked(X.device):
        before = _generator_states(X.device)
        called(module, X[:2])
        return any(not torch.equal(a, b) for a, b in zip(before, _generator_states(X.device), strict=True))


def _generator_states(device: torch.device) -> list[Tensor]:
    cuda = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return [torch.get_rng_state(), *cuda]


@contextlib.contextmanager
def forked(device: torch.device) -> Iterator[None]:
    """Torch's generators, as they were afterwards."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield


@contextlib.contextmanager
def undisturbed(device: torch.device, precision: str, *, deterministic: bool) -> Iterator[None]:
    """Gradients on, generators, precision and determinism as asked for; everything as found afterwards."""
    product, strict = torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled()
    convolutions = torch.backends.cudnn.flags(
        enabled=torch.backends.cudnn.enabled,
        benchmark=False,
        deterministic=deterministic or torch.backends.cudnn.deterministic,
        allow_tf32=precision == "tf32",
    )
    with forked(device), torch.inference_mode(mode=False), torch.enable_grad(), convolutions:
        try:
            torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
            torch.use_deterministic_algorithms(deterministic or strict)
            yield
        finally:
            torch.set_float32_matmul_precision(product)
            torch.use_deterministic_algorithms(strict)


def seed_all(seed: int, device: torch.device) -> None:
    """Seed torch's generators."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def pass_seed(seed: int, epoch: int) -> int:
    """A seed for what is random in one pass of one model."""
    words = np.random.SeedSequence([seed, zlib.crc32(b"train"), epoch]).generate_state(1, np.uint64)
    return int(words[0] >> 1)
