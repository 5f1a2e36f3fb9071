"""The modules of the package, what each imports, and the floor on which it stands."""

import ast
from functools import cache
from pathlib import Path

from tests.support import PROJECT

PACKAGE = PROJECT / "pyrovae"

# From the ground up. A module imports only from floors below its own; a new module is placed here.
FLOORS = {
    "words": {"cures", "errors", "interrupts", "lazy", "names"},
    "base": {"checks", "display", "extras", "files", "memory", "numerics", "sharing", "threads", "trust"},
    "part": {"choices", "part", "seeds", "variables"},
    "ground": {"compiling", "datasets", "distributions", "networks", "quadrature"},
    "terms": {"terms"},
    "parts": {"guides", "likelihoods", "measurements", "objectives", "plots", "priors"},
    "programs": {"mixtures", "oracles", "vae"},
    "pictures": {"report"},
    "verbs": {"baselines", "evidence", "training"},
    "exploring": {"callbacks", "exploring", "testing"},
    "tasks": {"factors", "tasks"},
    "searching": {"exporting", "searching"},
    "interfaces": {"__init__", "__main__", "app", "cli", "sklearn"},
}
HEIGHT = {noun: height for height, nouns in enumerate(FLOORS.values()) for noun in nouns}
INTERFACES = FLOORS["interfaces"]  # they use each other, without a cycle


def modules() -> dict[str, Path]:
    """Every module by its name below the package: "part", "datasets.images"; "datasets" for its __init__."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
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
