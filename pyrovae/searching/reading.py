"""The words of a space: ranges, lists and declarations of YAML files and the command line."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

import yaml

from pyrovae import datasets, training
from pyrovae.choices import Choice, OneOf, Real, Whole
from pyrovae.cures import cure
from pyrovae.errors import InputError
from pyrovae.names import meant_by
from pyrovae.searching.parts import ROLES
from pyrovae.vae import VAE

__all__ = ["NAMES", "from_text", "checked_name", "read_value"]

_OF_DATA = set(inspect.signature(datasets.load).parameters)
_NOT_VARIED = {"vae", "data", "out", "resume", "figures", "progress", "callbacks", "seed"}
NAMES = [
    name
    for function in (VAE.suited, training.fit)
    for name in inspect.signature(function).parameters
    if name not in _NOT_VARIED
]
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"\s*({_NUMBER})\s*\.\.(?!\.)\s*({_NUMBER})\s*(:log)?\s*")
_OF_PART, _OF_RANGE = {"class_path", "init_args"}, {"low", "high", "log"}


def checked_name(name: str) -> str:
    """The name of an argument or of an option of a part.

    Raises:
        InputError: for a name that does not exist or cannot vary.
    """
    role = str(name).partition(".")[0]
    if role in NAMES and (role == name or role in ROLES):
        return name
    if role in _OF_DATA and role not in _NOT_VARIED:
        raise InputError(
            f"{role} changes the data, and log p(x) of different data cannot be compared: set it for all, as "
            f"in --{role}"
        )
    if role == "seed":
        seeds = cure("seeds=", "--seeds")
        raise InputError(f"seed is not varied by a space: say how many seeds with {seeds}")
    raise InputError(f"a space has no {name!r}: {meant_by(role, NAMES)}choose from {', '.join(NAMES)}")


def read_value(value: Any, name: str, *, inside: bool = False) -> Any:  # noqa: ANN401
    """A value of a YAML file or of Python, with choices as objects."""
    if isinstance(value, str):
        return _from_word(value, name) if inside else from_text(value, name)
    if isinstance(value, list) and not inside:
        return OneOf(*(read_value(option, name, inside=True) for option in value))
    if isinstance(value, (list, tuple)):
        return type(value)(read_value(option, name, inside=True) for option in value)
    if isinstance(value, OneOf):
        return OneOf(*(read_value(option, name, inside=True) for option in value.options))
    if not isinstance(value, Mapping):
        return value
    _check_keys(value, name)
    if "choose" in value:
        return OneOf(*(read_value(option, name, inside=True) for option in value["choose"]))
    if "low" in value:
        is_whole = all(type(value[end]) is int for end in ("low", "high"))
        return (Whole if is_whole else Real)(**value)
    if "class_path" in value:
        options = value.get("init_args") or {}
        return {
            **value,
            "init_args": {k: read_value(v, f"{name}.{k}", inside=True) for k, v in options.items()},
        }
    return {key: read_value(option, f"{name}.{key}", inside=True) for key, option in value.items()}


def _check_keys(value: Mapping[Any, Any], name: str) -> None:
    """Refuse a mapping that is almost a choice, a range or a part."""
    if "choose" in value:
        if set(value) != {"choose"}:
            raise InputError(f"{name} has {_others(value, {'choose'})} next to choose: leave it out")
        if not isinstance(value["choose"], (list, tuple)):
            raise InputError(f"choose in {name} must be a list of values, not {value['choose']!r}")
    elif "class_path" in value:
        options = value.get("init_args") or {}
        if not isinstance(options, Mapping):
            raise InputError(f"init_args of {value['class_path']} must be a mapping, not {options!r}")
        if not set(value) <= _OF_PART:
            other = _others(value, _OF_PART)
            raise InputError(
                f"{name} has {other} next to class_path: options of a part belong into init_args"
            )
    elif {"low", "high"} & set(value) and not {"low", "high"} <= set(value) <= _OF_RANGE:
        raise InputError(f"a range in {name} needs low and high, and may have log, not {dict(value)!r}")


def _others(value: Mapping[Any, Any], known: set[str]) -> str:
    return ", ".join(str(key) for key in value if key not in known)


def from_text(text: str, name: str) -> Any:  # noqa: ANN401
    """The value or the choice in the words of a command line.

    Raises:
        InputError: for an empty text, or one that is not a value.
    """
    whole_range = _range_of(text)
    if whole_range is not None:
        return whole_range
    parts = [part for part in _split(text) if part.strip()]
    if not parts:
        raise InputError(f"{name} has no value: write it as in {name}=1,2")
    values = [_word_value(part, name) for part in parts]
    return values[0] if len(values) == 1 else OneOf(*values)


def _range_of(text: str) -> Choice | None:
    """The range that a text writes, if it writes one."""
    matched = _RANGE.fullmatch(text)
    if matched is None:
        return None
    low, high = (_number(end) for end in matched.groups()[:2])
    is_whole = isinstance(low, int) and isinstance(high, int)
    return (Whole if is_whole else Real)(low, high, log=matched[3] is not None)


def _from_word(text: str, name: str) -> Any:  # noqa: ANN401
    """The number, the range or the word that a text is; YAML reads 1e-3 as a word."""
    if re.fullmatch(_NUMBER, text.strip()):
        return _number(text.strip())
    values = _range_of(text)
    if values is None and ".." in text:
        raise InputError(
            f"{text!r} in {name} is not a range: write it as in 2..64, or on a logarithmic scale as in "
            "1e-4..1e-2:log"
        )
    return text if values is None else values


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _split(text: str) -> list[str]:
    """The text at its commas outside brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[{(") - (letter in "]})")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _word_value(text: str, name: str) -> Any:  # noqa: ANN401
    text = text.strip()
    if re.fullmatch(_NUMBER, text) or (".." in text and text[0] not in "[{"):
        return _from_word(text, name)
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise InputError(f"{text!r} in {name} is not a value: write numbers, words or lists") from None
    return read_value(value, name, inside=True)
