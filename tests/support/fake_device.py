"""A device that is not there, for finding mixed devices on a machine without a GPU.

Tensors "on" it are ordinary ones whose memory is marked. They call their device ``meta``; what reaches torch is the CPU. An
operation that mixes marked and unmarked tensors raises as CUDA does, and a marked tensor cannot be turned into an array. What
CUDA allows is allowed: copies between devices, numbers (tensors without dimensions), CPU positions into a marked tensor.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

DEVICE = torch.device("meta")
_CPU = torch.device("cpu")
_ACROSS = {"aten::copy_", "aten::_to_copy", "aten::is_same_size", "aten::_has_same_storage_numel"}
_POSITIONS = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}


class MixedDevicesError(RuntimeError):
    """What CUDA would refuse."""


class Marks:
    """Memory that is "on" the device; the references keep an address from being taken by another tensor."""

    def __init__(self) -> None:
        self.kept: dict[int, StorageWeakRef] = {}
        self.torchs_own: dict[int, StorageWeakRef] = {}

    def is_torchs_own(self, value: Any) -> bool:
        """Zeros that torch makes inside a derivative, where the tensors' device says: here it cannot know better."""
        inner = _inner(value)
        return inner is not None and inner.untyped_storage()._cdata in self.torchs_own

    def has(self, value: Any) -> bool:
        inner = _inner(value)
        return inner is not None and inner.untyped_storage()._cdata in self.kept

    def set(self, value: Any, kept: dict[int, StorageWeakRef] | None = None) -> None:
        inner = _inner(value)
        kept = self.kept if kept is None else kept
        if inner is not None and inner.untyped_storage()._cdata not in kept:
            storage = inner.untyped_storage()
            kept[storage._cdata] = StorageWeakRef(storage)


def _inner(value: Any) -> Tensor | None:
    """The tensor inside the wrappers of ``torch.func``."""
    functorch = torch._C._functorch
    while isinstance(value, Tensor) and functorch.is_functorch_wrapped_tensor(value):
        value = functorch.get_unwrapped(value)
    return value if isinstance(value, Tensor) and value.layout == torch.strided else None


class _Operations(TorchDispatchMode):
    """Every operation torch carries out, derivatives included."""

    def __init__(self, marks: Marks) -> None:
        super().__init__()
        self.marks = marks

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        placed = kwargs.get("device") == DEVICE
        if placed:
            kwargs["device"] = _CPU
        given = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        marked = [self.marks.has(value) for value in given]
        name = func._schema.name
        if any(marked) and name not in _ACROSS:
            self._check(name, args, given, marked)
        found = func(*args, **kwargs)
        if name == "aten::copy_":
            return found
        if placed or any(marked):  # a copy to the CPU that Python asked for does not come here
            for value in tree_leaves(found):
                self.marks.set(value)
        elif all(self.marks.is_torchs_own(value) for value in given) and (given or _made_by_torch(kwargs)):
            for value in tree_leaves(found):
                self.marks.set(value, self.marks.torchs_own)
        return found

    def _check(self, name: str, args: Any, given: list[Tensor], marked: list[bool]) -> None:
        if name in _POSITIONS and self.marks.has(args[0]):
            positions = {id(value) for value in tree_leaves(args[1])}
            pairs = [(v, m) for v, m in zip(given, marked, strict=True) if id(v) not in positions]
        else:
            pairs = list(zip(given, marked, strict=True))
        pairs = [(value, mark) for value, mark in pairs if not self.marks.is_torchs_own(value)]
        together = name in {"aten::cat", "aten::stack"}
        if any(not mark and (value.dim() > 0 or together) for value, mark in pairs):
            raise MixedDevicesError(f"{name}: expected all tensors to be on the same device")


def _made_by_torch(kwargs: Any) -> bool:
    """Python's own calls always say whether memory is pinned."""
    return "layout" in kwargs and "pin_memory" not in kwargs


class _Names(TorchFunctionMode):
    """What Python asks of tensors: where they are, copies to another device, arrays."""

    def __init__(self, marks: Marks) -> None:
        super().__init__()
        self.marks = marks

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        owner = args[0] if args else None
        if name == "__get__" and getattr(func, "__self__", None) is Tensor.device:
            return DEVICE if self.marks.has(owner) else func(*args, **kwargs)
        if name in {"numpy", "__array__"} and self.marks.has(owner):
            raise MixedDevicesError("a tensor on the device cannot become an array")
        if name == "cpu" or (name == "to" and self._target(args[1:], kwargs) == _CPU):
            return self._moved(owner, args, kwargs, marked=False)
        if name == "to" and self._target(args[1:], kwargs) == DEVICE:
            return self._moved(owner, args, kwargs, marked=True)
        placed = kwargs.get("device") == DEVICE or str(kwargs.get("device")) == "meta"
        if placed and name in {"tensor", "as_tensor"}:
            found = func(*args, **{**kwargs, "device": _CPU}).clone()
            self.marks.set(found)
            return found
        return func(*args, **kwargs)

    def _target(self, args: Any, kwargs: Any) -> torch.device | None:
        for value in (*args, *kwargs.values()):
            if isinstance(value, torch.device):
                return value
            if isinstance(value, str):
                return torch.device(value)
            if isinstance(value, Tensor):
                return DEVICE if self.marks.has(value) else _CPU
        return None

    def _moved(self, owner: Tensor, args: Any, kwargs: Any, *, marked: bool) -> Tensor:
        """A copy where the device changes, whatever the kind of numbers."""
        kinds = [v for v in (*args[1:], *kwargs.values()) if isinstance(v, torch.dtype)]
        kinds += [v.dtype for v in (*args[1:], *kwargs.values()) if isinstance(v, Tensor)]
        kind = kinds[0] if kinds else owner.dtype
        if self.marks.has(owner) == marked:
            return owner if owner.dtype == kind else owner.to(kind)
        with torch.utils._python_dispatch._disable_current_modes():
            found = owner.to(kind).clone() if owner.dtype == kind else owner.to(kind)
        if marked:
            self.marks.set(found)
        return found


@contextmanager
def fake_device() -> Iterator[Marks]:
    """Inside, ``torch.device("meta")`` holds numbers and mixes with nothing."""
    marks = Marks()
    with ExitStack() as stack:
        stack.enter_context(_Operations(marks))
        stack.enter_context(_Names(marks))
        yield marks
