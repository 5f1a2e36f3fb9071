"""The model card: a README for people, with the front matter that the Hugging Face Hub reads.

Reference:
    Mitchell, Wu, Zaldivar, Barnes, Vasserman, Hutchinson, Spitzer, Raji & Gebru (2019), "Model
    Cards for Model Reporting".
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import yaml

from pyrovae.errors import InputError
from pyrovae.evidence.units import Units
from pyrovae.part import Declared
from pyrovae.trust import class_at

if TYPE_CHECKING:
    from pyrovae.vae import VAE
    from pyrovae.vae.saving import Model

__all__ = ["model_card"]

COLUMNS = 30  # the most columns of a table that are listed
SETTINGS = (
    "optimizer",
    "lr",
    "lr_schedule",
    "batch_size",
    "epochs",
    "kl_warmup",
    "clip",
    "precision",
    "seed",
)
LIMITS = """\
The model is for data like its training data: rows with the same columns or pixels, measured and
scaled in the same way. log p(x) compares rows under this model. A low value means that a row is
unlike the training rows, and a high value is no proof that it is like them. Samples repeat what the
training data contain, including their errors and gaps. No use was tested other than what is stated
here."""
CITED = """\
@software{pyrovae,
  title   = {PyroVAE: variational autoencoders as Pyro programs},
  author  = {{The PyroVAE authors}},
  version = {%s},
  license = {Apache-2.0},
}"""


def model_card(vae: VAE, model: Model, source: str) -> str:
    """The model card of a VAE, in Markdown.

    Arguments:
        vae: the VAE.
        model: its file, which has the facts.
        source: the name by which it is loaded, as in "digits.pyrovae" or "hub:user/digits".

    Raises:
        InputError: if the facts are not as `share` writes them.
    """
    try:
        return _card(vae, model, source)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise InputError(
            f"the facts stored with the model cannot be read ({error}): share its run folder again, or save "
            "the VAE without them"
        ) from error


def _card(vae: VAE, model: Model, source: str) -> str:
    title = source.removeprefix("hub:").rpartition("/")[2].removesuffix(".pyrovae")
    parts = [
        _front_matter(model.facts, title),
        f"# {title}",
        _opening(model.facts),
        _section("Load it", _loading(vae, source)),
        _section("Model", f"```text\n{vae}\n```\n\n{_units(vae)}"),
        _section("Data", _data(vae, model.facts)),
        _section("Training", _training(model.facts)),
        _section("log p(x)", _evidence(model.facts)),
        _section("Intended use and limits", LIMITS),
        _section("Versions", _versions(model)),
        _section("Cite", _citations(vae, model)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text}" if text else ""


def _front_matter(facts: dict[str, Any], title: str) -> str:
    """The YAML that the Hub reads."""
    matter: dict[str, Any] = {
        "library_name": "pyrovae",
        "tags": ["pyrovae", "variational-autoencoder", "pyro"],
    }
    if facts.get("license"):
        matter["license"] = facts["license"]
    results = list(_results(facts))
    if results:
        matter["model-index"] = [{"name": title, "results": results}]
    return f"---\n{yaml.safe_dump(matter, sort_keys=False, allow_unicode=True)}---"


def _results(facts: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The evidence in the form of a model index."""
    name, split = _name(facts), (facts.get("evidence") or {}).get("split", "test")
    for label, one in _estimates(facts):
        metric = {"type": "log_px", "name": f"{one['quantity']}, nats per observation ({label})"}
        yield {
            "task": {"type": "density-estimation", "name": "Density estimation"},
            "dataset": {"type": name, "name": name, "split": split},
            "metrics": [metric | {"value": round(float(one["corrected"]), 4)}],
        }


def _opening(facts: dict[str, Any]) -> str:
    by = f" by {' '.join(facts['author'].split())}" if facts.get("author") else ""
    of = f" of {_name(facts)}" if facts.get("identity") else ""
    return _filled(f"A variational autoencoder{of}{by}, trained with PyroVAE.")


def _loading(vae: VAE, source: str) -> str:
    extra = "'pyrovae[hub]'" if source.startswith("hub:") else "pyrovae"
    given = f"context = ...  # {vae.context_shape}\nx = vae.sample(10, context)"
    drawn = "x = vae.sample(10)" if vae.context_shape is None else given
    return (
        f"```sh\npip install {extra}\n```\n\n"
        f'```python\nimport pyrovae as pv\n\nvae = pv.load("{source}")\n{drawn}\n```'
    )


def _units(vae: VAE) -> str:
    schema = vae.schema
    levels, noise = (None, False) if schema is None else (schema.levels, schema.dequantize)
    return _filled(f"p(x) is {Units(vae.measure, levels=levels, dequantized=noise)}. {_missing(vae)}")


def _missing(vae: VAE) -> str:
    taken = vae.likelihood.takes_missing
    return "Missing entries (NaN) are left out of log p(x)." if taken else "Rows may have no missing entries."


def _name(facts: dict[str, Any]) -> str:
    return str(((facts.get("identity") or {}).get("data") or {}).get("name") or "data from memory")


def _data(vae: VAE, facts: dict[str, Any]) -> str:
    record = (facts.get("identity") or {}).get("data") or {}
    lines = []
    if record:
        counts = ", ".join(f"{count:,} {part}" for part, count in (record.get("rows") or {}).items())
        lines = [
            f"- name: {record.get('name')}",
            f"- rows: {counts} (split seed {record.get('split_seed')})",
            f"- values: {record.get('scaling')}; {record.get('preparation')}",
            f"- fingerprint of the training rows: `{record.get('fingerprint')}`",
        ]
    if vae.context_shape is not None and vae.schema is not None:
        names = ", ".join(_cell(one.column.name) for one in vae.schema.context_columns or ())
        given = names or vae.schema.context or "a context"
        lines.append(f"- conditioned on: {given}, shape {vae.context_shape}")
    table = _columns(vae)
    return "\n\n".join(part for part in ("\n".join(lines), table) if part)


def _columns(vae: VAE) -> str:
    """The columns of a table, with their kinds, units and words."""
    columns = None if vae.schema is None else vae.schema.columns
    if columns is None:
        return ""
    rows = [
        f"| {_cell(c.name)} | {c.kind} | {_cell(c.unit or '')} | {_cell(', '.join((c.levels or ())[:8]))} |"
        for c in columns[:COLUMNS]
    ]
    more = [f"\n{len(columns) - COLUMNS} more columns."] if len(columns) > COLUMNS else []
    return "\n".join(["| column | kind | unit | words |", "|---|---|---|---|", *rows, *more])


def _cell(text: str) -> str:
    """Text that cannot leave its cell of a Markdown table."""
    return re.sub(r"\s+", " ", text).replace("|", "\\|").replace("<", "&lt;")[:80]


def _training(facts: dict[str, Any]) -> str:
    identity = facts.get("identity") or {}
    if not identity:
        return ""
    objective = _short(identity.get("objective") or {})
    epoch = f"epoch {facts['epoch']}" if facts.get("epoch") else "the last epoch"
    lines = [f"- maximised: {objective}", f"- weights: those of {epoch} (chosen by: {identity.get('keep')})"]
    lines += [f"- {name}: {identity[name]}" for name in SETTINGS if identity.get(name) is not None]
    return "\n".join(lines)


def _short(declaration: dict[str, Any]) -> str:
    name = str(declaration.get("class_path", "")).rpartition(".")[2]
    options = ", ".join(f"{key}={value!r}" for key, value in (declaration.get("init_args") or {}).items())
    return f"`{name}({options})`"


def _estimates(facts: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for label, one in (facts.get("evidence") or {}).items():
        if isinstance(one, dict) and one.get("corrected") is not None and "method" in one:
            yield label, one


def _evidence(facts: dict[str, Any]) -> str:
    rows = [
        f"| {label} | {one['corrected']:.2f} | {_error(one['stderr'])} | {_error(one['corrected_error'])} | "
        f"{one['rows']:,} | {one['trusted']:.0%} |"
        for label, one in _estimates(facts)
    ]
    if not rows:
        return ""
    one = next(iter(_estimates(facts)))[1]
    about = (
        f"{one['quantity']} of the {facts['evidence'].get('split', 'test')} rows in nats per observation, "
        f"{one['units']}. The first error is that between observations, the second that of the Monte Carlo "
        "samples. The last column is the share of the rows for which the estimate can be trusted."
    )
    head = ["| method | mean | +- rows | +- Monte Carlo | rows | trusted |", "|---|---|---|---|---|---|"]
    verdicts = [f"- {label}: {one['verdict']}" for label, one in _estimates(facts) if one.get("verdict")]
    return "\n\n".join(["\n".join([*head, *rows]), _filled(about), "\n".join(map(_filled, verdicts))]).strip()


def _error(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2g}"


def _versions(model: Model) -> str:
    others = (model.facts.get("versions") or {}).items()
    return ", ".join([f"PyroVAE {model.version}", *(f"{name} {number}" for name, number in others)])


def _citations(vae: VAE, model: Model) -> str:
    """How to cite PyroVAE, and the sources of the parts."""
    sources = dict(_references(vae, model.facts)).items()
    lines = "\n".join(_filled(f"- `{name}`: {text}") for name, text in sources)
    return f"```bibtex\n{CITED % model.version}\n```\n\nThe parts of the model are from:\n\n{lines}"


def _references(vae: VAE, facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The names of the classes with their sources, from the docstrings."""
    yield "VAE", _reference(inspect.getmodule(type(vae)))
    path = str(((facts.get("identity") or {}).get("objective") or {}).get("class_path", ""))
    objective = [class_at(path, Declared)] if path.startswith("pyrovae.") else []
    for cls in [*(type(part) for _, part in vae._parts()), *objective]:
        if source := _reference(cls):
            yield cls.__name__, source


def _reference(documented: object) -> str:
    """The text under "Reference:" in a docstring."""
    match = re.search(r"^References?:\n((?:[ \t]+.*\n?)+)", inspect.cleandoc(documented.__doc__ or ""), re.M)
    return " ".join(match[1].split()) if match else ""


def _filled(text: str) -> str:
    indent = "  " if text.startswith("- ") else ""
    return textwrap.fill(text, 96, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False)
