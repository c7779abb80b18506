"""The list of packages, the pins and the imports agree with what is on disk and what is declared."""

import sys
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

SHIPPED = {
    "certify": "certify",
    "attacks": "certify.attacks",
    "unlearners": "certify.unlearners",
    "reports": "certify.reports",
}

# Import names that stand for another distribution than their own: curvlinops need not be installed here, and pydantic
# pins its core exactly and documents types as coming from there.
STANDS_FOR = {"curvlinops": "curvlinops-for-pytorch", "pydantic_core": "pydantic"}


def names(requirements):
    return {canonicalize_name(Requirement(line).name) for line in requirements}


def packages_on_disk(root):
    """Every folder that holds a Python file, under the name it is imported by."""
    for folder, package in SHIPPED.items():
        for parent in {file.parent for file in (root / folder).rglob("*.py")}:
            yield ".".join([package, *parent.relative_to(root / folder).parts])


def test_the_list_of_packages_equals_the_folders_on_disk(repo_root, pyproject):
    listed = pyproject["tool"]["setuptools"]["packages"]
    assert len(listed) == len(set(listed)), "a package is listed twice"
    on_disk = set(packages_on_disk(repo_root))
    missing, gone = sorted(on_disk - set(listed)), sorted(set(listed) - on_disk)
    assert (missing, gone) == ([], []), f"[tool.setuptools] packages: add {missing}, remove {gone}"


def test_every_package_has_an_init(repo_root):
    """Without one a folder is a namespace package: a stranger's folder of that name could join it."""
    folders = {file.parent for shipped in SHIPPED for file in (repo_root / shipped).rglob("*.py")}
    assert not [folder for folder in sorted(folders) if not (folder / "__init__.py").exists()]


def foreign(found):
    """Imports of neither ours nor the standard library."""
    return [
        item
        for item in found
        if item.module.partition(".")[0] not in {"certify", "__future__", *sys.stdlib_module_names}
    ]


distributions_by_import = cache(packages_distributions)


def providers(module):
    """The distributions that an import name may come from."""
    top = module.partition(".")[0]
    if top in STANDS_FOR:
        return {STANDS_FOR[top]}
    return {canonicalize_name(name) for name in distributions_by_import().get(top, [top])}


@pytest.mark.parametrize("folder", SHIPPED)
def test_what_is_imported_is_declared(repo_root, pyproject, imports, folder):
    project = pyproject["project"]
    extras = {extra: lines for extra, lines in project["optional-dependencies"].items() if extra != "dev"}
    declared = names([*project["dependencies"], *(line for lines in extras.values() for line in lines)])
    assert not [str(found) for found in foreign(imports(repo_root / folder)) if not providers(found.module) & declared]


@pytest.mark.parametrize("folder", SHIPPED)
def test_extras_are_imported_only_when_needed(repo_root, pyproject, imports, folder):
    core = names(pyproject["project"]["dependencies"])
    at_once = [found for found in foreign(imports(repo_root / folder)) if found.at_once]
    assert not [str(found) for found in at_once if not providers(found.module) & core]


def python_files(repo_root):
    return [repo_root / name for name in (*SHIPPED, "tests", "examples", "benchmarks", "docs")]


def test_torchvision_is_imported_nowhere(repo_root, imports):
    found = [item for folder in python_files(repo_root) for item in imports(folder)]
    assert not [str(item) for item in found if item.module.partition(".")[0] == "torchvision"]


def test_no_folder_is_imported_by_its_bare_name(repo_root, imports):
    """``attacks.x`` beside ``certify.attacks.x`` is a second copy of its classes, or a user's folder."""
    bare = set(SHIPPED) - {"certify"}
    found = [item for folder in python_files(repo_root) for item in imports(folder)]
    assert not [str(item) for item in found if item.module.partition(".")[0] in bare]


@pytest.mark.parametrize("folder", SHIPPED)
def test_pickle_is_imported_nowhere(repo_root, imports, folder):
    """Tests may write one to see it refused; what ships may not."""
    banned = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    assert not [str(found) for found in imports(repo_root / folder) if found.module.partition(".")[0] in banned]


def pins(root):
    lines = (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pairs}


def test_all_that_gets_installed_is_pinned(repo_root, pyproject, closure):
    project = pyproject["project"]
    installed = closure([*project["dependencies"], *project["optional-dependencies"]["dev"]])
    pinned = pins(repo_root)
    # The torch of another hardware has a local label (2.13.0+cpu) that a pin leaves open.
    wrong = {name: version for name, version in installed.items() if pinned.get(name) != version.partition("+")[0]}
    assert not wrong, f"constraints.txt lacks or contradicts {wrong}"


def test_the_installed_command_and_modules_come_from_this_checkout(repo_root):
    """Guards every other test: they must not run against some other installed copy."""
    from certify import attacks, reports, unlearners

    assert Path(attacks.__file__).parent == repo_root / "attacks"
    assert Path(reports.__file__).parent == repo_root / "reports"
    assert Path(unlearners.__file__).parent == repo_root / "unlearners"
