"""Whether two functions do the same: a digest of their code, and of everything the code reaches.

A cached block may be used again only where nothing that made it has changed. A function is read with its bytecode, defaults, closure and the globals it names;
an object with its class and attributes; an array with its bytes; code of an installed package by its version, our own by its source.
What cannot be read is refused: a wrong hit would be a wrong audit. What a function reads from files or the environment is not seen.
"""

import dis
import functools
import hashlib
import importlib
import os
import sys
import sysconfig
import types
from collections.abc import Callable, Iterable
from enum import Enum
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from certify.core.errors import ConfigurationError
from certify.models.networks.state import tensor_digest

_PLAIN = (type(None), bool, int, float, complex, str, bytes, PurePath, torch.dtype, torch.device, np.dtype, type(...))
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_OF_PYTHON = 1 << 9
"""The flag of types that are made at run time: classes."""
_OF_TORCH = frozenset(vars(nn.Module()))
_INSTALLED = tuple(
    str(Path(sysconfig.get_paths()[name]).resolve()) for name in ("stdlib", "platstdlib", "purelib", "platlib")
)


def fingerprint(value: Any, what: str, identity: str = "") -> str:
    """SHA-256 of a value by what it would do.

    Args:
        value: a function, a class, an object, a module, an array, or a collection of such.
        what: name for messages.
        identity: text that stands for what cannot be read; without one, that is refused.

    Raises:
        ConfigurationError: something in it cannot be read.
    """
    return _Reader(what, identity).read(value)


def source_digest(package: str) -> str:
    """SHA-256 over the sources of an imported package, in order of their paths."""
    paths = getattr(sys.modules[package], "__path__", None)
    files = [Path(str(sys.modules[package].__file__))] if paths is None else []
    for folder in paths or ():
        files += sorted(Path(folder).rglob("*.py"))
    return _digest_files(tuple(files))


@lru_cache(maxsize=64)
def _digest_files(files: tuple[Path, ...]) -> str:
    total = hashlib.sha256()
    for file in files:
        total.update(file.name.encode() + b";" + hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()


class _Reader:
    """One reading; what is met a second time is known by its number."""

    def __init__(self, what: str, identity: str) -> None:
        self.what, self.identity = what, identity
        self.met: dict[int, int] = {}
        self.held: list[Any] = []  # so that no number is given to two things

    def read(self, value: Any) -> str:
        if isinstance(value, _PLAIN):
            return _hash(type(value).__name__, repr(value))
        if isinstance(
            value, tuple | Tensor | np.ndarray | np.generic | types.CodeType
        ):  # values: who shares them says nothing
            return self.known(value)
        if id(value) in self.met:
            return _hash("met", str(self.met[id(value)]))
        self.met[id(value)] = len(self.met)
        self.held.append(value)
        return self.known(value)

    def known(self, value: Any) -> str:
        for kinds, how in _HOW:
            if isinstance(value, kinds):
                return how(self, value)
        return self.of_object(value)

    def of_dict(self, value: Any) -> str:
        return _hash("dict", *(self.read(part) for pair in value.items() for part in pair))

    def of_set(self, value: Any) -> str:
        return _hash("set", *sorted(_Reader(self.what, self.identity).read(part) for part in value))

    def of_defined(self, value: Any) -> str:
        """A function or a class."""
        packaged = self.of_package(value)
        return packaged or (self.of_class(value) if isinstance(value, type) else self.of_function(value))

    def of_array(self, value: Any) -> str:
        value = np.asarray(value)
        if value.dtype.hasobject:
            return self.unreadable(value)
        return _hash("array", str(value.dtype), str(value.shape), hashlib.sha256(value.tobytes()).hexdigest())

    def of_module(self, value: types.ModuleType) -> str:
        package = _package_of(value.__name__)
        if package:
            return _hash("package", value.__name__, package)
        file = getattr(value, "__file__", None)
        if not file:
            return self.unreadable(value)
        reached = [part for part in vars(value).values() if _is_elsewhere(part, value.__name__)]
        return _hash("module", value.__name__, _digest_files((Path(file),)), *map(self.read, reached))

    def of_package(self, value: Any) -> str:
        """Of a function or class of an installed package."""
        package = _package_of(getattr(value, "__module__", None) or "builtins")
        local = "<locals>" in value.__qualname__ or "<lambda>" in value.__qualname__
        closed = local or getattr(value, "__closure__", None)  # made by a call, from values of its own
        return _hash("package", value.__module__, value.__qualname__, package) if package and not closed else ""

    def of_function(self, value: types.FunctionType) -> str:
        cells = []
        for cell in value.__closure__ or ():
            try:
                cells.append(self.read(cell.cell_contents))
            except ValueError:  # not filled yet
                cells.append("empty")
        looked_up, imported = _names(value.__code__)
        space = value.__globals__
        reached = {name: space[name] for name in sorted(looked_up) if name in space}
        modules = [self.imported(name, level, space.get("__package__") or "") for name, level in sorted(imported)]
        parts = (value.__code__, value.__defaults__, value.__kwdefaults__, reached)
        return _hash("function", *cells, *modules, *map(self.read, parts))

    def imported(self, name: str, level: int, package: str) -> str:
        """Of a module that code imports when it runs."""
        try:
            return self.read(importlib.import_module("." * level + name, package or None))
        except ImportError:
            return _hash("missing", name)

    def of_bytecode(self, code: types.CodeType) -> str:
        names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        counts = (code.co_argcount, code.co_kwonlyargcount, code.co_flags)
        return _hash("code", code.co_code.hex(), repr(names), repr(counts), *map(self.read, code.co_consts))

    def of_class(self, value: type) -> str:
        skipped = (
            "__dict__",
            "__weakref__",
            "__doc__",
            "__module__",
            "__annotations__",
            "__abstractmethods__",
            "_abc_impl",
        )
        own = {name: part for name, part in vars(value).items() if name not in skipped}
        return _hash("class", value.__qualname__, self.read(value.__bases__), self.members(own))

    def members(self, members: dict[str, Any]) -> str:
        """Of a class: descriptors that Python itself made say nothing new."""
        made = (types.MemberDescriptorType, types.GetSetDescriptorType, types.WrapperDescriptorType)
        return _hash(
            "members", *(name + self.read(part) for name, part in members.items() if not isinstance(part, made))
        )

    def of_object(self, value: Any) -> str:
        kind = type(value)
        if hasattr(value, "__wrapped__"):
            return _hash("wrapped", self.read(value.__wrapped__))
        if isinstance(value, types.BuiltinFunctionType):
            owner = value.__self__
            return _hash("builtin", value.__qualname__, "" if isinstance(owner, types.ModuleType) else self.read(owner))
        if kind.__module__ in {"typing", "types"} or isinstance(value, np.ufunc):
            return _hash("named", repr(value))
        bases = [base for base in kind.__mro__ if base is not object]
        own = {**getattr(value, "__dict__", {}), **_slots(value, bases)}
        hidden = any(
            not base.__flags__ & _OF_PYTHON for base in bases
        )  # what is written in C may keep anything out of sight
        slotted = hasattr(value, "__dict__") or all("__slots__" in vars(base) for base in bases)
        if hidden or not slotted:
            return self.unreadable(value)
        return _hash("object", self.read(kind), self.read(own))

    def of_network(self, value: nn.Module) -> str:
        parts = [repr(value)]
        for name, part in value.named_modules():
            if any(getattr(part, hooks) for hooks in _HOOKS):
                return self.unreadable(value)
            own = {key: item for key, item in vars(part).items() if key not in _OF_TORCH}
            parts += [name, str(part.training), self.read(type(part)), self.read(own)]
        for name, tensor in (*value.named_parameters(), *value.named_buffers()):
            parts += [name, tensor_digest(tensor), str(tensor.requires_grad)]
        return _hash("network", *parts)

    def unreadable(self, value: Any) -> str:
        if self.identity:
            return _hash("stands for", type(value).__qualname__, self.identity)
        raise ConfigurationError(
            f"cannot tell whether {self.what} has changed since: it holds a {type(value).__name__}",
            where="store",
            mend="give the task an identity text that stands for it, or run without a store",
        )


_HOW: tuple[tuple[Any, Callable[[_Reader, Any], str]], ...] = (
    (Tensor, lambda _, value: _hash("tensor", tensor_digest(value), str(value.requires_grad))),
    ((np.ndarray, np.generic), _Reader.of_array),
    ((dict, types.MappingProxyType), _Reader.of_dict),
    ((list, tuple), lambda self, value: _hash(type(value).__qualname__, *map(self.read, value))),
    ((set, frozenset), _Reader.of_set),
    (Enum, lambda self, value: _hash("enum", self.read(type(value)), value.name)),
    (types.ModuleType, _Reader.of_module),
    ((types.FunctionType, type), _Reader.of_defined),
    (types.MethodType, lambda self, value: _hash("method", self.read(value.__func__), self.read(value.__self__))),
    (
        functools.partial,
        lambda self, value: _hash("partial", *map(self.read, (value.func, value.args, value.keywords))),
    ),
    ((staticmethod, classmethod), lambda self, value: _hash(type(value).__name__, self.read(value.__func__))),
    (property, lambda self, value: _hash("property", *map(self.read, (value.fget, value.fset, value.fdel)))),
    (types.CodeType, _Reader.of_bytecode),
    (nn.Module, _Reader.of_network),
)
"""How each kind of value is read; the first that fits."""


def _names(code: types.CodeType) -> tuple[set[str], set[tuple[str, int]]]:
    """Globals that the code and the code inside it look up, and modules that it imports, with their level."""
    looked_up: set[str] = set()
    imported: set[tuple[str, int]] = set()
    level = 0
    for step in dis.get_instructions(code):
        if step.opname.startswith("LOAD_") and ("GLOBAL" in step.opname or "NAME" in step.opname):
            looked_up.add(str(step.argval))
        elif step.opname == "IMPORT_NAME":
            imported.add((str(step.argval), level))
        level = step.argval if step.opname.startswith("LOAD_") and isinstance(step.argval, int) else level
    for part in code.co_consts:
        if isinstance(part, types.CodeType):
            more, others = _names(part)
            looked_up, imported = looked_up | more, imported | others
    return looked_up, imported


def _slots(value: Any, bases: list[type]) -> dict[str, Any]:
    names = [name for base in bases for name in np.atleast_1d(vars(base).get("__slots__", ())).tolist()]
    return {name: getattr(value, name) for name in names if not name.startswith("__") and hasattr(value, name)}


def _is_elsewhere(value: Any, module: str) -> bool:
    """A module, or a function or class that another one made."""
    made = isinstance(value, types.FunctionType | type) and getattr(value, "__module__", module) != module
    return isinstance(value, types.ModuleType) or made


def _package_of(module: str) -> str:
    """Version of the installed package that a module is of; empty for the user's own."""
    top = module.partition(".")[0]
    if top == "certify":
        part = ".".join(module.split(".")[:2])
        return source_digest(part) if part in sys.modules else ""
    if top in sys.stdlib_module_names:
        return sys.version
    known = sys.modules.get(top)
    place = str(Path(getattr(known, "__file__", None) or "/").resolve())
    if not place.startswith(tuple(folder + os.sep for folder in _INSTALLED)):
        return ""
    return str(getattr(known, "__version__", "")) or _digest_files((Path(place),))


def _hash(*parts: str | Iterable[str]) -> str:
    total = hashlib.sha256()
    for part in parts:
        content = str(part).encode()
        total.update(len(content).to_bytes(8, "little") + content)
    return total.hexdigest()
