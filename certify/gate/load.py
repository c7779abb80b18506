"""Reading the spec: from TOML to types, with one clear line for whatever is wrong."""

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from certify.attacks.registry import FOR_LINEAR
from certify.core.arguments import require_type, shown
from certify.core.errors import ConfigurationError
from certify.core.files import FileRecord, read_text
from certify.core.names import did_you_mean
from certify.gate.spec import Spec

DEFAULT_SPEC = "certify.toml"
_ADD = f"add it; `certify init` writes a commented {DEFAULT_SPEC}"


# What pydantic finds of the wrong type, in words of TOML: what it must be, and how to mend it.
_WRONG_TYPE = {
    "model_type": ("a table", "write it as [{key}] with its keys below"),
    "dict_type": ("a table", "write it as [{key}] with its keys below"),
    "float_type": ("a number", "write it without quotes"),
    "string_type": ("text", "write it in quotes"),
    "knob_type": ("a number, a text, or true or false", "see `certify list unlearners NAME`"),
    "bool_type": ("true or false", "write it without quotes"),
    "list_type": ("a list", 'write it as ["..."]'),
    "string_too_short": ("text that is not empty", "fill it in, or remove the key if it is optional"),
    "too_short": ("a list that is not empty", "fill it in, or remove the key if it is optional"),
}

_KNOB = 3
"""Parts of the name of a knob: audit.knobs.epochs."""

_LEAST_NOISE = 1e-150
"""Below, squares of the noise's standard deviation leave the range of double precision."""

_LIMITS = {
    "ge": "greater than or equal to",
    "gt": "greater than",
    "le": "less than or equal to",
    "lt": "less than",
}


@dataclass(frozen=True)
class LoadedSpec:
    """A spec, where it came from, and the folder its paths are relative to."""

    spec: Spec
    path: Path
    record: FileRecord

    def resolve(self, path: str) -> Path:
        """A path of the spec; relative ones start at the spec's folder."""
        return self.path.parent / path


def find_spec(path: str | Path | None) -> Path:
    """The spec file: the one named, else certify.toml, else a pyproject.toml that has [tool.certify].

    Raises:
        ConfigurationError: none of them is there.
    """
    if path is not None:
        given = Path(require_type(path, (str, os.PathLike), "spec", "give the path of the spec file as text or Path"))
        _require_text(str(given))
        return given / DEFAULT_SPEC if _is_folder(given) else given
    if Path(DEFAULT_SPEC).is_file():
        return Path(DEFAULT_SPEC)
    project = Path("pyproject.toml")
    if project.is_file() and "certify" in _tool_table(_parse_toml(project)[0]):
        return project
    raise ConfigurationError("no spec file here", where=DEFAULT_SPEC, mend="name one, or write one with `certify init`")


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False  # reading it says what is wrong


def _tool_table(raw: dict[str, Any]) -> dict[str, Any]:
    """[tool] of a pyproject.toml; empty where it is missing or no table."""
    table = raw.get("tool")
    return table if isinstance(table, dict) else {}


def _require_text(name: str) -> None:
    """Paths stand in the document, which is UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ConfigurationError(
            "its path is not valid UTF-8",
            where=name.encode(errors="replace").decode(),
            mend="rename the file or its folder",
        ) from None


def load_spec(path: str | Path | None = None) -> LoadedSpec:
    """Read and validate a spec.

    Raises:
        ConfigurationError: not TOML, unknown or missing keys, wrong types, impossible values.
        InputError: the file cannot be read.
    """
    file = find_spec(path)
    raw, record = _parse_toml(file)
    if file.name == "pyproject.toml":
        section = _tool_table(raw).get("certify")
        if section is None:
            raise ConfigurationError(
                "has no [tool.certify] table", where=str(file), mend="add one, or name a certify.toml"
            )
        raw = section
    try:
        spec = Spec.model_validate(raw)
    except ValidationError as error:
        raise _explain(error, file) from None
    if spec.release.kind == "glm" and spec.objective is None:
        raise ConfigurationError(
            "a glm needs the table [objective]",
            where=str(file),
            mend="declare loss and l2 as they were trained",
        )
    if spec.release.kind == "glm" and not spec.policy.noise_std >= _LEAST_NOISE:
        raise _noise_missing(spec, file)
    return LoadedSpec(_with_attacks(spec, file), file, record)


def _with_attacks(spec: Spec, file: Path) -> Spec:
    """The spec with the attacks of a linear model, where it asks for an audit and names none."""
    if spec.audit is None or spec.audit.attacks:
        return spec
    if spec.release.kind != "glm":
        raise ConfigurationError("audit.attacks is missing", where=str(file), mend=_ADD)
    audit = spec.audit.model_copy(update={"attacks": list(FOR_LINEAR)})
    return spec.model_copy(update={"audit": audit})


def _noise_missing(spec: Spec, file: Path) -> ConfigurationError:
    """A certificate is of weights with noise; an audit of a network is of the weights as they are, and needs none."""
    if "noise_std" not in spec.policy.model_fields_set:
        return ConfigurationError(
            "policy.noise_std is missing",
            where=str(file),
            mend=_ADD,
        )
    return ConfigurationError(
        f"policy.noise_std must be greater than or equal to {_LEAST_NOISE:g}, not {shown(spec.policy.noise_std)}",
        where=str(file),
        mend="correct the value",
    )


def _parse_toml(path: Path) -> tuple[dict[str, Any], FileRecord]:
    text, record = read_text(path)
    try:
        return tomllib.loads(text), record
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"is not valid TOML ({error})", where=str(path), mend="correct that line") from None
    except (ValueError, RecursionError):  # a number of thousands of digits, thousands of open brackets
        raise ConfigurationError(
            "is not valid TOML", where=str(path), mend="write it again with `certify init`"
        ) from None


def _explain(error: ValidationError, file: Path) -> ConfigurationError:
    """The first problem in words, and how many more there are."""
    problems = _without_kinds(error.errors(include_url=False))
    first = min(problems, key=lambda problem: problem["type"] != "extra_forbidden")
    key = ".".join(str(part) for part in first["loc"])
    others = len(problems) - 1
    more = f" (and {others} more problem{'' if others == 1 else 's'})" if others else ""
    what, mend = _words(first, key)
    return ConfigurationError(f"{what}{more}", where=str(file), mend=mend)


def _without_kinds(problems: list[ErrorDetails]) -> list[ErrorDetails]:
    """A knob may be of several kinds; one that is of none is one problem, not one for each kind."""
    found: dict[tuple[int | str, ...], ErrorDetails] = {}
    for problem in problems:
        place = problem["loc"]
        if place[:2] == ("audit", "knobs") and len(place) > _KNOB:
            known: ErrorDetails = {**problem, "loc": place[:_KNOB], "type": "knob_type"}
            found.setdefault(place[:_KNOB], known)
        else:
            found[*place, problem["type"]] = problem
    return list(found.values())


def _words(problem: ErrorDetails, key: str) -> tuple[str, str]:
    if problem["type"] == "extra_forbidden":
        section = _section_of(problem["loc"][:-1])
        return f"unknown key {key}", did_you_mean(str(problem["loc"][-1]), section.model_fields if section else ())
    if problem["type"] == "missing":
        return f"{key} is missing", _ADD
    if problem["type"] in _WRONG_TYPE:
        what, mend = _WRONG_TYPE[problem["type"]]
        return f"{key} must be {what}", mend.format(key=key)
    return f"{key} must be {_rule(problem)}, not {shown(problem['input'])}", "correct the value"


def _rule(problem: ErrorDetails) -> str:
    """What a value must be; pydantic itself writes 1e150 with all of its zeros."""
    for name, words in _LIMITS.items():
        limit = problem.get("ctx", {}).get(name)
        if limit is not None:
            return f"{words} {shown(limit)}"
    return problem["msg"].lower().removeprefix("input should be ")


def _section_of(location: tuple[int | str, ...]) -> type[BaseModel] | None:
    """The model that a location in the spec belongs to."""
    section: type[BaseModel] = Spec
    for part in location:
        field = section.model_fields.get(str(part))
        candidates = [] if field is None else [field.annotation, *get_args(field.annotation)]
        inner = next((kind for kind in candidates if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
        if inner is None:
            return None
        section = inner
    return section
