"""Model files that carry an estimator: what it minimised must be what the spec declares."""

from pathlib import Path

from certify.convex.adapters import FittedModel, adapt, require_agreement, require_expressible, total
from certify.convex.problem import Problem
from certify.core.errors import CertifyError, InputError
from certify.core.files import FileRecord
from certify.models.estimators import load_estimator


def read_fitted(path: Path) -> tuple[FittedModel, FileRecord]:
    """The estimator of a skops file.

    Raises:
        InputError: the file cannot be read, or holds nothing that an adapter reads.
        AssumptionViolatedError: what it minimised cannot be certified.
    """
    estimator, record = load_estimator(path)
    try:
        fitted = adapt(estimator)
        if fitted.steps:
            raise InputError(
                "holds a pipeline: its transformers cannot be checked against features that are already made",
                mend="save its last step alone and give the features that go into it, or call certify.bound_model from Python",
            )
        require_expressible(fitted)
    except CertifyError as error:
        raise type(error)(error.what, where=str(path), mend=error.mend) from None
    return fitted, record


def require_declared(fitted: FittedModel | None, problem: Problem, where: str) -> None:
    """Refuse an estimator whose own objective on the retained records is not the declared one.

    Raises:
        InputError, AssumptionViolatedError: see :func:`certify.convex.adapters.require_agreement`.
    """
    if fitted is None:
        return
    try:
        require_agreement(fitted, problem.objective, problem.records, total(problem.weights))
    except CertifyError as error:
        raise type(error)(error.what, where=where, mend=error.mend) from None
