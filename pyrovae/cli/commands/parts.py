"""`parts`: the available parts, read from the source: classes, signatures, docstrings.

    pyrovae parts                           every part of each axis, with its options
    pyrovae parts --axis prior              those of one axis
    pyrovae parts GaussianMixture           everything about the part or parts of that name
    pyrovae parts mypriors.Horseshoe        everything about a custom part

A new part is listed as soon as its class exists.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import textwrap
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pyrovae.cli.docstrings import Described, described, formula, formulas, plain
from pyrovae.cli.source import skeleton
from pyrovae.errors import InputError
from pyrovae.names import meant_by, named_classes
from pyrovae.trust import object_at

__all__ = ["AXES", "AxisName", "classes_of", "markdown_table", "parts"]

AxisName = Literal["prior", "likelihood", "guide", "network", "mechanism", "objective", "method"]


@dataclass(frozen=True)
class Axis:
    """A kind of part: what it is, the folder and name of its base class, and how one is used."""

    title: str
    folder: str
    base: str
    python: str = "pv.VAE(..., {})"
    command: str = "pyrovae fit"

    @property
    def path(self) -> str:
        """The import path of the base class."""
        return f"pyrovae.{self.folder}.{self.base}"

    def base_class(self) -> type:
        """The base class itself, which imports torch."""
        return getattr(importlib.import_module(f"pyrovae.{self.folder}"), self.base)


AXES: dict[str, Axis] = {
    "prior": Axis("p(z)", "priors", "Prior"),
    "likelihood": Axis("p(x|z)", "likelihoods", "Likelihood"),
    "guide": Axis("q(z|x)", "guides", "Guide"),
    "network": Axis("encoder and decoder", "networks", "Network"),
    "mechanism": Axis("p(s|x), which entries are missing", "likelihoods", "Mechanism"),
    "objective": Axis("what is maximised", "objectives", "Objective", "pv.fit(vae, data, {})"),
    "method": Axis(
        "how log p(x) is estimated",
        "evidence",
        "Method",
        "pv.log_evidence(vae, x, {})",
        "pyrovae evaluate RUN",
    ),
}
_WORDS = {int: "whole number", float: "number", str: "word", bool: "True or False", NoneType: "None"}
_WIDTH, _NAME = 100, 32
_HARD = "\N{NO-BREAK SPACE}"  # textwrap breaks at ASCII blanks alone


def parts(name: str | None = None, *, axis: AxisName | None = None, markdown: bool = False) -> None:
    """List the parts of a VAE and their options, or explain one.

    Arguments:
        name: the part to explain, by its class name, or by its import path for a custom part.
        axis: list only this kind of part.
        markdown: print tables, as in docs/parts.md.

    Example:
        pyrovae parts --axis prior
        pyrovae parts GaussianMixture
    """
    axes = list(AXES) if axis is None else [axis]
    if name is not None:
        print("\n\n\n".join(_explained(cls, axis) for axis, cls in _asked(name, axes)))
    elif markdown:
        print("\n\n".join(f"## {axis}: {AXES[axis].title}\n\n{markdown_table(axis)}" for axis in axes))
    else:
        print("\n\n".join(_listed(axis) for axis in axes))
        print("\n`pyrovae parts NAME` explains one; name your own part by its import path")


def classes_of(axis: str) -> dict[str, type]:
    """The parts of an axis by name, as skeletons of their classes."""
    return named_classes(skeleton(AXES[axis].folder, AXES[axis].base))


# -------------------------------------------------------------------- which


def _asked(name: str, axes: list[str] | list[AxisName]) -> list[tuple[str, type]]:
    if "." in name:
        axis, cls = _imported(name)
        if axis not in axes:
            raise InputError(f"{name} belongs to the axis {axis}, not to {axes[0]}: leave --axis out")
        return [(axis, cls)]
    classes = {axis: classes_of(axis) for axis in axes}
    asked = [(axis, known[name]) for axis, known in classes.items() if name in known]
    if asked:
        return asked
    meant = meant_by(name, list(dict.fromkeys(n for known in classes.values() for n in known)))
    what = axes[0] if len(axes) == 1 else "part"
    advice = meant.strip() or "`pyrovae parts` lists all of them"
    raise InputError(
        f"there is no {what} {name!r}: {advice} (name your own part by its import path, as in "
        "mypackage.priors.MyPrior)"
    )


def _imported(path: str) -> tuple[str, type]:
    """A class by its import path, and the axis it belongs to."""
    cls = object_at(path)
    if cls is None:
        raise InputError(
            f"{path!r} cannot be imported; give the import path of a class, as in mypackage.priors.MyPrior"
        )
    for axis, kind in AXES.items():
        if isinstance(cls, type) and issubclass(cls, kind.base_class()):
            return axis, cls
    bases = ", ".join(kind.path for kind in AXES.values())
    raise InputError(f"{path} is not a part: a part is a subclass of one of {bases}")


# -------------------------------------------------------------------- a list


def _listed(axis: str) -> str:
    lines = [f"{axis}: {AXES[axis].title}"]
    for name, cls in classes_of(axis).items():
        lines.append(_filled(described(cls).summary, " " * _NAME, first=f"  {name}".ljust(_NAME)))
        options = ", ".join(_shown(p) for p in _parameters(cls))
        lines += [_filled(options, " " * _NAME)] if options else []
    return "\n".join(lines)


def markdown_table(axis: str) -> str:
    """The parts of an axis as a table: name, definition, options, source."""
    rows = ["| part | it is | options | source |", "|---|---|---|---|"]
    for name, cls in classes_of(axis).items():
        text = described(cls)
        cells = [f"`{name}`", _definition(text), _options(cls), text.reference.rstrip(".")]
        rows.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
    return "\n".join(rows)


def _cell(text: str) -> str:
    return text.replace("|", r"\|")  # a bar would end the cell, in code too


def _definition(text: Described) -> str:
    """The summary, followed by the first displayed formula if it contains none."""
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
    lines = [f"{cls.__name__}: {axis}, {AXES[axis].title}", ""]
    lines += _paragraphs(f"{text.summary}\n\n{text.body}")
    if parameters := _parameters(cls):
        about = dict(text.arguments)
        lines += ["", "options", *(_option(p, about.get(p.name, "")) for p in parameters)]
    for title, line in (("refused", text.raises), ("source", text.reference)):
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
    pieces = [whole] if len(whole) <= _WIDTH - 4 else whole.split("   ")
    lines = [line for piece in pieces for line in textwrap.wrap(piece, _WIDTH - 8, drop_whitespace=False)]
    return "\n".join(f"{'    ' if i == 0 else '        '}{line.strip()}" for i, line in enumerate(lines))


def _filled(text: str, indent: str = "  ", *, first: str | None = None) -> str:
    """Wrap a text to the width; formulas and names are not broken."""
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
    default = "required" if p.default is p.empty else f"default {p.default!r}"
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
    return AXES[axis].python.format(f"{_role(cls, axis)}={call}")


def _on_the_command_line(cls: type, axis: str) -> str:
    own = not cls.__module__.startswith("pyrovae.")
    role, name = _role(cls, axis), f"{cls.__module__}.{cls.__name__}" if own else cls.__name__
    options = "".join(f" --{role}.{_example(p, _typed, ' ')}" for p in _telling(cls))
    return f"{AXES[axis].command} --{role} {name}{options}"


def _telling(cls: type) -> list[inspect.Parameter]:
    """The options that an example shows: the required ones, else the first that has a value."""
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
    return "decoder" if cls.__name__.endswith(("Decoder", "Bayesian")) else "encoder"
