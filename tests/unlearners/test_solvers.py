"""Conjugate gradients for stacked systems: right solutions, measured residuals, every model on its own."""

import numpy as np
import pytest
import torch

from certify.unlearners.networks.solvers import conjugate_gradient


def systems(spectra, seed=0, kind=torch.float64):
    """Symmetric matrices (K, p, p) of these eigenvalues, right sides split in two tensors, and the product."""
    generator = np.random.default_rng(seed)
    p = len(spectra[0])
    bases = [np.linalg.qr(generator.normal(size=(p, p)))[0] for _ in spectra]
    matrices = torch.tensor(np.stack([b * s @ b.T for b, s in zip(bases, spectra, strict=True)]), dtype=kind)
    b = torch.tensor(generator.normal(size=(len(spectra), p)), dtype=kind)

    def product(v):
        flat = torch.cat([v["a"].flatten(1), v["b"]], dim=1)
        out = (matrices @ flat[:, :, None])[:, :, 0]
        return {"a": out[:, :4].reshape(-1, 2, 2), "b": out[:, 4:]}

    return matrices, b, {"a": b[:, :4].reshape(-1, 2, 2), "b": b[:, 4:]}, product


def flat(x):
    return torch.cat([x["a"].flatten(1), x["b"]], dim=1)


GOOD = np.geomspace(1e-3, 10, 12)


def test_the_solutions_are_those_of_a_direct_solver():
    matrices, b, right, product = systems([GOOD, GOOD[::-1] ** 0.5, np.ones(12)])
    found = conjugate_gradient(product, right, tolerance=1e-10, max_iterations=500)
    expected = torch.linalg.solve(matrices, b)
    assert torch.allclose(flat(found.x), expected, rtol=1e-6)
    assert found.converged.all()
    assert found.iterations[2] == 1  # a multiple of the identity takes one step
    rest = (b - (matrices @ flat(found.x)[:, :, None])[:, :, 0]).norm(dim=1) / b.norm(dim=1)
    assert torch.allclose(found.residual, rest, atol=1e-16)


def test_the_ritz_values_are_the_extreme_eigenvalues_after_enough_steps():
    _, _, right, product = systems([GOOD, 3 * GOOD])
    found = conjugate_gradient(product, right, tolerance=1e-12, max_iterations=100)
    for model, factor in enumerate((1.0, 3.0)):
        assert float(found.smallest[model]) == pytest.approx(factor * GOOD[0], rel=1e-3)
        assert float(found.largest[model]) == pytest.approx(factor * GOOD[-1], rel=1e-6)


def test_a_model_in_company_ends_where_it_ends_alone():
    _, _, right, product = systems([GOOD, np.ones(12), GOOD])
    together = conjugate_gradient(product, right, tolerance=1e-8)
    for model in range(3):
        alone = conjugate_gradient(
            lambda v, m=model: {
                n: t[m : m + 1] for n, t in product({n: t.expand(3, *t.shape[1:]) for n, t in v.items()}).items()
            },
            {n: t[model : model + 1] for n, t in right.items()},
            tolerance=1e-8,
        )
        assert torch.allclose(flat(together.x)[model], flat(alone.x)[0], rtol=1e-10)
        assert together.iterations[model] == alone.iterations[0]


def test_negative_curvature_is_found_in_the_model_that_has_it():
    bent = GOOD.copy()
    bent[3] = -2.0
    _, _, right, product = systems([GOOD, bent])
    found = conjugate_gradient(product, right, tolerance=1e-10, max_iterations=500)
    assert found.indefinite.tolist() == [False, True]
    assert found.converged.tolist() == [True, False]
    assert found.smallest[1] < 0 < found.smallest[0]
    assert torch.isfinite(flat(found.x)).all()


def test_too_few_iterations_are_reported_with_the_residual_that_is_left():
    _, _, right, product = systems([GOOD, np.ones(12)])
    found = conjugate_gradient(product, right, tolerance=1e-10, max_iterations=3)
    assert found.iterations.tolist() == [3, 1]
    assert found.converged.tolist() == [False, True]
    assert found.residual[0] > 1e-10


def test_in_single_precision_the_residual_is_the_measured_one():
    """The residual that is carried along falls for ever; the one that is reported cannot."""
    matrices, b, right, product = systems([np.geomspace(1e-5, 1, 12)], kind=torch.float32)
    found = conjugate_gradient(product, right, tolerance=1e-12, max_iterations=2000)
    rest = (b.double() - (matrices.double() @ flat(found.x).double()[:, :, None])[:, :, 0]).norm() / b.double().norm()
    assert not found.converged.any()
    assert float(rest) > 1e-9
    assert float(found.residual[0]) == pytest.approx(float(rest), rel=0.5)


def test_a_right_side_of_zero_needs_no_product():
    zero = {"a": torch.zeros(2, 2, 2), "b": torch.zeros(2, 3)}

    def never(_):
        raise AssertionError

    found = conjugate_gradient(never, zero)
    assert found.converged.all()
    assert not flat(found.x).any()
    assert found.residual.tolist() == [0, 0]


def test_models_that_are_done_are_asked_nothing():
    _, _, right, product = systems([GOOD, np.ones(12), 2 * np.ones(12)])
    asked = torch.zeros(3, dtype=torch.int64)

    def counting(v):
        asked.add_((torch.cat([v["a"].flatten(1), v["b"]], dim=1) != 0).any(dim=1))
        return product(v)

    found = conjugate_gradient(counting, right, tolerance=1e-8)
    assert found.iterations[0] > 5
    assert asked.tolist()[1:] == [2, 2]  # one step, and one to measure what is left
