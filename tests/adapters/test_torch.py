"""A linear head of torch, certified as stored, with the objective its user declares."""

import numpy as np
import pytest

from certify import Objective, adapt, bound_distance, bound_model
from certify.core.errors import ConfigurationError, InputError

torch = pytest.importorskip("torch")
nn = torch.nn


def trained(head, X, y, loss, *, decay, steps=800):
    """Plain gradient descent on the mean loss with torch's own weight decay, in double precision."""
    optimiser = torch.optim.SGD(head.parameters(), lr=0.5, weight_decay=decay)
    X, y = torch.as_tensor(X), torch.as_tensor(y)
    for _ in range(steps):
        optimiser.zero_grad()
        loss(head(X), y).backward()
        optimiser.step()
    return head


@pytest.mark.parametrize("bias", [True, False])
def test_cross_entropy_is_softmax_and_weight_decay_counts_in_the_mean(tools, bias):
    data = tools.draw("classes")
    y = np.searchsorted(["a", "b", "c"], data.y)
    torch.manual_seed(0)
    head = trained(nn.Linear(3, 3, bias=bias).double(), data.X, y, nn.CrossEntropyLoss(), decay=0.05)
    made = tools.bind(head, data.X, y, loss="softmax", l2=60 * 0.05)
    tools.assert_convention(made)
    assert made.objective.fit_intercept is bias


def test_binary_cross_entropy_with_logits_is_logistic(tools):
    data = tools.draw("binary")
    y = (data.y == "yes").astype(float)
    torch.manual_seed(0)
    head = trained(nn.Linear(3, 1).double(), data.X, y[:, None], nn.BCEWithLogitsLoss(), decay=0.05)
    made = bound_model(head, data.X, y, loss="logistic", l2=3.0)
    tools.assert_convention(made)
    assert made.distance < 1e-6
    assert bound_distance(Objective("logistic", 3.0, fit_intercept=True), data.X, y, head).distance == made.distance


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_weights_are_certified_as_stored(tools, dtype):
    head = nn.Linear(3, 1).to(getattr(torch, dtype))
    fitted = adapt(head, loss="logistic", l2=1.0)
    exact = head.weight.detach().double().numpy()
    assert fitted.coef.astype(np.float64).tolist() == exact.tolist()
    assert not np.shares_memory(fitted.coef, head.weight.detach().float().numpy())
    assert fitted.coef.dtype == (np.float32 if dtype == "float32" else np.float64)


def test_what_it_was_trained_for_has_to_be_declared():
    with pytest.raises(ConfigurationError, match="a torch head does not say what it was trained for; declare both"):
        adapt(nn.Linear(3, 1))
    with pytest.raises(ConfigurationError, match="alpha: a torch head takes no alpha"):
        adapt(nn.Linear(3, 1), loss="logistic", l2=1.0, alpha=0.1)
    with pytest.raises(ConfigurationError, match="unknown loss 'cross-entropy'"):
        bound_model(nn.Linear(3, 2), np.ones((2, 3)), [0, 1], loss="cross-entropy", l2=1.0)


@pytest.mark.parametrize("model", [nn.Sequential(nn.Linear(3, 1)), nn.Conv1d(1, 1, 1)])
def test_other_modules_are_refused(model):
    with pytest.raises(InputError, match=r"no adapter for torch's .*; pass the last nn\.Linear alone"):
        adapt(model, loss="logistic", l2=1.0)


def test_a_free_bias_can_be_declared(tools):
    fitted = adapt(nn.Linear(3, 1), loss="logistic", l2=1.0, penalize_intercept=False)
    assert not fitted.objective(10, 10.0).penalize_intercept
