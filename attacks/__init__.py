"""Floor 3: what an attacker's success proves about a release. Nothing heavy is imported before it is used.

>>> from certify import attacks
>>> print(attacks.epsilon_lower_bound(true_positives=95, positives=100, false_positives=2, negatives=100, delta=1e-5))
2.53
>>> attacks.names()[:4]
('u-lira', 'u-lira-offline', 'lira', 'rmia')
>>> attacks.phi([[2.0, -1.0]], [0]).tolist()
[3.0]
>>> attacks.roc([3.0, 2.0, 1.0, 0.0], [True, True, False, False]).auc
1.0
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from certify.attacks.audits.fleet import FleetAudit, audit_fleet
    from certify.attacks.audits.judge import settled
    from certify.attacks.audits.membership import Levels
    from certify.attacks.audits.ranking import rank_records
    from certify.attacks.epsilon import epsilon_from_scores, epsilon_lower_bound
    from certify.attacks.estimates import Estimate
    from certify.attacks.observations import Observations, Trials
    from certify.attacks.registry import get, names
    from certify.attacks.scores.calibrated import difficulty_calibration
    from certify.attacks.scores.conformal import attack_r
    from certify.attacks.scores.lira import lira
    from certify.attacks.scores.phi import phi, phi_from_probability, signals
    from certify.attacks.scores.rmia import rmia
    from certify.attacks.statistics import coin_flip, one_run
    from certify.attacks.statistics.coin_betting import by_betting
    from certify.attacks.statistics.coin_flip import draw_coins
    from certify.attacks.statistics.means import auc_over_models, epsilon_lower_bound_over_models, rate_over_models
    from certify.attacks.statistics.one_run import one_run_epsilon, one_run_gdp
    from certify.attacks.statistics.roc import roc, roc_of_trials

__all__ = [
    "Estimate",
    "FleetAudit",
    "Levels",
    "Observations",
    "Trials",
    "attack_r",
    "auc_over_models",
    "audit_fleet",
    "by_betting",
    "coin_flip",
    "difficulty_calibration",
    "draw_coins",
    "epsilon_from_scores",
    "epsilon_lower_bound",
    "epsilon_lower_bound_over_models",
    "get",
    "lira",
    "names",
    "one_run",
    "one_run_epsilon",
    "one_run_gdp",
    "phi",
    "phi_from_probability",
    "rank_records",
    "rate_over_models",
    "rmia",
    "roc",
    "roc_of_trials",
    "settled",
    "signals",
]

_HOMES = {
    "Estimate": "estimates:Estimate",
    "FleetAudit": "audits.fleet:FleetAudit",
    "Levels": "audits.membership:Levels",
    "Observations": "observations:Observations",
    "Trials": "observations:Trials",
    "attack_r": "scores.conformal:attack_r",
    "auc_over_models": "statistics.means:auc_over_models",
    "audit_fleet": "audits.fleet:audit_fleet",
    "by_betting": "statistics.coin_betting:by_betting",
    "coin_flip": "statistics.coin_flip",
    "difficulty_calibration": "scores.calibrated:difficulty_calibration",
    "draw_coins": "statistics.coin_flip:draw_coins",
    "epsilon_from_scores": "epsilon:epsilon_from_scores",
    "epsilon_lower_bound": "epsilon:epsilon_lower_bound",
    "epsilon_lower_bound_over_models": "statistics.means:epsilon_lower_bound_over_models",
    "get": "registry:get",
    "lira": "scores.lira:lira",
    "names": "registry:names",
    "one_run": "statistics.one_run",
    "one_run_epsilon": "statistics.one_run:one_run_epsilon",
    "one_run_gdp": "statistics.one_run:one_run_gdp",
    "phi": "scores.phi:phi",
    "phi_from_probability": "scores.phi:phi_from_probability",
    "rank_records": "audits.ranking:rank_records",
    "rate_over_models": "statistics.means:rate_over_models",
    "rmia": "scores.rmia:rmia",
    "roc": "statistics.roc:roc",
    "roc_of_trials": "statistics.roc:roc_of_trials",
    "settled": "audits.judge:settled",
    "signals": "scores.phi:signals",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'certify.attacks' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    value = import_module(f"certify.attacks.{module}")
    return getattr(value, attribute) if attribute else value


def __dir__() -> list[str]:
    return sorted(__all__)
