"""A fleet from start to end: blocks, worlds, seeds, early stopping, and what is refused."""

import numpy as np
import pytest
import torch
from fleet_parts import RECIPE, Shrink, slow_train, small_fleet, tiny
from small_networks import digits
from torch import nn

from certify.attacks.fleets.cost import forecast
from certify.attacks.fleets.fleet import FleetPlan, FleetTask, run_blocks, run_fleet
from certify.attacks.fleets.trial import survey
from certify.attacks.observations import WORLDS, Cell, Observations
from certify.core.errors import ArgumentError, ConfigurationError, InputError
from certify.models.networks import Recipe, State


@pytest.fixture(scope="module")
def whole():
    task, plan, assignment = small_fleet(stored="float64")
    return run_fleet(task, plan, assignment, Shrink())


def close(left, right, **tolerance):
    for world, found in left.worlds.items():
        for name in found:
            np.testing.assert_allclose(left.get(world, name), right.get(world, name), **tolerance)


def test_every_world_and_signal_is_there(whole):
    assert tuple(whole.worlds) == WORLDS
    assert whole.models == 8
    assert whole.records == 80
    assert whole.get("original").dtype == np.float64
    again = np.abs(whole.get("again") - whole.get("retrained")).max(axis=1)
    assert (again > 1e-3).all()


@pytest.mark.parametrize("block", [1, 3, 8])
def test_the_blocks_do_not_matter(whole, block):
    task, plan, assignment = small_fleet(stored="float64", block=block)
    close(run_fleet(task, plan, assignment, Shrink()), whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("block", [1, 3, 8])
def test_the_blocks_do_not_matter_in_double_precision(block):
    made = [
        run_fleet(*small_fleet(build=lambda: tiny().double(), stored="float64", block=size), Shrink())
        for size in (2, block)
    ]
    close(*made, rtol=1e-9, atol=1e-9)


def test_nor_does_the_backend():
    made = [
        run_fleet(*small_fleet(build=lambda: tiny().double(), stored="float64", backend=backend), Shrink())
        for backend in ("vmap", "loop")
    ]
    close(*made, rtol=1e-6, atol=1e-6)


def test_more_models_leave_the_first_as_they_are(whole):
    task, plan, assignment = small_fleet(12, stored="float64")
    more = run_fleet(task, plan, assignment, Shrink())
    close(more.pick(slice(0, 8)), whole, rtol=0, atol=0)


def test_the_retrained_never_see_what_was_forgotten():
    """Records whose content is changed must not move a model that was not given them."""
    task, plan, assignment = small_fleet(2, block=1)
    plan = FleetPlan(RECIPE, block=1, backend="loop", keep_parameters=False)
    X = task.X.copy()
    X[assignment[0] == Cell.FORGET] += 5.0
    other = run_fleet(FleetTask(tiny, X, task.y), plan, assignment[:1], Shrink())
    first = run_fleet(task, plan, assignment[:1], Shrink())
    seen = assignment[0] != Cell.FORGET
    assert np.array_equal(first.get("retrained")[0, seen], other.get("retrained")[0, seen])
    assert not np.allclose(first.get("original")[0, seen], other.get("original")[0, seen])


def test_members_learn_and_the_out_do_not():
    task, plan, assignment = small_fleet(6, 150, recipe=Recipe("adam", lr=1e-2, epochs=60, batch_size=16), block=6)
    found = run_fleet(task, plan, assignment, Shrink(1.0))
    phi = {world: {cell: np.median(found.get(world)[found.assignment == cell]) for cell in Cell} for world in WORLDS}
    assert phi["original"][Cell.FORGET] > phi["original"][Cell.OUT] + 0.5
    assert phi["retrained"][Cell.RETAIN] > phi["retrained"][Cell.FORGET] + 0.5
    assert abs(phi["retrained"][Cell.FORGET] - phi["retrained"][Cell.OUT]) < 0.5
    assert np.array_equal(found.get("unlearned"), found.get("original"))


def test_coupled_retrained_models_begin_where_their_originals_began():
    frozen = Recipe("sgd", lr=1e-12, epochs=1, batch_size=64)
    task, plan, assignment = small_fleet(2, recipe=frozen, coupled=True)
    found = run_fleet(task, plan, assignment)
    np.testing.assert_allclose(found.get("retrained"), found.get("original"), rtol=1e-5)
    assert not np.allclose(found.get("again"), found.get("original"), rtol=1e-2)
    task, plan, assignment = small_fleet(2, recipe=frozen)
    apart = run_fleet(task, plan, assignment)
    assert not np.allclose(apart.get("retrained"), apart.get("original"), rtol=1e-2)


def test_a_train_function_of_ones_own():
    task, plan, assignment = small_fleet(3, train=slow_train, recipe=None)
    found = run_fleet(task, plan, assignment)
    assert found.get("original").shape == (3, 80)
    close(found, run_fleet(task, plan, assignment), rtol=0, atol=0)


def test_blocks_come_one_by_one_and_can_be_left_early(monkeypatch):
    task, plan, assignment = small_fleet(8)
    made, plain = [], small_fleet.__globals__["Shrink"].__call__
    monkeypatch.setattr(Shrink, "__call__", lambda self, block: made.append(block.models) or plain(self, block))
    blocks = run_blocks(task, plan, assignment, Shrink())
    first = next(blocks)
    assert first.models == 2
    next(blocks)
    blocks.close()
    assert made == [(0, 1), (2, 3)]


def test_what_an_unlearner_is_given():
    task, plan, assignment = small_fleet(4, block=4)
    seen = []

    def look(block):
        seen.append(block)
        return block.originals

    run_fleet(task, plan, assignment, look)
    (block,) = seen
    assert block.originals.models == len(block) == 4
    for row, retain, forget, members in zip(assignment, block.retain, block.forget, block.members, strict=True):
        assert np.array_equal(retain, np.flatnonzero(row == Cell.RETAIN))
        assert np.array_equal(forget, np.flatnonzero(row == Cell.FORGET))
        assert np.array_equal(members, np.flatnonzero(row != Cell.OUT))
    assert len(set(block.seeds)) == 4


def test_half_precision_keeps_single_precision_weights():
    task, plan, assignment = small_fleet(2, precision="bf16")
    found = run_fleet(task, plan, assignment)
    exact = run_fleet(*small_fleet(2))
    assert not np.array_equal(found.get("original"), exact.get("original"))
    np.testing.assert_allclose(found.get("original"), exact.get("original"), atol=0.3)


class Branching(nn.Sequential):
    """What vmap cannot run: Python asks for a number."""

    def forward(self, x):
        return super().forward(x) * (2.0 if float(x.sum()) > 0 else 1.0)


class Drifting(nn.Sequential):
    """Looks at the whole stack when it can: vmap and a loop would find other gradients."""

    def forward(self, x):
        own = torch.func.functional_call
        del own
        scale = 1.0 if torch._C._functorch.maybe_current_level() is None else 3.0
        return super().forward(x) * scale


@pytest.mark.parametrize(("kind", "word"), [(Branching, "cannot run"), (Drifting, "other gradients")])
def test_where_vmap_will_not_do_the_loop_is_taken(kind, word):
    task, plan, _ = small_fleet(build=lambda: kind(nn.Linear(64, 10)), backend="auto")
    found = survey(task, plan, [60] * 4)
    assert (found.backend, word in found.reason) == ("loop", True)
    task, plan, _ = small_fleet(build=lambda: kind(nn.Linear(64, 10)), backend="vmap")
    with pytest.raises(ConfigurationError, match=word):
        survey(task, plan, [60] * 4)


def test_the_block_fits_in_memory(monkeypatch):
    task, plan, _ = small_fleet(backend="loop", block=None)
    each = survey(task, plan, [60] * 50).each
    monkeypatch.setattr("certify.attacks.fleets.memory.free_memory", lambda: 40 * each)
    assert survey(task, plan, [60] * 50).block == 17  # 20 fit; three even blocks
    monkeypatch.setattr("certify.attacks.fleets.memory.free_memory", lambda: each)
    with pytest.raises(InputError, match="one model needs about"):
        survey(task, plan, [60] * 50)


def test_a_fleet_larger_than_memory_is_refused_before_the_first_training(monkeypatch):
    task, plan, assignment = small_fleet()
    monkeypatch.setattr("certify.attacks.fleets.memory.free_memory", lambda: 10_000)
    with pytest.raises(InputError, match="8 models say of 80 records"):
        run_fleet(task, plan, assignment)


def test_the_forecast_counts_what_will_be_done():
    task, plan, assignment = small_fleet(8)
    cost = forecast(task, plan, assignment, Shrink())
    assert (cost.models, cost.trainings, cost.unlearnings) == (8, 24, 8)
    assert cost.disk == 8 * 80 * 4 * 4 * 4
    assert cost.seconds == pytest.approx(cost.training + cost.unlearning + cost.looking)
    assert cost.training > 0
    assert "24 trainings and 8 unlearnings" in str(cost)
    own = forecast(*small_fleet(8, train=slow_train, recipe=None))
    assert own.training > 8 * 3 * 0.02


def refused(match, *, error=InputError, unlearn=None, assignment=None, models=2, **more):
    task, plan, given = small_fleet(models, **more)
    with pytest.raises(error, match=match) as found:
        run_fleet(task, plan, given if assignment is None else assignment, unlearn)
    assert "\n" not in str(found.value)
    return str(found.value)


def growing():
    growing.width += 1
    return nn.Sequential(nn.Linear(64, growing.width), nn.Linear(growing.width, 10))


growing.width = 4


def other_tensors(block):
    return State({f"x{n}": v for n, v in block.originals.parameters.items()}, {})


def not_finite(block):
    parameters = {n: v.clone() for n, v in block.originals.parameters.items()}
    parameters["0.bias"][1, 0] = torch.nan
    return State(parameters, {})


def raising(block):
    raise KeyError("a name from the records")


def test_bad_input_is_one_clear_line():
    X, y = (part[:80] for part in digits())
    refused("trains? the models|how the models are trained", error=ConfigurationError, recipe=None)
    refused("other tensors than the architecture's", build=growing)
    refused(
        "same weights for different seeds",
        build=lambda: nn.utils.skip_init(nn.Linear, 64, 10).requires_grad_() and fixed(),
    )
    refused("0 models|shape", assignment=np.ones((0, 80)))
    refused("model 1 retains no record", assignment=np.array([[1] * 80, [0] * 80]))
    refused("not finite", recipe=Recipe("sgd", lr=1e30, epochs=3, batch_size=16))
    refused("unlearned model 1", unlearn=not_finite)
    refused("of other tensors", unlearn=other_tensors)
    refused("not a State", unlearn=lambda _: None)
    assert "name from" not in refused("it raised KeyError", unlearn=raising)
    refused("needs an unlearner", error=ConfigurationError, worlds=("unlearned",))
    refused("needs? a store|without a store", error=ConfigurationError, keep_parameters=True)
    with pytest.raises(InputError, match="classes are 0 to 12"):
        run_fleet(FleetTask(tiny, X, np.where(y == 9, 12, y)), FleetPlan(RECIPE), np.ones((2, 80)))
    with pytest.raises(InputError, match="cannot read a record"):
        run_fleet(FleetTask(tiny, X[:, :5], y), FleetPlan(RECIPE), np.ones((2, 80)))
    with pytest.raises(InputError, match="not finite"):
        FleetTask(tiny, np.full((3, 4), np.nan), y[:3])
    with pytest.raises(InputError, match="80 inputs and 79 targets"):
        FleetTask(tiny, X, y[:79])
    with pytest.raises(ArgumentError, match="architecture"):
        FleetTask("tiny", X, y)
    with pytest.raises(ConfigurationError, match=r"fleet\.worlds"):
        FleetPlan(RECIPE, worlds=("elsewhere",))
    with pytest.raises(ConfigurationError, match=r"fleet\.block"):
        FleetPlan(RECIPE, block=0)


def fixed():
    module = nn.Linear(64, 10)
    nn.init.ones_(module.weight)
    nn.init.zeros_(module.bias)
    return module


def test_blocks_join_to_the_fleet(whole):
    task, plan, assignment = small_fleet(stored="float64")
    assert np.array_equal(
        Observations.join(list(run_blocks(task, plan, assignment, Shrink()))).get("unlearned"), whole.get("unlearned")
    )
