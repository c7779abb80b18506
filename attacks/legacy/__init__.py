"""Scores that papers report and that have no null of their own, each beside its value for retrained models."""

from certify.attacks.legacy.against import AgainstNull, against_null, over_models, values_against_null
from certify.attacks.legacy.entropy_attack import entropy_attack
from certify.attacks.legacy.klom_plug_in import klom_plug_in
from certify.attacks.legacy.mia_efficacy import mia_efficacy
from certify.attacks.legacy.neurips_2023 import forgetting_quality
from certify.attacks.legacy.plug_in_epsilon import plug_in_epsilon
from certify.attacks.legacy.rf_jsd import rf_jsd
from certify.attacks.legacy.u_mia import u_mia

__all__ = [
    "AgainstNull",
    "against_null",
    "entropy_attack",
    "forgetting_quality",
    "klom_plug_in",
    "mia_efficacy",
    "over_models",
    "plug_in_epsilon",
    "rf_jsd",
    "u_mia",
    "values_against_null",
]
