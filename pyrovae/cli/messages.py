"""jsonargparse's messages in one sentence each: the option, its value, and what it takes."""

import difflib
import importlib
import inspect
import re
from collections.abc import Mapping, Sequence

__all__ = ["sentence"]

_TYPES = {
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "str": "a word",
    "tuple": "a list, as in [1,5,50]",
    "collections.abc.Sequence": "a list, as in [200,200]",
}


def sentence(
    message: str, options: Sequence[str] = (), parts: Mapping[str, Sequence[str]] | None = None
) -> str:
    r"""One sentence that says what to do.

    Arguments:
        message: the parser's message.
        options: the existing options, to suggest one for a misspelt option.
        parts: option -> the names of the classes that it takes.

    Example:
        >>> sentence('Parser key "lr": Expected a <class int>. Got value: abc')
        "--lr cannot be 'abc': give a whole number; see --help"
    """
    keys = re.findall(r'Parser key "([\w.]+)"', message)
    option = f"--{'.'.join(keys)}"
    return (
        _misspelt(message, options)
        or _unknown_argument(message, option)
        or _unnamed_part(message, option)
        or _wrong_value(message, option)
        or f"{_reason(message, option)}; {_known(message, option, parts or {})}"
    )


def _misspelt(message: str, options: Sequence[str]) -> str | None:
    match = re.search(r"unrecognized arguments: (\S+)|^Option '(.+?)' is not accepted", message)
    if match is None:
        return None
    word = (match[1] or match[2]).partition("=")[0]
    if match[1] and not word.startswith("-"):
        return f"{word!r} is one word too many; see --help"
    right = [o for o in options if o.startswith("--") and o != "--help"]
    near = difflib.get_close_matches(f"--{word.strip('-')}", right, n=2, cutoff=0.7)
    advice = f"did you mean {' or '.join(near)}?" if near else "see --help for all options"
    return f"there is no option {word}: {advice}"


def _unknown_argument(message: str, option: str) -> str | None:
    match = re.search(r"class_path '([\w.]+)':\s+Option '([\w.]+)' is not accepted", message)
    if match is None:
        return None
    module, _, name = match[1].rpartition(".")
    parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters.values()
    takes = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    return f"there is no {option}.{match[2]}: {name} takes {', '.join(takes) or 'no options'}"


def _unnamed_part(message: str, option: str) -> str | None:
    if "is abstract" not in message:
        return None
    return (
        f"{option} must be named before its own options, as in {option} NAME {option}.x 1; see {option}.help"
    )


def _wrong_value(message: str, option: str) -> str | None:
    expected = [
        _readable(e) for e in re.findall(r"Expected an? (.+?)(?=\. Got value|$)", message, re.MULTILINE)
    ]
    expected = [e for e in dict.fromkeys(expected) if e]
    value = re.search(r"(?:Got value|Given value): (.+)", message)
    if not expected or value is None:
        return None
    return f"{option} cannot be {value[1]!r}: give {' or '.join(expected)}; see --help"


def _readable(expected: str) -> str:
    if "NoneType" in expected:
        return ""
    if choices := re.match(r"typing\.Literal\[(.+)\]", expected):
        return f"one of {choices[1]}"
    name = expected.removeprefix("<class ").removesuffix(">").strip("'")
    return _TYPES.get(name, name)


def _reason(message: str, option: str) -> str:
    """The reasons that the parser lists, or else the whole message in one line."""
    listed = re.findall(r"^ *- (.+(?:\n {6,}.+)*)", message, re.MULTILINE)
    reasons = [" ".join(r.split()) for r in listed if "NoneType" not in r]
    reasons = [re.sub(r"^Problem with given class_path '.+?': ", "", r) for r in reasons]
    if not reasons:
        text = " ".join(line.strip() for line in message.splitlines() if not line.startswith("tip:"))
        text = re.sub(r"required: \w+\.", "required: ", text)
        return re.sub(r'Parser key "([\w.]+)"', r"--\1", text).rstrip(". ")
    value = re.search(r"Given value: ([\w.]+)$", message, re.MULTILINE)
    came = f"{option} {value[1]}" if value else option
    return f"{came + ': ' if option != '--' else ''}{'; '.join(reasons).rstrip('. ')}"


def _known(message: str, option: str, parts: Mapping[str, Sequence[str]]) -> str:
    part = option.removeprefix("--")
    named = "has no attribute" in message or "does not correspond" in message or "No module" in message
    if part not in parts or not named:
        return "see --help"
    return f"choose one of {', '.join(parts[part])}, or the import path of your own class"
