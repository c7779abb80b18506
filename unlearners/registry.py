"""Methods by name: the built-in ones, and those of installed packages (entry points ``certify.unlearners``).

A method's module is imported when the method is asked for: those for networks import torch, which the convex path never does.
"""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from certify.core.arguments import require_type, shown
from certify.core.errors import ConfigurationError
from certify.core.knobs import check_names, parse_knob
from certify.core.names import did_you_mean
from certify.unlearners.interface import Kind, Unlearner, refuse_kind

_BUILT_IN = {
    "retrain": "retrain:Retrain",
    "sisa": "sisa:Sisa",
    "newton": "newton:Newton",
    "ngd": "ngd:Ngd",
    "ngd-minmax": "ngd_minmax:NgdMinMax",
    "fine-tune": "finetune:FineTune",
    "gradient-ascent": "gradient_ascent:GradientAscent",
    "muso": "muso:Muso",
    "curenewton": "curenewton:CureNewton",
    "curenewton-stochastic": "curenewton_stochastic:CureNewtonStochastic",
    "damped-newton": "damped_newton:DampedNewton",
    "pinv-newton": "pinv_newton:PinvNewton",
    "neggrad-plus": "neggrad_plus:NegGradPlus",
    "npo": "npo:NegativePreference",
    "random-labels": "random_labels:RandomLabels",
    "salun": "salun:SalUn",
    "boundary-shrink": "boundary_shrink:BoundaryShrink",
    "unsir": "unsir:Unsir",
    "bad-teacher": "bad_teacher:BadTeacher",
    "delete": "delete:Delete",
    "lotus": "lotus:Lotus",
    "scrub": "scrub:Scrub",
    "l1-sparse": "l1_sparse:L1Sparse",
    "cf-k": "last_layers:CatastrophicLast",
    "eu-k": "last_layers:ExactLast",
    "msg": "msg:SmallestGradients",
    "ct": "transpose:KernelTranspose",
    "not": "negation:Negation",
    "influence": "influence:Influence",
    "fisher-forgetting": "fisher_forgetting:FisherForgetting",
    "ssd": "dampening:SelectiveDampening",
    "noisy-fine-tune": "noisy_finetune:NoisyFineTune",
    "identity": "identity:Identity",
}
"""Name to ``module:Class`` in :mod:`certify.unlearners.methods`."""
_LINEAR = {"retrain", "newton", "ngd", "muso", "curenewton", "damped-newton", "pinv-newton", "identity"}
"""Those for linear models, as their ``kinds`` say: asking the others' classes would import torch."""


def names() -> tuple[str, ...]:
    """All registered methods, the built-in ones first."""
    return (*_BUILT_IN, *sorted(set(_others()) - set(_BUILT_IN)))


def get(name: str) -> type[Unlearner]:
    """The method called ``name``; call it with its knobs.

    Raises:
        ConfigurationError: there is none of that name, or an installed package's cannot be loaded.
    """
    require_type(name, str, "unlearner", "give a name; unlearners.names() has them all")
    if name in _BUILT_IN:
        module, _, kind = _BUILT_IN[name].partition(":")
        return getattr(import_module(f"certify.unlearners.methods.{module}"), kind)  # type: ignore[no-any-return]
    if name not in _others():
        close = did_you_mean(name, names())
        mend = close if close.endswith("?") else "`certify list unlearners` names them all"
        raise ConfigurationError(f"unknown unlearner {shown(name)}", where="--method", mend=mend)
    return _load(_others()[name])


def check_kind(name: str, kind: Kind) -> None:
    """Refuse a method that is not for this kind of model, without importing torch for linear ones.

    Raises:
        ConfigurationError: it is not, there is none of that name, or an installed package's cannot be loaded.
    """
    known = name in _BUILT_IN and kind == "convex"
    refuse_kind(name, kind, fits=name in _LINEAR if known else kind in get(name).kinds)


def build(name: str, settings: Mapping[str, Any]) -> Unlearner:
    """A method with knobs given as text, as on the command line, or as values, as in a spec.

    Raises:
        ConfigurationError: unknown method or knob, or a value of the wrong kind or range.
    """
    method = get(name)
    check_names(method, settings, name)
    values: dict[str, Any] = {knob: parse_knob(method, knob, value) for knob, value in settings.items()}
    return method(**values)


@cache
def _others() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group="certify.unlearners")}


def _load(point: EntryPoint) -> type[Unlearner]:
    try:
        found = point.load()
    except Exception as error:  # noqa: BLE001 - a stranger's module may raise anything
        raise ConfigurationError(
            f"cannot be loaded ({type(error).__name__})",
            where=f"unlearner {point.name!r} ({point.value})",
            mend="mend or remove the package that registers it",
        ) from None
    if not (isinstance(found, type) and issubclass(found, Unlearner)):
        raise ConfigurationError(
            "is no subclass of certify.unlearners.Unlearner",
            where=f"unlearner {point.name!r} ({point.value})",
            mend="mend or remove the package that registers it",
        )
    return found
