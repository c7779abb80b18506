"""Methods on networks: a fleet is its members, the oracle starts afresh, and nothing of the caller's is touched."""

import numpy as np
import pytest
import torch
from small_networks import Convolutional, convolutional_task, perceptron_task, trained
from torch import nn

from certify import unlearners
from certify.core.errors import BudgetExceededError, ConfigurationError, InputError
from certify.models.networks import State
from certify.unlearners import Budget, NetworkTask, Request

TASKS = {"perceptron": perceptron_task, "convolutional": convolutional_task}


def apart(first, second):
    """Largest difference between two states."""
    return max(float((first.parameters[n] - second.parameters[n]).abs().max()) for n in first.parameters)


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("name", ["retrain", "fine-tune", "gradient-ascent"])
def test_a_model_in_a_fleet_ends_where_it_ends_alone(name, kind):
    task, method = TASKS[kind](), unlearners.get(name)()
    requests = [Request.at(task, np.arange(7 * k, 7 * k + 5 + 40 * k)) for k in range(3)]
    together = method.forget_fleet(task, requests, seeds=[4, 5, 6])
    for model, result in enumerate(together):
        alone = method.forget(task, requests[model], seed=4 + model)
        assert apart(result.state, alone.state) < 1e-4 * max(1.0, alone.evidence.moved)
        assert result.evidence.reads == alone.evidence.reads


def test_retraining_keeps_nothing_of_the_original_and_depends_on_the_seed():
    task = perceptron_task()
    first, second = (unlearners.get("retrain")().forget(task, Request.at(task, np.arange(9)), seed=s) for s in (11, 12))
    for change in first.evidence.tensors:
        assert change.changed >= 0.99 * change.elements  # two uniform draws of 24 bits may coincide
    assert apart(first.state, second.state) > 0.1
    assert first.evidence.reads["forget"].records == 0


def test_an_architecture_that_loads_the_trained_weights_is_refused():
    task = perceptron_task()

    def cheating() -> nn.Module:
        made = task.architecture()
        made[2].load_state_dict(task.model[2].state_dict())
        return made

    bad = NetworkTask(task.model, task.X, task.y, recipe=task.recipe, architecture=cheating)
    with pytest.raises(InputError, match=r"architecture: 2\.weight still holds the original's weights"):
        unlearners.get("retrain")().forget(bad, Request.at(bad, np.arange(9)))


def test_without_an_architecture_the_parts_are_initialised_anew():
    given = convolutional_task()
    task = NetworkTask(given.model, given.X, given.y, recipe=given.recipe)
    evidence = unlearners.get("retrain")().forget(task, Request.at(task, np.arange(9))).evidence
    assert all(change.changed for change in evidence.tensors if change.elements > 1)


def test_a_loss_that_stops_being_finite_is_named_with_its_step():
    task = perceptron_task()
    with pytest.raises(
        InputError, match=r"gradient-ascent: the loss or a weight is not finite after step \d+; lower lr"
    ):
        unlearners.get("gradient-ascent")(lr=1e39, bounded=False).forget(task, Request.at(task, np.arange(50)))


def test_what_is_wrong_with_a_task_is_said_in_one_line():
    task = perceptron_task()
    X, y = task.X, task.y
    with pytest.raises(InputError, match="model: the model has no parameters"):
        State.of(nn.Flatten())
    with pytest.raises(InputError, match=r"head: the classes are 0 to 9 and the model's outputs have shape \(1, 5\)"):
        NetworkTask(nn.Linear(64, 5), X, y)
    with pytest.raises(InputError, match=r"device: cuda:7 is asked for and \d+ GPUs are here; use cpu or auto"):
        unlearners.get("fine-tune")().forget(
            NetworkTask(task.model, X, y, device="cuda:7"), Request.at(task, np.arange(3))
        )
    with pytest.raises(ConfigurationError, match="'quantum' is no device"):
        NetworkTask(task.model, X, y, device="quantum").place()
    with pytest.raises(InputError, match="an id repeats"):
        NetworkTask(task.model, X, y, ids=np.zeros(len(X), int))
    with pytest.raises(ConfigurationError, match="newton is not for networks"):
        unlearners.get("newton")().forget(task, Request.at(task, np.arange(3)))
    with pytest.raises(ConfigurationError, match=r"fine-tune\.lr: -1 makes no sense"):
        unlearners.get("fine-tune")(lr=-1.0)


@pytest.mark.parametrize("limit", ["sample_gradients", "seconds"])
def test_a_budget_stops_a_method(limit):
    task = perceptron_task()
    with pytest.raises(BudgetExceededError, match=f"budget.{limit}: .* fine-tune was done; raise the budget"):
        unlearners.get("fine-tune")().forget(task, Request.at(task, np.arange(3)), Budget(**{limit: 0}))


def test_a_second_request_never_reads_what_the_first_forgot():
    task = perceptron_task()
    first = Request.at(task, np.arange(20))
    then = first.then(task, np.arange(20, 30))
    result = unlearners.get("fine-tune")().forget(task, then)
    assert result.evidence.reads["retain"].records == len(task) - 30
    with pytest.raises(InputError, match="no member"):
        then.then(task, np.array([3]))


def test_batch_normalisation_moves_in_training_and_not_in_ascent():
    task = trained(Convolutional, recipe=convolutional_task().recipe)
    request = Request.at(task, np.arange(40))
    moved = {
        name: {c.name for c in unlearners.get(name)().forget(task, request).evidence.tensors if c.buffer and c.changed}
        for name in ("fine-tune", "gradient-ascent")
    }
    assert moved["fine-tune"] >= {"normalisation.running_mean", "normalisation.running_var"}
    assert not moved["gradient-ascent"]


def test_nothing_of_the_callers_is_changed():
    task = perceptron_task()
    task.model.train()
    before = {name: value.clone() for name, value in task.model.state_dict().items()}
    torch.manual_seed(5)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    try:
        with torch.no_grad():
            result = unlearners.get("fine-tune")().forget(task, Request.at(task, np.arange(40)))
            assert not torch.is_grad_enabled()
        assert result.model.training
    finally:
        assert task.model.training
        task.model.eval()
    assert torch.equal(state, torch.get_rng_state())
    assert threads == torch.get_num_threads()
    assert all(torch.equal(before[name], value) for name, value in task.model.state_dict().items())
    assert all(value.requires_grad for value in result.model.parameters())
