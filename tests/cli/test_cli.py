"""The command line: every command as documented, every part by its name, files in and files out."""

import dataclasses
import functools
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import pyrovae as pv
from pyrovae.cli import commands, main
from pyrovae.cli.docstrings import described
from pyrovae.cli.runs import rows_of
from pyrovae.errors import InputError
from pyrovae.part import Declared
from tests.support.cells import cell_name, cover, declared
from tests.support.parts import data_for
from tests.support.same_runs import binary, checkpoint, same

QUICK = ["--epochs", "1", "--figures", "false", "--latent_dim", "2", "--lr_schedule", "constant"]
BOUND = ["--method", "importance", "--bounds", "[1]"]
SMALL = ["--encoder", "MLP", "--encoder.sizes", "[8]", "--decoder", "MLP", "--decoder.sizes", "[8]"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty folder to work in, with a small binary file."""
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", binary(60).numpy())
    return tmp_path


@pytest.fixture
def run():
    assert main(["fit", "--data", "x.npy", *QUICK, *SMALL, "--batch_size", "20", "--out", "r"]) == 0
    return Path("r")


def answer(capsys, *words):
    """What a command prints that leaves by itself, as --help does."""
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 0
    return capsys.readouterr().out


# -------------------------------------------------------------------- the table of parts


def worded(declared: Declared, role: str) -> list[str]:
    """A part as somebody types it: its name, and the options that are not the default."""
    words = [f"--{role}", type(declared).__name__]
    for name, value in declared.hyperparameters().items():
        if value != inspect.signature(type(declared)).parameters[name].default:
            words += [f"--{role}.{name}", json.dumps(value) if isinstance(value, tuple) else str(value)]
    return words


def typeable(cell):
    """The parts of the package; a file of rows has no context."""
    return all(type(part).__module__.startswith("pyrovae.") for part in cell[:4]) and cell.context is None


CELLS = [cell for cell in cover(1, seed=2) if typeable(cell)]


@pytest.mark.parametrize("cell", CELLS, ids=cell_name)
def test_each_cell_of_the_table(cell):
    """Declare, train ten steps, save, load, evaluate: typed and written in Python, to the same weights."""
    states = cell.prior.states if cell.prior.labels else None
    labels = {} if states is None else {"y": np.arange(60) % states}
    np.savez("x.npz", x=data_for(declared(cell), 60)[0].numpy(), **labels)
    roles = dict(zip(("prior", "likelihood", "guide"), cell[:3], strict=True))
    roles |= dict(zip(("encoder", "decoder"), cell.networks, strict=True))
    words = [word for role, part in roles.items() for word in worded(part, role)]
    words += worded(cell.objective, "objective")
    words += ["--labels"] * cell.prior.labels
    assert main(["fit", "--data", "x.npz", "--batch_size", "4", *QUICK, *words, "--out", "typed"]) == 0

    data = pv.datasets.load("x.npz", labels=cell.prior.labels)
    torch.manual_seed(0)
    vae = pv.VAE(data.event_shape, latent_dim=2, **roles)
    options = {"epochs": 1, "batch_size": 4, "lr_schedule": "constant"}
    run = pv.fit(vae, data, cell.objective, out="written", figures=False, progress=False, **options)
    assert checkpoint("written")["state"]["position"]["step"] >= 10
    assert np.isfinite(run.history["validation"]).all()

    typed, written = pv.load("typed"), pv.load("written")
    assert typed == written == vae
    assert same(typed.state_dict(), written.state_dict())
    assert main(["evaluate", "typed", "--particles", "3", *BOUND, "--baseline", "false"]) == 0
    evidence = pv.log_evidence(written, data.test, particles=3)
    found = json.loads(Path("typed/evidence.json").read_text())
    assert found["L_3"]["log_px"] == pytest.approx(evidence.mean, rel=1e-5)


# -------------------------------------------------------------------- fit


def test_the_documented_line_and_a_change_of_one_part(capsys):
    given = ["--data", "x.npy", "--prior", "GaussianMixture", "--prior.components", "20"]
    words = [*given, "--likelihood", "Bernoulli", "--batch_size", "20", *QUICK]
    assert main(["fit", *words, "--out", "runs/mog"]) == 0
    assert "GaussianMixture(components=20)" in capsys.readouterr().out
    config = ["--config", "runs/mog/config.yaml", "--figures", "false"]
    assert main(["fit", *config, "--likelihood", "ContinuousBernoulli"]) == 0
    new = pv.load("runs/x-1")  # named after the data when it is not named
    assert repr(new.likelihood) == "ContinuousBernoulli()"
    assert new.prior == pv.priors.GaussianMixture(20)


def test_a_part_whose_options_differ_replaces_the_one_in_the_file():
    words = ["--data", "x.npy", "--batch_size", "20", *QUICK, "--likelihood", "Normal"]
    assert main(["fit", *words, "--likelihood.scale", "learned", "--out", "a"]) == 0
    for likelihood in (["Bernoulli"], ["Normal", "--likelihood.scale", "0.5"]):
        out = ["--out", likelihood[0], "--figures", "false"]
        assert main(["fit", "--config", "a/config.yaml", "--likelihood", *likelihood, *out]) == 0
    assert pv.load("Bernoulli").likelihood == pv.likelihoods.Bernoulli()
    assert pv.load("Normal").likelihood == pv.likelihoods.Normal(0.5)


def test_resume_needs_no_other_option(run, capsys):
    assert main(["fit", "--out", "r", "--resume", "true", "--epochs", "3", "--figures", "false"]) == 0
    assert "epoch 3/3" in capsys.readouterr().out
    assert main(["fit", "--out", "r", "--resume", "--figures", "false"]) == 0
    assert "epoch 3/3" not in capsys.readouterr().out
    assert yaml.safe_load((run / "config.yaml").read_text())["epochs"] == 3


def test_print_config_is_a_config(capsys):
    printed = answer(capsys, "fit", "--data", "x.npy", "--batch_size", "20", *QUICK, *SMALL, "--print_config")
    Path("c.yaml").write_text(printed)
    assert main(["fit", "--config", "c.yaml", "--out", "r"]) == 0
    assert pv.load("r").encoder == pv.networks.MLP(8)


OLD_CONFIG = """
data: digits
binarize: threshold
count: 200
context: labels
known: 50
prior:
  class_path: pyrovae.priors.GaussianMixture
  init_args: {labels: true}
objective: pyrovae.objectives.SemiSupervised
"""


def test_a_config_from_before_labels_were_rows_of_their_own():
    """Labels that a prior observes were once given as a context."""
    Path("old.yaml").write_text(OLD_CONFIG)
    assert main(["fit", "--config", "old.yaml", "--batch_size", "20", *QUICK, *SMALL, "--out", "r"]) == 0
    config = yaml.safe_load(Path("r/config.yaml").read_text())
    assert (config["context"], config["labels"], config["known"]) == (None, True, 50)
    assert pv.load("r").context_shape is None


def test_a_config_that_gives_a_prior_by_its_name_alone():
    Path("short.yaml").write_text(
        "data: digits\ncontext: labels\nbinarize: threshold\nprior: StandardNormal\n"
    )
    words = ["--config", "short.yaml", "--count", "100", "--batch_size", "20", *QUICK, *SMALL, "--out", "r"]
    assert main(["fit", *words]) == 0
    assert pv.load("r").context_shape == (10,)


USERS_PRIOR = '''
import pyro.distributions as dist
import torch
from pyrovae.priors import Prior


class MyPrior(Prior):
    """A prior of one's own.

    Arguments:
        width: its standard deviation.
    """

    def __init__(self, width: float = 2.0) -> None:
        super().__init__()
        self.width = width

    def attach(self, latent_dim: int, context_dim: int = 0) -> None:
        self.register_buffer("loc", torch.zeros(latent_dim), persistent=False)

    def forward(self, context=None):
        return dist.Normal(self.loc, self.width).to_event(1)
'''


@pytest.mark.parametrize("door", ["script", "module"])
def test_a_users_own_prior_from_the_working_folder(folder, door):
    """In a process of its own: a script does not look for modules where it is started."""
    (folder / "mypackage").mkdir()
    (folder / "mypackage" / "priors.py").write_text(USERS_PRIOR)
    script = Path(sys.executable).with_name("pyrovae")
    command = [str(script)] if door == "script" else [sys.executable, "-m", "pyrovae"]
    words = ["--prior", "mypackage.priors.MyPrior", "--prior.width", "1.5", "--batch_size", "20"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    fit = [*command, "fit", "--data", "x.npy", *words, *QUICK, *SMALL, "--out", "r"]
    done = subprocess.run(fit, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "z     ~ MyPrior(width=1.5)" in done.stdout
    assert done.stderr == ""


def test_the_working_folder_is_not_left_on_the_path(run):
    before = list(sys.path)
    main(["sample", "r", "--count", "4"])
    assert sys.path == before


@pytest.mark.parametrize("kind", ["npz", "csv", "parquet", "folder"])
def test_data_of_each_kind(kind):
    x = np.round(255 * np.random.default_rng(0).random((30, 8, 8))).astype("u1")
    if kind == "npz":
        np.savez("d.npz", x=x)
    elif kind == "csv":
        np.savetxt("d.csv", x.reshape(30, -1)[:, :5] / 255, delimiter=",", header="a,b,c,d,e", comments="")
    elif kind == "parquet":
        pandas = pytest.importorskip("pandas")
        pandas.DataFrame(x.reshape(30, -1)[:, :5] / 255, columns=list("abcde")).to_parquet("d.parquet")
    else:
        from PIL import Image

        Path("d").mkdir()
        for i, image in enumerate(x):
            Image.fromarray(image).save(f"d/{i}.png")
    name = "d" if kind == "folder" else f"d.{kind}"
    words = ["--likelihood", "ContinuousBernoulli", "--batch_size", "10", *QUICK, *SMALL]
    assert main(["fit", "--data", name, *words, "--out", "r"]) == 0
    event = (5,) if kind in ("csv", "parquet") else (1, 8, 8)
    vae = pv.load("r")
    assert vae.event_shape in (event, event[-2:])
    os.chdir("r")  # the record names the data from every folder
    assert main(["evaluate", ".", "--particles", "2", *BOUND]) == 0


@pytest.mark.parametrize("toy", ["mixture_1d", "ring", "pinwheel", "linear_gaussian"])
def test_toys(toy):
    words = ["--likelihood", "Normal", "--likelihood.scale", "learned", "--count", "200", "--epochs", "1"]
    assert main(["fit", "--data", toy, *words, *SMALL, "--latent_dim", "2", "--out", "r"]) == 0
    assert {p.name for p in Path("r/figures").iterdir()} >= {"training.png", "samples.png", "latents.png"}
    assert main(["sample", "r", "--count", "7", "--array"]) == 0
    assert main(["reconstruct", "r", "--count", "5", "--array"]) == 0
    assert len(np.load("r/samples.npy")) == 7
    assert np.isfinite(np.load("r/reconstructions.npy")).all()


def test_a_conditional_vae_by_labels(capsys):
    words = ["--binarize", "threshold", "--context", "labels", "--count", "100", "--batch_size", "20"]
    assert main(["fit", "--data", "digits", *words, *QUICK, *SMALL, "--out", "r"]) == 0
    assert pv.load("r").context_shape == (10,)
    assert main(["evaluate", "r", "--particles", "3", *BOUND]) == 0
    assert main(["sample", "r", "--count", "12", "--array"]) == 0
    assert main(["reconstruct", "r"]) == 0
    assert np.load("r/samples.npy").shape == (12, 1, 8, 8)


# -------------------------------------------------------------------- the other commands


@pytest.mark.parametrize(
    ("words", "key", "settings"),
    [
        ("--method AIS --method.temperatures 3", "ais", {"temperatures": 3, "start": "modes"}),
        ("--method ais --method.start prior --temperatures 4", "ais", {"temperatures": 4, "start": "prior"}),
        ("--temperatures 3 --start prior", "ais", {"temperatures": 3, "start": "prior"}),
        ("--method defensive", "defensive", {}),
        ("--method PSIS", "psis", {}),
        ("--method Importance", None, {}),
    ],
)
def test_methods_are_named_as_parts_are(run, words, key, settings):
    common = ["evaluate", "r", "--particles", "8", "--bounds", "[1]", "--chains", "2", "--baseline", "false"]
    assert main([*common, *words.split()]) == 0
    found = json.loads((run / "evidence.json").read_text())
    assert [name for name in found if name not in ("split", "weights", "bounds", "baselines")] == [
        "L_8",
        *filter(None, [key]),
    ]
    if key is not None:
        assert found[key]["particles"] == (2 if key == "ais" else 8)
        assert found[key]["settings"].items() >= settings.items()


def test_words_and_options_in_any_order(run, capsys):
    assert main(["compare", "r", "--particles", "5", "--method", "psis", "r"]) == 0
    assert main(["sample", "--count", "6", "--run", "r", "--array"]) == 0
    assert np.load("r/samples.npy").shape == (6, 1, 4, 4)


def test_hyphens_in_options():
    words = ["--data", "x.npy", "--latent-dim", "2", "--batch-size=20", "--epochs", "1", "--figures", "false"]
    assert main(["fit", *words, *SMALL, "--out", "r"]) == 0
    assert pv.load("r").latent_dim == 2


def test_evaluate_writes_what_it_prints(run, capsys):
    assert (
        main(["evaluate", "r", "--particles", "20", "--bounds", "[1,5]", "--chains", "2", "--seed", "3"]) == 0
    )
    printed = capsys.readouterr().out
    found = json.loads((run / "evidence.json").read_text())
    vae, data = pv.load("r"), pv.datasets.load("x.npy")
    evidence = pv.log_evidence(vae, data.test, particles=20, seed=3)
    curve = pv.iwae_bound(vae, data.test, particles=(1, 5), seed=3)
    assert found["L_20"]["log_px"] == pytest.approx(evidence.mean)
    assert found["L_20"]["rows"] == len(data.test)
    assert found["ais"]["particles"] == 2
    assert found["bounds"]["1"] == pytest.approx(curve.mean[0])
    assert f"{evidence.mean:.3f}" in printed
    assert "mixture of 10 Bernoullis" in printed
    assert (run / "figures" / "bounds.png").stat().st_size > 1000


def test_evaluate_of_some_rows_of_another_part(run):
    assert main(["evaluate", "r", "--particles", "2", *BOUND, "--split", "train", "--rows", "3"]) == 0
    found = json.loads((run / "evidence.json").read_text())
    assert (found["split"], found["L_2"]["rows"]) == ("train", 3)


def test_clusters_writes_what_it_prints(capsys):
    mixture = ["--prior", "GaussianMixture", "--prior.components", "10", "--prior.labels", "true"]
    words = ["--data", "digits", "--known", "50", "--binarize", "threshold", *mixture]
    assert main(["fit", *words, *QUICK, *SMALL, "--out", "r"]) == 0
    assert main(["clusters", "r", "--particles", "2"]) == 0
    found, printed = json.loads(Path("r/clusters.json").read_text()), capsys.readouterr().out
    ex = pv.exploring.explore(
        pv.load("r"), pv.datasets.load("digits", binarize="threshold", known=50), rows=10_000, particles=2
    )
    table, agreement = ex.components.table(), ex.agreement
    assert [list(row) for row in found["components"]] == [list(table.columns)] * 10
    assert [row["data"] for row in found["components"]] == table["data"].tolist()
    assert found["agreement"].pop("confusion") == agreement.confusion.tolist()
    assert found["agreement"].pop("matching") == agreement.matching.tolist()
    assert found["agreement"].keys() == {"accuracy", "nmi", "ari", "purity", "plain"}
    for name, value in found["agreement"].items():
        assert value == pytest.approx(getattr(agreement, name), rel=1e-9), name
    assert str(agreement) in printed


def test_an_old_option_of_ais_is_refused_for_another_method(run, capsys):
    assert main(["evaluate", "r", "--method", "PSIS", "--temperatures", "5"]) == 2
    assert "--temperatures is an option of AIS, not of PSIS" in capsys.readouterr().err


def test_training_rows_are_scored_once_each():
    """Copies of the rows with a known label are for training only."""
    data = pv.datasets.load("digits", known=20, copies=3, count=100)
    rows = rows_of(data, "train", None)
    assert len(rows) == data.distinct == len(data.train) - 40
    assert len(rows.index.unique()) == len(rows)
    assert rows.y is None


@pytest.mark.parametrize("words", [["r", "--array"], ["--array", "r"], ["--array", "true", "r"]])
def test_sample_and_the_bare_flag(run, words):
    assert main(["sample", *words, "--count", "6"]) == 0
    samples = np.load("r/samples.npy")
    assert samples.shape == (6, 1, 4, 4)
    assert 0 < samples.min() < samples.max() < 1  # means, unless draws are asked for
    assert main(["sample", "r", "--count", "6", "--mean", "false", "--array"]) == 0
    assert set(np.unique(np.load("r/samples.npy"))) <= {0.0, 1.0}
    assert main(["sample", "r", "--count", "6"]) == 0
    assert (run / "figures" / "samples.png").exists()


def test_the_same_seed_samples_the_same(run):
    drawn = []
    for seed in ("1", "1", "2"):
        assert main(["sample", "r", "--count", "6", "--seed", seed, "--array"]) == 0
        drawn.append(np.load("r/samples.npy"))
    assert (drawn[0] == drawn[1]).all()
    assert (drawn[0] != drawn[2]).any()


def test_reconstruct(run):
    assert main(["reconstruct", "r", "--count", "5", "--split", "validation", "--array"]) == 0
    assert np.load("r/reconstructions.npy").shape == (5, 1, 4, 4)
    assert (run / "figures" / "reconstructions.png").exists()


def test_a_run_on_data_from_memory_is_evaluated_on_named_data(capsys):
    data = pv.datasets.load(binary(60))
    torch.manual_seed(0)
    pv.fit(pv.VAE(data.event_shape, 2), data, epochs=1, batch_size=20, out="m", figures=False, progress=False)
    assert main(["evaluate", "m", "--particles", "2", *BOUND]) == 2
    assert "name them with --data" in capsys.readouterr().err
    assert main(["evaluate", "m", "--particles", "2", *BOUND, "--data", "x.npy"]) == 0


def test_datasets_lists_the_known_ones(capsys):
    assert main(["datasets"]) == 0
    listed = capsys.readouterr().out
    for name in ("digits", "mnist", "fashion_mnist", "qmnist", "cifar10", "ring", "pinwheel"):
        assert f"\n{name} " in f"\n{listed}"


def test_demo_fits_evaluates_and_draws(capsys):
    assert main(["demo", "--epochs", "1", "--out", "d"]) == 0
    printed = capsys.readouterr().out
    assert "everything is in d: config.yaml" in printed
    assert "mixture of 10 Bernoullis (EM)" in printed
    assert {p.name for p in Path("d").iterdir()} >= {"config.yaml", "metrics.csv", "evidence.json"}


# -------------------------------------------------------------------- help


COMMANDS = sorted(file.stem for file in Path(commands.__file__).parent.glob("[!_]*.py"))


@pytest.mark.parametrize("words", [["--help"], ["-h"], []])
def test_help_names_every_command_with_its_summary(capsys, words):
    assert main(words) == 0
    printed = capsys.readouterr().out
    for command in COMMANDS:
        function = getattr(importlib.import_module(f"pyrovae.cli.commands.{command}"), command)
        assert f"\n    {command.replace('_', '-'):<12} {described(function).summary.rstrip('.')}\n" in printed


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"pyrovae {pv.__version__}\n"


NO_TORCH = """
import sys
from pyrovae.cli import main
try:
    main(sys.argv[1:])
finally:
    assert "torch" not in sys.modules
"""


@pytest.mark.parametrize("words", ["", "--help", "--version", "parts", "parts --help", "datasets", "flt"])
def test_what_needs_no_torch_imports_none(words, project):
    command = [sys.executable, "-c", NO_TORCH, *words.split()]
    done = subprocess.run(command, capture_output=True, env=os.environ | {"PYTHONPATH": str(project)})
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_each_option_is(capsys, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "200")
    printed = answer(capsys, command, "--help", "all").partition("[options]")[2]
    lines = [line for line in printed.splitlines() if line.startswith("  ")]
    for here, following in zip(lines, [*lines[1:], ""], strict=True):
        words = here.split()
        if words and words[0].startswith("--"):
            described = len(words) > 2 or following.startswith(" " * 12)
            assert described, here
    takes = r"^  (--\w+ )?(N|NUMBER|WORD|NAME|CHOICE|DATA|FILE|FOLDER|PATH|RUN|SHELL)( |$)"
    assert re.search(takes, printed, flags=re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_option_of_a_command_is_described_in_one_line(command):
    function = getattr(importlib.import_module(f"pyrovae.cli.commands.{command}"), command)
    text = described(function)
    names = {p.name for p in inspect.signature(function).parameters.values() if p.kind is not p.VAR_KEYWORD}
    assert {name for name, _ in text.arguments} == names
    assert all(len(about) <= 90 for _, about in text.arguments)


def test_help_of_a_part_lists_its_options(capsys):
    printed = answer(capsys, "fit", "--prior.help", "GaussianMixture")
    assert "--prior.components N " in printed
    assert "default: 10" in printed


def test_evidence_csv_has_the_row_numbers_of_the_source(run):
    assert main(["evaluate", str(run), "--particles", "2", "--rows", "5", *BOUND]) == 0
    lines = Path(run, "evidence.csv").read_text().splitlines()
    assert lines[0].startswith("row,L_2_log_px")
    index = pv.datasets.load("x.npy").test.index[:5].tolist()
    assert [int(line.split(",")[0]) for line in lines[1:]] == index


def test_runs_without_a_name_at_the_same_time_get_a_folder_each(monkeypatch, tmp_path, capsys):
    """The second command starts while the first one trains, and the third fails."""
    monkeypatch.chdir(tmp_path)
    command, folders = ["fit", "--data", "ring", "--epochs", "1"], []

    @functools.wraps(pv.fit)  # its options
    def train(vae, *, out, **settings):
        folders.append(out)
        if len(folders) < 3:
            expected = 2 if len(folders) == 2 else 0
            assert main(command) == expected
            Path(out, "config.yaml").touch()
        else:
            raise InputError("it fails: try again")

    monkeypatch.setattr("pyrovae.training.fit", train)
    assert main(command) == 0
    assert folders == ["runs/ring-1", "runs/ring-2", "runs/ring-3"]
    assert sorted(p.name for p in Path("runs").iterdir()) == ["ring-1", "ring-2"]
    Path("runs").rename("kept")
    folders += [None] * 3
    assert main(command) == 2
    assert not Path("runs").exists()


@pytest.mark.parametrize("when", ["laplace", "curve", "part of the curve", "baselines"])
def test_an_evaluation_that_is_stopped_keeps_what_it_has(run, when, monkeypatch, capsys):
    def stop(*args, **options):
        raise KeyboardInterrupt

    from pyrovae.cli.commands import evaluate

    bound = evaluate.iwae_bound

    def bounds(vae, x, *, particles, **options):
        if particles == (1,):
            return bound(vae, x, particles=particles, **options)
        if when == "curve":
            stop()
        curve = bound(vae, x, particles=particles, **options)
        values = {name: getattr(curve, name)[:, :2] for name in ("bound", "mc_stderr")}
        return dataclasses.replace(curve, partial=True, **values) if when == "part of the curve" else curve

    monkeypatch.setattr(evaluate, "iwae_bound", bounds)
    if when == "laplace":
        monkeypatch.setattr("pyrovae.evidence.Laplace.parts", stop)
    if when == "baselines":
        monkeypatch.setattr(evaluate, "_baselines", stop)
    method = [] if when == "laplace" else ["--method", "importance"]
    assert main(["evaluate", "r", "--particles", "10", *method]) == 130
    assert "stopped early: the finished rows are in the files" in capsys.readouterr().err
    assert len(Path("r/evidence.partial.csv").read_text().splitlines()) == 1 + 12
    found = json.loads(Path("r/evidence.partial.json").read_text())
    assert list(found["bounds"]) == (["1", "10"] if when in ("laplace", "curve") else ["1", "5", "10"])


# -------------------------------------------------------------------- interrupted results


@pytest.mark.parametrize("stopped", ["the first estimate", "the second estimate", "the curve"])
def test_a_partial_result_never_replaces_a_complete_one(run, capsys, monkeypatch, stopped):
    words = ["evaluate", "r", "--particles", "4", "--chains", "2", "--method", "AIS", "--bounds", "[1,2]"]
    words += ["--method.temperatures", "3", "--baseline", "false", "--compile", "false"]
    assert main(words) == 0
    complete = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    module = importlib.import_module("pyrovae.cli.commands.evaluate")
    estimate, curve, calls = module.log_evidence, module.iwae_bound, []

    def half(result):
        rows = len(result)
        arrays = {n: v for n, v in vars(result).items() if isinstance(v, np.ndarray) and len(v) == rows}
        return replace(result, partial=True, **{name: v[: rows // 2] for name, v in arrays.items()})

    def half_curve(result):
        rows = result.bound.shape[1] // 2
        bound, error = result.bound[:, :rows], result.mc_stderr[:, :rows]
        return replace(result, bound=bound, mc_stderr=error, partial=True)

    def estimated(*args, **options):
        calls.append(args)
        result = estimate(*args, **options)
        is_stopped = stopped == {1: "the first estimate", 2: "the second estimate"}.get(len(calls))
        return half(result) if is_stopped else result

    with monkeypatch.context() as patch:
        patch.setattr(module, "log_evidence", estimated)
        if stopped == "the curve":
            patch.setattr(module, "iwae_bound", lambda *args, **options: half_curve(curve(*args, **options)))
        capsys.readouterr()
        assert main(words) == 130
    printed = capsys.readouterr()
    assert printed.err == (
        "pyrovae: stopped early: the finished rows are in the files with .partial in their names\n"
    )
    assert "written: r/evidence.partial.json, r/evidence.partial.csv, r/figures/bounds.part" in printed.out
    assert complete == {path: path.read_bytes() for path in complete}
    assert main(words) == 0
    assert not list(run.rglob("*.partial.*"))
