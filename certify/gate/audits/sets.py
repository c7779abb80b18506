"""Who forgets what in the fleets of an audit: records drawn by chance, hard ones, or the request itself."""

from collections.abc import Sequence

import numpy as np

from certify.attacks.audits.playing import plays
from certify.attacks.registry import ATTACKS
from certify.core.arrays import AnyArray, IntArray
from certify.gate.networks import NetworkInputs
from certify.gate.spec import AuditSpec

HARD = ("memorised", "outliers", "cluster")
"""Kinds of forget sets whose records are drawn by chance from a pool of hard ones."""

_MOST = 0.9
"""Share of a class that is forgotten, and of the request that lies in such classes, from which on the request is whole classes."""


def whole_classes(labels: AnyArray, forgotten: IntArray) -> tuple[int, ...]:
    """Classes that a request takes whole, or nearly: nine records in ten of each, and nine in ten of the request are theirs.

    Empty where the request is of another kind, or labels are no classes.

    >>> whole_classes(np.array([0, 0, 1, 1, 2, 2]), np.array([2, 3])), whole_classes(np.array([0, 0, 1, 1]), np.array([1, 2]))
    ((1,), ())
    """
    classes = np.asarray(labels)
    if classes.ndim != 1 or classes.dtype.kind not in "iu":
        return ()
    names, place = np.unique(classes, return_inverse=True)
    asked = np.bincount(place[forgotten], minlength=len(names))
    whole = asked >= _MOST * np.bincount(place, minlength=len(names))
    if asked[whole].sum() < _MOST * len(forgotten):
        return ()
    return tuple(int(name) for name in names[whole])


def kinds_of(given: AuditSpec, inputs: NetworkInputs) -> tuple[str, ...]:
    """Kinds of forget sets, each with a fleet of its own.

    Where the spec names none and the request is whole classes, every model forgets the request: models that forget records drawn by
    chance keep all classes, and show nothing of what becomes of a model that loses one.
    """
    open_to = "forget_sets" not in given.model_fields_set and "retrain" in given.games
    if open_to and _compares(given.attacks) and _asked(inputs):
        return ("request",)
    return tuple(dict.fromkeys(given.forget_sets))


def with_their_source(kinds: Sequence[str]) -> tuple[str, ...]:
    """The same, with the fleet that says which records were memorised."""
    return ("random", *kinds) if "memorised" in kinds and "random" not in kinds else tuple(kinds)


def not_as_asked(kinds: Sequence[str], inputs: NetworkInputs) -> list[str]:
    """What fleets do not show of the request, or of records drawn by chance."""
    listed = []
    classes = _asked(inputs)
    if classes and "request" not in kinds:
        listed.append(
            f"forgetting as it was asked for: the request is {_named(classes)}, and shadow models forgot other records, "
            'none of them a class (forget_sets = ["request"] lets each forget the request)'
        )
    if tuple(kinds) == ("request",):
        listed.append(
            "requests of other records, and whether forgotten records are told from records never seen (the game privacy): "
            "every shadow model forgot this very request"
        )
    return listed


def _asked(inputs: NetworkInputs) -> tuple[int, ...]:
    """The classes that are asked for whole; numbers that are predicted are none."""
    task = inputs.task
    return () if task.loss == "squared" else whole_classes(task.y, inputs.request.forgotten)


def _compares(attacks: Sequence[str]) -> bool:
    """Whether an attack on shadow models tells unlearned models from retrained ones."""
    return any(
        ATTACKS[name].kind == "membership" and ATTACKS[name].shadows and plays(name, "retrain") for name in attacks
    )


def _named(classes: tuple[int, ...]) -> str:
    if len(classes) == 1:
        return f"(nearly) all of class {classes[0]}"
    shown = ", ".join(map(str, classes[:5])) + (", ..." if len(classes) > 5 else "")
    return f"(nearly) all of {len(classes)} classes ({shown})"
