"""What goes into a network's head: as a forward pass by hand has it, for one model and for several."""

import pytest
import torch
from small_networks import Convolutional, convolutional_task, digits, perceptron
from torch import nn

from certify.core.errors import ConfigurationError
from certify.models.networks import Bench, Network, State, features
from certify.models.networks.bench import everything


def made(build, count=3):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return [build().eval() for _ in range(count)]


def by_hand(model, x):
    if isinstance(model, Convolutional):
        x = torch.relu(model.normalisation(model.convolution(x.reshape(-1, 1, 8, 8))))
        return nn.functional.max_pool2d(x, 2).flatten(1)
    return torch.tanh(model[0](x))


@pytest.mark.parametrize("backend", ["vmap", "loop"])
@pytest.mark.parametrize(("build", "head"), [(perceptron, "2"), (Convolutional, "head")])
def test_features_of_several_models_are_each_models_own(build, head, backend):
    models = made(build)
    X = torch.tensor(digits()[0][:12])
    found = features(Network.of(models[0], backend=backend), head).outputs(State.of(*models), X.expand(3, 12, 64))
    assert found.shape == (3, 12, 16 if head == "2" else 54)
    with torch.no_grad():
        for own, model in zip(found, models, strict=True):
            torch.testing.assert_close(own, by_hand(model, X), atol=1e-6, rtol=1e-5)
            torch.testing.assert_close(getattr(model, head)(own), model(X), atol=1e-5, rtol=1e-4)


def test_the_features_of_a_linear_model_are_its_inputs():
    model = made(lambda: nn.Linear(64, 10), 1)[0]
    X = torch.tensor(digits()[0][:5])
    assert torch.equal(features(Network.of(model), "").outputs(State.of(model), X[None])[0], X)


def test_the_network_itself_is_left_as_it_was():
    model = made(perceptron, 1)[0]
    network, state, X = Network.of(model), State.of(model), torch.tensor(digits()[0][None, :5])
    before = network.outputs(state, X)
    features(network, "2").outputs(state, X)
    assert torch.equal(network.outputs(state, X), before)
    assert not any(part._forward_hooks for part in network.evaluating.modules())


def test_features_are_counted_and_follow_the_mode():
    task = convolutional_task()
    network, state = Network.of(task.model.train()), State.of(task.model)
    task.model.eval()
    bench = Bench(network, *task.tensors(torch.device("cpu")))
    view, batch = features(network, "head"), everything(20, 1)
    calm, busy = (bench.outputs(state, batch, network=view, train=train) for train in (False, True))
    assert bench.counts["forwards"] == 40
    assert (calm - busy).abs().max() > 1e-3


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 4)

    def forward(self, x):
        return self.head(self.head(x))


class Never(Twice):
    def forward(self, x):
        return x @ self.head.weight


@pytest.mark.parametrize(("build", "times"), [(Twice, 2), (Never, 0)])
def test_a_head_that_is_not_called_once_is_refused_every_time(build, times):
    model = made(build, 1)[0]
    view = features(Network.of(model), "head")
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=rf"head: head is called {times} times in a pass"):
            view.outputs(State.of(model), torch.zeros(1, 2, 4))


def test_a_head_that_is_not_there_is_refused():
    with pytest.raises(ConfigurationError, match="head: the model has no module 'top'; it has 0, 1, 2"):
        features(Network.of(perceptron()), "top")
