"""Kronecker-factored Gauss-Newton matrix of Linear and Conv2d layers (K-FAC: Martens, Grosse 2015; Grosse, Martens 2016).

For each layer ``A (x) G`` in place of its block, with A the mean over records of ``sum_t a_t a_t'`` (inputs at position t, a 1 for the
bias) and G the mean of ``sum_c g_tc g_tc'`` (pulled-back roots of the loss's second derivative in the outputs); between layers zero. The
block is exact for one record with one position (t = 1), and for any number of them where a and g are independent, as in a
last layer under squared error. Convolutions have positions and assume that derivatives of different positions do not correlate.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from certify.core.arrays import IntArray
from certify.core.errors import ConfigurationError
from certify.models.networks.batches import epochs
from certify.models.networks.bench import Bench, whole
from certify.models.networks.network import Loss
from certify.models.networks.state import State, flatten, select, unflatten
from certify.models.networks.theirs import theirs
from certify.unlearners.networks.curvature import Curvature, output_roots, padded

_LAYERS = (nn.Linear, nn.Conv2d)
_Hook = Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Block:
    """One layer: names of its weight and bias (None where it does not move or is not there), and the two factors."""

    weight: str
    bias: str | None
    inputs: Tensor
    """A, (K, i, i)."""
    outputs: Tensor
    """G, (K, o, o)."""


@dataclass(frozen=True, eq=False)
class Kronecker(Curvature):
    """Blocks ``A (x) G``, one a layer; solved exactly, damping included, by the factors' eigenvalues."""

    blocks: tuple[Block, ...]

    def renewed(self, which: Tensor, old: Self) -> Self:
        """Factor by factor."""
        pairs = zip(self.blocks, old.blocks, strict=True)
        blocks = [
            replace(a, inputs=select(which, a.inputs, b.inputs), outputs=select(which, a.outputs, b.outputs))
            for a, b in pairs
        ]
        return replace(self, blocks=tuple(blocks))

    def apply(self, columns: Tensor) -> Tensor:
        """``G M A`` for each layer's M, weight and bias side by side."""
        return self._mapped(columns, lambda block, M: block.outputs[:, None] @ M @ block.inputs[:, None])

    def trace(self) -> Tensor:
        """Sum over layers of ``tr A tr G``."""
        return torch.stack([_trace(block.inputs) * _trace(block.outputs) for block in self.blocks]).sum(dim=0)

    def top(self, count: int) -> Tensor:
        """Products of the factors' eigenvalues."""
        values = [
            (torch.linalg.eigvalsh(b.inputs)[:, :, None] * torch.linalg.eigvalsh(b.outputs)[:, None]).flatten(1)
            for b in self.blocks
        ]
        return padded(torch.cat(values, dim=1).sort(dim=1, descending=True).values, count)

    def _solve(self, right: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
        def solved(block: Block, M: Tensor) -> Tensor:
            a, U = torch.linalg.eigh(block.inputs)
            g, V = torch.linalg.eigh(block.outputs)
            turned = V.mT[:, None] @ M @ U[:, None]
            scaled = turned / (g[:, None, :, None] * a[:, None, None, :] + shift[:, None, None, None])
            back: Tensor = V[:, None] @ scaled @ U.mT[:, None]
            return back

        found = self._mapped(right[:, :, None], solved)[:, :, 0]
        return found, torch.zeros(len(right), dtype=torch.int64, device=right.device)

    def _mapped(self, columns: Tensor, function: Callable[[Block, Tensor], Tensor]) -> Tensor:
        """A function of each layer's (K, c, o, i) for columns (K, P, c)."""
        models, _, count = columns.shape
        tree = unflatten(columns.movedim(2, 1).flatten(0, 1), self.like)
        for block in self.blocks:
            parts = [tree[block.weight].flatten(2)] + ([tree[block.bias][:, :, None]] if block.bias else [])
            M = torch.cat(parts, dim=2)
            found = function(block, M.reshape(models, count, *M.shape[1:])).reshape(M.shape)
            if block.bias:
                tree[block.bias] = found[:, :, -1]
                found = found[:, :, :-1]
            tree[block.weight] = found.reshape(tree[block.weight].shape)
        mapped: Tensor = flatten(tree).reshape(models, count, -1).movedim(1, 2)
        return mapped


def kronecker(
    bench: Bench, state: State, records: Sequence[IntArray], loss: Loss | None = None, *, batch_size: int | None = None
) -> Kronecker:
    """The factors at K models, each on its own records; a forward pass and a gradient an output for each record.

    Raises:
        ConfigurationError: a parameter that moves belongs to another kind of layer, a convolution has groups or padding other than
            with zeros, or a layer is used twice.
    """
    like = bench.network.moving(state)
    layers = _layers(bench, like)
    sums: list[list[tuple[Tensor, Tensor]]] = [[] for _ in range(state.models)]
    for batch in epochs(records, batch_size=batch_size or bench.chunk, shuffle=False, device=bench.device):
        part = whole(batch, records)
        bench.charge("forwards", int(batch.records.sum()))
        bench.reads(batch)
        for model in range(state.models):
            kept = part.weights[model] > 0
            if not bool(kept.any()):
                continue
            rows, weights = part.indices[model][kept], part.weights[model][kept]
            found = _factors(
                bench, state.pick([model]), layers, bench.X[rows], bench.y[rows], weights, loss or bench.loss
            )
            sums[model] = [
                (a + more_a, g + more_g)
                for (a, g), (more_a, more_g) in zip(sums[model], found, strict=bool(sums[model]))
            ] or found
    some = next((own for own in sums if own), [])  # a model without records has factors of zeros
    sums = [own or [(torch.zeros_like(a), torch.zeros_like(g)) for a, g in some] for own in sums]
    blocks = tuple(
        Block(
            f"{name}.weight" if name else "weight",
            (f"{name}.bias" if name else "bias") if _has_bias(name, like) else None,
            torch.stack([own[place][0] for own in sums]),
            torch.stack([own[place][1] for own in sums]),
        )
        for place, name in enumerate(layers)
    )
    return Kronecker(like, blocks)


def _has_bias(name: str, like: dict[str, Tensor]) -> bool:
    return (f"{name}.bias" if name else "bias") in like


def _layers(bench: Bench, like: dict[str, Tensor]) -> dict[str, nn.Module]:
    """The layers that own the parameters that move, by name."""
    modules = dict(bench.network.evaluating.named_modules())
    found: dict[str, nn.Module] = {}
    for parameter in like:
        name = parameter.rpartition(".")[0]
        layer = modules[name]
        if not isinstance(layer, _LAYERS) or (f"{name}.weight" if name else "weight") not in like:
            raise ConfigurationError(
                f"{parameter} belongs to no Linear or Conv2d layer whose weight moves ({type(layer).__name__})",
                where="curvature",
                mend="use cg or low-rank, or leave it out of trainable",
            )
        plain = not isinstance(layer, nn.Conv2d) or (
            layer.groups == 1 and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
        )
        if not plain:
            raise ConfigurationError(
                f"{name} has groups, or padding other than a number of zeros",
                where="curvature",
                mend="use cg or low-rank",
            )
        found[name] = layer
    return found


def _factors(
    bench: Bench, one: State, layers: dict[str, nn.Module], X: Tensor, y: Tensor, weights: Tensor, loss: Loss
) -> list[tuple[Tensor, Tensor]]:
    """A and G of each layer of one model, weighted sums over a batch."""
    tensors = {name: value[0] for name, value in {**one.parameters, **one.buffers}.items()}
    with theirs(), _tapped(layers) as taps:
        outputs = torch.func.functional_call(bench.network.evaluating, tensors, (X,))
    for name, calls in taps.items():
        if len(calls) != 1:
            raise ConfigurationError(
                f"{name} is used {len(calls)} times in a pass", where="curvature", mend="use cg or low-rank"
            )
    ends = [calls[0][1] for calls in taps.values()]
    roots = output_roots(loss, outputs.detach()[None], y[None])[0]
    pulled: list[Tensor] = [torch.zeros((), dtype=torch.float64, device=X.device)] * len(ends)
    for column in range(roots.shape[-1]):
        bench.charge("gradients", len(X))
        aim = (outputs.flatten(1) * roots[..., column].to(outputs.dtype)).sum()
        slopes = torch.autograd.grad(aim, ends, retain_graph=column + 1 < roots.shape[-1])
        for place, slope in enumerate(slopes):
            g = _positions(slope)
            pulled[place] = pulled[place] + torch.einsum("b,bto,btp->op", weights / g.shape[1], g, g)
    found = []
    for (name, calls), g in zip(taps.items(), pulled, strict=True):
        a = _inputs(layers[name], calls[0][0], ones=f"{name}.bias" if name else "bias", moving=bench.network.trainable)
        found.append((torch.einsum("b,bti,btj->ij", weights, a, a), g))
    return found


def _inputs(layer: nn.Module, value: Tensor, *, ones: str, moving: frozenset[str]) -> Tensor:
    """What each weight of the layer is multiplied with, (B, T, i), with a 1 where the bias moves."""
    if isinstance(layer, nn.Conv2d):
        assert not isinstance(layer.padding, str)
        patches = nn.functional.unfold(value.double(), layer.kernel_size, layer.dilation, layer.padding, layer.stride)
        a = patches.mT
    else:
        a = value.double().reshape(len(value), -1, value.shape[-1])
    return torch.cat([a, torch.ones_like(a[:, :, :1])], dim=2) if ones in moving else a


def _positions(slope: Tensor) -> Tensor:
    """(B, o), (B, T, o) or (B, o, h, w) as (B, T, o)."""
    if slope.dim() == 4:
        return slope.double().flatten(2).mT
    return slope.double().reshape(len(slope), -1, slope.shape[-1])


@contextmanager
def _tapped(layers: dict[str, nn.Module]) -> Iterator[dict[str, list[tuple[Tensor, Tensor]]]]:
    """Inputs and outputs of the layers in the passes inside."""
    taps: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in layers}

    def watch(name: str) -> _Hook:
        def hook(_: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
            end = output if output.requires_grad else output.requires_grad_()
            taps[name].append((given[0].detach(), end))
            return end.clone()  # what comes next may work in place

        return hook

    handles = [layer.register_forward_hook(watch(name)) for name, layer in layers.items()]
    try:
        yield taps
    finally:
        for handle in handles:
            handle.remove()


def _trace(matrix: Tensor) -> Tensor:
    return matrix.diagonal(dim1=1, dim2=2).sum(dim=1)
