"""The fifteen checks in order, and the ways to ask for them: a report, a pytest test, a command."""

from collections.abc import Callable, Sequence
from typing import Any

from certify.core.errors import CertifyError, ConfigurationError
from certify.core.names import did_you_mean
from certify.unlearners.conformance import accounting, effects, invariance, measures, oracles, protection
from certify.unlearners.conformance.findings import Finding, Report, fails
from certify.unlearners.conformance.trials import Trials, trials_of
from certify.unlearners.interface import Unlearner

Check = Callable[[Trials], Finding]

CHECKS: dict[str, Check] = {
    "no-op": effects.no_op,
    "sign": effects.sign,
    "permutation": invariance.permutation,
    "linear-oracle": oracles.linear_oracle,
    "mask-integrity": protection.mask_integrity,
    "tombstones": protection.tombstones,
    "fresh-init": oracles.fresh_init,
    "batch-size": invariance.batch_size,
    "finite": effects.finite,
    "knob-liveness": accounting.knob_liveness,
    "determinism": invariance.determinism,
    "isolation": protection.isolation,
    "empty-request": oracles.empty_request,
    "budget": accounting.budget,
    "measures": measures.measures,
}
"""Name to check, numbered 1 to 15 in their descriptions."""


def check(method: type[Unlearner] | Unlearner, checks: Sequence[str] | None = None) -> Report:
    """Hold a method to the checks, on tiny tasks, on the CPU.

    Args:
        method: a class, tried with its defaults and what it declares in ``conformance``; or an instance, tried with its knobs.
        checks: names in :data:`CHECKS`; all of them where none are given.

    Raises:
        ConfigurationError: there is no such check, or the class does not say what it is.
    """
    trials = trials_of(method)
    return Report(trials.method.name, tuple(find(trials, name) for name in (CHECKS if checks is None else checks)))


def find(trials: Trials, name: str) -> Finding:
    """One check's finding; what the method raises inside is a finding too.

    Raises:
        ConfigurationError: there is no check of that name.
    """
    if name not in CHECKS:
        raise ConfigurationError(f"unknown check {name!r}", where="conformance", mend=did_you_mean(name, CHECKS))
    try:
        found = CHECKS[name](trials)
    except CertifyError as error:
        found = fails(f"refused: {error}")
    except Exception as error:  # noqa: BLE001 - a stranger's method may raise anything
        found = fails(f"{type(error).__name__}: {str(error).strip()[:160]}")
    return Finding(found.outcome, found.why, name)


def suite(method: type[Unlearner] | Unlearner) -> Callable[..., None]:
    """A pytest test with one case a check; checks that do not apply are skipped with the reason.

    In a test file of a package that registers ``MyMethod``::

        from certify.unlearners import conformance
        from my_package import MyMethod

        test_my_method = conformance.suite(MyMethod)
    """
    import pytest

    kept: list[Trials] = []

    @pytest.mark.parametrize("check", list(CHECKS))
    def test_conformance(check: str) -> None:
        if not kept:
            kept.append(trials_of(method))
        settle(find(kept[0], check))

    return test_conformance


def settle(finding: Finding) -> None:
    """Tell pytest."""
    import pytest

    if finding.outcome == "fail":
        pytest.fail(f"{finding.check}: {finding.why}", pytrace=False)
    if finding.outcome == "not applicable":
        pytest.skip(finding.why)


def method_named(name: str) -> type[Unlearner]:
    """A registered method, or ``module:Class``.

    Raises:
        ConfigurationError: there is none.
    """
    from importlib import import_module

    from certify.unlearners.registry import get

    module, colon, kind = name.partition(":")
    if not colon:
        return get(name)
    try:
        found: Any = getattr(import_module(module), kind)
    except (ImportError, AttributeError):
        raise ConfigurationError(
            f"{name!r} cannot be imported", where="conformance", mend="write module:Class"
        ) from None
    if not (isinstance(found, type) and issubclass(found, Unlearner)):
        raise ConfigurationError(f"{name!r} is no Unlearner", where="conformance", mend="name a subclass of it")
    return found
