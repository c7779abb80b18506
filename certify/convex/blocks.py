"""Blocks of rows, dense or sparse: the few operations in which the two differ."""

from typing import Any

import numpy as np
from scipy import sparse

from certify.convex.losses.base import TINY
from certify.core.arrays import FloatArray
from certify.core.rows import is_sparse

Block = Any
"""Some rows of the design matrix: a float64 array (m, p), or SciPy's CSR array of that shape."""

_SAFE_SQUARE = 1e-270


def as_block(rows: Any, *, intercept: bool) -> Block:
    """Rows in float64, with a column of ones at the end where there is an intercept."""
    if is_sparse(rows):
        block = sparse.csr_array(rows, dtype=np.float64)
        ones = sparse.csr_array(np.ones((block.shape[0], 1)))
        return sparse.hstack([block, ones], format="csr") if intercept else block
    dense = np.asarray(rows, dtype=np.float64)
    return np.hstack([dense, np.ones((len(dense), 1))]) if intercept else dense


def absolute(block: Block, buffer: FloatArray | None = None) -> Block:
    """|block|; a dense one is written into ``buffer``."""
    if is_sparse(block):
        return sparse.csr_array((np.abs(block.data), block.indices, block.indptr), shape=block.shape)
    return np.abs(block, out=None if buffer is None else buffer[: len(block)])


def terms(block: Block) -> int:
    """The largest number of products that any ``x_i . w`` adds up: entries that are stored."""
    if is_sparse(block):
        return int(np.max(np.diff(block.indptr), initial=1))
    return int(block.shape[1])


def weighted_gram(block: Block, weight: FloatArray) -> FloatArray:
    """``X' diag(weight) X``, dense."""
    if is_sparse(block):
        return np.asarray((block.T @ sparse.diags_array(weight) @ block).toarray())
    return np.asarray((block.T * weight) @ block)


@np.errstate(over="ignore", under="ignore", invalid="ignore")
def row_norms(block: Block) -> FloatArray:
    """Row norms; by way of scaled rows only where squares overflow or lose digits to underflow."""
    squares = _row_squares(block)
    if np.all(np.isfinite(squares)) and float(squares.min(initial=1.0)) > _SAFE_SQUARE:
        return np.asarray(np.sqrt(squares))
    size = np.maximum(_row_max(block), TINY)
    return np.asarray(size * np.sqrt(_row_squares(_divided(block, size))))


def _divided(block: Block, size: FloatArray) -> Block:
    """Rows divided by numbers of their own."""
    if not is_sparse(block):
        return block / size[:, None]
    scaled = block.copy()
    scaled.data = block.data / np.repeat(size, np.diff(block.indptr))
    return scaled


def _row_squares(block: Block) -> FloatArray:
    if is_sparse(block):
        # entry by entry as stored: a product of sparse arrays would first add up entries that are listed twice
        rows = np.repeat(np.arange(block.shape[0]), np.diff(block.indptr))
        return np.asarray(
            np.bincount(rows, weights=block.data * block.data, minlength=block.shape[0]), dtype=np.float64
        )
    return np.asarray(np.einsum("ij,ij->i", block, block))


def _row_max(block: Block) -> FloatArray:
    if is_sparse(block):
        return np.asarray(abs(block).max(axis=1).toarray(), dtype=np.float64).ravel()
    return np.asarray(np.max(np.abs(block), axis=1))
