"""`pyrovae parts`: what there is, from the code alone, in words that fit a terminal; and parts by name."""

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
import yaml

import pyrovae as pv
from pyrovae.cli import main
from pyrovae.cli.commands.parts import AXES, AxisName, _kind, classes_of, markdown_table
from pyrovae.cli.docstrings import described, formula, plain
from pyrovae.cli.parsing import parse
from pyrovae.names import named_classes
from pyrovae.priors import Prior

OWN = {
    (axis, name): cls
    for axis, kind in AXES.items()
    for name, cls in named_classes(kind.base_class()).items()
    if cls.__module__.startswith("pyrovae.")
}
each_part = pytest.mark.parametrize(("axis", "name"), list(OWN))


def said(capsys, *words):
    assert main(["parts", *words]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def refused(capsys, *words):
    """The one sentence on the way to status 2."""
    assert main(["parts", *words]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.count("\n") == 1
    assert not error.endswith(".\n")
    return error


def options(cls):
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [p for p in inspect.signature(cls, eval_str=True).parameters.values() if p.kind in kinds]


# ---------------------------------------------------------------- the list


def test_the_list_names_every_part_with_its_options(capsys):
    listed = said(capsys)
    for (axis, name), cls in OWN.items():
        start = listed.index(f"\n  {name} ", listed.index(f"{axis}: "))
        for p in options(cls):
            shown = p.name if p.default is p.empty else f"{p.name}={p.default!r}"
            assert shown in " ".join(listed[start : start + 1000].split())


@pytest.mark.parametrize("axis", AXES)
def test_one_axis_alone(axis, capsys):
    listed = said(capsys, "--axis", axis)
    assert listed.startswith(f"{axis}: ")
    assert not any(f"\n{other}: " in listed for other in AXES if other != axis)
    assert listed.splitlines()[0] in said(capsys)


def test_the_list_fits_a_terminal_and_a_pipe(capsys):
    for words in ([], *(["--axis", axis] for axis in AXES)):
        listed = said(capsys, *words)
        assert max(map(len, listed.splitlines())) <= 100
        assert "\x1b" not in listed
        assert "\\" not in listed
        assert "\N{NO-BREAK SPACE}" not in listed
    done = subprocess.run([sys.executable, "-m", "pyrovae", "parts"], capture_output=True, timeout=60)
    piped = done.stdout.decode("ascii").split()
    assert {name for _, name in OWN} <= set(piped)


def test_a_pipe_that_only_knows_ascii():
    command = [sys.executable, "-m", "pyrovae", "parts", "Hierarchical"]
    done = subprocess.run(command, capture_output=True, timeout=60, env={"PYTHONIOENCODING": "utf-8"})
    assert "Sønderby" in done.stdout.decode()


def test_public_parts_are_the_ones_that_are_listed():
    for axis, kind in AXES.items():
        module, base = getattr(pv, kind.folder), kind.base_class()
        public = {name for name in module.__all__ if isinstance(getattr(module, name), type)}
        concrete = {
            n for n in public if issubclass(getattr(module, n), base) and getattr(module, n) is not base
        }
        assert concrete == {name for kind, name in OWN if kind == axis}


def test_the_list_from_the_source_is_the_list_of_the_classes():
    """Parts are listed without importing them: the same names, docstrings, options, types and defaults."""
    for axis in AXES:
        listed = classes_of(axis)
        assert list(listed) == [name for kind, name in OWN if kind == axis]
        for name, skeleton in listed.items():
            cls = OWN[axis, name]
            assert (skeleton.__name__, skeleton.__module__) == (cls.__name__, cls.__module__)
            assert skeleton.__doc__ == cls.__doc__
            assert [worded(p) for p in options(skeleton)] == [worded(p) for p in options(cls)]


def worded(parameter):
    return parameter.name, parameter.default, _kind(parameter.annotation)


def test_the_list_needs_no_torch():
    code = "import sys; from pyrovae.cli import main; main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    for words in (["parts"], ["parts", "AIS"], ["parts", "--markdown"]):
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, timeout=60)
        assert done.returncode == 0


# ---------------------------------------------------------------- one part


@each_part
def test_each_part_is_explained(axis, name, capsys):
    cls, shown = OWN[axis, name], said(capsys, "--axis", axis, name)
    assert shown.startswith(f"{name}: {axis}")
    for p in options(cls):
        assert f"\n  {p.name}: " in shown
    assert "\nsource\n" in shown
    assert "\\" not in shown
    assert "{" not in shown
    width = [line for line in shown.splitlines() if len(line) > 100]
    assert not width


@each_part
def test_each_option_is_described(axis, name):
    cls = OWN[axis, name]
    about = dict(described(cls).arguments)
    variadic = {p.name for p in inspect.signature(cls).parameters.values()} - {p.name for p in options(cls)}
    assert {p.name for p in options(cls)} <= about.keys() <= {p.name for p in options(cls)} | variadic
    assert described(cls).reference


@each_part
def test_the_two_lines_to_name_a_part_do_name_it(axis, name, capsys):
    """What `parts` says to type is typed, and gives the same part as the line of Python."""
    if name == "Wrapped":
        pytest.skip("its line has places to fill in")
    lines = said(capsys, "--axis", axis, name).splitlines()
    typed = lines[-1].split()
    role, call = re.search(r", (\w+)=(pv\..+)\)$", lines[-4]).groups()
    part = eval(call, {"pv": pv})
    assert typed[:2] == ["pyrovae", "evaluate" if axis == "method" else "fit"]
    assert part == parse(typed[1:]).keywords[role]
    assert type(part) is OWN[axis, name]


def test_two_parts_of_one_name_are_both_explained(capsys):
    shown = said(capsys, "GaussianMixture")
    assert shown.count("GaussianMixture: prior") == shown.count("GaussianMixture: guide") == 1
    assert "GaussianMixture: prior" not in said(capsys, "GaussianMixture", "--axis", "guide")


def test_the_types_of_options_in_words(capsys):
    shown = said(capsys, "--axis", "likelihood", "Normal")
    assert "scale: number, 'learned', 'predicted', 'optimal' or 'bayesian'; default 0.1" in shown
    shown = said(capsys, "--axis", "network", "Wrapped")
    assert "features: whole number; required" in shown
    assert "options: mapping or None; default None" in shown
    assert "hidden: list of whole numbers; default (64, 64)" in said(capsys, "Autoregressive")


OF_A_USER = '''
from collections.abc import Sequence
from pyrovae.priors import StandardNormal


class Bare(StandardNormal):
    def __init__(self, width: float, sizes: Sequence[int] = (1, 2), *, fast: bool = True) -> None:
        super().__init__()
        self.width, self.sizes, self.fast = width, sizes, fast


class Documented(StandardNormal):
    r"""My own distribution, \\(p(z) = \\frac{1}{2}\\).

    Arguments:
        width: how wide,
            in two lines.
    """

    def __init__(self, width: "float" = 2.0) -> None:
        super().__init__()
        self.width = width


def no_class():
    pass
'''


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("myown.py").write_text(OF_A_USER)
    yield
    sys.modules.pop("myown", None)


def test_a_part_of_ones_own_by_its_import_path(own, capsys):
    shown = said(capsys, "myown.Documented")
    assert "My own distribution, p(z) = 1/2." in shown
    assert "  width: number; default 2.0\n      how wide, in two lines." in shown
    assert "pv.VAE(..., prior=myown.Documented(width=2.0))" in shown
    assert "pyrovae fit --prior myown.Documented --prior.width 2.0" in shown
    shown = said(capsys, "myown.Bare")  # a docstring of its own it has not, and gets none of its base's
    assert "standard normal" not in shown
    assert "--prior myown.Bare --prior.width WIDTH" in shown
    assert "fast: True or False; default True" in shown


def test_what_is_not_a_part_is_refused(own, capsys):
    assert "did you mean GaussianMixture?" in refused(capsys, "gausianmixture")
    assert "no guide 'Bernouli'" in refused(capsys, "--axis", "guide", "Bernouli")
    assert "did you mean Bernoulli" in refused(capsys, "Bernouli")
    assert "`pyrovae parts` lists" in refused(capsys, "xyzzy")
    assert "'myown.Missing' cannot be imported" in refused(capsys, "myown.Missing")
    assert "myown.no_class is not a part" in refused(capsys, "myown.no_class")
    assert "pyrovae.VAE is not a part" in refused(capsys, "pyrovae.VAE")
    assert "belongs to the axis prior, not to guide" in refused(capsys, "myown.Documented", "--axis", "guide")
    assert "'prior', 'likelihood'" in refused(capsys, "--axis", "priors")
    assert "unexpected argument" in refused(capsys, "Normal", "Laplace")


# ---------------------------------------------------------------- formulas and tables


@pytest.mark.parametrize(
    ("tex", "shown"),
    [
        (r"\mathcal N(z; 0, I)", "N(z; 0, I)"),
        (r"\sum_{k=1}^{K} \pi_k", "sum_k pi_k"),
        (r"p_i^{x_i} (1 - p_i)^{1 - x_i}", "p_i^(x_i) (1 - p_i)^(1 - x_i)"),
        (r"\tfrac{1}{2 b_d} e^{-|z_d|/b_d}", "(1/(2 b_d)) e^(-|z_d|/b_d)"),
        (r"\frac1K \sum_j w_j \le \log p(x)", "(1/K) sum_j w_j <= log p(x)"),
        (r"\mathrm{KL}\Big(q(z) \Big\| \prod_d q(z_d)\Big)", "KL(q(z) || prod_d q(z_d))"),
        (r"L L^\top \odot \mathrm{diag}\,\sigma_k^2", "L L^T * diag sigma_k^2"),
        (r"\mu_d(z_{<d}), \quad h = \frac{a}{b}", "mu_d(z_<d),   h = a/b"),
        (r"\overline{\mathrm{KL}}_d - \tilde w_k^2", "mean KL_d - w~_k^2"),
    ],
)
def test_formulas_in_plain_letters(tex, shown):
    assert formula(tex) == shown
    assert plain(rf"a \({tex}\) b", mark="`") == f"a `{shown}` b"


@pytest.mark.parametrize("axis", AXES)
def test_tables_have_four_cells_a_row(axis, capsys):
    table = markdown_table(axis).splitlines()
    assert len(table) == 2 + sum(kind == axis for kind, _ in OWN)
    for row in table:
        assert len(row.replace(r"\|", "").split("|")) == 6
    assert "\n".join(table) in said(capsys, "--axis", axis, "--markdown")


def test_a_docstring_in_its_sections():
    class Written(Prior):
        r"""A distribution.

        More of it.

        Arguments: none. The decoder gives all.

        Raises:
            InputError: never.
        """

    text = described(Written)
    assert (text.summary, text.body) == ("A distribution.", "More of it.")
    assert text.arguments == ()
    assert text.raises == "InputError: never."
    assert text.reference == ""
    assert described(type("Bare", (Prior,), {})).summary == ""


# ---------------------------------------------------------------- parts that the command line builds


QUICK = [
    "--epochs",
    "1",
    "--figures",
    "false",
    "--latent_dim",
    "3",
    "--batch_size",
    "20",
    "--lr_schedule",
    "constant",
    "--out",
    "r",
]
SMALL = ["--encoder", "MLP", "--encoder.sizes", "[8]", "--decoder", "MLP", "--decoder.sizes", "[8]"]


@pytest.mark.parametrize(
    ("words", "role", "part"),
    [
        ("--guide Flow --guide.flow iaf", "q", lambda: pv.guides.Flow("iaf")),
        ("--prior Hierarchical --prior.layers [8]", "prior", lambda: pv.priors.Hierarchical([8])),
        ("--prior Flow --prior.hidden [8,8]", "prior", lambda: pv.priors.Flow(hidden=(8, 8))),
        ("--prior VampPrior --prior.components 4", "prior", lambda: pv.priors.VampPrior(4)),
        ("--encoder Gated --encoder.sizes [8,7]", "encoder", lambda: pv.networks.Gated(8, 7)),
        ("--encoder.init he --encoder.sizes [8]", "encoder", lambda: pv.networks.MLP(8, init="he")),
        ("--objective BetaTC --objective.beta 4", None, lambda: pv.objectives.BetaTC(4.0)),
        ("--objective ELBO --objective.free_bits 0.1 --kl_warmup 2 --kl_schedule cyclic", None, None),
    ],
)
def test_parts_by_name_with_their_options(words, role, part, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", torch.bernoulli(torch.full((80, 6), 0.5)).numpy())
    assert main(["fit", "--data", "x.npy", *SMALL, *words.split(), *QUICK]) == 0
    vae = pv.load("r")
    if role is not None:
        assert getattr(vae, role) == part()
    elif part is not None:
        assert yaml.safe_load(Path("r/config.yaml").read_text())["objective"] == part().to_dict()


def test_a_table_learns_its_columns_and_keeps_them(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    rows = zip(rng.normal(size=200), rng.poisson(3, 200), rng.choice(["red", "green"], 200), strict=True)
    lines = [f"{a:.3f},{b},{c}" for a, b, c in rows]
    lines[7] = ",2,red"  # an entry is missing
    Path("t.csv").write_text("\n".join(["height,count,colour", *lines]))
    fit = ["fit", "--data", "t.csv", *SMALL, *QUICK]
    assert main([*fit, "--likelihood", "Mixed"]) == 0
    kinds = pv.load("r").likelihood.columns
    assert kinds[0] == "normal"
    assert kinds[2] in ("categorical:2", "bernoulli")
    assert main(["fit", "--out", "r", "--resume", "true", "--epochs", "2"]) == 0
    capsys.readouterr()
    assert main([*fit, "--likelihood", "Normal"]) == 2
    assert "'colour' holds words" in capsys.readouterr().err
    assert main([*fit, "--out", "default"]) == 0
    assert pv.load("default").likelihood == pv.load("r").likelihood


def test_axes_are_what_the_option_takes():
    assert Literal[tuple(AXES)] == AxisName
