"""Helper modules of the tests, loaded by path: test folders are not packages."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

TESTS = Path(__file__).resolve().parents[1]


def load(name: str) -> ModuleType:
    """A module of its own of the file that ``name`` names, as in ``load("gate/projects")``; never one that another test changed."""
    path = TESTS / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"certify_tests_{name.replace('/', '_')}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module
