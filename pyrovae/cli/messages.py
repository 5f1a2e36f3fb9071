"""Turn each of jsonargparse's messages into one sentence: the option, its value and what it takes.

The user sees no jargon of the parser, of YAML or of Python's types. Each kind of message has a
sentence here; all others become a general one.
"""

import difflib
import importlib
import inspect
import re
from collections.abc import Mapping, Sequence

from pyrovae.checks import shown

__all__ = ["sentence"]

_TYPES = {
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "str": "a word",
    "dict": "words by name, as in {age: real}",
    "tuple": "a list, as in [1,5,50]",
    "list": "a list, as in [a,b]",
    "collections.abc.Sequence": "a list, as in [200,200]",
}
_IMPORTS = ("has no attribute", "No module", "does not correspond to a subclass")


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
        "--lr cannot be 'abc': give a whole number; see --help lr"
        >>> sentence("argument --lr: expected one argument")
        '--lr needs a value; see --help lr'
    """
    keys = re.findall(r'Parser key "([\w.]+)"', message)
    option = f"--{'.'.join(keys)}"
    return (
        _misspelt(message, options)
        or _without_value(message, option)
        or _unknown_argument(message, option)
        or _unnamed_part(message, option)
        or _wrong_value(message, option)
        or _not_imported(message, option, parts or {})
        or _wrong_part(message, option, parts or {})
        or _anything_else(message, option)
    )


def _misspelt(message: str, options: Sequence[str]) -> str | None:
    match = re.search(r"unrecognized arguments: (\S+)|^Option '(.+?)' is not accepted", message)
    if match is None:
        return None
    word = (match[1] or match[2]).partition("=")[0]
    if match[1] and not word.startswith("-"):
        return f"{shown(word)} is an unexpected argument; see --help"
    right = [o for o in options if o.startswith("--") and o != "--help"]
    near = difflib.get_close_matches(f"--{word.strip('-')}", right, n=2, cutoff=0.7)
    advice = f"did you mean {' or '.join(near)}?" if near else "see --help all"
    return f"there is no option {_short(word)}: {advice}"


def _without_value(message: str, option: str) -> str | None:
    """An option without a value, or a value that must be given."""
    if alone := re.search(r"argument (\S+): expected one argument", message):
        return f"{alone[1]} needs a value; see --help {alone[1].lstrip('-')}"
    required = re.search(r"following arguments are required: ([\w., ]+)", message)
    required = required or re.search(r'Key "([\w.]+)" is required', message)
    if required is None:
        return None
    names = [f"{option}.{name}" if option != "--" else name for name in required[1].split(", ")]
    return f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} missing; see --help"


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
    inner = re.search(r"NestedArg\(key='([\w.]+)'", message)
    if inner and "Problem with given class_path" not in message:
        return f"there is no option {option}.{inner[1]}: see --help all"
    expected = [
        _readable(e) for e in re.findall(r"Expected an? (.+?)(?=\. Got value|$)", message, re.MULTILINE)
    ]
    expected = [e for e in dict.fromkeys(expected) if e]
    value = re.search(r"(?:Got value|Given value): ?(.*)", message)
    if not expected or value is None:
        return None
    return f"{option} cannot be {shown(value[1])}: give {' or '.join(expected)}; {_see(option)}"


def _see(option: str) -> str:
    """Where an option, or one of a part, is described."""
    return f"see --help {option.removeprefix('--').partition('.')[0]}".rstrip()


def _readable(expected: str) -> str:
    """A Python type in words; empty for None and for classes."""
    if "NoneType" in expected:
        return ""
    if choices := re.match(r"typing\.Literal\[(.+)\]", expected):
        return f"one of {choices[1]}" if "," in choices[1] else choices[1]
    name = expected.removeprefix("<class ").removesuffix(">").strip("'").partition("[")[0]
    return _TYPES.get(name, "")


def _not_imported(message: str, option: str, parts: Mapping[str, Sequence[str]]) -> str | None:
    """A class that cannot be imported, or is not of the right kind."""
    reasons = [line for line in _reasons(message) if any(words in line for words in _IMPORTS)]
    part = option.removeprefix("--")
    if not reasons or "object has no attribute" in message:
        return None
    kind = re.search(r"does not correspond to a subclass of (\w+)", reasons[0])
    reason = f"it is not a {kind[1]}" if kind else reasons[0]
    value = re.search(r"Given value: ([\w.]+)$", message, re.MULTILINE)
    came = f"{option} {_short(value[1])}" if value else option
    return f"{came}: {reason}; {_choices(part, parts)}"


def _wrong_part(message: str, option: str, parts: Mapping[str, Sequence[str]]) -> str | None:
    """A value that should be a class but is neither a name nor a class with its options."""
    part = option.removeprefix("--").partition(".")[0]
    if part not in parts or not ("Problem with given class_path" in message or "Subclass types" in message):
        inside = part in parts and re.search(r"is not iterable|object has no attribute|unhashable", message)
        if not inside:
            return None
    reasons = [r for r in _reasons(message) if r and not _is_internal(r)]
    if reasons:
        return f"{option}: {'; '.join(reasons)}; see --{part}.help"
    return (
        f"--{part} must be a name with its options, as in --{part} NAME --{part}.x 1; {_choices(part, parts)}"
    )


def _choices(part: str, parts: Mapping[str, Sequence[str]]) -> str:
    if part not in parts:
        return "see --help"
    return f"choose one of {', '.join(parts[part])}, or the import path of a custom class"


def _anything_else(message: str, option: str) -> str:
    """The reasons that the parser lists, or else the whole message, without its jargon."""
    reasons = _reasons(message) or [" ".join(message.split())]
    reasons = [re.sub(r'Parser key "([\w.]+)":? ?', "", reason).rstrip(". ") for reason in reasons]
    reasons = [reason for reason in reasons if reason and not _is_internal(reason)]
    if not reasons:
        return f"{option if option != '--' else 'an option'} has a value that cannot be read; see --help"
    start = f"{option}: " if option != "--" else ""
    return f"{start}{'; '.join(map(_short, reasons))}; see --help"


def _reasons(message: str) -> list[str]:
    """The reasons in the list of a message, without those about None."""
    listed = re.findall(r"^ *- (.+(?:\n {6,}.+)*)", message, re.MULTILINE)
    reasons = [" ".join(r.split()) for r in listed if "NoneType" not in r]
    return [re.sub(r"^Problem with given class_path '.+?': ", "", r).rstrip(". ") for r in reasons]


def _is_internal(reason: str) -> bool:
    """Whether a reason mentions the parser or Python types."""
    marks = (
        r"<class|typing\.|Union|Parser key|class_path|object has no|not iterable|NestedArg|Expected|Subtypes"
    )
    return bool(re.search(marks, reason))


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 200 else f"{text[:150]} ... {text[-30:]}"
