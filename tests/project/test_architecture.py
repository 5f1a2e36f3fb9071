"""The package as it is drawn: floors, sizes, no cycles, and an import that changes nothing."""

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.support.architecture import HEIGHT, INTERFACES, MODULES, imported, noun, tree

FILE_LINES = 400
FUNCTION_LINES = 60


def test_every_module_has_a_floor_and_no_floor_is_of_the_past():
    nouns = {noun(module) for module in MODULES}
    assert nouns - HEIGHT.keys() == set(), "place these on a floor in tests/support/architecture.py"
    assert HEIGHT.keys() - nouns == set(), "these are no longer modules"


def test_a_module_imports_only_from_floors_below():
    above = []
    for module in MODULES:
        here = noun(module)
        others = {noun(name) for name in imported(module)} - {here}
        others -= INTERFACES if here in INTERFACES else set()
        above += [(module, name) for name in sorted(others) if HEIGHT[name] >= HEIGHT[here]]
    assert not above, "these modules import from their own floor or one above it"


def test_no_import_cycle():
    try:
        TopologicalSorter({module: imported(module) for module in MODULES}).prepare()
    except CycleError as error:
        pytest.fail(f"modules import each other: {' <- '.join(error.args[1])}")


def test_no_private_name_is_imported():
    private = [
        f"{module}: {alias.name}"
        for module in MODULES
        for node in ast.walk(tree(module))
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("pyrovae"))
        for alias in node.names
        if alias.name.startswith("_") and not alias.name.startswith("__")
    ]
    assert private == [], "name what another module uses without an underscore"


def test_no_long_file():
    sizes = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in MODULES.items()}
    assert {name: size for name, size in sizes.items() if size > FILE_LINES} == {}


def test_no_long_function():
    long = {
        f"{module}.{node.name}": lines(node)
        for module in MODULES
        for node in ast.walk(tree(module))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and lines(node) > FUNCTION_LINES
    }
    assert long == {}


def lines(function: ast.FunctionDef) -> int:
    """The lines of a function, its docstring aside."""
    total = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is None:
        return total
    docstring = function.body[0]
    return total - (docstring.end_lineno - docstring.lineno + 1)


def test_every_module_says_what_it_is_and_what_it_gives():
    silent = [module for module in MODULES if not ast.get_docstring(tree(module))]
    assert silent == [], "a module opens with a docstring"
    without = [module for module in MODULES if "__all__" not in assigned(module) and module != "__main__"]
    assert without == [], "a module says in __all__ what it gives"


def assigned(module: str) -> set[str]:
    """The names that are assigned at the top of a module."""
    statements = (node for node in tree(module).body if isinstance(node, ast.Assign))
    return {target.id for node in statements for target in node.targets if isinstance(target, ast.Name)}


def found(pattern: str) -> list[str]:
    """The lines of the package that match, each with its module."""
    every = ((name, line) for name, path in MODULES.items() for line in path.read_text().splitlines())
    return [f"{name}: {line.strip()}" for name, line in every if re.search(pattern, line)]


def test_verbs_ask_a_program_and_seldom_whether_it_is_a_vae():
    """What differs between programs is a method of `terms.Program`; what is left are refusals."""
    assert len(found(r"isinstance\(.*\bVAE\b")) <= 6


def test_a_row_is_cut_in_one_place():
    """Rows keep context and labels next to x, so that nobody has to select them one by one."""
    modules = {line.partition(":")[0] for line in found("None if context is None")}
    assert modules <= {"datasets.rows"}


IMPORT_ALONE = """
import importlib, logging, random, sys, warnings
import numpy, torch, pyro

def state():
    return {
        "torch default dtype": torch.get_default_dtype(),
        "torch gradient mode": torch.is_grad_enabled(),
        "torch threads": torch.get_num_threads(),
        "torch random state": torch.get_rng_state().tolist(),
        "numpy random state": str(numpy.random.get_state()),
        "random state": random.getstate(),
        "pyro.settings": pyro.settings.get(),
        "parameter store": list(pyro.get_param_store().keys()),
        "logging": (logging.root.level, list(logging.root.handlers)),
        "warnings": list(warnings.filters),
        "excepthook": sys.excepthook,
    }

before = state()
estimators = "pyrovae.sklearn."  # classes of scikit-learn, which only their modules import: these come last
modules = sorted(sys.argv[1:], key=lambda name: name.startswith(estimators))
heavy = {"arviz", "matplotlib", "pandas", "PIL", "pyarrow", "sklearn", "torchvision"}
for name in modules:
    if name.startswith(estimators) and "sklearn" in heavy:
        import sklearn.base
        heavy -= sys.modules.keys()
        before = state()
    importlib.import_module(name)
    loaded = sorted(heavy & sys.modules.keys())
    assert not loaded, f"{name} imports {loaded}"
    after = state()
    changed = sorted(key for key in before if after[key] != before[key])
    assert not changed, f"{name} changes {changed}"
"""


def test_importing_changes_nothing(project):
    below = [f"pyrovae.{module}" for module in MODULES if module not in {"__init__", "__main__"}]
    # The package itself comes first: what it imports is the price of `import pyrovae` to everybody.
    command = [sys.executable, "-c", IMPORT_ALONE, "pyrovae", *below]
    done = subprocess.run(command, capture_output=True, text=True, cwd=project, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
