"""Two matrices read as one: the same rows as if they had been copied together."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from certify.core.rows import Rows, is_sparse, stored_entries
from certify.core.stacked import Stacked

UPPER, LOWER = np.arange(21.0).reshape(7, 3), -np.arange(1.0, 13.0).reshape(4, 3)
WHOLE = np.vstack([UPPER, LOWER])


@pytest.mark.parametrize(
    "upper", [UPPER, csr_array(UPPER), UPPER.astype(np.float32)], ids=["dense", "sparse", "float32"]
)
@given(rows=st.one_of(st.slices(11).filter(lambda s: s.step in (None, 1)), st.lists(st.integers(0, 10))))
def test_rows_are_those_of_the_copy(upper: Rows, rows: slice | list[int]) -> None:
    stacked = Stacked(upper, LOWER)
    found = stacked[rows if isinstance(rows, slice) else np.array(rows, dtype=int)]
    assert is_sparse(found) == is_sparse(upper)
    expected = WHOLE[rows if isinstance(rows, slice) else np.array(rows, dtype=int)]
    if isinstance(rows, slice) and rows.indices(11)[1] < rows.indices(11)[0]:
        expected = expected[:0]
    assert np.array_equal(found.toarray() if is_sparse(found) else found, expected)


def test_shape_and_stored_entries() -> None:
    assert Stacked(UPPER, LOWER).shape == (11, 3)
    assert len(Stacked(UPPER, LOWER)) == 11
    assert Stacked(UPPER, LOWER).ndim == 2
    assert stored_entries(Stacked(UPPER, LOWER)) is None
    assert stored_entries(Stacked(csr_array(UPPER), LOWER)) == 20 + 12
