"""Three models with requests of one record, a class, and neighbouring records: together what each is alone, buffers too."""

import numpy as np
import pytest
import torch
from every_method import CLASSES, NAMES, RECORDS, fitting, quick

from certify.unlearners import Request

ROWS = (np.array([5]), np.arange(1, RECORDS, CLASSES), np.arange(9))
SEEDS = (11, 0, 7)
IN_FLEETS = [name for name in NAMES if name != "sisa"]  # which runs one after another
ROUNDING = {
    "asymmetry", "duality gap", "stationarity", "secular residual", "negative eigenvalues", "smallest eigenvalue",
}  # fmt: skip
"""Numbers that are rounding and nothing else."""


@pytest.mark.parametrize("statistics", [False, True])
@pytest.mark.parametrize("name", IN_FLEETS)
def test_a_model_of_three_is_what_it_is_alone(name, statistics):
    task, method = fitting(name, torch.float64, statistics=statistics), quick(name)
    requests = [Request.at(task, rows) for rows in ROWS]
    fleet = method.forget_fleet(task, requests, seeds=SEEDS)
    spent = dict.fromkeys(fleet[0].evidence.counts, 0)
    near = {"rtol": 1e-4, "atol": 1e-5} if name == "pinv-newton" else {"rtol": 1e-8, "atol": 1e-10}
    for model, (together, request, seed) in enumerate(zip(fleet, requests, SEEDS, strict=True)):
        alone = method.forget(task, request, seed=seed)
        for own, other in (
            (together.state.parameters, alone.state.parameters),
            (together.state.buffers, alone.state.buffers),
        ):
            for key, value in other.items():
                torch.testing.assert_close(own[key], value, msg=f"model {model}: {key}", **near)
        assert together.evidence.reads == alone.evidence.reads
        assert together.evidence.seed == alone.evidence.seed == seed
        for key, value in alone.evidence.solver.items():
            if key not in ROUNDING:
                own = together.evidence.solver.get(key, together.evidence.solver.get(f"{key} [{model}]"))
                assert own == pytest.approx(value, rel=1e-4, abs=1e-9), key
        for kind, count in alone.evidence.counts.items():
            spent[kind] += count
    assert fleet[0].evidence.counts == spent


def test_the_loss_of_a_step_is_the_mean_over_the_models_that_take_it():
    """The second model has a third of the steps: after that the loss is the first's alone, not half of it."""
    task, method = fitting("gradient-ascent", torch.float64), quick("gradient-ascent", batch_size=4, epochs=1)
    requests = [Request.at(task, np.arange(12)), Request.at(task, np.arange(20, 24))]
    alone = [method.forget(task, r, seed=k).evidence.traces["forget"] for k, r in enumerate(requests)]
    together = method.forget_fleet(task, requests)[0].evidence.traces["forget"]
    assert [len(losses) for losses in alone] == [3, 1]
    expected = [(alone[0][0] + alone[1][0]) / 2, *alone[0][1:]]
    np.testing.assert_allclose(together, expected, rtol=1e-12)
