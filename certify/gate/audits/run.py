"""An audit from start to end: what the spec asks for, trained, looked at, judged."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from certify.attacks.audits.membership import Levels
from certify.core.arguments import as_whole
from certify.core.errors import ArgumentError, ConfigurationError
from certify.gate.audits.plan import LONG, Plan, plan_of, shown_seconds
from certify.gate.audits.seen import Seen
from certify.gate.check import CheckResult
from certify.gate.inputs import load_inputs
from certify.gate.load import LoadedSpec, load_spec
from certify.gate.measure import measure
from certify.gate.spec import AuditSpec

_LONG = 60.0
"""Seconds that are worth a line before they are spent."""


def audit(
    spec: str | Path | None = None,
    *,
    models: int | None = None,
    device: str | None = None,
    restart: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> CheckResult:
    """Run the audits of a spec.

    Args:
        spec: path of the spec; certify.toml or [tool.certify] of pyproject.toml when absent.
        models: shadow models, instead of the spec's.
        device: instead of the spec's.
        restart: train all models anew.
        tell: called with one line on what is worth knowing while it goes on.

    Raises:
        ConfigurationError, InputError: what the spec says or names makes no sense (exit 2 on the command line).
        TooLittlePowerError: too few models for any answer (exit 3).
        AssumptionViolatedError: nothing can be audited (exit 4).
    """
    models = _as_models(models)
    return audit_loaded(load_spec(spec), models=models, device=device, restart=restart, tell=tell)


def audit_loaded(
    loaded: LoadedSpec,
    *,
    models: int | None = None,
    device: str | None = None,
    restart: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> CheckResult:
    """:func:`audit` of a spec that was read before."""
    from certify.gate.audits.document import audit_document

    loaded = _with_models(loaded, models)
    plan, given = plan_of(loaded), _given(loaded)  # refuses an impossible [audit] before anything is read
    _refuse_models(plan, given, models)
    if loaded.spec.release.kind == "glm":
        return _of_linear(loaded, models, tell)
    levels = Levels(plan.fpr, given.confidence, 1 - plan.alpha / plan.findings, plan.delta)
    seen = Seen(loaded, plan, levels, asked=models)
    begun = time.monotonic()
    if given.scores is not None:
        from certify.gate.audits.scores_run import look_at_scores

        look_at_scores(seen, given)
    else:
        from certify.gate.audits.networks_run import look_at_networks

        look_at_networks(seen, given, device, tell, restart=restart)
    seen.seconds = time.monotonic() - begun
    return CheckResult(audit_document(seen))


def _of_linear(loaded: LoadedSpec, models: int | None, tell: Callable[[str], None]) -> CheckResult:
    """A linear model's attacks, held against its certificate."""
    from certify.gate.audits.linear_document import linear_document
    from certify.gate.audits.linear_run import audit_linear, expected_linear

    inputs, plan, given = load_inputs(loaded), plan_of(loaded), _given(loaded)
    if plan.membership:
        seconds = expected_linear(inputs, plan, given)
        if seconds >= LONG:
            tell(f"about {shown_seconds(seconds)} to refit and unlearn {given.models:,} shadow models")
    measured = measure(inputs.problem, inputs.model.parameters, loaded.spec.policy, inputs.noise_shape)
    seen = audit_linear(inputs, measured)
    seen.asked = models
    return CheckResult(linear_document(seen))


def _given(loaded: LoadedSpec) -> AuditSpec:
    assert loaded.spec.audit is not None  # plan_of refuses a spec without it
    return loaded.spec.audit


def _as_models(models: int | None) -> int | None:
    """An argument of ours, as the spec's own key is checked."""
    if models is None:
        return None
    count = as_whole(models, "models")
    if count < 2:
        raise ArgumentError(f"must be at least 2, not {count}", where="models", mend="train shadow models")
    return count


def _refuse_models(plan: Plan, given: AuditSpec, models: int | None) -> None:
    """A number of shadow models that nobody would train is not passed over in silence.

    Raises:
        ConfigurationError: the scores were made elsewhere, or no attack is on shadow models.
    """
    if models is None:
        return
    if given.scores is not None:
        raise ConfigurationError(
            "the scores hold the models that there are", where="models", mend="leave it out, or score more models"
        )
    if not plan.membership:
        raise ConfigurationError(
            "no attack of the spec is on shadow models",
            where="models",
            mend="leave it out; audit.replicates says how many models of this request are retrained",
        )


def _with_models(loaded: LoadedSpec, models: int | None) -> LoadedSpec:
    if models is None or loaded.spec.audit is None:
        return loaded
    changed = loaded.spec.audit.model_copy(update={"models": models})
    return replace(loaded, spec=loaded.spec.model_copy(update={"audit": changed}))


def forecast_audit(spec: str | Path | None = None, *, models: int | None = None, device: str | None = None) -> str:
    """What an audit will train, and about how long that takes; nothing is trained but a few steps.

    Raises:
        ConfigurationError, InputError, TooLittlePowerError: as for :func:`audit`.
    """
    from certify.gate.audits.forecast import forecast

    models = _as_models(models)
    loaded = _with_models(load_spec(spec), models)
    plan = plan_of(loaded)
    _refuse_models(plan, _given(loaded), models)
    if loaded.spec.release.kind == "glm":
        from certify.gate.audits.linear_run import forecast_linear

        return forecast_linear(load_inputs(loaded), plan, _given(loaded))
    return forecast(loaded, plan, device)
