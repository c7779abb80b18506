"""Stacked states: joined, picked, chosen, written back, and told apart by their digests."""

import weakref

import pytest
import torch
from torch import nn

from certify.core.errors import InputError
from certify.models.networks import State
from certify.models.networks.state import dot, flatten, norm, unflatten


def module(seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
        made[1].running_mean.normal_()
        return made


@pytest.fixture
def state():
    return State.of(*(module(seed) for seed in range(3)))


def equal(left, right):
    pairs = [(left.parameters, right.parameters), (left.buffers, right.buffers)]
    return all(a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a) for a, b in pairs)


def test_a_stack_is_its_models_one_after_another(state):
    assert state.models == 3
    assert equal(state, State.join([State.of(module(seed)) for seed in range(3)]))
    assert equal(state.pick([2, 0]), State.of(module(2), module(0)))
    assert equal(State.of(module(0), module(1)).repeat(2), state.pick([0, 0, 1, 1]))


def test_models_are_gathered_one_after_the_other_and_not_held(state):
    alive, most = weakref.WeakSet(), 0

    def made(count):
        nonlocal most
        for seed in range(count):
            one = module(seed)
            alive.add(one)
            most = max(most, len(alive))
            yield one
            del one

    assert equal(State.gather(made(3), 3), state)
    assert State.gather(made(12), 12).models == 12
    assert most <= 3  # the first, the last and the next
    with pytest.raises(InputError, match="3 models are given, not 4"):
        State.gather(made(3), 4)
    with pytest.raises(InputError, match="4 models are given, not 3"):
        State.gather(made(4), 3)
    with pytest.raises(InputError, match="other tensors"):
        State.gather([module(0), nn.Sequential(nn.Linear(3, 4))], 2)


def test_a_copy_shares_no_memory(state):
    for other in (state.copy(), state.pick([0, 1, 2]), State.of(module(0))):
        theirs = {v.data_ptr() for v in (*other.parameters.values(), *other.buffers.values())}
        assert not theirs & {v.data_ptr() for v in (*state.parameters.values(), *state.buffers.values())}
    made = module(0)
    taken = State.of(made)
    with torch.no_grad():
        made[0].weight.zero_()
    assert bool(taken.parameters["0.weight"].any())
    assert not taken.parameters["0.weight"].requires_grad


def test_choosing_takes_each_model_from_one_side(state):
    other = State.of(*(module(seed) for seed in (7, 8, 9)))
    found = state.choose(other, torch.tensor([True, False, True]))
    assert equal(found, State.of(module(0), module(8), module(2)))
    assert state.choose(other, torch.tensor([True] * 3)) is state


def test_writing_back_gives_the_module(state):
    made = state.write_into(module(5), 1)
    assert all(torch.equal(v, made.state_dict()[n]) for n, v in module(1).state_dict().items())


def test_a_digest_tells_models_apart_down_to_a_bit_a_name_and_a_kind(state):
    digests = {state.digest(k) for k in range(3)}
    assert len(digests) == 3
    assert state.digest(1) == State.of(module(1)).digest()
    nudged = module(1)
    with torch.no_grad():
        nudged[0].bias[0] = torch.nextafter(nudged[0].bias[0], torch.tensor(9.0))
    moved = module(1)
    moved[1].running_var[0] += 1
    renamed = State({f"x{n}": v for n, v in state.parameters.items()}, state.buffers)
    others = [
        State.of(nudged).digest(),
        State.of(moved).digest(),
        State.of(module(1).double()).digest(),
        renamed.digest(1),
    ]
    assert len({state.digest(1), *others}) == 5


def test_flat_vectors_go_there_and_back(state):
    flat = flatten(state.parameters)
    assert flat.shape == (3, 3 * 4 + 4 + 4 + 4 + 4 * 2 + 2)
    back = unflatten(flat, state.parameters)
    assert all(torch.equal(back[n], v) for n, v in state.parameters.items())
    torch.testing.assert_close(norm(state.parameters), flat.double().norm(dim=1))
    torch.testing.assert_close(dot(state.parameters, back), flat.double().square().sum(1))


def test_what_is_not_finite_is_seen_in_parameters_and_in_buffers(state):
    state.parameters["0.weight"][0, 0, 0] = float("nan")
    state.buffers["1.running_var"][2, 0] = float("inf")
    assert state.is_finite().tolist() == [False, True, False]


def test_models_of_two_architectures_are_refused():
    with pytest.raises(InputError, match="model 1 has other tensors than model 0"):
        State.of(nn.Linear(3, 2), nn.Linear(2, 3))
    with pytest.raises(InputError, match="no model is given"):
        State.of()


def test_tied_weights_are_one_tensor():
    made = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    made[1].weight = made[0].weight
    assert set(State.of(made).parameters) == {"0.weight", "0.bias", "1.bias"}
