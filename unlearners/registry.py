"""Methods by name."""

from dataclasses import fields
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from certify.core.errors import ConfigurationError
from certify.core.names import did_you_mean
from certify.unlearners.identity import Identity
from certify.unlearners.interface import Unlearner
from certify.unlearners.newton import Newton
from certify.unlearners.retrain import Retrain

_METHODS: dict[str, type[Unlearner]] = {method.name: method for method in (Retrain, Newton, Identity)}


def names() -> tuple[str, ...]:
    """All registered methods."""
    return tuple(_METHODS)


def get(name: str) -> type[Unlearner]:
    """The method called ``name``; call it with its knobs.

    Raises:
        ConfigurationError: there is none of that name.
    """
    if name not in _METHODS:
        raise ConfigurationError(f"unknown unlearner {name!r}", where="--method", mend=did_you_mean(name, _METHODS))
    return _METHODS[name]


def build(name: str, settings: dict[str, str]) -> Unlearner:
    """A method with knobs given as text, as on the command line.

    Raises:
        ConfigurationError: unknown method or knob, or a value of the wrong kind or range.
    """
    method = get(name)
    known = [knob.name for knob in fields(method)]
    values: dict[str, Any] = {}
    for knob, text in settings.items():
        if knob not in known:
            mend = did_you_mean(knob, known) if known else "it has no knobs"
            raise ConfigurationError(f"{name} has no knob {knob!r}", where="--set", mend=mend)
        values[knob] = _parse(method, knob, text)
    return method(**values)


def _parse(method: type[Unlearner], knob: str, text: str) -> Any:
    kind = get_type_hints(method)[knob]
    try:
        return TypeAdapter(kind).validate_python(None if text.lower() == "none" else text)
    except ValidationError as error:
        raise ConfigurationError(
            f"{knob}={text[:40]} makes no sense ({error.errors()[0]['msg'].lower()})",
            where="--set",
            mend="give a number",
        ) from None
