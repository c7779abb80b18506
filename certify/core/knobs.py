"""Settings as frozen dataclasses: each field is a knob whose annotation holds its type and range."""

import math
from collections.abc import Hashable
from dataclasses import fields
from functools import cache
from typing import Any, cast, get_type_hints

from certify.core.arguments import shown
from certify.core.errors import ConfigurationError
from certify.core.names import did_you_mean


def check_knobs(value: Any, where: str) -> None:
    """Check every field of a dataclass instance against its annotation, ranges in ``Annotated[..., Field(...)]`` included.

    Numbers are not read from text and true is no number; an int is taken for a float. No setting is infinite, unless it is so
    by default.

    Raises:
        ConfigurationError: names the knob, its value and what is allowed.
    """
    from pydantic import ValidationError

    for knob in fields(value):
        given = getattr(value, knob.name)
        try:
            _adapter(type(value), knob.name).validate_python(given, strict=True)
        except ValidationError as error:
            raise ConfigurationError(
                f"{shown(given)} makes no sense ({error.errors()[0]['msg'].lower()})",
                where=f"{where}.{knob.name}",
                mend=f"the default is {knob.default}",
            ) from None
        if isinstance(given, float) and math.isinf(given) and given != knob.default:
            raise ConfigurationError(
                f"{shown(given)} makes no sense (input should be a finite number)",
                where=f"{where}.{knob.name}",
                mend=f"the default is {knob.default}",
            )


def check_names(kind: type[Any], given: Any, where: str) -> None:
    """Refuse names that are no field of the dataclass.

    Raises:
        ConfigurationError: names the first unknown one and the nearest knob.
    """
    known = [knob.name for knob in fields(kind)]
    for name in given:
        if name not in known:
            mend = did_you_mean(name, known) if known else "it has no knobs"
            raise ConfigurationError(f"{where} has no knob {name!r}", where="--set", mend=mend)


def parse_knob(kind: type[Any], name: str, given: Any) -> Any:
    """A knob's value from text, as on the command line ("none" is None), or from a value as in a spec.

    Raises:
        ConfigurationError: it is of the wrong kind or out of range.
    """
    from pydantic import ValidationError

    try:
        return _adapter(kind, name).validate_python(
            None if isinstance(given, str) and given.lower() == "none" else given
        )
    except ValidationError as error:
        raise ConfigurationError(
            f"{name}={str(given)[:40]} makes no sense ({error.errors()[0]['msg'].lower()})",
            where="--set",
            mend=f"see `certify list unlearners {getattr(kind, 'name', '')}".rstrip() + "`",
        ) from None


def _adapter(kind: type[Any], name: str) -> Any:
    adapters = _adapters_of(cast("Hashable", kind))
    return adapters[name]


@cache
def _adapters_of(kind: Hashable) -> dict[str, Any]:
    from pydantic import PydanticUserError, TypeAdapter

    hints, found = get_type_hints(kind, include_extras=True), {}
    for knob in fields(cast("Any", kind)):
        try:
            found[knob.name] = TypeAdapter(hints[knob.name])
        except PydanticUserError:  # a type that cannot be checked: a stranger's method may carry an object of its own
            found[knob.name] = TypeAdapter(Any)
    return found
