"""statsmodels: GLM and OLS results.

``fit()`` has no penalty. ``fit_regularized(alpha, L1_wt)`` minimises, on n rows,

    -loglike / n + alpha ((1 - L1_wt) ||w||^2 / 2 + L1_wt ||w||_1),       hence l2 = n alpha (1 - L1_wt), l1 = n alpha L1_wt,

n the number of rows whatever their weights. With ``L1_wt=0`` a GLM takes another path, in which the scale is estimated along
with the weights: for the Gamma and Gaussian families, whose log-likelihood has one, the minimiser is then that of another
penalty, which depends on the data. That path is refused for them. The design matrix already holds its constant.
"""

from typing import Any

import numpy as np

from certify.convex.adapters.base import Declared, FittedModel, NoAdapterError, Scale
from certify.convex.adapters.records import matrix_of
from certify.core.errors import AssumptionViolatedError, ConfigurationError

_LOSSES = {
    ("Binomial", "logit"): "logistic",
    ("Poisson", "log"): "poisson",
    ("Gamma", "log"): "gamma",
    ("Gaussian", "identity"): "squared",
}
_WITH_SCALE = {"gamma", "squared"}
_DECLARE = "say how it was fitted, as in adapt(results, alpha=0.1, l1_weight=0.0); statsmodels calls the latter L1_wt"


def read(results: Any, name: str, version: str, declared: Declared) -> FittedModel:
    """The results of a GLM, or of an OLS with a penalty."""
    model = getattr(results, "model", None)
    kind = next((c.__name__ for c in type(model).__mro__ if c.__module__.startswith("statsmodels.")), "")
    if kind not in {"GLM", "OLS"} or not hasattr(results, "params"):
        raise NoAdapterError(
            f"no adapter for statsmodels' {kind or name}", where="model", mend="fit the same model as a GLM"
        )
    declared.refuse("statsmodels", "loss", "l2", "penalize_intercept")
    loss = "squared" if kind == "OLS" else _loss_of(model)
    _refuse_what_no_objective_has(results, model)
    l2, l1 = _penalty(name, kind, loss, declared)
    weighted = any(np.any(np.asarray(getattr(model, key, 1.0)) != 1) for key in ("freq_weights", "var_weights"))
    return FittedModel(
        name=kind,
        library="statsmodels",
        version=version,
        loss=loss,
        coef=matrix_of(np.asarray(results.params)),
        intercept=None,
        l2=l2,
        l1=l1,
        scale=Scale.RECORDS,
        needs_weights="it was fitted with freq_weights or var_weights" if weighted else "",
        notes=(
            "X is the design matrix: it holds the constant, which is penalised like the rest",
            *(("alpha and L1_wt are declared: statsmodels' results do not keep them",) if declared.alpha else ()),
        ),
    )


def _loss_of(model: Any) -> str:
    family, link = type(model.family).__name__, type(model.family.link).__name__
    loss = _LOSSES.get((family, link.lower()))
    if loss is None:
        raise AssumptionViolatedError(
            f"the {family} family with the {link} link has no loss here",
            where="statsmodels GLM",
            mend="fit one of: Binomial with Logit, Poisson with Log, Gamma with Log, Gaussian with Identity",
        )
    return loss


def _refuse_what_no_objective_has(results: Any, model: Any) -> None:
    troubles = {
        "an offset or exposure, which shifts the scores": np.any(
            np.asarray(getattr(model, "_offset_exposure", 0.0)) != 0
        ),
        "more than one trial a row": np.any(np.asarray(getattr(model, "n_trials", 1)) != 1),
        "constraints": getattr(results, "constraints", None) is not None,
        "refit=True, which chose variables on the data": getattr(results, "regularized", False),
    }
    for words, there in troubles.items():
        if there:
            raise AssumptionViolatedError(
                f"it was fitted with {words}: the objective has no such thing",
                where="statsmodels",
                mend="fit it without, or one row a trial",
            )


def _penalty(name: str, kind: str, loss: str, declared: Declared) -> tuple[float, float]:
    """(l2, l1) a record."""
    if "Regularized" not in name:
        declared.refuse("fit()", "alpha", "l1_weight")
        return 0.0, 0.0
    if declared.alpha is None or declared.l1_weight is None:
        raise ConfigurationError("fit_regularized does not keep its penalty", where="alpha, l1_weight", mend=_DECLARE)
    if kind == "GLM" and declared.l1_weight == 0 and loss in _WITH_SCALE:
        raise AssumptionViolatedError(
            "with L1_wt=0 statsmodels estimates the scale along with the weights: the penalty in effect depends on the data",
            where="statsmodels GLM",
            mend="fit OLS for the squared loss, or a scikit-learn GammaRegressor",
        )
    return float(declared.alpha) * (1 - declared.l1_weight), float(declared.alpha) * declared.l1_weight
