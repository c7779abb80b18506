"""Modules that vmap, forward differentiation or a copy cannot take: another way, the same numbers; else one line."""

import copy
import threading

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from certify.core.errors import CertifyError, ConfigurationError
from certify.models.networks import Network, State
from certify.models.networks.losses import cross_entropy
from certify.models.networks.state import flatten, unflatten

MODELS, RECORDS = 3, 6


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(4, 5), nn.Linear(5, 2)

    def between(self, h):
        return torch.tanh(h)

    def forward(self, x):
        return self.head(self.between(self.body(x)))


class Branching(Plain):
    def between(self, h):
        return torch.tanh(h) if h.sum() > 0 else torch.sigmoid(h)


class Reading(Plain):
    def between(self, h):
        return torch.tanh(h) * (1.0 + h.max().item() ** 2)


class InPlace(Plain):
    def between(self, h):
        made = torch.zeros(len(h), 5, dtype=h.dtype)
        made[:, 1:] = torch.tanh(h[:, 1:])
        return made


class Masking(Plain):
    def between(self, h):
        h = torch.sin(h)
        h[h < 0] = 0
        return h


class Counting(Plain):
    def __init__(self):
        super().__init__()
        self.register_buffer("passes", torch.zeros((), dtype=torch.long))

    def between(self, h):
        self.passes += 1
        return torch.tanh(h)


class Attending(nn.Module):
    """A transformer's layer: its kernels know no forward mode, and the quick ones no second derivatives."""

    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.layer(x[:, None, :] * torch.linspace(1, 2, 3, dtype=x.dtype)[None, :, None]).mean(dim=1))


class Normalised(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.utils.parametrizations.weight_norm(nn.Linear(4, 5)), nn.Linear(5, 2)

    def forward(self, x):
        return self.head(torch.tanh(self.body(x)))


TWICE = {kind.__name__: kind for kind in (Plain, Branching, Reading, InPlace, Masking, Counting, Attending)}
UNUSUAL = {kind.__name__: kind for kind in (*TWICE.values(), Normalised)}
pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop")


def draw(build):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        modules = [build().double() for _ in range(MODELS)]
        X, y = torch.randn(MODELS, RECORDS, 4).double(), torch.randint(0, 2, (MODELS, RECORDS))
        weights = torch.rand(MODELS, RECORDS, dtype=torch.float64)
    return modules, State.of(*modules), X, y, weights


def plain_gradient(module, X, y, weights, at=None):
    module = copy.deepcopy(module).eval()
    if at is not None:
        module.load_state_dict({**module.state_dict(), **at})
    losses = nn.functional.cross_entropy(module(X), y, reduction="none")
    (losses * weights).sum().backward()
    return {name: value.grad for name, value in module.named_parameters()}


def close(left, right, tolerance=1e-9):
    for name, value in right.items():
        torch.testing.assert_close(left[name], value, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("build", UNUSUAL.values(), ids=UNUSUAL)
def test_fleets_and_single_records_are_plain_torch(build):
    modules, state, X, y, weights = draw(build)
    network, before = Network.of(modules[0]), state.digest()
    found = network.gradient(state, cross_entropy, X, weights, (y,))
    outputs = network.outputs(state, X)
    each = network.sample_gradients(state, cross_entropy, X, (y,))
    for k, module in enumerate(modules):
        close({n: g[k] for n, g in found.tensors.items()}, plain_gradient(module, X[k], y[k], weights[k]))
        torch.testing.assert_close(outputs[k], copy.deepcopy(module).eval()(X[k]).detach(), rtol=1e-9, atol=1e-9)
        for b in range(RECORDS):
            one = plain_gradient(module, X[k, b : b + 1], y[k, b : b + 1], torch.ones(1))
            close({n: g[k, b] for n, g in each.items()}, one)
    assert state.digest() == before  # whatever a forward writes into its buffers


@pytest.mark.parametrize("backend", ["auto", "loop"])
@pytest.mark.parametrize("build", TWICE.values(), ids=TWICE)
def test_hessian_products_are_differences_of_gradients(build, backend):
    modules, state, X, y, weights = draw(build)
    network = Network.of(modules[0], backend=backend)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        vector = {name: torch.randn_like(value) for name, value in state.parameters.items()}
    found = network.hessian_product(state, vector, cross_entropy, X, weights, (y,))
    step = 1e-5
    for k, module in enumerate(modules):
        ends = [
            plain_gradient(
                module,
                X[k],
                y[k],
                weights[k],
                {n: v[k] + sign * step * vector[n][k] for n, v in state.parameters.items()},
            )
            for sign in (1, -1)
        ]
        slopes = {n: (ends[0][n] - ends[1][n]) / (2 * step) for n in ends[0]}
        if build is not Reading:  # a number that left torch is a constant for derivatives, and not for differences
            close({n: h[k] for n, h in found.items()}, slopes, 1e-6)


@pytest.mark.parametrize("build", [Attending, InPlace])
def test_gauss_newton_products_are_those_of_the_matrix(build):
    modules, state, X, y, weights = draw(build)
    state, X, y, weights = state.pick([0]), X[:1], y[:1], weights[:1]
    network = Network.of(modules[0])
    size = flatten(state.parameters).shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        v = torch.randn(1, size, dtype=torch.float64)
    found = flatten(
        network.gauss_newton_product(state, unflatten(v, state.parameters), cross_entropy, X, weights, (y,))
    )
    module, total = copy.deepcopy(modules[0]).eval(), torch.zeros(size, dtype=torch.float64)
    for b in range(RECORDS):
        z = module(X[0, b : b + 1])[0]
        rows = [
            torch.cat([g.flatten() for g in torch.autograd.grad(part, list(module.parameters()), retain_graph=True)])
            for part in z
        ]
        p = torch.softmax(z.detach(), dim=0)
        J = torch.stack(rows)
        total += weights[0, b] * J.T @ ((torch.diag(p) - torch.outer(p, p)) @ (J @ v[0]))
    torch.testing.assert_close(found[0], total, rtol=1e-8, atol=1e-10)


def test_attention_is_put_back_as_it_was():
    modules, state, X, y, weights = draw(Attending)
    flags = (torch.backends.mha.get_fastpath_enabled(), torch.backends.cuda.flash_sdp_enabled())
    Network.of(modules[0]).hessian_product(state, state.parameters, cross_entropy, X, weights, (y,))
    assert flags == (torch.backends.mha.get_fastpath_enabled(), torch.backends.cuda.flash_sdp_enabled()) == (True, True)


def test_what_torch_cannot_derive_twice_is_refused():
    """Backward twice through weight normalisation would run, and be wrong (torch 2.13)."""
    modules, state, X, y, weights = draw(Normalised)
    for product in ("hessian_product", "gauss_newton_product"):
        with pytest.raises(ConfigurationError, match="has no second derivatives: use a method that needs none"):
            getattr(Network.of(modules[0]), product)(state, state.parameters, cross_entropy, X, weights, (y,))


def test_sparse_embeddings_have_the_gradients_of_dense_ones():
    def built(*, sparse):
        return lambda: nn.Sequential(nn.Embedding(7, 4, sparse=sparse), nn.Flatten(), nn.Linear(12, 2))

    X, y = torch.arange(MODELS * RECORDS * 3).reshape(MODELS, RECORDS, 3) % 7, torch.zeros(MODELS, RECORDS).long()
    weights = torch.ones(MODELS, RECORDS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        modules = [built(sparse=True)().double() for _ in range(MODELS)]
    state = State.of(*modules)
    networks = [Network.of(module) for module in (modules[0], built(sparse=False)().double())]
    found, wanted = (net.gradient(state, cross_entropy, X, weights, (y,)).tensors for net in networks)
    close(found, wanted, 1e-15)
    assert modules[0][0].sparse


class Raising(Plain):
    def between(self, _):
        raise KeyError("person-0003 is ill")


class Leaving(Plain):
    def between(self, _):
        raise SystemExit(0)


class ArraysInside(Plain):
    def between(self, h):
        return torch.from_numpy(h.detach().numpy())


class Checkpointing(Plain):
    def between(self, h):
        return checkpoint(torch.tanh, h, use_reentrant=False)


class _Own(torch.autograd.Function):
    @staticmethod
    def forward(_, x):
        return x.clone()

    @staticmethod
    def backward(_, slope):
        return slope


class OwnFunction(Plain):
    def between(self, h):
        return _Own.apply(h)


LINES = {
    Raising: "model: a pass through the model raised KeyError (test_unusual_modules.py, line {line}); mend its forward",
    Leaving: "model: a pass through the model ends the program (test_unusual_modules.py, line {line}); mend its forward",
    ArraysInside: "keep to torch in its forward: there are no arrays inside torch.func",
    Checkpointing: "switch its gradient checkpointing off, which torch.func cannot run",
    OwnFunction: "give its autograd.Function a setup_context, which torch.func needs",
}


@pytest.mark.parametrize(("build", "words"), LINES.items(), ids=[kind.__name__ for kind in LINES])
def test_what_cannot_run_is_one_line_with_its_place(build, words):
    modules, state, X, y, weights = draw(build)
    for backend in ("auto", "loop", "vmap"):
        with pytest.raises(ConfigurationError) as caught:
            Network.of(modules[0], backend=backend).gradient(state, cross_entropy, X, weights, (y,))
        line = str(caught.value)
        assert words.format(line=build.between.__code__.co_firstlineno + 1) in line
        assert "\n" not in line
        assert "person" not in line


def test_a_model_that_cannot_be_copied_is_refused():
    model = Plain()
    model.lock = threading.Lock()
    with pytest.raises(ConfigurationError, match=r"copying the model raised TypeError; give an nn.Module that copy"):
        Network.of(model)


def test_memory_that_runs_out_and_interrupts_are_for_others_to_explain():
    for error in (RuntimeError("CUDA out of memory."), MemoryError(), KeyboardInterrupt()):

        class Ending(Plain):
            def between(self, _, error=error):
                raise error

        modules, state, X, y, weights = draw(Ending)
        with pytest.raises(type(error)) as caught:
            Network.of(modules[0]).gradient(state, cross_entropy, X, weights, (y,))
        assert not isinstance(caught.value, CertifyError)
