"""The nearest known name, for messages about unknown ones."""

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``did you mean 'x'?`` for the closest known name, otherwise the list of all of them.

    >>> did_you_mean("epsilom", ["epsilon", "delta"])
    "did you mean 'epsilon'?"
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else "known are " + ", ".join(names)
