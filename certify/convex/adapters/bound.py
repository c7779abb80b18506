"""From a fitted model and the retained records to a certificate, with nothing left to translate by hand."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from certify.convex.adapters import adapt
from certify.convex.adapters.base import FittedModel, total
from certify.convex.adapters.pipelines import dense, transform
from certify.convex.certificate import DistanceBound, bound_distance
from certify.convex.numbers import as_matrix
from certify.convex.objective import Objective
from certify.core.arrays import AnyArray, FloatArray
from certify.core.bounds import UpperBound
from certify.core.errors import AssumptionViolatedError


@dataclass(frozen=True, eq=False)
class ModelBound:
    """A certificate of a fitted model, with all that was read from the model.

    Attributes:
        bound: every bound on the distance of its parameters to the retrained ones.
        objective: what was certified, on the retained records.
        model: what the adapter read.
        transformers: the steps before the model that may be released with it, by name.
        features, targets, sample_weight: the records in the form that ``bound_distance`` takes.
        notes: what else somebody who reads the certificate has to know.
    """

    bound: DistanceBound
    objective: Objective
    model: FittedModel
    transformers: tuple[tuple[str, Any], ...]
    features: AnyArray = field(repr=False)
    targets: AnyArray = field(repr=False)
    sample_weight: FloatArray = field(repr=False)
    notes: tuple[str, ...] = ()

    @property
    def distance(self) -> UpperBound:
        """Certified: ``||w - w*||`` is at most this, rounding included."""
        return self.bound.distance


def bound_model(
    model: Any,
    X: Any,
    y: Any,
    sample_weight: Any = None,
    *,
    refit: bool = False,
    public: Collection[str] = (),
    **declared: Any,
) -> ModelBound:
    """Bound the distance of a fitted model to the one retrained on the retained records.

    Reads the objective from the model in its library's conventions, encodes the labels in the order of its classes, multiplies
    the sample weights by its class weights, checks the transformers of a pipeline, and calls :func:`certify.bound_distance`.

    Args:
        model: a fitted scikit-learn estimator or pipeline, statsmodels results, or a ``torch.nn.Linear``.
        X: features of the *retained* records, (n, d), as the model takes them.
        y: their targets or labels, (n,), as the model was trained with them.
        sample_weight: (n,), all 1 when absent.
        refit: where a pipeline's transformer is not what fitting it on the retained records gives, use the one that is.
        public: names of transformers declared to hold nothing about the forgotten records.
        declared: what the model does not keep: see :func:`certify.adapt`.

    Raises:
        InputError, ConfigurationError: what was given makes no sense (exit 2).
        AssumptionViolatedError: nothing can be certified, with the reason (exit 4); a stale transformer is one.

    Example:
        ``bound_model(LogisticRegression(C=0.1).fit(X, y), X, y).distance``
    """
    fitted = adapt(model, **declared)
    made = transform(fitted.steps, X, y, refit=refit, public=public)
    features = fitted.design(as_matrix(dense(made.features)))
    coef, intercept = fitted.parameters
    if fitted.steps and features.shape[1] != coef.shape[1]:
        raise AssumptionViolatedError(
            f"fitted on the retained records the transformers give {features.shape[1]} features, the model has weights for {coef.shape[1]}",
            where=fitted.title,
            mend="train the whole pipeline again on the retained records",
        )
    weights = fitted.weights(y, sample_weight, len(features))
    targets = fitted.targets(y, len(features))
    objective = fitted.objective(len(features), total(weights))
    bound = bound_distance(objective, features, targets, coef if intercept is None else (coef, intercept), weights)
    return ModelBound(bound, objective, fitted, made.steps, features, targets, weights, (*fitted.notes, *made.notes))
