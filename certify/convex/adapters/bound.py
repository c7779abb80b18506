"""From a fitted model and the retained records to a certificate, with nothing left to translate by hand."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from certify.convex.adapters import adapt
from certify.convex.adapters.base import FittedModel
from certify.convex.adapters.pipelines import transform
from certify.convex.adapters.records import total
from certify.convex.certificate import DistanceBound, certify_parameters
from certify.convex.objective import Objective
from certify.convex.parameters import as_parameters
from certify.convex.problem import Problem, bind
from certify.core.arrays import FloatArray
from certify.core.bounds import UpperBound
from certify.core.errors import AssumptionViolatedError


@dataclass(frozen=True, eq=False)
class ModelProblem:
    """A fitted model as a problem of this library.

    Attributes:
        problem: its objective, bound to the retained records.
        parameters: its weights, (K, p).
        model: what the adapter read.
        transformers: the steps before the model that may be released with it, by name.
        notes: what else somebody who reads the certificate has to know.
    """

    problem: Problem
    parameters: FloatArray = field(repr=False)
    model: FittedModel
    transformers: tuple[tuple[str, Any], ...]
    notes: tuple[str, ...]

    @property
    def objective(self) -> Objective:
        """What training on the retained records minimises."""
        return self.problem.objective


@dataclass(frozen=True, eq=False)
class ModelBound(ModelProblem):
    """The same with its certificate.

    Attributes:
        bound: every bound on the distance of the parameters to the retrained ones.
    """

    bound: DistanceBound

    @property
    def distance(self) -> UpperBound:
        """Certified: ``||w - w*||`` is at most this, rounding included."""
        return self.bound.distance


def bind_model(
    model: Any,
    X: Any,
    y: Any,
    sample_weight: Any = None,
    *,
    refit: bool = False,
    public: Collection[str] = (),
    **declared: Any,
) -> ModelProblem:
    """What :func:`bound_model` certifies, without the certificate: same arguments, same errors but for those of the bound."""
    fitted = adapt(model, **declared)
    made = transform(fitted.steps, X, y, refit=refit, public=public)
    features = fitted.design(made.features)
    records = features.shape[0]
    coef, intercept = fitted.parameters
    if fitted.steps and features.shape[1] != coef.shape[1]:
        raise AssumptionViolatedError(
            f"fitted on the retained records the transformers give {features.shape[1]} features, the model has weights for {coef.shape[1]}",
            where=fitted.title,
            mend="train the whole pipeline again on the retained records",
        )
    targets = fitted.targets(y, records)
    weights = fitted.weights(y, sample_weight, records)
    objective = fitted.objective(records, total(weights))
    parameters = as_parameters(objective, coef if intercept is None else (coef, intercept), features.shape[1])
    problem = bind(objective, features, targets, len(parameters), weights)
    return ModelProblem(problem, parameters, fitted, made.steps, (*fitted.notes, *made.notes))


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
    the sample weights by its class weights, checks the transformers of a pipeline, and bounds as :func:`certify.bound_distance`.

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
    made = bind_model(model, X, y, sample_weight, refit=refit, public=public, **declared)
    bound = certify_parameters(made.problem, made.parameters)
    return ModelBound(made.problem, made.parameters, made.model, made.transformers, made.notes, bound)
