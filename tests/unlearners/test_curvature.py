"""The curvature of networks: every form of it against the matrix written down from its definition."""

import numpy as np
import pytest
import torch
from torch import nn

from certify.core.errors import ConfigurationError, InputError
from certify.models.networks import Bench, Network, State
from certify.models.networks.losses import loss_named
from certify.models.networks.state import flatten, unflatten
from certify.unlearners.networks import curvature
from certify.unlearners.networks.kronecker import kronecker
from certify.unlearners.networks.krylov import conjugate_gradients, lanczos, nystrom

RECORDS = [np.arange(0, 20), np.arange(5, 18), np.array([3, 4, 29])]


def bench(loss="cross-entropy", dtype=torch.float64, models=3):
    """Three small tanh networks on 30 records; each has its own list."""
    rng = np.random.default_rng(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        nets = [nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3)).to(dtype) for _ in range(models)]
    X = torch.from_numpy(rng.normal(size=(30, 4))).to(dtype)
    y = torch.from_numpy(rng.integers(0, 3, size=30))
    made = Bench(Network.of(nets[0]), X, y, loss=loss_named(loss), seeds=tuple(range(models)))
    return made, State.of(*nets), nets


def by_definition(net, X, loss):
    """Mean of J' A J by reverse mode through a plain module, A written out by hand."""
    parameters = list(net.parameters())
    total = 0.0
    for x in X:
        z = net(x[None])[0]
        rows = [torch.cat([g.flatten() for g in torch.autograd.grad(v, parameters, retain_graph=True)]) for v in z]
        J, p = torch.stack(rows), torch.softmax(z.detach(), 0)
        A = torch.diag(p) - torch.outer(p, p) if loss == "cross-entropy" else torch.eye(len(z), dtype=z.dtype)
        total = total + J.T @ A @ J
    return total / len(X)


@pytest.mark.parametrize("loss", ["cross-entropy", "squared"])
def test_the_exact_form_is_the_matrix_of_the_definition(loss):
    made, state, nets = bench(loss)
    found = curvature.exact(made, state, RECORDS, batch_size=7)
    for model, rows in enumerate(RECORDS):
        truth = by_definition(nets[model], made.X[rows], loss)
        torch.testing.assert_close(found.matrix[model], truth, rtol=1e-10, atol=1e-12)


def test_for_cross_entropy_it_is_the_fisher_information_and_not_the_empirical_one():
    made, state, nets = bench()
    found = curvature.exact(made, state, RECORDS).matrix[1]
    expected, empirical = torch.zeros_like(found), torch.zeros_like(found)
    for row in RECORDS[1]:
        p = torch.softmax(nets[1](made.X[[row]])[0], 0).detach()
        for label in range(3):
            score = nn.functional.cross_entropy(nets[1](made.X[[row]]), torch.tensor([label]))
            g = torch.cat([part.flatten() for part in torch.autograd.grad(score, list(nets[1].parameters()))])
            expected += p[label] * torch.outer(g, g) / len(RECORDS[1])
            empirical += (label == made.y[row]) * torch.outer(g, g) / len(RECORDS[1])
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    assert float((found - empirical).norm() / found.norm()) > 0.1


def test_the_hessian_differs_from_it_by_the_residuals_and_is_asked_for_by_name():
    made, state, nets = bench()
    found = curvature.exact(made, state, RECORDS, gauss_newton=False).matrix[0]
    names = list(dict(nets[0].named_parameters()))
    like = {n: v[:1] for n, v in state.parameters.items()}

    def mean_loss(flat):
        tensors = {n: v[0] for n, v in unflatten(flat[None], like).items()}
        outputs = torch.func.functional_call(nets[0], tensors, (made.X[RECORDS[0]],))
        return nn.functional.cross_entropy(outputs, made.y[RECORDS[0]])

    truth = torch.func.hessian(mean_loss)(flatten({n: like[n] for n in names})[0])
    torch.testing.assert_close(found, truth, rtol=1e-9, atol=1e-11)
    assert float((found - curvature.exact(made, state, RECORDS).matrix[0]).norm()) > 0.01


@pytest.mark.parametrize("form", ["products", "low-rank"])
def test_the_other_forms_solve_as_the_exact_one(form):
    made, state, _ = bench()
    truth = curvature.exact(made, state, RECORDS)
    products = curvature.Products.at(made, state, RECORDS, tolerance=1e-12, iterations=400, at_once=5)
    other = products if form == "products" else curvature.low_rank(products, 10_000)
    right = made.mean_gradient(state, RECORDS).tensors
    damping = torch.tensor([1e-2, 3e-2, 0.5], dtype=torch.float64)
    for shift in (damping, 0.05):
        first, second = truth.solve(right, shift), other.solve(right, shift)
        torch.testing.assert_close(flatten(second.tensors), flatten(first.tensors), rtol=1e-7, atol=1e-9)
        assert float(first.residuals.max()) < 1e-12
        assert float(second.residuals.max()) < 1e-11
    torch.testing.assert_close(flatten(other.matvec(right)), flatten(truth.matvec(right)), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(other.top(4), truth.top(4), rtol=1e-6, atol=1e-10)


def test_products_and_the_exact_form_are_counted():
    made, state, _ = bench()
    curvature.Products.at(made, state, RECORDS).matvec(made.network.moving(state))
    assert made.counts["products"] == sum(map(len, RECORDS))
    curvature.exact(made, state, RECORDS)
    assert made.counts["gradients"] == 3 * sum(map(len, RECORDS))


def test_trace_is_the_sum_of_eigenvalues_or_an_estimate_of_it():
    made, state, _ = bench()
    truth = curvature.exact(made, state, RECORDS)
    products = curvature.Products.at(made, state, RECORDS)
    torch.testing.assert_close(truth.trace(), truth.top(27).sum(dim=1))
    estimate = products.trace(probes=400)
    spread = (2 / 400) ** 0.5 * truth.matrix.flatten(1).norm(dim=1)
    assert bool(((estimate - truth.trace()).abs() < 4 * spread).all())
    low = curvature.low_rank(products, 5)
    assert bool((low.trace() < truth.trace()).all())
    assert bool((low.trace() > 0.5 * truth.trace()).all())


def test_a_low_rank_form_of_too_low_a_rank_is_worse_and_says_what_it_left_out():
    made, state, _ = bench()
    truth = curvature.exact(made, state, RECORDS).matrix
    products = curvature.Products.at(made, state, RECORDS)
    errors = []
    for rank in (1, 3, 6, 27):
        low = curvature.low_rank(products, rank)
        errors.append(float((low.apply(torch.eye(27).double().expand(3, 27, 27).contiguous()) - truth).norm()))
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 1e3 * errors[-1]
    assert errors[-1] < 1e-10


@pytest.mark.parametrize("form", ["exact", "products", "low-rank"])
def test_a_model_alone_gets_what_it_gets_in_company(form):
    def solved(models):
        made, state, _ = bench()
        made.seeds = tuple(models)
        state, rows = state.pick(models), [RECORDS[model] for model in models]
        products = curvature.Products.at(made, state, rows, tolerance=1e-10)
        kind = {
            "exact": lambda: curvature.exact(made, state, rows),
            "products": lambda: products,
            "low-rank": lambda: curvature.low_rank(products, 4),
        }[form]()
        found = kind.solve(made.mean_gradient(state, rows).tensors, 0.01)
        return flatten(found.tensors), found.iterations

    together, steps = solved([0, 1, 2])
    for model in range(3):
        alone, own = solved([model])
        torch.testing.assert_close(together[model], alone[0], rtol=1e-8, atol=1e-10)
        assert abs(int(own[0]) - int(steps[model])) <= 1


def test_conjugate_gradients_stop_model_by_model():
    generator = torch.Generator().manual_seed(0)
    roots = torch.randn(3, 12, 12, generator=generator, dtype=torch.float64)
    matrix = roots @ roots.mT + torch.eye(12)
    matrix[1] = 2 * torch.eye(12)
    right = torch.randn(3, 12, generator=generator, dtype=torch.float64)
    right[2] = 0
    x, taken = conjugate_gradients(lambda v: matrix @ v, right, torch.zeros(3).double(), 1e-10, 100)
    assert taken.tolist()[1:] == [1, 0]
    assert 8 <= int(taken[0]) <= 20
    torch.testing.assert_close(x, torch.linalg.solve(matrix, right), rtol=1e-7, atol=1e-9)
    assert not x[2].any()
    short, _ = conjugate_gradients(lambda v: matrix @ v, right, torch.zeros(3).double(), 1e-10, 2)
    assert float((short - x).norm()) > 1e-3
    assert torch.equal(short[1], x[1])


def test_lanczos_stops_where_the_space_is_used_up():
    matrix = torch.stack([torch.diag(torch.tensor([5.0, 5, 2, 0, 0, 0])), torch.diag(torch.arange(6.0))]).double()
    start = torch.from_numpy(np.random.default_rng(1).normal(size=(2, 6)))
    found = lanczos(lambda v: matrix @ v, start, 4)
    np.testing.assert_allclose(found[0, :3], [5, 2, 0], atol=1e-12)
    assert bool(found[0, 3].isnan())
    np.testing.assert_allclose(found[1], [5, 4, 3, 2], atol=1e-9)


def test_nystroem_of_a_low_rank_matrix_is_that_matrix():
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(2, 30, 4, generator=generator, dtype=torch.float64)
    matrix = root @ root.mT
    vectors, values = nystrom(lambda v: matrix @ v, torch.randn(2, 30, 6, generator=generator).double(), 1e-16)
    torch.testing.assert_close(vectors @ torch.diag_embed(values) @ vectors.mT, matrix, rtol=1e-9, atol=1e-9)


def test_what_cannot_be_done_is_said_in_one_line(monkeypatch):
    made, state, _ = bench()
    hessian = curvature.exact(made, state, RECORDS, gauss_newton=False)
    with pytest.raises(InputError, match="damping: the damped curvature of model 0 is not positive definite; raise"):
        hessian.solve(made.mean_gradient(state, RECORDS).tensors, 1e-6)
    monkeypatch.setattr(curvature, "EXACT_LIMIT", 20)
    with pytest.raises(ConfigurationError, match="curvature: a matrix of 27 parameters is not formed"):
        curvature.exact(made, state, RECORDS)


@pytest.fixture(autouse=True)
def generator_as_found():
    """Torch's global generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        yield


def dense(form, size):
    """A form of the curvature as a matrix."""
    models = len(next(iter(form.like.values())))
    return form.apply(torch.eye(size, dtype=torch.float64).expand(models, size, size).contiguous())


def test_kronecker_factors_are_exact_for_one_linear_layer_under_squared_error():
    torch.manual_seed(0)
    net = nn.Linear(4, 3).double()
    X, y = torch.randn(30, 4).double(), torch.arange(30) % 3
    made = Bench(Network.of(net), X, y, loss=loss_named("squared"), seeds=(0,))
    rows, state = [np.arange(17)], State.of(net)
    truth = curvature.exact(made, state, rows)
    found = kronecker(made, state, rows, batch_size=5)
    torch.testing.assert_close(dense(found, 15), truth.matrix, rtol=1e-10, atol=1e-12)
    right = made.mean_gradient(state, rows).tensors
    first, second = truth.solve(right, 0.03), found.solve(right, 0.03)
    torch.testing.assert_close(flatten(second.tensors), flatten(first.tensors), rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(found.trace(), truth.trace())
    torch.testing.assert_close(found.top(5), truth.top(5))


class Small(nn.Module):
    """A convolution whose output is one position, or several, and a linear layer; ReLU in place."""

    def __init__(self, kernel):
        super().__init__()
        self.first = nn.Conv2d(1, 2, kernel, padding=1, stride=2)
        self.last = nn.LazyLinear(3)

    def forward(self, x):
        return self.last(torch.relu_(self.first(x.reshape(-1, 1, 4, 4))).flatten(1))


def blocks_apart(found, truth, sizes):
    """Largest relative difference of the diagonal blocks."""
    start, apart = 0, []
    for size in sizes:
        part = slice(start, start + size)
        apart.append(float((found[part, part] - truth[part, part]).norm() / truth[part, part].norm()))
        start += size
    return apart


@pytest.mark.parametrize("kind", ["perceptron", "convolution"])
def test_kronecker_factors_are_exact_layer_by_layer_for_one_record(kind):
    torch.manual_seed(1)
    if kind == "perceptron":
        net, sizes, width = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3)), (15, 12), 4
    else:
        net, width = Small(6), 16
        net(torch.zeros(1, 16))
        nn.init.constant_(net.first.bias, 0.7)  # alive on most records
        sizes = (74, 9)
    net = net.double()
    X, y = torch.randn(6, width).double(), torch.arange(6) % 3
    made = Bench(Network.of(net), X, y, seeds=(0,))
    state = State.of(net)
    for rows, low, high in (([np.array([2])], 0.0, 1e-10), ([np.arange(6)], 1e-3, 0.7)):
        truth = curvature.exact(made, state, rows).matrix[0]
        found = dense(kronecker(made, state, rows), sum(sizes))[0]
        for value in blocks_apart(found, truth, sizes):
            assert low <= value <= high
        assert not found[: sizes[0], sizes[0] :].any()


def test_kronecker_factors_of_a_convolution_with_positions_follow_their_definition():
    torch.manual_seed(2)
    net = Small(3)
    net(torch.zeros(1, 16))
    net = net.double()
    X, y = torch.randn(5, 16).double(), torch.arange(5) % 3
    made = Bench(Network.of(net), X, y, seeds=(0,))
    block = kronecker(made, State.of(net), [np.arange(5)]).blocks[0]
    images = nn.functional.pad(X.reshape(5, 4, 4), (1, 1, 1, 1))
    A, G = torch.zeros(10, 10).double(), torch.zeros(2, 2).double()
    for image, x in zip(images, X, strict=True):
        spots = [image[r : r + 3, c : c + 3].flatten() for r in (0, 2) for c in (0, 2)]
        for spot in spots:
            a = torch.cat([spot, torch.ones(1).double()])
            A += torch.outer(a, a) / 5
        middle = net.first(x.reshape(1, 1, 4, 4)).detach().requires_grad_()
        z = net.last(torch.relu(middle).flatten(1))[0]
        J = torch.stack([torch.autograd.grad(v, middle, retain_graph=True)[0][0].flatten(1) for v in z])
        p = torch.softmax(z.detach(), 0)
        curve = torch.diag(p) - torch.outer(p, p)
        G += torch.einsum("cot,cd,dpt->op", J, curve, J) / 4 / 5
    torch.testing.assert_close(block.inputs[0], A)
    torch.testing.assert_close(block.outputs[0], G)


def test_kronecker_factors_of_a_fleet_are_those_of_its_models():
    made, state, _ = bench()
    together = kronecker(made, state, RECORDS, batch_size=8)
    right = made.mean_gradient(state, RECORDS).tensors
    solved = flatten(together.solve(right, 0.05).tensors)
    for model in range(3):
        alone = kronecker(made, state.pick([model]), [RECORDS[model]])
        own = {name: value[[model]] for name, value in right.items()}
        torch.testing.assert_close(flatten(alone.solve(own, 0.05).tensors)[0], solved[model], rtol=1e-9, atol=1e-11)


def test_layers_without_kronecker_factors_are_named():
    net = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3), nn.Linear(3, 3))
    made = Bench(Network.of(net), torch.randn(5, 4), torch.arange(5) % 3)
    with pytest.raises(ConfigurationError, match=r"curvature: 1\.weight belongs to no Linear or Conv2d .*LayerNorm"):
        kronecker(made, State.of(net), [np.arange(5)])
    shared = nn.Linear(3, 3)
    twice = nn.Sequential(shared, nn.Tanh(), shared)
    made = Bench(Network.of(twice), torch.randn(5, 3), torch.arange(5) % 3)
    with pytest.raises(ConfigurationError, match="0 is used 2 times in a pass"):
        kronecker(made, State.of(twice), [np.arange(5)])
