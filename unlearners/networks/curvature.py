"""Curvature of the mean loss over each model's records at K fixed models: products, damped solutions, trace, eigenvalues.

The matrix is the generalised Gauss-Newton matrix ``G_k = mean_b J_b' (d2 loss_b / d outputs2) J_b``, which for cross-entropy and
squared error is the Fisher information (labels drawn from the model), or, where asked for, the Hessian. Three forms of it:

* :class:`Exact`: formed, (K, P, P), in double precision; for some thousand parameters.
* :class:`Products`: never formed; solved by conjugate gradients, all models at once, each until it has converged.
* :class:`LowRank`: randomised Nystroem approximation (Frangella, Tropp, Udell 2023); one pass of ``rank`` products, then solving
  is cheap. Equal to the matrix itself at rank P.

A fourth, layer by layer, is :mod:`certify.unlearners.networks.kronecker`.

Vectors are mappings of the parameters that may move (``bench.network.moving(state)``), each (K, ...). Evaluation mode throughout.

Example:
    ``gram = exact(meter, state, meter.records("retain"))``, then ``gram.solve(gradient.tensors, damping=1e-2).tensors``.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from certify.core.arrays import IntArray
from certify.core.errors import ConfigurationError, InputError
from certify.core.streams import stream
from certify.models.networks.batches import epochs
from certify.models.networks.bench import Bench, asked, whole
from certify.models.networks.network import Loss
from certify.models.networks.state import State, Tensors, flatten, select, unflatten
from certify.unlearners.networks.dense import dense_hessian
from certify.unlearners.networks.krylov import conjugate_gradients, lanczos, nystrom

EXACT_LIMIT = 6000
"""Parameters up to which the matrix is formed (288 MB a model)."""


@dataclass(frozen=True, eq=False)
class Solution:
    """A solution of ``(G + damping I) x = right``.

    Attributes:
        tensors: x, shaped as the right-hand side.
        iterations: products it took each model, (K,); 0 for a direct solution.
        residuals: ``||right - (G + damping I) x|| / ||right||`` of each model, for the curvature as it is represented, (K,).
    """

    tensors: dict[str, Tensor]
    iterations: Tensor
    residuals: Tensor


@dataclass(frozen=True, eq=False)
class Curvature(ABC):
    """A symmetric matrix for each of K models.

    Attributes:
        like: tensors (K, ...) that say names, shapes, precision and device of its vectors.
    """

    like: dict[str, Tensor]

    def matvec(self, vector: Tensors) -> dict[str, Tensor]:
        """``G v``, in the vector's shapes."""
        return self._tree(self.apply(self._flat(vector)[:, :, None])[:, :, 0])

    def solve(self, right: Tensors, damping: Tensor | float) -> Solution:
        """``(G + damping I)^-1 right``; one damping for all models, or one each, (K,)."""
        flat = self._flat(right)
        shift = torch.as_tensor(damping, dtype=torch.float64, device=flat.device).expand(len(flat))
        found, iterations = self._solve(flat, shift)
        missed = (flat - self.apply(found[:, :, None])[:, :, 0] - shift[:, None] * found).norm(dim=1)
        size = flat.norm(dim=1)
        residuals = torch.where(size > 0, missed / torch.where(size > 0, size, torch.ones_like(size)), missed)
        return Solution(self._tree(found), iterations, residuals)

    @abstractmethod
    def renewed(self, which: Tensor, old: Self) -> Self:
        """This curvature for the models where ``which``, (K,), is true, an older one of the same kind for the others."""

    @abstractmethod
    def apply(self, columns: Tensor) -> Tensor:
        """``G V`` for columns V of shape (K, P, c), in double precision."""

    @abstractmethod
    def trace(self) -> Tensor:
        """Trace of each model's matrix, (K,)."""

    @abstractmethod
    def top(self, count: int) -> Tensor:
        """The largest eigenvalues in descending order, (K, count); NaN where fewer were found."""

    @abstractmethod
    def _solve(self, right: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]: ...

    def _flat(self, vector: Tensors) -> Tensor:
        return flatten({name: vector[name].double() for name in self.like})

    def _tree(self, flat: Tensor) -> dict[str, Tensor]:
        return {n: v.to(self.like[n].dtype) for n, v in unflatten(flat, self.like).items()}


@dataclass(frozen=True, eq=False)
class Exact(Curvature):
    """The matrix itself.

    Attributes:
        matrix: (K, P, P), symmetric, in double precision.
    """

    matrix: Tensor

    def renewed(self, which: Tensor, old: Self) -> Self:
        """Matrix by matrix."""
        return replace(self, matrix=select(which, self.matrix, old.matrix))

    def apply(self, columns: Tensor) -> Tensor:
        """One matrix product."""
        return self.matrix @ columns

    def trace(self) -> Tensor:
        """Sum of the diagonal."""
        return self.matrix.diagonal(dim1=1, dim2=2).sum(dim=1)

    def top(self, count: int) -> Tensor:
        """From all eigenvalues."""
        return padded(torch.linalg.eigvalsh(self.matrix).flip(1), count)

    def _solve(self, right: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
        shifted = self.matrix + torch.diag_embed(shift[:, None].expand_as(right))
        factor, info = torch.linalg.cholesky_ex(shifted)
        if bool((info != 0).any()):
            model = int((info != 0).nonzero()[0, 0])
            raise InputError(
                f"the damped curvature of model {model} is not positive definite",
                where="damping",
                mend="raise the damping, or use the Gauss-Newton matrix in place of the Hessian",
            )
        found = torch.cholesky_solve(right[:, :, None], factor)[:, :, 0]
        return found, torch.zeros(len(right), dtype=torch.int64, device=right.device)


@dataclass(frozen=True, eq=False)
class Products(Curvature):
    """The matrix by its products with vectors; every product is counted by the bench.

    Attributes:
        bench: records, loss, counts; a method's meter is one.
        state: the K models at which the curvature is taken.
        records: each model's own list.
        loss: of records; the bench's where None.
        gauss_newton: the Gauss-Newton matrix; else the Hessian.
        tolerance: relative residual at which a model is solved.
        iterations: largest number of them.
        batch_size: records in a batch.
        at_once: columns multiplied side by side.
    """

    bench: Bench
    state: State
    records: Sequence[IntArray]
    loss: Loss | None = None
    gauss_newton: bool = True
    tolerance: float = 1e-6
    iterations: int = 250
    batch_size: int | None = None
    at_once: int = 16

    def renewed(self, which: Tensor, old: Self) -> Self:
        """Weights and records of the one or the other."""
        rows = [a if new else b for new, a, b in zip(which.tolist(), self.records, old.records, strict=True)]
        return replace(self, state=self.state.choose(old.state, which), records=rows)

    @classmethod
    def at(cls, bench: Bench, state: State, records: Sequence[IntArray], **more: Any) -> "Products":
        """At these models, on these records; further attributes by name."""
        return replace(cls(bench.network.moving(state), bench, state, records), **more)

    def apply(self, columns: Tensor) -> Tensor:
        """One pass over the records; columns of one model run as models of a stack, and zeros cost nothing."""
        records = asked(self.records, (columns != 0).flatten(1).any(dim=1))
        bench, total = self.bench, torch.zeros_like(columns)
        product = bench.network.gauss_newton_product if self.gauss_newton else bench.network.hessian_product
        for batch in epochs(records, batch_size=self.batch_size or bench.chunk, shuffle=False, device=bench.device):
            part = whole(batch, records)
            for start in range(0, columns.shape[2], self.at_once):
                group = columns[:, :, start : start + self.at_once]
                width = group.shape[2]
                bench.charge("products", int(batch.records.sum()) * width)
                bench.reads(batch)
                X, y, weights = (
                    value.repeat_interleave(width, dim=0)
                    for value in (bench.X[part.indices], bench.y[part.indices], part.weights)
                )
                vector = self._tree(group.movedim(2, 1).flatten(0, 1))
                found = product(self.state.repeat(width), vector, self.loss or bench.loss, X, weights, (y,))
                flat = self._flat(found).reshape(len(columns), width, -1)
                total[:, :, start : start + width] += flat.movedim(1, 2)
        return total

    def trace(self, probes: int = 32) -> Tensor:
        """Hutchinson's estimate with random signs: unbiased, standard deviation at most ``sqrt(2 / probes) ||G||_F``."""
        signs = self._random(probes).sign()
        return (signs * self.apply(signs)).sum(dim=1).mean(dim=1)

    def top(self, count: int) -> Tensor:
        """By Lanczos' method with full orthogonalisation, ``2 count + 20`` steps; a repeated eigenvalue is found once."""
        return lanczos(self.apply, self._random(1)[:, :, 0], count)

    def _random(self, columns: int) -> Tensor:
        size = sum(value[0].numel() for value in self.like.values())
        return _normal(self.bench, size, columns, "curvature/probe")

    def _solve(self, right: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
        return conjugate_gradients(self.apply, right, shift, self.tolerance, self.iterations)


@dataclass(frozen=True, eq=False)
class LowRank(Curvature):
    """``U diag(values) U'`` with orthonormal columns U.

    Attributes:
        vectors: U, (K, P, r).
        values: at least 0, descending, (K, r).
    """

    vectors: Tensor
    values: Tensor

    def renewed(self, which: Tensor, old: Self) -> Self:
        """Vectors and values."""
        vectors, values = select(which, self.vectors, old.vectors), select(which, self.values, old.values)
        return replace(self, vectors=vectors, values=values)

    def apply(self, columns: Tensor) -> Tensor:
        """Two thin products."""
        return self.vectors @ (self.values[:, :, None] * (self.vectors.mT @ columns))

    def trace(self) -> Tensor:
        """Sum of the values: a lower bound on the trace of what is approximated."""
        return self.values.sum(dim=1)

    def top(self, count: int) -> Tensor:
        """The largest values: lower bounds on the eigenvalues of what is approximated."""
        return padded(self.values, count)

    def _solve(self, right: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
        inside = (self.vectors.mT @ right[:, :, None])[:, :, 0]
        gain = 1 / (self.values + shift[:, None]) - 1 / shift[:, None]
        found = right / shift[:, None] + (self.vectors @ (gain * inside)[:, :, None])[:, :, 0]
        return found, torch.zeros(len(right), dtype=torch.int64, device=right.device)


def exact(
    bench: Bench,
    state: State,
    records: Sequence[IntArray],
    loss: Loss | None = None,
    *,
    gauss_newton: bool = True,
    batch_size: int = 256,
) -> Exact:
    """The matrix of the mean loss over each model's records, formed.

    The Gauss-Newton matrix is a sum of squares, one row ``r_c' J_b`` for each output and record with ``R R'`` the second derivative
    of the loss in the outputs, counted as gradients. The Hessian is P products.

    Args:
        bench: records, loss, counts; a method's meter is one.
        state: the K models at which the curvature is taken.
        records: each model's own list.
        loss: of records; the bench's where None.
        gauss_newton: the Gauss-Newton matrix; else the Hessian.
        batch_size: records in a batch.

    Raises:
        ConfigurationError: more than ``EXACT_LIMIT`` parameters.
    """
    like = bench.network.moving(state)
    size = sum(value[0].numel() for value in like.values())
    if size > EXACT_LIMIT:
        raise ConfigurationError(
            f"a matrix of {size:,} parameters is not formed (the limit is {EXACT_LIMIT:,})",
            where="curvature",
            mend="use cg, low-rank or kronecker",
        )
    if not gauss_newton:
        made = [
            dense_hessian(bench, state, records, model=model, loss=loss, batch_size=batch_size).matrix
            for model in range(state.models)
        ]
        return Exact(like, torch.from_numpy(np.stack(made)).to(state.device))
    matrix = torch.zeros(state.models, size, size, dtype=torch.float64, device=state.device)
    for batch in epochs(records, batch_size=batch_size, shuffle=False, device=bench.device):
        part = whole(batch, records)
        X, y = bench.X[part.indices], bench.y[part.indices]
        roots = output_roots(loss or bench.loss, bench.outputs(state, part), y)
        for column in range(roots.shape[-1]):
            bench.charge("gradients", int(batch.records.sum()))
            rows = bench.network.sample_gradients(state, _along, X, (roots[..., column].to(X.dtype),))
            flat = torch.cat([rows[name].flatten(2) for name in like], dim=2).double()
            flat = flat * part.weights.sqrt()[:, :, None]
            matrix += flat.mT @ flat
    return Exact(like, matrix)


def output_roots(loss: Loss, outputs: Tensor, targets: Tensor) -> Tensor:
    """R with ``R R' = d2 loss / d outputs2`` for each record, (K, B, C, C), by its eigenvalues; negative ones are cut off.

    Args:
        loss: of records.
        outputs: (K, B, ...) with C numbers each.
        targets: (K, B, ...), what the loss takes beside the outputs.
    """

    def curve(z: Tensor, y: Tensor) -> Tensor:
        found: Tensor = torch.func.hessian(lambda v: loss(v.reshape(z.shape)[None], y[None]).sum())(z.flatten())
        return found

    second = torch.vmap(torch.vmap(curve))(outputs.double(), targets)
    values, vectors = torch.linalg.eigh(second)
    return vectors * values.clamp(min=0).sqrt()[..., None, :]  # type: ignore[no-any-return]


def low_rank(products: Products, rank: int) -> LowRank:
    """Randomised Nystroem approximation by ``rank`` products with each model's own random columns.

    Where the spectrum falls quickly, as that of trained networks does, its error is near the first eigenvalue left out; at rank P
    there is none. Meant for the Gauss-Newton matrix: negative eigenvalues of a Hessian are dropped.

    Args:
        products: the matrix.
        rank: columns; more than P are P.
    """
    size = sum(value[0].numel() for value in products.like.values())
    dtype = next(iter(products.like.values())).dtype
    test = _normal(products.bench, size, min(rank, size), "curvature/test")
    return LowRank(products.like, *nystrom(products.apply, test, torch.finfo(dtype).eps))


def _along(outputs: Tensor, direction: Tensor) -> Tensor:
    return (outputs.flatten(1) * direction).sum(dim=1)


def _normal(bench: Bench, size: int, columns: int, name: str) -> Tensor:
    drawn = [stream(seed, name).standard_normal((size, columns)) for seed in bench.seeds]
    return torch.from_numpy(np.stack(drawn)).to(bench.device)


def padded(values: Tensor, count: int) -> Tensor:
    """The first ``count`` columns, NaN where there are fewer."""
    missing = max(0, count - values.shape[1])
    return torch.nn.functional.pad(values[:, :count], (0, missing), value=torch.nan)
