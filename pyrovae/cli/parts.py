"""What parts there are, read from the code: classes, signatures, docstrings.

    pyrovae parts                           every part of each axis, with its options
    pyrovae parts --axis prior              those of one axis
    pyrovae parts GaussianMixture           all about one, or several of one name
    pyrovae parts mypriors.Horseshoe        all about a part of one's own

A new part is listed because its class exists.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import json
import re
import textwrap
from collections.abc import Iterator, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pyrovae.cli.docstrings import Described, described, formula, formulas, plain
from pyrovae.errors import InputError
from pyrovae.guides import Guide
from pyrovae.likelihoods import Likelihood
from pyrovae.networks import Network
from pyrovae.objectives import Objective
from pyrovae.priors import Prior

__all__ = ["AXES", "Axis", "list_parts", "markdown_table", "named_classes", "names_of", "near_names"]

Axis = Literal["prior", "likelihood", "guide", "network", "objective"]

AXES: dict[str, type] = {
    "prior": Prior,
    "likelihood": Likelihood,
    "guide": Guide,
    "network": Network,
    "objective": Objective,
}
_TITLES = {
    "prior": "p(z)",
    "likelihood": "p(x|z)",
    "guide": "q(z|x)",
    "network": "encoder and decoder",
    "objective": "what is maximised",
}
_WORDS = {int: "whole number", float: "number", str: "word", bool: "True or False", NoneType: "None"}
_WIDTH, _NAME = 100, 32
_HARD = "\N{NO-BREAK SPACE}"  # textwrap breaks at ASCII blanks alone


def list_parts(*, axis: Axis | None = None, name: str | None = None, markdown: bool = False) -> None:
    """List the parts, or explain one: `pyrovae parts`, `pyrovae parts GaussianMixture`.

    Args:
        axis: prior, likelihood, guide, network or objective alone.
        name: the part to explain: its class, or the import path of your own.
        markdown: tables, as in docs/parts.md.
    """
    axes = list(AXES) if axis is None else [axis]
    if name is not None:
        found = _found(name, axes)
        print("\n\n\n".join(_explained(cls, axis) for axis, cls in found))
    elif markdown:
        print("\n\n".join(f"## {axis}: {_TITLES[axis]}\n\n{markdown_table(axis)}" for axis in axes))
    else:
        print("\n\n".join(_listed(axis) for axis in axes))
        print("\n`pyrovae parts NAME` explains one; your own are named by their import path")


def names_of(base: type) -> list[str]:
    """The names of the classes of a kind that can be built."""
    return list(named_classes(base))


def named_classes(base: type) -> dict[str, type]:
    """The classes of a kind that can be built, by name."""
    classes = [c for c in _subclasses(base) if not inspect.isabstract(c) and not c.__name__.startswith("_")]
    return {cls.__name__: cls for cls in sorted(classes, key=lambda cls: cls.__name__.lower())}


def _subclasses(base: type) -> Iterator[type]:
    cls: type
    for cls in base.__subclasses__():
        yield cls
        yield from _subclasses(cls)


# -------------------------------------------------------------------- which


def _found(name: str, axes: list[Axis] | list[str]) -> list[tuple[str, type]]:
    if "." in name:
        cls = _imported(name)
        kind = next(axis for axis, base in AXES.items() if issubclass(cls, base))
        if kind not in axes:
            raise InputError(f"{name} is a {kind}, not a {axes[0]}: leave --axis out")
        return [(kind, cls)]
    known = {axis: named_classes(AXES[axis]) for axis in axes}
    found = [(axis, classes[name]) for axis, classes in known.items() if name in classes]
    if found:
        return found
    names = list(dict.fromkeys(n for classes in known.values() for n in classes))
    near = near_names(name, names)
    what = axes[0] if len(axes) == 1 else "part"
    advice = f"did you mean {' or '.join(near)}?" if near else "`pyrovae parts` lists those there are"
    raise InputError(
        f"there is no {what} {name!r}: {advice} (one of your own is named by its import path, as in "
        "mypackage.priors.MyPrior)"
    )


def near_names(name: str, names: Sequence[str]) -> list[str]:
    """Those of some names that a misspelt one may mean."""
    lower = {n.lower(): n for n in names}
    return [lower[n] for n in difflib.get_close_matches(name.lower(), lower, n=2, cutoff=0.6)]


def _imported(path: str) -> type:
    module, _, name = path.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        raise InputError(
            f"{path!r} cannot be imported; give the import path of a class, as in mypackage.priors.MyPrior"
        ) from None
    if not (isinstance(cls, type) and issubclass(cls, tuple(AXES.values()))):
        raise InputError(f"{path} is no part: a part is a subclass of {', '.join(_bases())}")
    return cls


def _bases() -> list[str]:
    return [f"pyrovae.{base.__module__.split('.')[1]}.{base.__name__}" for base in AXES.values()]


# -------------------------------------------------------------------- a list


def _listed(axis: str) -> str:
    lines = [f"{axis}: {_TITLES[axis]}"]
    for name, cls in named_classes(AXES[axis]).items():
        lines.append(_filled(described(cls).summary, " " * _NAME, first=f"  {name}".ljust(_NAME)))
        options = ", ".join(_shown(p) for p in _parameters(cls))
        lines += [_filled(options, " " * _NAME)] if options else []
    return "\n".join(lines)


def markdown_table(axis: str) -> str:
    """The parts of an axis as a table: name, law, options, source."""
    rows = ["| part | it is | options | source |", "|---|---|---|---|"]
    for name, cls in named_classes(AXES[axis]).items():
        if cls.__module__.startswith("pyrovae."):
            cells = [f"`{name}`", _law(described(cls)), _options(cls), described(cls).reference.rstrip(".")]
            rows.append(f"| {' | '.join(_cell(text) for text in cells)} |")
    return "\n".join(rows)


def _cell(text: str) -> str:
    return text.replace("|", r"\|")  # a bar would end the cell, in code too


def _law(text: Described) -> str:
    """The summary, with the first displayed formula where it has none of its own."""
    summary, shown = plain(text.summary, mark="`").rstrip("."), formulas(text.body)
    return summary if "\\(" in text.summary or not shown else f"{summary}: `{shown[0]}`"


def _options(cls: type) -> str:
    return ", ".join(f"`{_shown(p)}`" for p in _parameters(cls))


def _parameters(cls: type) -> list[inspect.Parameter]:
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [p for p in _signature(cls).parameters.values() if p.kind in kinds]


def _signature(cls: type) -> inspect.Signature:
    try:
        return inspect.signature(cls, eval_str=True)
    except (NameError, AttributeError):  # an annotation that exists for a type checker only
        return inspect.signature(cls)


def _shown(p: inspect.Parameter) -> str:
    return p.name if p.default is p.empty else f"{p.name}={p.default!r}"


# -------------------------------------------------------------------- one part


def _explained(cls: type, axis: str) -> str:
    text = described(cls)
    lines = [f"{cls.__name__}: {axis}, {_TITLES[axis]}", ""]
    lines += _paragraphs(f"{text.summary}\n\n{text.body}")
    if parameters := _parameters(cls):
        about = dict(text.arguments)
        lines += ["", "options", *(_option(p, about.get(p.name, "")) for p in parameters)]
    for title, line in (("refused, in one sentence", text.raises), ("source", text.reference)):
        if line:
            lines += ["", title, _filled(line.removeprefix("InputError: "))]
    lines += ["", "in Python", f"  {_in_python(cls, axis)}"]
    return "\n".join([*lines, "", "on the command line", f"  {_on_the_command_line(cls, axis)}"])


def _paragraphs(text: str) -> list[str]:
    """Paragraphs filled to the width, displayed formulas on lines of their own."""
    lines: list[str] = []
    for paragraph in filter(str.strip, text.split("\n\n")):
        shown = re.match(r"\\\[(.+?)\\\]\s*(.*)", paragraph.strip(), flags=re.S)
        rest = shown[2] if shown else paragraph
        lines += ["", _displayed(formula(shown[1]))] if shown else []
        lines += ["", _filled(rest)] if rest else []
    return lines[1:]


def _displayed(whole: str) -> str:
    parts = [whole] if len(whole) <= _WIDTH - 4 else whole.split("   ")
    lines = [line for part in parts for line in textwrap.wrap(part, _WIDTH - 8, drop_whitespace=False)]
    return "\n".join(f"{'    ' if i == 0 else '        '}{line.strip()}" for i, line in enumerate(lines))


def _filled(text: str, indent: str = "  ", *, first: str | None = None) -> str:
    """A text in lines of the width; formulas and names stay in one piece."""
    whole = re.sub(r"[ \n]+", " ", plain(text, space=_HARD))
    whole = re.sub("`[^`]*`", lambda m: m[0].replace(" ", _HARD), whole)
    lines = textwrap.fill(
        whole,
        _WIDTH,
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return lines.replace(_HARD, " ")


def _option(p: inspect.Parameter, about: str) -> str:
    default = "required" if p.default is p.empty else f"{p.default!r} unless given"
    lines = [_filled(f"{p.name}: {_kind(p.annotation)}; {default}", "      ", first="  ")]
    return "\n".join([*lines, _filled(about, "      ")] if about else lines)


def _kind(annotation: Any) -> str:  # noqa: ANN401
    """A type in words."""
    *most, last = _kinds(annotation)
    return f"{', '.join(most)} or {last}" if most else last


def _kinds(annotation: Any) -> list[str]:  # noqa: ANN401
    origin, inner = get_origin(annotation), get_args(annotation)
    if annotation in (inspect.Parameter.empty, Any):
        return ["anything"]
    if origin is Literal:
        return [repr(value) for value in inner]
    if origin in (Union, UnionType):
        return [kind for one in inner for kind in _kinds(one)]
    if origin is not None:
        return [f"list of {_kind(inner[0])}s" if len(inner) == 1 or inner[-1] is ... else "mapping"]
    return [annotation if isinstance(annotation, str) else _WORDS.get(annotation, annotation.__name__)]


def _in_python(cls: type, axis: str) -> str:
    module = cls.__module__.split(".")
    where = f"pv.{module[1]}" if module[0] == "pyrovae" else cls.__module__
    call = f"{where}.{cls.__name__}({', '.join(_example(p, repr) for p in _telling(cls))})"
    role = _role(cls, axis)
    return f"pv.fit(vae, data, {role}={call})" if axis == "objective" else f"pv.VAE(..., {role}={call})"


def _on_the_command_line(cls: type, axis: str) -> str:
    own = not cls.__module__.startswith("pyrovae.")
    role, name = _role(cls, axis), f"{cls.__module__}.{cls.__name__}" if own else cls.__name__
    options = "".join(f" --{role}.{_example(p, _typed, ' ')}" for p in _telling(cls))
    return f"pyrovae fit --{role} {name}{options}"


def _telling(cls: type) -> list[inspect.Parameter]:
    """The options that an example shows: those that must be given, else the first that has a value."""
    must = [p for p in _parameters(cls) if p.default is p.empty]
    return must or [p for p in _parameters(cls) if p.default is not None][:1]


def _example(p: inspect.Parameter, write: Any, between: str = "=") -> str:  # noqa: ANN401
    return f"{p.name}{between}{p.name.upper() if p.default is p.empty else write(p.default)}"


def _typed(value: Any) -> str:  # noqa: ANN401
    """A value as it is typed on a command line."""
    return value if isinstance(value, str) else json.dumps(value).replace(" ", "")


def _role(cls: type, axis: str) -> str:
    if axis != "network":
        return axis
    return "decoder" if cls.__name__.endswith("Decoder") else "encoder"
