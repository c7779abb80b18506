"""Each record once a pass, the same alone and in company, and shares that run from 0 to 1."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from certify.models.networks import collate, epochs

SIZES = [10, 3, 0, 17]
RECORDS = [np.arange(100 * k, 100 * k + size) for k, size in enumerate(SIZES)]


def read(batches, model):
    """Records of a model, pass by pass."""
    found = {}
    for batch in batches:
        rows = batch.indices[model][batch.weights[model] > 0].tolist()
        found.setdefault(batch.epoch, []).extend(rows)
    return found


@given(st.lists(st.integers(0, 20), min_size=1, max_size=4), st.integers(1, 25), st.integers(1, 3))
def test_a_pass_reads_each_record_once(sizes, batch_size, count):
    records = [np.arange(50 * k, 50 * k + size) for k, size in enumerate(sizes)]
    batches = list(epochs(records, batch_size=batch_size, count=count, seeds=range(len(sizes))))
    for model, rows in enumerate(records):
        for order in read(batches, model).values():
            assert sorted(order) == rows.tolist()
    for batch in batches:
        assert batch.indices.shape[1] <= batch_size
        totals = batch.weights.sum(dim=1)
        assert torch.allclose(totals, batch.active.double())
        assert torch.equal(batch.records > 0, batch.active)


def test_a_models_batches_are_the_same_alone_and_in_company():
    company = list(epochs(RECORDS, batch_size=4, count=3, seeds=[7, 8, 9, 10]))
    for model, rows in enumerate(RECORDS):
        alone = [b for b in epochs([rows], batch_size=4, count=3, seeds=[7 + model]) if b.active[0]]
        together = [b for b in company if b.active[model]]
        assert len(alone) == len(together)
        for one, two in zip(alone, together, strict=True):
            count = int(one.records[0])
            assert one.indices[0, :count].tolist() == two.indices[model, :count].tolist()
            assert one.done[0] == two.done[model]
            assert one.seeds[0] == two.seeds[model]
            assert one.epoch == two.epoch


def test_padding_repeats_the_models_own_records_and_weighs_nothing():
    batch = collate([np.array([1, 2, 3]), np.array([9]), np.array([], dtype=int)])
    assert batch.indices[1].tolist() == [9, 9, 9]
    assert batch.weights.tolist() == [[1 / 3] * 3, [1, 0, 0], [0, 0, 0]]
    assert batch.active.tolist() == [True, True, False]
    assert not batch.even
    assert collate([np.arange(2), np.arange(2)]).even


def test_the_share_done_is_that_of_each_models_own_batches():
    batches = list(epochs(RECORDS[:2], batch_size=4, count=2, seeds=[1, 2]))
    assert [b.done[0] for b in batches] == pytest.approx([0, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6])
    assert [b.done[1] for b in batches if b.active[1]] == [0, 0.5]


def test_orders_differ_by_pass_seed_and_name_and_not_by_the_first_pass():
    def order(**more):
        given = {"batch_size": 100, "seeds": [1], **more}
        return [b.indices[0].tolist() for b in epochs([np.arange(30)], **given)]

    two = order(count=2)
    assert two[0] != two[1]
    assert order(first=1) == two[1:]
    assert order(seeds=[2]) != two[:1]
    assert order(name="other") != two[:1]
    assert order(shuffle=False, seeds=()) == [list(range(30))]


def test_training_seeds_differ_from_batch_to_batch():
    seeds = [b.seeds for b in epochs([np.arange(30), np.arange(30)], batch_size=4, count=2, seeds=[0, 1])]
    assert len({s for pair in seeds for s in pair}) == 2 * len(seeds)
