"""Derivatives of stacked networks: vmap equals a loop equals plain torch; products equal matrices; one record at a time."""

import copy

import pytest
import torch
from torch import nn

from certify.models.networks import Network, State
from certify.models.networks.losses import binary_cross_entropy, cross_entropy, divergence_from, squared_error
from certify.models.networks.state import flatten, unflatten

MODELS, RECORDS, CLASSES = 3, 7, 4


class Convolutional(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution, self.normalisation = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3)
        self.head = nn.Linear(12, CLASSES)

    def forward(self, x):
        return self.head(torch.tanh(self.normalisation(self.convolution(x.reshape(-1, 1, 4, 4)))).flatten(1))


BUILDS = {
    "perceptron": lambda: nn.Sequential(nn.Linear(16, 5), nn.Tanh(), nn.Linear(5, CLASSES)),
    "convolution": Convolutional,
    "dropout": lambda: nn.Sequential(nn.Linear(16, 5), nn.Dropout(0.4), nn.Tanh(), nn.Linear(5, CLASSES)),
    "layer-norm": lambda: nn.Sequential(nn.Linear(16, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, CLASSES)),
}


def draw(build, dtype=torch.float64):
    """Three models, their inputs, classes and weights; the last model's last record is padding."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        modules = [build().to(dtype) for _ in range(MODELS)]
        X = torch.randn(MODELS, RECORDS, 16, dtype=dtype)
        y = torch.randint(0, CLASSES, (MODELS, RECORDS))
        weights = torch.rand(MODELS, RECORDS, dtype=torch.float64)
    weights[2, -1] = 0
    return modules, State.of(*modules), X, y, weights


def same(left, right, tolerance=1e-10):
    assert left.keys() == right.keys()
    for name in left:
        torch.testing.assert_close(left[name], right[name], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("train", [False, True], ids=["evaluating", "training"])
@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
def test_vmap_is_the_loop_is_plain_torch(build, train):
    modules, state, X, y, weights = draw(build)
    vmap, loop = (Network.of(modules[0], backend=backend) for backend in ("vmap", "loop"))
    options = {"train": train, "seeds": (11, 12, 13)}
    one, two = (net.gradient(state, cross_entropy, X, weights, (y,), **options) for net in (vmap, loop))
    same(one.tensors, two.tensors)
    same(one.buffers, two.buffers)
    torch.testing.assert_close(one.values, two.values, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(vmap.outputs(state, X), loop.outputs(state, X), rtol=1e-10, atol=1e-12)
    for k, module in enumerate(modules):
        plain, kept = copy.deepcopy(module).train(train), weights[k] > 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options["seeds"][k])
            losses = nn.functional.cross_entropy(plain(X[k][kept]), y[k][kept], reduction="none")
        (losses * weights[k][kept]).sum().backward()
        same({n: g[k] for n, g in one.tensors.items()}, {n: v.grad for n, v in plain.named_parameters()})
        same({n: b[k] for n, b in one.buffers.items()}, dict(plain.named_buffers()))


def test_dropout_is_drawn_from_each_models_seed():
    modules, state, X, y, weights = draw(BUILDS["dropout"])
    network = Network.of(modules[0])

    def go(seeds):
        return network.gradient(state, cross_entropy, X, weights, (y,), train=True, seeds=seeds).tensors["0.weight"]

    first, again, other = go((1, 2, 3)), go((1, 2, 3)), go((1, 2, 4))
    assert torch.equal(first, again)
    assert torch.equal(first[:2], other[:2])
    assert not torch.equal(first[2], other[2])


def test_padding_reaches_neither_the_gradient_nor_the_statistics():
    modules, state, X, y, weights = draw(Convolutional)
    network = Network.of(modules[0])
    spoiled = X.clone()
    spoiled[2, -1] = 1e6
    for train in (False, True):
        one, two = (network.gradient(state, cross_entropy, x, weights, (y,), train=train) for x in (X, spoiled))
        same(one.tensors, two.tensors, 0)
        same(one.buffers, two.buffers, 0)


def test_a_model_without_a_record_has_no_gradient_and_keeps_its_buffers():
    modules, state, X, y, weights = draw(Convolutional)
    weights[1] = 0
    found = Network.of(modules[0]).gradient(state, cross_entropy, X, weights, (y,), train=True)
    assert all(not bool(g[1].any()) for g in found.tensors.values())
    assert all(torch.equal(found.buffers[n][1], b[1]) for n, b in state.buffers.items())
    assert float(found.values[1]) == 0


def columns(product, state, network):
    """The matrix of a product, (K, P, P)."""
    moving = network.moving(state)
    units = torch.eye(flatten(moving).shape[1], dtype=torch.float64)
    found = [flatten(product(unflatten(unit.expand(MODELS, -1), moving))) for unit in units]
    return torch.stack(found, dim=2)


@pytest.mark.parametrize("backend", ["vmap", "loop"])
@pytest.mark.parametrize("name", ["perceptron", "convolution"])
def test_a_hessian_product_is_the_difference_of_gradients(name, backend):
    modules, state, X, y, weights = draw(BUILDS[name])
    network = Network.of(modules[0], backend=backend)
    torch.manual_seed(3)
    vector = {n: torch.randn_like(v) for n, v in network.moving(state).items()}
    found = network.hessian_product(state, vector, cross_entropy, X, weights, (y,))
    h = 1e-5

    def at(sign):
        moved = {n: v + sign * h * vector[n] for n, v in network.moving(state).items()}
        return network.gradient(state.with_parameters(moved), cross_entropy, X, weights, (y,)).tensors

    up, down = at(1), at(-1)
    same(found, {n: (up[n] - down[n]) / (2 * h) for n in found}, 1e-7)


@pytest.mark.parametrize("loss", [cross_entropy, squared_error], ids=["cross-entropy", "squared"])
def test_a_gauss_newton_product_is_that_of_the_matrix(loss):
    modules, state, X, y, weights = draw(BUILDS["perceptron"])
    network = Network.of(modules[0])
    matrix = columns(lambda v: network.gauss_newton_product(state, v, loss, X, weights, (y,)), state, network)
    for k, module in enumerate(modules):
        values = dict(module.named_parameters())
        jacobian = torch.func.jacrev(lambda p, m=module, x=X[k]: torch.func.functional_call(m, p, (x,)))(values)
        J = torch.cat([jacobian[n].detach().flatten(2) for n in values], dim=2)
        p = torch.softmax(module(X[k]).detach(), dim=1)
        curved = (
            torch.diag_embed(p) - p[:, :, None] * p[:, None] if loss is cross_entropy else torch.eye(CLASSES).double()
        )
        expected = torch.einsum("b,bip,bij,bjq->pq", weights[k], J, curved.expand(RECORDS, -1, -1), J)
        torch.testing.assert_close(matrix[k], expected, rtol=1e-9, atol=1e-11)
        assert float(torch.linalg.eigvalsh(0.5 * (matrix[k] + matrix[k].T)).min()) > -1e-10


def test_for_a_linear_model_the_hessian_is_the_gauss_newton_matrix_and_for_a_network_not():
    for build, equal in ((lambda: nn.Linear(16, CLASSES), True), (BUILDS["perceptron"], False)):
        modules, state, X, y, weights = draw(build)
        network = Network.of(modules[0])
        vector = network.moving(state)
        one = network.hessian_product(state, vector, cross_entropy, X, weights, (y,))
        two = network.gauss_newton_product(state, vector, cross_entropy, X, weights, (y,))
        assert all(torch.allclose(one[n], two[n], atol=1e-10) for n in one) == equal


@pytest.mark.parametrize("backend", ["vmap", "loop"])
@pytest.mark.parametrize("name", ["perceptron", "convolution", "layer-norm"])
def test_gradients_of_records_are_those_of_each_record_alone(name, backend):
    modules, state, X, y, _ = draw(BUILDS[name])
    network = Network.of(modules[0], backend=backend)
    found = network.sample_gradients(state, cross_entropy, X, (y,))
    for record in range(RECORDS):
        alone = torch.zeros(MODELS, RECORDS, dtype=torch.float64)
        alone[:, record] = 1
        expected = network.gradient(state, cross_entropy, X, alone, (y,)).tensors
        same({n: g[:, record] for n, g in found.items()}, expected)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")
def test_gradients_of_records_are_those_of_opacus():
    from opacus import GradSampleModule

    modules, state, X, y, _ = draw(BUILDS["perceptron"])
    found = Network.of(modules[0]).sample_gradients(state, cross_entropy, X, (y,))
    for k, module in enumerate(modules):
        wrapped = GradSampleModule(copy.deepcopy(module), loss_reduction="sum")
        nn.functional.cross_entropy(wrapped(X[k]), y[k], reduction="sum").backward()
        theirs = {n.removeprefix("_module."): v.grad_sample for n, v in wrapped.named_parameters()}
        same({n: g[k] for n, g in found.items()}, theirs)


def test_only_what_may_move_has_a_gradient():
    modules, state, X, y, weights = draw(BUILDS["perceptron"])
    modules[0][0].bias.requires_grad_(requires_grad=False)
    network = Network.of(modules[0], trainable=("0.*",))
    found = network.gradient(state, cross_entropy, X, weights, (y,)).tensors
    assert set(found) == {"0.weight"}
    whole = Network.of(modules[1]).gradient(state, cross_entropy, X, weights, (y,)).tensors
    torch.testing.assert_close(found["0.weight"], whole["0.weight"])


def test_a_normalisation_frozen_by_hand_stays_frozen_in_training():
    module = Convolutional().double().train()
    module.normalisation.eval()
    _, state, X, y, weights = draw(lambda: module)
    network = Network.of(module)
    assert not network.has_batch_statistics
    found = network.gradient(state, cross_entropy, X, weights, (y,), train=True)
    assert all(torch.equal(found.buffers[n], b) for n, b in state.buffers.items())


def test_a_gradient_adds_and_scales():
    modules, state, X, y, weights = draw(BUILDS["perceptron"])
    network = Network.of(modules[0])
    one = network.gradient(state, cross_entropy, X, weights, (y,))
    factors = torch.tensor([1.0, 2.0, -3.0], dtype=torch.float64)
    total = one.scaled(factors).plus(one.scaled(2.0))
    for name, value in one.tensors.items():
        expected = value * (factors + 2).reshape(-1, *([1] * (value.dim() - 1)))
        torch.testing.assert_close(total.tensors[name], expected)


def test_losses_are_those_of_torch_record_by_record():
    torch.manual_seed(0)
    z, other, y = torch.randn(9, 4).double(), torch.randn(9, 4).double(), torch.randint(0, 4, (9,))
    f = nn.functional
    close = torch.testing.assert_close
    close(cross_entropy(z, y), f.cross_entropy(z, y, reduction="none"))
    close(cross_entropy(z, torch.softmax(other, 1)), f.cross_entropy(z, torch.softmax(other, 1), reduction="none"))
    binary = (y > 1).long()
    close(
        binary_cross_entropy(z[:, :1], binary),
        f.binary_cross_entropy_with_logits(z[:, 0], binary.double(), reduction="none"),
    )
    close(squared_error(z, other), 0.5 * (z - other).square().sum(1))
    close(squared_error(z, y), 0.5 * (z - f.one_hot(y, 4)).square().sum(1))
    p, q = torch.softmax(other / 2, 1), torch.softmax(z / 2, 1)
    close(divergence_from(z, other, 2.0), 4 * (p * (p / q).log()).sum(1))
    close(divergence_from(z, z), torch.zeros(9).double(), atol=1e-15, rtol=0)
