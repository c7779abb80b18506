"""What every adapter returns: a fitted model in the sum convention of :class:`certify.convex.objective.Objective`.

A library minimises, on n records with sample weights a_i of sum A and up to a constant factor,

    total:    sum_i a_i loss_i + (l2/2) ||w||^2 + l1 ||w||_1
    records:  (1/n) sum_i a_i loss_i + (alpha/2) ||w||^2 + ...       hence l2 = alpha n
    weight:   (1/A) sum_i a_i loss_i + (alpha/2) ||w||^2 + ...       hence l2 = alpha A

so that the total coefficient of a mean convention depends on the *retained* records: n and A are theirs.
"""

import math
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any, cast

import numpy as np

from certify.convex.adapters.records import class_numbers, class_weights
from certify.convex.losses import LOSSES
from certify.convex.numbers import as_column, as_matrix
from certify.convex.objective import Objective
from certify.core.arguments import as_flag, as_number, require_type
from certify.core.arrays import AnyArray, FloatArray
from certify.core.errors import AssumptionViolatedError, ConfigurationError, InputError
from certify.core.rows import Rows, is_sparse

CLOSE = 1e-9
"""Relative difference up to which two penalties are one number written twice, as 1/C and its decimal."""


class NoAdapterError(InputError):
    """An object of a known library that no adapter reads."""


class Scale(Enum):
    """What a library's penalty is multiplied by to be a total one."""

    TOTAL = "total"
    RECORDS = "records"
    WEIGHT = "weight"


@dataclass(frozen=True)
class Declared:
    """What a model does not say itself and its user has to.

    Attributes:
        loss: name of the loss (torch).
        l2: total coefficient of ``||w||^2 / 2`` (torch).
        penalize_intercept: whether ``l2`` applies to the intercept too (torch).
        alpha: ``alpha`` as it was given to ``fit_regularized`` (statsmodels).
        l1_weight: its ``L1_wt``.
    """

    loss: str | None = None
    l2: float | None = None
    penalize_intercept: bool | None = None
    alpha: float | None = None
    l1_weight: float | None = None

    def __post_init__(self) -> None:
        if self.loss is not None:
            require_type(self.loss, str, "loss", "give the name of a loss, see `certify list losses`")
        if self.penalize_intercept is not None:
            as_flag(self.penalize_intercept, "penalize_intercept")
        for name in ("l2", "alpha", "l1_weight"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else as_number(value, name))

    def refuse(self, name: str, *names: str) -> None:
        """Refuse what ``name`` says itself."""
        for key in names:
            if getattr(self, key) is not None:
                raise ConfigurationError(
                    f"{name} takes no {key}", where=key, mend="leave it out: it is read from the model or means nothing"
                )


@dataclass(frozen=True, eq=False)
class FittedModel:
    """A fitted model of some library, in the conventions of this one.

    Attributes:
        name, library, version: what it was fitted with.
        loss: name of a loss.
        coef: (K, d), exactly as stored.
        intercept: (K,), None without one.
        l2, l1: penalties as the library counts them; :meth:`objective` has the total ones.
        scale: how it counts them.
        penalize_intercept: whether the penalties apply to the intercept.
        one_vs_rest: K heads, each for its class against all others.
        classes: labels in the order of the rows of ``coef``; None for a regression.
        class_weight: None, "balanced", or weights by label; they multiply the sample weights.
        balance_by_weight: whether "balanced" counts sample weights (a matter of the library's version).
        intercept_scaling: the constant s of the column whose weight is intercept / s (liblinear).
        needs_weights: why sample weights have to be given; empty where they need not.
        steps: transformers of a pipeline, by name.
        notes: what else somebody who reads the certificate has to know.
    """

    name: str
    library: str
    version: str
    loss: str
    coef: AnyArray
    intercept: AnyArray | None
    l2: float
    l1: float = 0.0
    scale: Scale = Scale.TOTAL
    penalize_intercept: bool = False
    one_vs_rest: bool = False
    classes: AnyArray | None = None
    class_weight: Any = None
    balance_by_weight: bool = False
    intercept_scaling: float = 1.0
    needs_weights: str = ""
    steps: tuple[tuple[str, Any], ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def title(self) -> str:
        """Library, version and class, for messages."""
        return f"{self.library} {self.version} {self.name}"

    @property
    def fit_intercept(self) -> bool:
        """Whether there is an intercept that the objective has a column of ones for."""
        return self.intercept is not None and self.intercept_scaling == 1

    @property
    def parameters(self) -> tuple[AnyArray, AnyArray | None]:
        """(coef, intercept) as :func:`certify.bound_distance` takes them.

        With ``intercept_scaling`` s other than 1 the weight of the constant column s, which is intercept / s, stands last in
        coef and there is no intercept: see :meth:`design`.
        """
        if self.intercept is None or self.fit_intercept:
            return self.coef, self.intercept
        return np.hstack([self.coef, (self.intercept / self.intercept_scaling)[:, None]]), None

    def design(self, X: Any) -> Rows:
        """The features as the parameters count them: with the column s where there is one."""
        rows: Any = as_matrix(X)
        if self.intercept is None or self.fit_intercept:
            return cast("Rows", rows)
        column = np.full((rows.shape[0], 1), self.intercept_scaling)
        if is_sparse(rows):
            from scipy import sparse

            return as_matrix(sparse.hstack([rows, sparse.csr_array(column)], format="csr"))
        return np.hstack([np.asarray(rows[:], dtype=np.float64), column])

    def objective(self, records: int, total_weight: float) -> Objective:
        """What training on that many records, with that sum of their weights, minimises.

        Raises:
            AssumptionViolatedError: it has a loss or a term that this version does not certify.
        """
        factor = {Scale.TOTAL: 1.0, Scale.RECORDS: float(records), Scale.WEIGHT: total_weight}[self.scale]
        if self.loss not in LOSSES:
            raise AssumptionViolatedError(
                f"the {self.loss} loss of {self.name} is not one that this version certifies",
                where=self.title,
                mend=f"train with one of: {', '.join(LOSSES)}",
            )
        extras = {"l1": self.l1 * factor} if self.l1 else {}
        flags = {"one_vs_rest": True} if self.one_vs_rest else {}
        known = {item.name for item in fields(Objective)}
        for term, words in (("l1", "an l1 penalty"), ("one_vs_rest", "one-versus-rest heads")):
            if term in {**extras, **flags} and term not in known:
                raise AssumptionViolatedError(
                    f"{self.name} was fitted with {words}, which this version does not certify",
                    where=self.title,
                    mend="train with an l2 penalty, and certify one head at a time",
                )
        intercept = {"fit_intercept": self.fit_intercept, "penalize_intercept": self.penalize_intercept}
        if not self.fit_intercept:
            intercept = {}
        return Objective(self.loss, self.l2 * factor, **intercept, **extras, **flags)  # type: ignore[arg-type]

    def targets(self, y: Any, records: int) -> AnyArray:
        """Targets as the loss takes them: class numbers, signs where a classifier minimises the squared loss.

        Raises:
            InputError: a label that the model does not know, or not one target a record.
            AssumptionViolatedError: a class that no retained record has: a retrained model would not know it.
        """
        if self.classes is None:
            return as_column(y, "y", records)
        numbers = class_numbers(y, self.classes, records)
        missing = len(self.classes) - len(np.unique(numbers))
        if missing:
            raise AssumptionViolatedError(
                f"{missing} of the {len(self.classes)} classes of {self.name} have no retained record: a retrained model would not know them",
                where="y",
                mend="train again on the retained records",
            )
        return 2.0 * numbers - 1.0 if self.loss == "squared" else numbers

    def weights(self, y: Any, sample_weight: Any, records: int) -> FloatArray:
        """Sample weights, multiplied by the class weights that the retained records have."""
        if sample_weight is None and self.needs_weights:
            raise InputError(
                self.needs_weights, where="sample_weight", mend="pass those of the retained records as sample_weight"
            )
        plain = np.ones(records) if sample_weight is None else as_column(sample_weight, "sample_weight", records)
        if self.class_weight is None or self.classes is None:
            return plain
        by_class = class_weights(
            self.class_weight, self.classes, np.asarray(y), plain if self.balance_by_weight else None
        )
        return np.asarray(plain * by_class[class_numbers(y, self.classes, records)])


def disagreement(declared: Objective, own: Objective) -> str:
    """The first thing in which a model's own objective is not the declared one, as "fitted, declared"; empty when none is."""
    keys = ["loss", "fit_intercept", *(["penalize_intercept"] if own.fit_intercept and declared.fit_intercept else [])]
    keys += [key for key in ("one_vs_rest",) if hasattr(own, key)]
    for key in keys:
        if getattr(own, key) != getattr(declared, key):
            return f"{key} is {_words(getattr(own, key))}, the objective says {_words(getattr(declared, key))}"
    for key in ("l2", "l1"):
        first, second = getattr(own, key, 0.0), getattr(declared, key, 0.0)
        if not math.isclose(first, second, rel_tol=CLOSE, abs_tol=0.0):
            return f"{key} is {first:.10g} in total, the objective says {second:.10g}"
    return ""


def _words(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)
