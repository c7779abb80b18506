"""Unlearners described for a reader at a terminal, and for a program."""

import inspect
import re
import textwrap
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from certify.unlearners import Unlearner

WIDTH = 100
_INDENT = " " * 25
_KINDS = {"convex": "linear models", "network": "torch models"}


def short(method: type[Unlearner]) -> list[str]:
    """A few lines on a method: what it does, what it is for, what it needs and claims."""
    facts = f"{_kinds(method)}; claims: {method.claim}; needs {method.needs}"
    first = f"  {method.name:<22} {method.summary}"
    return [*textwrap.wrap(first, WIDTH, subsequent_indent=_INDENT), *_wrapped(facts, _INDENT)]


def full(method: type[Unlearner]) -> str:
    """All about one method: facts, every knob with its default, range and meaning, and the text of its class."""
    facts = {
        "for": _kinds(method),
        "needs": method.needs,
        "claims": str(method.claim),
        "reads": "the forgotten records too" if method.reads_forgotten else "no forgotten record",
        "reference": method.reference,
    }
    lines = [*_wrapped(f"{method.name}: {method.summary}", ""), ""]
    for name, fact in facts.items():
        lines += textwrap.wrap(f"  {name:<10} {fact}", WIDTH, subsequent_indent=" " * 13)
    text, helps = _docstring(method)
    for paragraph in text:
        lines += ["", *_wrapped(paragraph, "  ")]
    knobs = fields(method)
    lines += ["", "Knobs (`--set KNOB=VALUE`)" if knobs else "No knobs."]
    for knob in knobs:
        lines.append(f"  {knob.name}={knob.default}{_range(method, knob.name)}")
        lines += _wrapped(helps.get(knob.name, ""), " " * 6)
    return "\n".join(lines)


def facts(method: type[Unlearner]) -> dict[str, Any]:
    """The same for a program: plain values, in the order of the text."""
    _, helps = _docstring(method)
    return {
        "name": method.name,
        "summary": method.summary,
        "kinds": list(method.kinds),
        "family": method.family,
        "needs": method.needs,
        "claims": str(method.claim),
        "reads_forgotten": method.reads_forgotten,
        "reference": method.reference,
        "knobs": [
            {
                "name": knob.name,
                "default": knob.default
                if isinstance(knob.default, bool | int | float | str | None)
                else str(knob.default),
                "allowed": _range(method, knob.name).strip(" ()"),
                "help": helps.get(knob.name, ""),
            }
            for knob in fields(method)
        ],
    }


def _kinds(method: type[Unlearner]) -> str:
    return " and ".join(_KINDS[kind] for kind in method.kinds)


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def _docstring(method: type[Unlearner]) -> tuple[list[str], dict[str, str]]:
    """Paragraphs of a class's text without its first line, and what its ``Args`` says of each knob, those of its bases included."""
    helps: dict[str, str] = {}
    for kind in reversed(method.__mro__):
        helps |= _arguments(inspect.cleandoc(kind.__dict__.get("__doc__") or ""))
    text = inspect.cleandoc(method.__dict__.get("__doc__") or "")
    if text.startswith(f"{method.__name__}("):  # what a dataclass without a text of its own is given
        text = ""
    body = re.split(r"^\w+:\n", text, maxsplit=1, flags=re.MULTILINE)[0]
    return [_plain(paragraph) for paragraph in body.split("\n\n") if paragraph.strip()], helps


def _arguments(text: str) -> dict[str, str]:
    """Names and meanings in the ``Args`` (or ``Attributes``) of a Google-style text."""
    found = re.search(r"^(?:Args|Attributes):\n((?:[ \t]+.*\n?|\n)+)", text, flags=re.MULTILINE)
    if found is None:
        return {}
    entries = re.split(r"^(\w+): ", textwrap.dedent(found[1]), flags=re.MULTILINE)[1:]
    return {name: _plain(meaning) for name, meaning in zip(entries[::2], entries[1::2], strict=True)}


def _plain(text: str) -> str:
    """One line without the marks of reStructuredText."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"\1", text)
    return " ".join(text.replace("``", "`").split())


def _range(method: type[Any], name: str) -> str:
    """What a knob's annotation allows, in brackets."""
    hint = get_type_hints(method, include_extras=True)[name]
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    parts: list[str] = []
    for part in (hint, *get_args(hint)):
        if get_origin(part) is Literal:
            parts += [" | ".join(str(value) for value in get_args(part))]
        for item in getattr(part, "__metadata__", ()):
            parts += [
                f"{signs[type(rule).__name__.lower()]} {getattr(rule, type(rule).__name__.lower())}"
                for rule in getattr(item, "metadata", ())
                if type(rule).__name__.lower() in signs
            ]
    return f" ({', '.join(dict.fromkeys(parts))})" if parts else ""
