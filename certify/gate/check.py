"""The gate: read, measure, judge; one verdict that text, JSON and the exit code all read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from certify.core.errors import AssumptionViolatedError
from certify.core.verdict import Verdict
from certify.gate import checks
from certify.gate.advice import advise, next_steps
from certify.gate.document import build_document
from certify.gate.inputs import Inputs, load_inputs
from certify.gate.load import load_spec
from certify.gate.measure import Measurement, look_ahead, measure
from certify.reports.schema import CheckEntry, Document


@dataclass(frozen=True)
class CheckResult:
    """The outcome of a check.

    Attributes:
        report: the document as an object, for the renderers.
    """

    report: Document

    @property
    def verdict(self) -> Verdict:
        """pass, fail, inconclusive or refused."""
        return self.report.verdict

    @property
    def exit_code(self) -> int:
        """0, 1, 3 or 4."""
        return self.report.exit_code

    @property
    def document(self) -> dict[str, Any]:
        """The document as plain values that ``json`` can write."""
        return self.report.to_dict()


def check(spec: str | Path | None = None) -> CheckResult:
    """Run every check of a spec.

    Args:
        spec: path of the spec; certify.toml or [tool.certify] of pyproject.toml when absent.

    Raises:
        ConfigurationError, InputError: what the spec says or names makes no sense (exit 2 on the command line).
        AssumptionViolatedError: the model's kind cannot be checked at all (exit 4).

    Example:
        ``check("certify.toml").exit_code`` is 0 when the model may be released.
    """
    return check_inputs(load_inputs(load_spec(spec)))


def check_inputs(inputs: Inputs) -> CheckResult:
    """Run every check on inputs that were read before."""
    policy = inputs.loaded.spec.policy
    measured, refusal = _measure(inputs)
    ahead: list[Measurement] = []
    advice = None
    if measured is not None and not measured.meets(policy):
        ahead = look_ahead(inputs.problem, inputs.model.parameters, measured, policy)
        advice = advise(inputs, measured, ahead)
    entries = _entries(inputs, measured, refusal, advice)
    return CheckResult(build_document(inputs, entries, measured, refusal, next_steps(ahead)))


def _measure(inputs: Inputs) -> tuple[Measurement | None, str | None]:
    try:
        return measure(inputs.problem, inputs.model.parameters, inputs.loaded.spec.policy), None
    except AssumptionViolatedError as error:
        return None, error.what


def _entries(
    inputs: Inputs, measured: Measurement | None, refusal: str | None, advice: str | None
) -> tuple[CheckEntry, ...]:
    spec = inputs.loaded.spec
    policy = spec.policy
    entries = [
        checks.request_check(inputs),
        checks.convexity_check(inputs, refusal),
        checks.delta_check(inputs, policy),
    ]
    if policy.tolerance is not None:
        entries.append(
            checks.unmeasured_check("tolerance", "certified distance", policy)
            if measured is None
            else checks.distance_check(policy, measured, advice)
        )
    entries.append(
        checks.unmeasured_check("privacy", "(epsilon, delta) certificate", policy)
        if measured is None
        else checks.privacy_check(policy, measured, advice)
    )
    if policy.max_total_mu is not None:
        entries.append(checks.ledger_check(policy))
    if spec.audit is not None:
        entries.append(checks.audit_check(list(spec.audit.attacks)))
    return tuple(entries)
