"""The package as it is drawn: floors, sizes, no cycles, and an import that changes nothing."""

import ast
import re
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent / "pyrovae"

# From the ground up. A module imports only from floors below its own; a new module is placed here.
FLOORS = {
    "words": {"errors", "lazy", "names"},
    "base": {"checks", "extras", "files", "numerics", "sharing"},
    "part": {"part"},
    "ground": {"compiling", "datasets", "distributions", "networks"},
    "terms": {"terms"},
    "parts": {"guides", "likelihoods", "objectives", "plots", "priors"},
    "programs": {"mixtures", "oracles", "vae"},
    "pictures": {"report"},
    "verbs": {"baselines", "evidence", "training"},
    "exploring": {"exploring"},
    "interfaces": {"__init__", "__main__", "app", "cli"},
}
HEIGHT = {noun: height for height, nouns in enumerate(FLOORS.values()) for noun in nouns}
INTERFACES = FLOORS["interfaces"]  # they use each other, without a cycle

FILE_LINES = 400
FUNCTION_LINES = 60


def modules() -> dict[str, Path]:
    """Every module by its name below the package: "part", "datasets.images"; "datasets" for its __init__."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        inside_folder = len(parts) > 1 and parts[-1] == "__init__"
        found[".".join(parts[:-1] if inside_folder else parts)] = path
    return found


MODULES = modules()


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def noun(module: str) -> str:
    """What stands on a floor: a module or a folder at the top of the package."""
    return module.partition(".")[0]


def imported(module: str) -> set[str]:
    """The modules of the package that this one names, also inside functions and for type checking."""
    found = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            found |= {nearest(alias.name) for alias in node.names if alias.name.split(".")[0] == "pyrovae"}
        elif isinstance(node, ast.ImportFrom):
            source = absolute(module, node)
            if source.split(".")[0] == "pyrovae":
                found |= {nearest(f"{source}.{alias.name}") for alias in node.names}
    return found - {module}


def absolute(module: str, node: ast.ImportFrom) -> str:
    """Where `from ... import` looks, with the leading dots resolved."""
    if not node.level:
        return node.module or ""
    package = ["pyrovae", *module.split(".")]
    if MODULES[module].name != "__init__.py" or module == "__init__":
        package = package[:-1]
    base = package[: len(package) - node.level + 1]
    return ".".join([*base, node.module] if node.module else base)


def nearest(name: str) -> str:
    """The longest beginning of a dotted name that is a module: `pyrovae.vae.VAE` is in "vae"."""
    parts = name.split(".")[1:]
    while parts and ".".join(parts) not in MODULES:
        parts.pop()
    return ".".join(parts) or "__init__"


def test_every_module_has_a_floor_and_no_floor_is_of_the_past():
    nouns = {noun(module) for module in MODULES}
    assert nouns - HEIGHT.keys() == set(), f"place these on a floor in {Path(__file__).name}"
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
modules = sys.argv[1:]
heavy = {"arviz", "matplotlib", "pandas", "PIL", "pyarrow", "sklearn", "torchvision"}
for name in modules:
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
