"""Transformers of a pipeline: only what fitting on the retained records gives may stand before a certified model.

A scaler that was fitted with the forgotten records still holds them, whatever the weights behind it do. Each step is cloned,
fitted on the retained records and compared, attribute by attribute and bit by bit, with the step as it is. A step that learns
nothing from data (a Normalizer, say) passes by itself; no list of names is trusted.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import numpy as np

from certify.core.arguments import as_flag, require_type
from certify.core.errors import AssumptionViolatedError, ConfigurationError, InputError
from certify.core.names import did_you_mean

_CROSS_FIT = 1e-6
"""How far, relatively, a step's features of the records it is fitted on may lie from those of transform: rounding, no more."""

Steps = tuple[tuple[str, Any], ...]


@dataclass(frozen=True, eq=False)
class Transformed:
    """Features of the retained records, and the transformers that gave them and may be released.

    Attributes:
        features: (n, d).
        steps: the transformers, as they are or refitted.
        notes: steps declared public, and steps that were refitted.
    """

    features: Any
    steps: Steps
    notes: tuple[str, ...]


def transform(steps: Steps, X: Any, y: Any, *, refit: bool = False, public: Collection[str] = ()) -> Transformed:
    """Features of the retained records.

    Args:
        steps: the fitted transformers, by name.
        X: the retained records, as the first step takes them.
        y: their targets.
        refit: use the refitted steps instead of refusing stale ones.
        public: names of steps that are declared to hold nothing about the forgotten records.

    Raises:
        AssumptionViolatedError: a step is not what fitting it on the retained records gives.
        ConfigurationError: ``public`` names no step.
        InputError: a step cannot be fitted on these records.
    """
    _known(public, steps)
    as_flag(refit, "refit")
    kept: list[tuple[str, Any]] = []
    notes: list[str] = []
    for name, step in steps:
        title = f"step {name!r} ({type(step).__name__})"
        if name in public:
            X = _run(name, step, step.transform, X)
            kept.append((name, step))
            notes.append(f"{title} is declared public: what it learned is not checked")
            continue
        fresh, features = _refitted(name, step, X, y)
        stale = _stale(name, step, fresh, X)
        if stale and not refit:
            raise AssumptionViolatedError(
                f"{stale} is not what fitting on the retained records gives: it may still hold forgotten ones",
                where=f"pipeline {title}",
                mend="refit the transformers on the retained records (refit=True) and release those, "
                f"or declare the step public (public=[{name!r}])",
            )
        if stale:
            notes.append(f"{title} was refitted on the retained records: release the refitted one")
        kept.append((name, fresh if stale else step))
        X = features
    if len(public) < len(steps):
        notes.append(
            "what a transformer is told (functions, categories, constants) is declared; what it learns is checked"
        )
    return Transformed(X, tuple(kept), tuple(notes))


def _stale(name: str, step: Any, fresh: Any, X: Any) -> str:
    """What of a step is not as in the one fitted on the retained records; empty where all of it is."""
    found = difference(step, fresh)
    if found:
        return found
    now, then = (_run(name, item, item.transform, X) for item in (step, fresh))
    return "" if _same_features(now, then, 0.0) else "its output"


def _known(public: Collection[str], steps: Steps) -> None:
    names = [name for name, _ in steps]
    if isinstance(public, str):
        raise ConfigurationError("is one text", where="public", mend=f"give a list of names: public=[{public!r}]")
    mend = (
        f"give names of transformers{' (it has ' + ', '.join(map(repr, names)) + ')' if names else ''}, or leave it out"
    )
    for name in require_type(public, (list, tuple, set, frozenset), "public", mend):
        require_type(name, str, "public", mend)
        if name not in names:
            raise ConfigurationError(
                f"the pipeline has no transformer {name!r}", where="public", mend=did_you_mean(name, names)
            )


def _refitted(name: str, step: Any, X: Any, y: Any) -> tuple[Any, Any]:
    """A clone fitted on these records, and their features as a pipeline in training would have got them."""
    from sklearn.base import clone

    if not hasattr(step, "transform"):
        raise InputError(
            f"{type(step).__name__} does not transform records one by one",
            where=f"pipeline step {name!r}",
            mend="certify without it",
        )
    _refuse_frozen(name, step)
    fresh = _run(name, step, clone, step)
    if not hasattr(fresh, "fit_transform"):
        _run(name, fresh, fresh.fit, X, y)
        return fresh, _run(name, fresh, fresh.transform, X)
    features = _run(name, fresh, fresh.fit_transform, X, y)
    if not _same_features(_run(name, fresh, fresh.transform, X), features, _CROSS_FIT):
        raise AssumptionViolatedError(
            "it gives the records it is fitted on other features than any later ones (cross-fitting)",
            where=f"pipeline step {name!r} ({type(step).__name__})",
            mend=f"declare it public if it was fitted on other data (public=[{name!r}]), or leave it out",
        )
    return fresh, features


def _refuse_frozen(name: str, step: Any) -> None:
    """A clone that is made in a way of its own (a FrozenEstimator's is itself) may keep what was learned: no comparison shows it."""
    from sklearn.base import BaseEstimator

    ordinary = getattr(BaseEstimator, "__sklearn_clone__", None)
    parts = [step, *(step.get_params(deep=True).values() if hasattr(step, "get_params") else ())]
    frozen = [part for part in parts if getattr(type(part), "__sklearn_clone__", ordinary) is not ordinary]
    if frozen:
        raise AssumptionViolatedError(
            f"{type(frozen[0]).__name__} keeps what it learned when it is cloned, so nothing shows what that was",
            where=f"pipeline step {name!r}",
            mend=f"put the transformer itself there, or declare the step public (public=[{name!r}])",
        )


def _run(name: str, step: Any, work: Callable[..., Any], *records: Any) -> Any:
    """The library's own errors may quote records: only their type is told."""
    try:
        return work(*records)
    except (ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise InputError(
            f"{type(step).__name__} cannot be fitted to these records or applied to them ({type(error).__name__})",
            where=f"pipeline step {name!r}",
            mend="give X and y as the pipeline was fitted with them",
        ) from None


def dense(features: Any) -> Any:
    """A sparse matrix as an array; anything else as it is."""
    return features.toarray() if hasattr(features, "toarray") else features


def _same_features(first: Any, second: Any, tolerance: float) -> bool:
    left, right = np.asarray(dense(first)), np.asarray(dense(second))
    if left.shape != right.shape:
        return False
    if tolerance == 0 or left.dtype.kind not in "fc":
        return _same_array(left, right, {})
    size = float(np.max(np.abs(right), initial=0.0))
    return bool(np.allclose(left, right, rtol=tolerance, atol=tolerance * size, equal_nan=True))


def difference(first: Any, second: Any) -> str:
    """Name of the first attribute in which two fitted objects differ, "" where none does. No values are named."""
    if type(first) is not type(second):
        return "its type"
    seen: _Seen = {}
    mine: dict[str, Any] = vars(first)
    other: dict[str, Any] = vars(second)
    for name in sorted(mine.keys() | other.keys(), key=lambda name: (name.startswith("_"), name)):
        if name not in mine or name not in other or not _same(mine[name], other[name], seen):
            return name
    return ""


# Pairs under comparison, kept alive so that no other object takes their place in memory.
_Seen = dict[tuple[int, int], tuple[Any, Any]]
_BY_NAME = (type, FunctionType, BuiltinFunctionType, MethodType)
_PLAIN = (str, bytes, bool, int, complex, type(None), np.dtype, np.bool_, np.integer, np.str_, range, slice)
_RANDOM = (np.random.RandomState, np.random.Generator)


def _same(first: Any, second: Any, seen: _Seen) -> bool:
    """Whether two values are equal to the last bit; what cannot be compared is not."""
    if first is second or (id(first), id(second)) in seen:
        return True
    if type(first) is not type(second):
        return False
    seen[id(first), id(second)] = first, second
    if isinstance(first, _RANDOM):
        return True  # where it stands depends on how often it was asked, not on the records
    if isinstance(first, (*_BY_NAME, *_PLAIN)):
        return bool(first == second)
    if isinstance(first, float | np.floating):
        return bool(np.array_equal(first, second, equal_nan=True))
    return _same_inside(first, second, seen)


def _same_inside(first: Any, second: Any, seen: _Seen) -> bool:
    if isinstance(first, np.ndarray):
        return _same_array(first, second, seen)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(_same(first[key], second[key], seen) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(lambda a, b: _same(a, b, seen), first, second))
    try:  # all that an object is, compiled ones included, in the form it would be stored in
        mine, other = first.__reduce_ex__(2), second.__reduce_ex__(2)
    except Exception:  # noqa: BLE001 - whatever an object raises that cannot be stored, it cannot be compared
        return False
    if isinstance(mine, str) or isinstance(other, str):
        return bool(mine == other)
    return len(mine) == len(other) and all(map(lambda a, b: _same(_listed(a), _listed(b), seen), mine[1:], other[1:]))


def _listed(part: Any) -> Any:
    """Items of an iterator, in which the content of lists and dictionaries comes."""
    return list(part) if isinstance(part, Iterator) else part


def _same_array(first: Any, second: Any, seen: _Seen) -> bool:
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    if first.dtype.kind == "O":
        return all(map(lambda a, b: _same(a, b, seen), first.ravel().tolist(), second.ravel().tolist()))
    return bool(np.array_equal(first, second, equal_nan=first.dtype.kind in "fc"))
