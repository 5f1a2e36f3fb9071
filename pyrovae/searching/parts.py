"""Parts with choices: choices inside them are replaced by values, and parts get labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pyrovae import vae
from pyrovae.choices import Choice, OneOf, Real, Whole
from pyrovae.errors import InputError
from pyrovae.names import meant_by, named_classes
from pyrovae.objectives import Objective
from pyrovae.part import Declared, public_path

__all__ = [
    "ROLES",
    "Choose",
    "chosen",
    "first_of",
    "has_choice",
    "labelled",
    "options_of",
    "options_of_part",
    "part_of",
    "paths_in",
    "plain",
    "replaced",
    "takes",
    "word",
]

ROLES: dict[str, type] = {**vae.ROLES, "objective": Objective}
Choose = Callable[[Choice, str], tuple[Any, Any]]  # the label and the value of a choice, by its path


def chosen(value: Any, path: str, choose: Choose) -> Any:  # noqa: ANN401
    """The value with all choices inside replaced."""
    if isinstance(value, Choice):
        label, option = choose(value, path)
        return chosen(option, f"{path}.{label}", choose)
    if isinstance(value, Declared):
        if not has_choice(value):
            return value
        options = {k: chosen(v, f"{path}.{k}", choose) for k, v in value.hyperparameters().items()}
        return type(value)(**options)
    if isinstance(value, Mapping):
        if "class_path" in value:
            options = {k: chosen(v, f"{path}.{k}", choose) for k, v in value["init_args"].items()}
            return {**value, "init_args": options}
        return {k: chosen(v, f"{path}.{k}", choose) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(chosen(item, f"{path}.{i}", choose) for i, item in enumerate(value))
    return value


def first_of(value: Any) -> Any:  # noqa: ANN401
    """A value with the first, or lowest, value of each choice."""

    def choose(choice: Choice, _: str) -> tuple[Any, Any]:
        return ("", choice.options[0]) if isinstance(choice, OneOf) else ("", getattr(choice, "low"))  # noqa: B009

    return chosen(value, "", choose)


def has_choice(value: Any) -> bool:  # noqa: ANN401
    """Whether a value, a part or a list has a choice inside."""
    if isinstance(value, Choice):
        return True
    if isinstance(value, Declared):
        return has_choice(list(value.hyperparameters().values()))
    if isinstance(value, Mapping):
        return any(map(has_choice, value.values()))
    return isinstance(value, (list, tuple)) and any(map(has_choice, value))


def part_of(value: Any, base: type | None, role: str) -> Any:  # noqa: ANN401
    """The part that a word or a declaration names."""
    if base is None or value is None or isinstance(value, base):
        return _built(value)
    if isinstance(value, str):
        value = {"class_path": value}
    if isinstance(value, Mapping) and "class_path" in value:
        path = value["class_path"]
        if "." not in path:
            path = public_path(_named(path, base, role))
        part: Any = Declared.from_dict(
            {"class_path": path, "init_args": _built(value.get("init_args") or {})}
        )
        if isinstance(part, base):
            return part
    raise InputError(f"{role} must be a {base.__name__}, not {value!r}: name one of {_few(base)}")


def paths_in(value: Any) -> Iterator[str]:  # noqa: ANN401
    """The import paths outside the package that name parts in words."""
    if isinstance(value, OneOf):
        value = value.options
    if isinstance(value, str) and "." in value and value.partition(".")[0] != "pyrovae":
        yield value
    elif isinstance(value, Mapping) and "class_path" in value:
        yield from paths_in(value["class_path"])
        for option in (value.get("init_args") or {}).values():
            yield from () if isinstance(option, str) else paths_in(option)
    elif isinstance(value, (list, tuple)):
        for option in value:
            yield from paths_in(option)


def _built(value: Any) -> Any:  # noqa: ANN401
    """Plain values, with a part in place of each declaration."""
    if isinstance(value, Mapping):
        if "class_path" in value:
            path = value["class_path"]
            path = path if "." in path else public_path(_named(path, None, "part"))
            return Declared.from_dict({"class_path": path, "init_args": _built(value.get("init_args") or {})})
        return {key: _built(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_built(item) for item in value)
    return value


def _named(name: str, base: type | None, role: str) -> type:
    """The class of this name; without a base, the part of any role."""
    bases = [base] if base is not None else [*ROLES.values(), Declared]
    classes = {n: cls for some in reversed(bases) for n, cls in named_classes(some).items()}
    for known, cls in classes.items():
        if known.lower() == name.lower():
            return cls
    raise InputError(
        f"there is no {role} {name!r}: {meant_by(name, list(classes))}choose one of {_few(base)}"
    )


def _few(base: type | None) -> str:
    return ", ".join(named_classes(base)) if base not in (None, Declared) else "the parts in docs/parts.md"


def options_of_part(part: Any) -> list[str]:  # noqa: ANN401
    """The names of the hyperparameters of a part."""
    return list(part.hyperparameters()) if isinstance(part, Declared) else []


def takes(part: Any, path: list[str]) -> bool:  # noqa: ANN401
    """Whether a part has the option at a path, such as network.sizes."""
    if path[0] not in options_of_part(part):
        return False
    return len(path) == 1 or takes(getattr(part, path[0]), path[1:])


def replaced(part: Any, path: list[str], value: Any) -> Any:  # noqa: ANN401
    """The part with another value of the option at a path."""
    own = part.hyperparameters()
    value = _built(value) if len(path) == 1 else replaced(own[path[0]], path[1:], value)
    return type(part)(**{**own, path[0]: value})


def options_of(value: Any) -> list[Any]:  # noqa: ANN401
    """The values of a `OneOf`, or the value itself."""
    return list(value.options) if isinstance(value, OneOf) else [value]


def labelled(choice: Choice) -> dict[Any, Any]:
    """Label -> value; numbers and words are their own labels."""
    labels: dict[Any, Any] = {}
    for option in choice.listed():
        label = short = _label(option)
        if label in labels and isinstance(label, str):
            number = sum(str(known).split(" ")[0] == short for known in labels)
            label = f"{short} {number + 1}"
        labels[label] = option
    return labels


def _label(option: Any) -> Any:  # noqa: ANN401
    if option is None or isinstance(option, (bool, int, float, str)):
        return option
    if isinstance(option, Mapping) and "class_path" in option:
        if has_choice(option):
            return option["class_path"].rpartition(".")[2]
        option = _built(option)
    if isinstance(option, Declared):
        name = type(option).__name__
        return name if has_choice(option) or _is_plain(option) else repr(option)
    return str(list(option) if isinstance(option, tuple) else option)


def _is_plain(part: Declared) -> bool:
    """Whether a part has its default hyperparameters."""
    try:
        return type(part)() == part
    except TypeError:  # some have no default
        return False


def word(value: Any) -> str:  # noqa: ANN401
    """A value of a point in a few letters."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def plain(value: Any) -> Any:  # noqa: ANN401
    """A value as YAML can write it; choices as mappings.

    Raises:
        InputError: for an object that is neither a part nor a plain value.
    """
    if isinstance(value, (Real, Whole)):
        return {"low": value.low, "high": value.high, "log": value.log}
    if isinstance(value, OneOf):
        return {"choose": [plain(option) for option in value.options]}
    if isinstance(value, Declared):
        options = {name: plain(option) for name, option in value.hyperparameters().items()}
        return {"class_path": public_path(type(value)), "init_args": options}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise InputError(f"{value!r} cannot be written to a file: use numbers, words, lists, parts or choices")
