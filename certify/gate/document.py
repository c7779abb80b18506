"""From measurements to the document."""

import math
import os
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version

import numpy as np

from certify.convex.predictions import bound_predictions
from certify.core.errors import ConfigurationError
from certify.core.files import FileRecord
from certify.core.verdict import Verdict, worst
from certify.data.copies import near_copies
from certify.gate import claims
from certify.gate.assumptions import assumptions
from certify.gate.evidence import read_evidence
from certify.gate.inputs import Inputs, Model
from certify.gate.measure import Measurement, distance_limit, try_measure
from certify.gate.onestep import one_step
from certify.gate.spec import PolicySpec
from certify.gate.utility import METRICS, utility
from certify.privacy import gaussian
from certify.reports.schema import (
    SCHEMA_VERSION,
    Audit,
    CheckEntry,
    Comparison,
    Document,
    FileDigest,
    NextStep,
    ObjectiveSummary,
    PolicySummary,
    Predictions,
    Reproduction,
    Request,
    Subject,
    Tool,
    Utility,
)


def build_document(
    inputs: Inputs,
    checks: tuple[CheckEntry, ...],
    measured: Measurement | None,
    refusal: str | None,
    steps: tuple[NextStep, ...],
    audit: Audit | None = None,
) -> Document:
    """Everything a check found, as one document."""
    policy, forgotten = inputs.loaded.spec.policy, inputs.dataset.take(inputs.forgotten)
    copies, near = inputs.retained.copies_of(forgotten), near_copies(inputs.retained, forgotten)
    conditions = assumptions(inputs, policy, measured, refusal, copies, near)
    verdict = worst([check.verdict for check in checks])
    if verdict is Verdict.PASS and any(item.status == "violated" for item in conditions):
        verdict = Verdict.REFUSED  # a violated assumption is never a pass, whatever the checks say
    return Document(
        schema_version=SCHEMA_VERSION,
        created=now(),
        tool=tool(),
        verdict=verdict,
        exit_code=verdict.exit_code,
        subject=subject_part(inputs),
        request=request_part(inputs, copies),
        policy=policy_part(policy),
        checks=checks,
        guarantee=claims.guarantee(verdict, policy, measured),
        assumptions=conditions,
        not_covered=claims.NOT_COVERED,
        reproduction=Reproduction(
            command=f"certify check {inputs.loaded.path.name}", spec=_digest(inputs.loaded.record)
        ),
        objective=objective_part(inputs),
        bounds=None if measured is None else claims.bounds_part(inputs, measured),
        curve=() if measured is None else claims.curve(measured),
        attacker=claims.attacker(measured) if measured is not None and verdict is Verdict.PASS else None,
        comparison=_comparison(inputs, measured, policy),
        utility=_utility(inputs),
        next_steps=steps,
        evidence=read_evidence(inputs),
        predictions=_predictions(inputs, measured),
        shaped_noise=None if measured is None else claims.shaped_part(measured, policy),
        one_step=None if measured is None else one_step(inputs),
        audit=audit,
    )


def tool() -> Tool:
    """This software and the libraries its numbers depend on."""
    libraries = {name: version(name) for name in ("numpy", "scipy")}
    return Tool(
        name="certify",
        version=version("certify-unlearning"),
        python=platform.python_version(),
        libraries=libraries,
    )


def now() -> str:
    """UTC time; SOURCE_DATE_EPOCH fixes it, so that the same inputs can give the same bytes."""
    fixed = os.environ.get("SOURCE_DATE_EPOCH")
    if fixed is None:
        moment = datetime.now(UTC)
    else:
        try:
            moment = datetime.fromtimestamp(int(fixed), UTC)
        except (ValueError, OverflowError, OSError):
            raise ConfigurationError(
                f"{fixed!r} is not a number of seconds", where="SOURCE_DATE_EPOCH", mend="unset it"
            ) from None
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _digest(record: FileRecord) -> FileDigest:
    return FileDigest(path=record.path, sha256=record.sha256, bytes=record.size)


def subject_part(inputs: Inputs) -> Subject:
    """The model under review."""
    original = None if inputs.original is None else _digest(inputs.original.record)
    return Subject(
        kind="glm",
        model=_digest(inputs.model.record),
        original=original,
        parameters=inputs.problem.size,
        stored_as=inputs.model.weights.stored_as,
    )


def request_part(inputs: Inputs, copies: int) -> Request:
    """The request, counted."""
    return Request(
        forgotten=len(inputs.forgotten),
        retained=inputs.problem.records,
        total=len(inputs.dataset),
        data=_digest(inputs.data_record),
        forget=_digest(inputs.forget_record),
        retained_digest=inputs.retained.digest(),
        copies_retained=copies,
    )


def policy_part(policy: PolicySpec) -> PolicySummary:
    """The limits."""
    return PolicySummary(**policy.model_dump(), distance_limit=distance_limit(policy))


def objective_part(inputs: Inputs) -> ObjectiveSummary:
    """What training minimised."""
    objective = inputs.objective
    return ObjectiveSummary(
        loss=objective.loss,
        formula=objective.formula,
        l2=objective.l2,
        fit_intercept=objective.fit_intercept,
        penalize_intercept=objective.penalize_intercept,
        sample_weights=inputs.dataset.sample_weight is not None,
        features=inputs.dataset.X.shape[1],
        outputs=inputs.problem.outputs,
        smoothing=objective.smoothing,
        one_vs_rest=objective.one_vs_rest,
        l1=objective.l1,
    )


def _comparison(inputs: Inputs, measured: Measurement | None, policy: PolicySpec) -> Comparison | None:
    """The original model, certified in the same way on the same retained records."""
    original = inputs.original
    if original is None or measured is None:
        return None
    before = try_measure(inputs.problem, original.parameters, policy, measured.shape)
    distance, mu, epsilon = (
        (math.inf,) * 3 if before is None else (float(before.bound.distance), before.mu, before.epsilon)
    )
    published = inputs.loaded.spec.release.original_noise_std
    with np.errstate(over="ignore"):
        moved = float(np.linalg.norm(inputs.model.parameters - original.parameters))
    return Comparison(
        moved=moved,
        original_distance=distance,
        original_mu=mu,
        original_epsilon=epsilon,
        identical=inputs.model.weights.same_as(original.weights),
        published_noise_std=published,
        published_mu=_exposure(distance, published),
    )


def _exposure(distance: float, noise_std: float | None) -> float | None:
    """mu of the earlier release against a world in which the forgotten records never took part (docs/theory.md, 9)."""
    if noise_std is None:
        return None
    return gaussian.ratio(distance, noise_std) if noise_std > 0 else math.inf


def _predictions(inputs: Inputs, measured: Measurement | None) -> Predictions | None:
    if inputs.test is None or measured is None or not math.isfinite(measured.bound.distance):
        return None
    bound = bound_predictions(inputs.test, inputs.model.parameters, float(measured.bound.distance))
    return Predictions(**asdict(bound))


def _utility(inputs: Inputs) -> tuple[Utility, ...]:
    if inputs.test is None:
        return ()

    def score(model: Model | None) -> float | None:
        return None if model is None or inputs.test is None else utility(inputs.test, model.parameters)

    unlearned = score(inputs.model)
    assert unlearned is not None
    metric = METRICS[inputs.objective.loss]
    data = None if inputs.test_record is None else _digest(inputs.test_record)
    return (
        Utility(
            metric=metric,
            records=inputs.test.records,
            unlearned=unlearned,
            original=score(inputs.original),
            data=data,
        ),
    )
