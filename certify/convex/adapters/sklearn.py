"""scikit-learn: which objects are read, which are refused and why; :mod:`certify.convex.adapters.estimators` has the conventions."""

from dataclasses import replace
from typing import Any

from certify.convex.adapters.base import Declared, FittedModel, NoAdapterError
from certify.convex.adapters.estimators import ADAPTERS, refusal
from certify.core.errors import InputError

_CHOSEN = "chooses its penalty by cross-validation on the training data, the forgotten records included"
_CHOSEN_MEND = (
    "choose it again without them or fix it beforehand, fit the plain estimator with it, and certify that one"
)
_REFUSED = {
    **dict.fromkeys(
        ["LogisticRegressionCV", "RidgeCV", "RidgeClassifierCV", "LassoCV", "ElasticNetCV", "GridSearchCV"],
        (_CHOSEN, _CHOSEN_MEND),
    ),
    **dict.fromkeys(["RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV"], (_CHOSEN, _CHOSEN_MEND)),
    "LinearRegression": ("has no penalty, and without one there is no certificate", "fit Ridge with alpha > 0"),
    "LinearSVR": (
        "minimises an epsilon-insensitive loss, which is not certified",
        "fit Ridge, or declare the objective",
    ),
    "HuberRegressor": ("estimates a scale along with its weights", "fit Ridge with alpha > 0"),
}


def read(model: Any, name: str, version: str, declared: Declared) -> FittedModel:
    """A fitted estimator or pipeline."""
    declared.refuse("scikit-learn", "loss", "l2", "penalize_intercept", "alpha", "l1_weight")
    if name == "Pipeline":
        return _pipeline(model, version)
    if name in _REFUSED:
        reason, mend = _REFUSED[name]
        raise refusal(name, reason, mend)
    if name not in ADAPTERS:
        raise NoAdapterError(
            f"no adapter for scikit-learn's {name}",
            where="model",
            mend="declare an Objective and pass (coef, intercept) to bound_distance",
        )
    if not hasattr(model, "coef_"):
        raise InputError(f"{name} is not fitted", where="model", mend="call fit first")
    if hasattr(model.coef_, "toarray"):
        model = _Dense(model)
    return ADAPTERS[name](model, name, version)


class _Dense:
    """An estimator after ``sparsify()``, with the same numbers in an array."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.coef_ = model.coef_.toarray()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def _pipeline(model: Any, version: str) -> FittedModel:
    from certify.convex.adapters import kin

    *steps, (last, estimator) = model.steps
    found = kin(estimator)
    if found is None or found[0] != "sklearn":
        raise NoAdapterError(
            f"the pipeline's last step is no estimator that an adapter reads ({type(estimator).__name__})",
            where=f"pipeline step {last!r}",
            mend="end it with a linear model",
        )
    fitted = read(estimator, found[1], version, Declared())
    kept = tuple((name, step) for name, step in steps if step is not None and not isinstance(step, str))
    return replace(fitted, steps=(*kept, *fitted.steps))
