"""Classes of the package as their source declares them, without importing torch.

A skeleton of a class has its name, its bases, its docstring, the signature of its constructor and
its abstract methods. This is enough to list the class: `inspect` works on it as on the class
itself.

    skeleton("priors", "Prior")  ->  pyrovae.priors.Prior, whose __subclasses__() are skeletons too
"""

from __future__ import annotations

import ast
import builtins
import importlib
import sys
from abc import ABCMeta
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["skeleton"]

ROOT = Path(__file__).parents[1]
PACKAGE = __package__.partition(".")[0]


def skeleton(folder: str, base: str) -> type:
    """Return the skeleton of a base class in a folder of the package, and those of its subclasses.

    Example:
        >>> from pyrovae.names import names_of
        >>> names_of(skeleton("networks", "Network"))[3:6]
        ['ConvDecoder', 'ConvEncoder', 'Gated']
    """
    for file in sorted(ROOT.joinpath(folder).rglob("*.py")):
        module = ".".join((PACKAGE, *file.relative_to(ROOT).with_suffix("").parts))
        names = _source(module.removesuffix(".__init__"))
        for name in names.classes():
            names[name]
    return _source(f"{PACKAGE}.{folder}")[base]


class _Elsewhere(ABCMeta):
    """A stand-in for names of other packages: a class whose attributes are such classes too."""

    def __getattr__(cls, name: str) -> type:
        if name.startswith("_"):
            raise AttributeError(name)
        return _elsewhere(name)

    def __getitem__(cls, _: object) -> type:
        return cls


def _elsewhere(name: str) -> type:
    return _Elsewhere(name, (), {})


class _Source(dict[str, Any]):
    """The names of one module, each evaluated when it is first used."""

    def __init__(self, module: str) -> None:
        super().__init__(__name__=module)
        path = ROOT.joinpath(*module.split(".")[1:])
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        statements = _statements(ast.parse(file.read_text(encoding="utf-8")))
        self.bound = {name: node for node in statements for name in _names(node)}

    def classes(self) -> Iterator[str]:
        """The classes that the module defines."""
        return (name for name, node in self.bound.items() if isinstance(node, ast.ClassDef))

    def __missing__(self, name: str) -> Any:  # noqa: ANN401
        self[name] = _elsewhere(name)  # used if a class refers to itself before it exists
        node = self.bound.get(name)
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            self[name] = _imported(node, name)
        elif isinstance(node, ast.ClassDef):
            self._run(_stripped(node))
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            self._run(ast.Assign([ast.Name(name, ast.Store())], node.value))
        elif node is None and hasattr(builtins, name):
            self[name] = getattr(builtins, name)
        return self[name]

    def _run(self, node: ast.stmt) -> None:
        for inner in ast.walk(node):
            if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Load):
                self[inner.id]
        module = ast.fix_missing_locations(ast.Module([node], []))
        exec(compile(module, self["__name__"], "exec", dont_inherit=True), self)


@cache
def _source(module: str) -> _Source:
    return _Source(module)


def _statements(tree: ast.Module) -> Iterator[ast.stmt]:
    for node in tree.body:
        typed_only = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        yield from node.body if typed_only else [node]  # type: ignore[attr-defined]


def _names(node: ast.stmt) -> list[str]:
    """The names that a statement binds."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [alias.asname or alias.name for alias in node.names]
    if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _imported(node: ast.Import | ast.ImportFrom, name: str) -> Any:  # noqa: ANN401
    original = next(alias.name for alias in node.names if name == (alias.asname or alias.name))
    module = original if isinstance(node, ast.Import) else str(node.module)
    if module.partition(".")[0] in sys.stdlib_module_names:
        found = importlib.import_module(module)
        return found if isinstance(node, ast.Import) else getattr(found, original)
    if module.startswith(f"{PACKAGE}.") and original in _source(module).bound:
        return _source(module)[original]
    return _elsewhere(name)


def _stripped(node: ast.ClassDef) -> ast.ClassDef:
    """A class without the bodies of its methods and the values of its attributes."""
    body = [kept for statement in node.body for kept in _members(statement)] or [ast.Pass()]
    return ast.ClassDef(node.name, node.bases, [], body, [], **_type_parameters())


def _members(node: ast.stmt) -> Iterator[ast.stmt]:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        yield node  # a docstring
    elif isinstance(node, ast.FunctionDef):
        abstract = [d for d in node.decorator_list if ast.unparse(d) == "abstractmethod"]
        arguments = node.args if node.name == "__init__" else _NONE
        yield ast.FunctionDef(node.name, arguments, [ast.Pass()], abstract, **_type_parameters())
    else:
        for name in _names(node) if getattr(node, "value", None) else []:
            yield ast.Assign([ast.Name(name, ast.Store())], ast.Constant(None))


_NONE = ast.parse("def nothing(): pass").body[0].args  # type: ignore[attr-defined]


def _type_parameters() -> dict[str, Any]:
    return {"type_params": []} if sys.version_info >= (3, 12) else {}
