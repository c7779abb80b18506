"""A fleet larger than memory runs some models at a time and ends where it ends all at once."""

import numpy as np
import pytest
import torch
from every_method import NAMES, fitting, quick, tiny

from certify.core.errors import BudgetExceededError, ConfigurationError
from certify.models.networks import State
from certify.unlearners import Budget, Request
from certify.unlearners.networks.checkpoint import Checkpoint


def requests_of(task, models=5):
    return [Request.at(task, np.arange(3 * k, 3 * k + 3 + 2 * k)) for k in range(models)]


def tensors(results):
    states = [r.state if isinstance(r.state, State) else State.of(r.model) for r in results]
    return [{**s.parameters, **s.buffers} for s in states]


@pytest.mark.parametrize("name", NAMES)
def test_the_results_do_not_depend_on_how_many_run_at_once(name):
    task, method = fitting(name, torch.float64), quick(name)
    asked, seeds = requests_of(task, 3), [7, 8, 9]
    together = method.forget_fleet(task, asked, seeds=seeds)
    grouped = method.forget_fleet(task, asked, seeds=seeds, at_once=2)
    assert len(grouped) == 3
    for one, two in zip(tensors(together), tensors(grouped), strict=True):
        for key in one:
            torch.testing.assert_close(one[key], two[key], rtol=1e-6, atol=1e-8)
    for one, two in zip(together, grouped, strict=True):
        assert one.evidence.reads == two.evidence.reads
        assert one.evidence.seed == two.evidence.seed


@pytest.mark.parametrize("at_once", [1, 2, 4, 5, 9])
def test_counts_are_the_fleets_and_starts_go_along(at_once, monkeypatch):
    task, method = tiny(kind=torch.float64), quick("fine-tune")
    asked = requests_of(task)
    starts = State.of(task.model).repeat(5)
    starts = starts.with_parameters(
        {n: v + torch.arange(5).reshape(-1, *[1] * (v.dim() - 1)) * 0.1 for n, v in starts.parameters.items()}
    )
    whole = method.forget_fleet(task, asked, starts=starts, trajectory=True)
    seen, plain = [], type(method).run_networks
    monkeypatch.setattr(
        type(method), "run_networks", lambda self, meter, state: seen.append(state.models) or plain(self, meter, state)
    )
    parts = method.forget_fleet(task, asked, starts=starts, trajectory=True, at_once=at_once)
    assert max(seen) == min(5, at_once)
    assert sum(seen) == 5
    for one, two in zip(whole, parts, strict=True):
        assert one.evidence.counts == two.evidence.counts
        for key, value in one.state.parameters.items():
            torch.testing.assert_close(two.state.parameters[key], value, rtol=1e-9, atol=1e-12)


def test_the_budget_is_for_all_groups():
    task, method = tiny(), quick("fine-tune")
    asked = requests_of(task)
    need = method.forget_fleet(task, asked)[0].evidence.counts["gradients"]
    method.forget_fleet(task, asked, Budget(sample_gradients=need), at_once=2)
    with pytest.raises(BudgetExceededError, match=r"budget\.sample_gradients"):
        method.forget_fleet(task, asked, Budget(sample_gradients=need - 1), at_once=2)


def test_what_makes_no_sense_is_refused(tmp_path):
    task, method = tiny(), quick("fine-tune")
    asked = requests_of(task)
    for wrong in (0, -1, 1.5, True):
        with pytest.raises(ConfigurationError, match=r"forget_fleet\.at_once: .* models at a time make no sense"):
            method.forget_fleet(task, asked, at_once=wrong)
    with pytest.raises(ConfigurationError, match="a run in groups keeps no checkpoint"):
        method.forget_fleet(task, asked, at_once=2, checkpoint=Checkpoint(tmp_path / "run"))
    with pytest.raises(ConfigurationError, match="5 requests, 2 seeds"):
        method.forget_fleet(task, asked, seeds=[1, 2], at_once=2)
