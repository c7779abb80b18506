"""scikit-learn: what each linear estimator minimises. The tests derive every line again from the installed version's behaviour.

Up to a factor, with a_i the sample weights (class weights multiplied in), A their sum, n the number of records:

    LogisticRegression   sum a_i log-loss + (1/C) [(1 - r)/2 ||w||^2 + r ||w||_1]      l2 = (1 - r)/C, l1 = r/C
    LinearSVC            C sum a_i max(0, 1 - m)^2 + ||w||^2 / 2                       l2 = 1/(2C): our loss has the half
                         C sum a_i max(0, 1 - m) + ||w||^2 / 2                         l2 = 1/C
    Ridge                sum a_i (y - z)^2 + alpha ||w||^2                             l2 = alpha: our loss has the half
    ElasticNet           (1/(2A)) sum a_i (y - z)^2 + alpha [(1 - r)/2 ||w||^2 + r ||w||_1]    l2 = alpha (1 - r) A
    Poisson, Gamma, Tweedie   (1/(2A)) sum a_i deviance + (alpha/2) ||w||^2            l2 = alpha A
    SGD                  (1/n) sum a_i loss + alpha [(1 - r)/2 ||w||^2 + r ||w||_1]    l2 = alpha (1 - r) n, halved for squared-hinge

The intercept is free, but for liblinear (LinearSVC, and LogisticRegression with that solver), which penalises the weight of a
constant column ``intercept_scaling``. A loose tolerance needs no adapter: it makes the residual larger.
"""

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from certify.convex.adapters.base import FittedModel, Scale
from certify.convex.adapters.records import column_of, matrix_of
from certify.core.arguments import as_number, shown
from certify.core.arrays import AnyArray
from certify.core.errors import AssumptionViolatedError, InputError

_SGD_LOSSES = {  # name here, and how many of ours make one of theirs
    "log_loss": ("logistic", 1.0),
    "squared_error": ("squared", 1.0),
    "hinge": ("hinge", 1.0),
    "squared_hinge": ("squared-hinge", 2.0),
}


def refusal(name: str, reason: str, mend: str) -> AssumptionViolatedError:
    """An estimator that cannot be certified, the reason, and what to fit instead."""
    return AssumptionViolatedError(f"{name} {reason}", where="model", mend=mend)


def _common(model: Any, name: str, version: str) -> dict[str, Any]:
    coef = matrix_of(model.coef_)
    intercept = column_of(model.intercept_, len(coef)) if model.fit_intercept else None
    return {"name": name, "library": "scikit-learn", "version": version, "coef": coef, "intercept": intercept}


def _labels(model: Any) -> AnyArray:
    labels = np.asarray(model.classes_)
    if labels.ndim != 1 or len(labels) < 2:
        raise InputError(
            f"classes_ has shape {labels.shape}", where="model", mend="fit it again on two classes or more"
        )
    return labels


def _classes(model: Any, name: str, *, rows: int, by_weight: bool) -> dict[str, Any]:
    """Labels, class weights, and whether there is a head for each class."""
    heads = rows > 1
    if heads and model.class_weight is not None:
        raise refusal(
            name,
            "has class weights and one-versus-rest heads: each head then weighs the records in its own way",
            "train without class weights, or one binary model a class",
        )
    notes = () if model.class_weight is None else ("class weights multiply the sample weights",)
    return {
        "classes": _labels(model),
        "class_weight": model.class_weight,
        "balance_by_weight": by_weight,
        "one_vs_rest": heads,
        "notes": notes,
    }


def _liblinear(model: Any, common: dict[str, Any]) -> dict[str, Any]:
    """The intercept as liblinear has it: the weight of a constant column, penalised like the rest."""
    scaled = common["intercept"] is not None and model.intercept_scaling != 1
    note = "the intercept's parameter is intercept / intercept_scaling: noise is for that one"
    return {
        "penalize_intercept": True,
        "intercept_scaling": as_number(model.intercept_scaling, "intercept_scaling") if scaled else 1.0,
        "notes": (note,) if scaled else (),
    }


def _merged(*parts: dict[str, Any], **more: Any) -> FittedModel:
    notes = tuple(note for part in parts for note in part.get("notes", ()))
    values = {key: value for part in parts for key, value in part.items() if key != "notes"}
    return FittedModel(**{**values, **more}, notes=notes)


def _l1_share(model: Any, name: str) -> float:
    """r of the elastic net. ``penalty`` says it up to 1.7, ``l1_ratio`` alone (and an infinite C) from 1.8 on."""
    penalty = getattr(model, "penalty", "deprecated")
    if penalty is None or np.isinf(as_number(model.C, "C")):
        raise refusal(
            name, "was fitted without a penalty, and without one there is no certificate", "give it a finite C"
        )
    by_name = {"l2": 0.0, "l1": 1.0}
    return by_name[penalty] if penalty in by_name else as_number(model.l1_ratio or 0.0, "l1_ratio")


def _is_multinomial(model: Any, labels: int) -> bool:
    """The library's own rule where it has one (up to 1.7): it depends on option, solver and number of classes."""
    module = sys.modules.get("sklearn.linear_model._logistic")
    rule = getattr(module, "_check_multi_class", None)
    option = getattr(model, "multi_class", None)
    if rule is None or option is None:
        return labels > 2
    return bool(rule("auto" if option == "deprecated" else option, model.solver, labels) == "multinomial")


def _per(share: float, C: object) -> float:
    """share / C; infinite where C is 0."""
    value = as_number(C, "C")
    return share / value if value else math.inf


def _logistic(model: Any, name: str, version: str) -> FittedModel:
    common, share = _common(model, name, version), _l1_share(model, name)
    penalty = {"l2": _per(1 - share, model.C), "l1": _per(share, model.C)}
    if _is_multinomial(model, len(model.classes_)):
        if len(common["coef"]) == 1:  # two classes: one row is stored, the other is its negative
            for part in ("coef", "intercept"):
                stored = common[part]
                common[part] = None if stored is None else np.concatenate([-stored, stored])
        classes = {**_classes(model, name, rows=1, by_weight=True), "one_vs_rest": False}
        return _merged(common, classes, penalty, loss="softmax")
    classes = _classes(model, name, rows=len(common["coef"]), by_weight=True)
    intercept = _liblinear(model, common) if model.solver == "liblinear" else {}
    return _merged(common, classes, penalty, intercept, loss="logistic")


def _linear_svc(model: Any, name: str, version: str) -> FittedModel:
    if model.multi_class != "ovr":
        raise refusal(
            name, f"with multi_class={shown(model.multi_class)} minimises a loss that is not certified", "use 'ovr'"
        )
    common = _common(model, name, version)
    classes = _classes(model, name, rows=len(common["coef"]), by_weight=True)
    squared = model.loss == "squared_hinge"
    strength = 1 / (2 * model.C) if squared else 1 / model.C
    penalty = {"l2": 0.0, "l1": strength} if model.penalty == "l1" else {"l2": strength}
    loss = "squared-hinge" if squared else "hinge"
    return _merged(common, classes, penalty, _liblinear(model, common), loss=loss)


def _one_target(model: Any, name: str, coef: Any) -> None:
    if len(coef) > 1:
        raise refusal(name, f"predicts {len(coef)} targets at once", "fit and certify one target at a time")
    if getattr(model, "positive", False):
        raise refusal(name, "was fitted with positive=True: a constrained minimum has a gradient", "fit it without")


def _ridge(model: Any, name: str, version: str) -> FittedModel:
    common = _common(model, name, version)
    classifier = {}
    if name == "RidgeClassifier":
        classifier = {**_classes(model, name, rows=1, by_weight=False), "one_vs_rest": False}
    _one_target(model, name, common["coef"])
    return _merged(common, classifier, loss="squared", l2=as_number(np.ravel(model.alpha)[0], "alpha"))


def _elastic_net(model: Any, name: str, version: str) -> FittedModel:
    common = _common(model, name, version)
    _one_target(model, name, common["coef"])
    share, alpha = 1.0 if name == "Lasso" else as_number(model.l1_ratio, "l1_ratio"), as_number(model.alpha, "alpha")
    return _merged(common, loss="squared", l2=alpha * (1 - share), l1=alpha * share, scale=Scale.WEIGHT)


def _glm(model: Any, name: str, version: str) -> FittedModel:
    loss = {"PoissonRegressor": "poisson", "GammaRegressor": "gamma"}.get(name) or _tweedie(model, name)
    return _merged(_common(model, name, version), loss=loss, l2=as_number(model.alpha, "alpha"), scale=Scale.WEIGHT)


def _tweedie(model: Any, name: str) -> str:
    link = model.link if model.link != "auto" else ("log" if model.power > 0 else "identity")
    loss = {(0, "identity"): "squared", (1, "log"): "poisson", (2, "log"): "gamma"}.get((model.power, link))
    if loss is None:
        raise refusal(
            name,
            f"with power {shown(model.power)} and the link {shown(link)} has no loss here",
            "use power 1 or 2 with log",
        )
    return loss


def _sgd(model: Any, name: str, version: str) -> FittedModel:
    if model.loss not in _SGD_LOSSES:
        raise refusal(
            name,
            f"minimised the loss {shown(model.loss)}, which is not certified",
            f"use one of: {', '.join(_SGD_LOSSES)}",
        )
    if model.penalty is None:
        raise refusal(name, "was fitted without a penalty, and without one there is no certificate", "use penalty='l2'")
    if model.early_stopping:
        raise refusal(name, "with early_stopping=True leaves out records drawn at random", "fit it without")
    common = _common(model, name, version)
    classifier = {}
    if hasattr(model, "classes_"):
        classifier = _classes(model, name, rows=len(common["coef"]), by_weight=False)
    loss, ours = _SGD_LOSSES[model.loss]
    by_name, alpha = {"l2": 0.0, "l1": 1.0}, as_number(model.alpha, "alpha")
    share = by_name[model.penalty] if model.penalty in by_name else as_number(model.l1_ratio, "l1_ratio")
    return _merged(
        common,
        classifier,
        {"notes": ("stochastic gradients stop far from the minimum: a Newton step closes most of the distance",)},
        loss=loss,
        l2=alpha * (1 - share) / ours,
        l1=alpha * share / ours,
        scale=Scale.RECORDS,
    )


ADAPTERS: dict[str, Callable[[Any, str, str], FittedModel]] = {
    "LogisticRegression": _logistic,
    "LinearSVC": _linear_svc,
    "Ridge": _ridge,
    "RidgeClassifier": _ridge,
    "ElasticNet": _elastic_net,
    "Lasso": _elastic_net,
    "PoissonRegressor": _glm,
    "GammaRegressor": _glm,
    "TweedieRegressor": _glm,
    "SGDClassifier": _sgd,
    "SGDRegressor": _sgd,
}
