"""Linear algebra for K symmetric matrices of which only products with vectors are known.

``apply`` maps columns (K, P, c) to columns. Everything is in double precision; what one model gets does not depend on the others.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from certify.unlearners.networks.solvers import conjugate_gradient

Apply = Callable[[Tensor], Tensor]


def conjugate_gradients(
    apply: Apply, right: Tensor, shift: Tensor, tolerance: float, iterations: int
) -> tuple[Tensor, Tensor]:
    """Solve ``(A + shift I) x = right`` for K positive definite matrices: :func:`~.solvers.conjugate_gradient` on columns.

    Args:
        apply: products with A.
        right: (K, P).
        shift: (K,).
        tolerance: relative residual.
        iterations: largest number of products.

    Returns:
        x (K, P) and the number of iterations each model took, (K,).
    """

    def product(v: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"x": apply(v["x"][:, :, None])[:, :, 0] + shift[:, None] * v["x"]}

    found = conjugate_gradient(product, {"x": right}, tolerance=tolerance, max_iterations=iterations)
    return found.x["x"], found.iterations


def lanczos(apply: Apply, start: Tensor, count: int) -> Tensor:
    """The ``count`` largest eigenvalues, descending, (K, count), by ``2 count + 20`` steps with full orthogonalisation.

    A repeated eigenvalue is found once; NaN fills up where a matrix has fewer different ones.

    Args:
        apply: products with A.
        start: random, (K, P).
        count: how many.
    """
    models, size = start.shape
    steps = min(size, 2 * count + 20)
    basis = [start / start.norm(dim=1, keepdim=True)]
    diagonal, beside = [], []
    for step in range(steps):
        product = apply(basis[-1][:, :, None])[:, :, 0]
        diagonal.append((basis[-1] * product).sum(dim=1))
        known = torch.stack(basis, dim=2)
        left = product
        for _ in range(2):  # twice is enough (Giraud et al. 2005)
            left = left - (known @ (known.mT @ left[:, :, None]))[:, :, 0]
        length = left.norm(dim=1)
        ended = length <= 1e-12 * torch.stack(diagonal).abs().amax(dim=0)
        beside.append(torch.where(ended, torch.zeros_like(length), length))
        if step + 1 < steps:
            inverse = torch.where(ended, torch.zeros_like(length), 1 / torch.where(ended, 1.0, length))
            basis.append(left * inverse[:, None])
    found = torch.full((models, count), torch.nan, dtype=start.dtype, device=start.device)
    for model in range(models):
        ends = [step for step in range(steps) if beside[step][model] == 0]
        alive = ends[0] + 1 if ends else steps
        band = torch.diag(torch.stack([value[model] for value in diagonal[:alive]]))
        for step in range(alive - 1):
            band[step, step + 1] = band[step + 1, step] = beside[step][model]
        values = torch.linalg.eigvalsh(band).flip(0)[:count]
        found[model, : len(values)] = values
    return found


def nystrom(apply: Apply, test: Tensor, precision: float) -> tuple[Tensor, Tensor]:
    """Nystroem approximation ``A Q (Q' A Q)^+ Q' A`` of K positive semi-definite matrices, Q an orthonormal basis of ``test``.

    At ``c = P`` columns it is A itself. Directions in which ``Q' A Q`` is not above its rounding error are dropped.

    Args:
        apply: products with A.
        test: random columns, (K, P, c).
        precision: unit roundoff of the products.

    Returns:
        Orthonormal vectors (K, P, c) and values (K, c), at least 0, descending.
    """
    base = torch.linalg.qr(test).Q
    image = apply(base)
    small = base.mT @ image
    values, rotation = torch.linalg.eigh((small + small.mT) / 2)
    floor = 16 * precision * values.amax(dim=1, keepdim=True) * values.shape[1]
    kept = values > torch.clamp(floor, min=torch.finfo(torch.float64).tiny)
    scale = torch.where(kept, torch.where(kept, values, 1.0).rsqrt(), torch.zeros_like(values))
    vectors, roots, _ = torch.linalg.svd(image @ (rotation * scale[:, None, :]), full_matrices=False)
    return vectors, roots.square()
