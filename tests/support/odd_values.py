"""Values that make no sense as most arguments, and what has to become of them."""

import datetime as dt
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from certify.core.errors import CertifyError

ODD: dict[str, Any] = {
    "None": None,
    "a text": "x",
    "bytes": b"x",
    "a number": 3,
    "a float": -1.5,
    "not a number": float("nan"),
    "infinity": float("inf"),
    "a huge number": 10**400,
    "a fraction": Fraction(1, 3),
    "a complex number": 1j,
    "a flag": True,
    "a list": [],
    "lists in a list": [[1.0], [2.0, 3.0]],
    "texts": ["a", "b"],
    "a dict": {"a": 1},
    "a set": {1, 2},
    "an object": object(),
    "a class": int,
    "a function": len,
    "a date": dt.date(2020, 1, 1),
    "an array of objects": np.array([None, {}], dtype=object),
    "an empty array": np.zeros(0),
    "a cube": np.zeros((2, 2, 2)),
    "dates": np.array(["2020-01-01"], dtype="datetime64[D]"),
    "records": np.zeros(3, dtype=[("a", float)]),
    "complex numbers": np.ones((30, 3), dtype=complex),
    "a sparse matrix": sparse.csr_array(np.eye(3)),
    "sparse complex numbers": sparse.csr_array(1j * np.eye(3)),
    "a generator": (number for number in range(3)),
    "a path": Path("nowhere"),
}


def sayable(call: Callable[[Any], object], odd: Any) -> None:
    """Either it works, or one line of ours says why not."""
    try:
        call(odd)
    except CertifyError as error:
        line = str(error)
        assert "\n" not in line
        assert error.where  # noqa: PT017
        assert error.mend  # noqa: PT017
        assert len(line) < 300, line
