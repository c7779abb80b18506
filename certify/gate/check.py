"""The gate: read, measure, judge; one verdict that text, JSON and the exit code all read."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from certify.core.errors import AssumptionViolatedError
from certify.core.verdict import Verdict
from certify.gate import checks
from certify.gate.advice import advise, next_steps
from certify.gate.document import build_document
from certify.gate.inputs import Inputs, load_inputs
from certify.gate.load import LoadedSpec, load_spec
from certify.gate.measure import Measurement, look_ahead, measure
from certify.gate.standing import Standing, first_standing, ledger_exists, read_standing
from certify.reports.schema import Audit, CheckEntry, Document


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
        AssumptionViolatedError: nothing can be said of this model (exit 4).
        TooLittlePowerError: an audit with too few models for any answer (exit 3).

    Example:
        ``check("certify.toml").exit_code`` is 0 when the model may be released.
    """
    return check_loaded(load_spec(spec))


def check_loaded(loaded: LoadedSpec, tell: Callable[[str], None] = lambda _: None) -> CheckResult:
    """:func:`check` of a spec that was read before; a network is audited, and ``tell`` hears what is worth knowing meanwhile."""
    if loaded.spec.release.kind == "torch":
        if loaded.spec.audit is None:
            raise AssumptionViolatedError(
                "a network is audited, and the spec has no table [audit]: nothing was checked",
                where=str(loaded.path),
                mend='add one: attacks = ["u-lira"]; docs/audits.md has the rest',
            )
        from certify.gate.audits.run import audit_loaded

        return audit_loaded(loaded, tell=tell)
    inputs = load_inputs(loaded)
    return check_inputs(inputs, read_standing(inputs))


def check_inputs(inputs: Inputs, standing: Standing | None = None) -> CheckResult:
    """Run every check on inputs that were read before.

    Args:
        inputs: what the spec names.
        standing: where the project stands in its ledger, if a release was ever booked.
    """
    policy = inputs.loaded.spec.policy
    measured, refusal = _measure(inputs)
    ahead: list[Measurement] = []
    advice = None
    if measured is not None and not measured.meets(policy):
        ahead = look_ahead(inputs.problem, inputs.model.parameters, measured, policy)
        advice = advise(inputs, measured, ahead)
    audited, part = _audit(inputs, measured)
    entries = (*_entries(inputs, measured, refusal, advice), *audited, *_over_releases(inputs, standing))
    return CheckResult(build_document(inputs, entries, measured, refusal, next_steps(inputs, ahead), part))


def _audit(inputs: Inputs, measured: Measurement | None) -> tuple[tuple[CheckEntry, ...], Audit | None]:
    """The attacks of [audit], where there are any: they can contradict a certificate, never replace one."""
    if inputs.loaded.spec.audit is None:
        return (), None
    from certify.gate.audits.linear_document import linear_audit, linear_entries, unrun_entry
    from certify.gate.audits.linear_run import audit_linear

    if measured is None:
        return (unrun_entry(),), None
    seen = audit_linear(inputs, measured)
    return linear_entries(seen), linear_audit(seen)


def _measure(inputs: Inputs) -> tuple[Measurement | None, str | None]:
    shape = inputs.noise_shape  # where there can be none, that is an error of its own
    try:
        return measure(inputs.problem, inputs.model.parameters, inputs.loaded.spec.policy, shape), None
    except AssumptionViolatedError as error:
        return None, error.what


def _entries(
    inputs: Inputs, measured: Measurement | None, refusal: str | None, advice: str | None
) -> tuple[CheckEntry, ...]:
    policy = inputs.loaded.spec.policy
    entries = [
        checks.request_check(inputs),
        checks.convexity_check(inputs, measured, refusal),
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
    return tuple(entries)


def _over_releases(inputs: Inputs, standing: Standing | None) -> tuple[CheckEntry, ...]:
    """What only the ledger can tell: the total, and whether a forgotten record is back."""
    policy = inputs.loaded.spec.policy
    cap = policy.max_total_mu
    if inputs.dataset.numbered and (cap is not None or ledger_exists(inputs)):
        return (checks.unrecognisable_check(cap),)
    entries = [] if standing is None else [checks.tombstone_check(standing)]
    if cap is not None:
        entries.append(checks.ledger_check(cap, standing or first_standing(inputs), policy.noise_shape))
    return tuple(entries)
