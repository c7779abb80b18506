"""Fitted models of other libraries as (objective, parameters, records). docs/adapters.md has the table and derivations.

A model is recognised by its class's module and name: nothing heavy is imported for plain arrays.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from certify.convex.adapters.base import Declared, FittedModel, NoAdapterError, Scale, disagreement
from certify.convex.adapters.records import total
from certify.convex.numbers import as_column
from certify.convex.objective import Objective
from certify.core.arguments import require_type
from certify.core.errors import AssumptionViolatedError, CertifyError, InputError

__all__ = [
    "Declared",
    "FittedModel",
    "NoAdapterError",
    "Scale",
    "adapt",
    "agreed_weights",
    "kin",
    "require_agreement",
    "require_expressible",
    "total",
]

_HOMES = {
    "sklearn": ("scikit-learn", "sklearn"),
    "statsmodels": ("statsmodels", "statsmodels"),
    "torch": ("torch", "torch"),
}
"""Top-level module of a class: the distribution it comes from, and the adapter's module."""


def kin(model: Any) -> tuple[str, str] | None:
    """(top-level module, class name) of the first class of a library among the model's own and those it derives from."""
    for ancestor in type(model).__mro__:
        home = ancestor.__module__.partition(".")[0]
        if home in _HOMES:
            return home, ancestor.__name__
    return None


def adapt(
    model: Any,
    *,
    loss: str | None = None,
    l2: float | None = None,
    penalize_intercept: bool | None = None,
    alpha: float | None = None,
    l1_weight: float | None = None,
) -> FittedModel:
    """Read a fitted model of scikit-learn, statsmodels or torch.

    Args:
        model: a fitted scikit-learn estimator or pipeline, statsmodels results, or a ``torch.nn.Linear``.
        loss: of a torch head, which does not know what it was trained for.
        l2: the same, in total.
        penalize_intercept: the same; True when absent.
        alpha: of statsmodels' ``fit_regularized``, whose results do not keep it.
        l1_weight: its ``L1_wt``.

    Raises:
        NoAdapterError: nothing here reads such an object (exit 2).
        ConfigurationError: a declaration is missing or one too many.
        InputError: not fitted.
        AssumptionViolatedError: what it minimised cannot be certified, with the reason (exit 4).

    Example:
        ``adapt(LogisticRegression(C=0.1).fit(X, y)).l2`` is 10.0.
    """
    found = kin(model)
    if found is None:
        raise NoAdapterError(
            f"no adapter for objects of type {type(model).__name__}",
            where="model",
            mend="declare an Objective and pass (coef, intercept) to bound_distance",
        )
    distribution, home = _HOMES[found[0]]
    adapter = import_module(f"certify.convex.adapters.{home}")
    declared = Declared(loss, l2, penalize_intercept, alpha, l1_weight)
    try:
        fitted: FittedModel = adapter.read(model, found[1], _version(distribution, found[0]), declared)
    except CertifyError:
        raise
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
        raise InputError(
            f"{found[1]} holds what no fitted model of {distribution} does ({type(error).__name__})",
            where="model",
            mend="fit it again, and change none of its attributes afterwards",
        ) from None
    return fitted


def _version(distribution: str, module: str) -> str:
    """The version of the code that is loaded, which need not be the one that is installed."""
    loaded = getattr(import_module(module), "__version__", None)
    try:
        return str(loaded or version(distribution))
    except PackageNotFoundError:
        return "of unknown version"


def agreed_weights(objective: Objective, w: Any, records: int, sample_weight: Any = None) -> Any:
    """Weights of a model whose own objective on so many records does not contradict the declared one; anything else as it is.

    Raises:
        AssumptionViolatedError: it does contradict it, in the first respect that the message names.
        InputError: a pipeline, or a model with class weights, which need :func:`certify.bound_model`.
    """
    require_type(objective, Objective, "objective", "declare what was minimised: certify.Objective(loss, l2=...)")
    found = kin(w)
    if found is None or (found[0] == "torch" and found[1] != "Linear"):
        return w
    if found[0] == "torch":
        return adapt(w, loss=objective.loss, l2=objective.l2).parameters  # it says nothing that could contradict
    try:
        fitted = adapt(w)
    except NoAdapterError:
        if hasattr(w, "coef_"):
            return w  # an estimator nobody here knows: its weights are what they are, its objective is the declared one
        raise
    weight = float(records) if sample_weight is None else total(as_column(sample_weight, "sample_weight", records))
    require_agreement(fitted, objective, records, weight)
    return fitted.parameters


def require_agreement(fitted: FittedModel, objective: Objective, records: int, total_weight: float) -> None:
    """Refuse a model that minimised something else than the declared objective on so many records of that total weight."""
    require_expressible(fitted)
    trouble = disagreement(objective, fitted.objective(records, total_weight))
    if trouble:
        raise AssumptionViolatedError(
            f"what it minimised is not the declared objective: {trouble}",
            where=fitted.title,
            mend="declare the objective it was trained with, or train it with the declared one",
        )


def require_expressible(fitted: FittedModel) -> None:
    """Refuse a model with parts that no declared objective has: transformers, class weights, a scaled intercept."""
    if fitted.steps:
        raise InputError(
            "a pipeline's transformers have to be checked against the retained records",
            where=fitted.title,
            mend="call certify.bound_model(pipeline, X, y), or transform X and pass the last step alone",
        )
    if fitted.class_weight is not None:
        raise InputError(
            "it has class weights, which multiply the sample weights",
            where=fitted.title,
            mend="call certify.bound_model(model, X, y), or pass (coef, intercept) and multiply the sample weights yourself",
        )
    if fitted.intercept_scaling != 1:
        raise AssumptionViolatedError(
            f"intercept_scaling is {fitted.intercept_scaling:g}: an objective's column of ones has no such factor",
            where=fitted.title,
            mend="call certify.bound_model(model, X, y), or train with intercept_scaling=1",
        )
