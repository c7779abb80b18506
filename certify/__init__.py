"""certify: the release gate for machine unlearning.

Nothing heavy is imported before it is used::

    from certify import Objective, bound_distance, gaussian, check, audit
    from certify import attacks, unlearners
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from certify import attacks, unlearners
    from certify.convex.adapters import FittedModel, adapt
    from certify.convex.adapters.bound import ModelBound, bound_model
    from certify.convex.certificate import DistanceBound, bound_distance
    from certify.convex.objective import Objective
    from certify.gate.audits.run import audit
    from certify.gate.check import CheckResult, check
    from certify.privacy import gaussian

__all__ = [
    "CheckResult",
    "DistanceBound",
    "FittedModel",
    "ModelBound",
    "Objective",
    "__version__",
    "adapt",
    "attacks",
    "audit",
    "bound_distance",
    "bound_model",
    "check",
    "gaussian",
    "unlearners",
]

_HOMES = {
    "CheckResult": "certify.gate.check:CheckResult",
    "DistanceBound": "certify.convex.certificate:DistanceBound",
    "FittedModel": "certify.convex.adapters:FittedModel",
    "ModelBound": "certify.convex.adapters.bound:ModelBound",
    "Objective": "certify.convex.objective:Objective",
    "adapt": "certify.convex.adapters:adapt",
    "attacks": "certify.attacks",
    "audit": "certify.gate.audits.run:audit",
    "bound_distance": "certify.convex.certificate:bound_distance",
    "bound_model": "certify.convex.adapters.bound:bound_model",
    "check": "certify.gate.check:check",
    "gaussian": "certify.privacy.gaussian",
    "unlearners": "certify.unlearners",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("certify-unlearning")
    if name not in _HOMES:
        raise AttributeError(f"module 'certify' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    value = import_module(module)
    return getattr(value, attribute) if attribute else value


def __dir__() -> list[str]:
    return sorted(__all__)
