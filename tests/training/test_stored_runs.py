"""Runs that older versions left on disk are loaded, evaluated and resumed by this one.

`stored_runs/format-1.tar.xz` holds runs of commit da0f193 (the first format of checkpoints), each of two
epochs on digits or on a small table, and the weights with which that version ended them after a third.
`stored_runs/expected.json` holds its estimates. Every format stays readable. Later formats have
their own archives, from `format-2.tar.xz`. Each holds a run (a mixture on digits),
its weights after a third epoch, and its estimates.

    plain         standard normal prior                  mixture      GaussianMixture, started by k-means
    conditional   one-hot labels as context              table        Mixed, with empty cells
    labelled      50 labels, a mixture that observes     m2           50 labels, a class that the guide draws
    interrupted   killed in the second epoch             pair         a hand-written model and guide
"""

import json
import platform
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import yaml
from torch import nn

import pyrovae as pv
from pyrovae.cli import main
from pyrovae.cli.runs import open_run
from pyrovae.errors import InputError
from pyrovae.evidence.draws import data_keys
from pyrovae.objectives import Objective
from pyrovae.training.checkpoint import FORMAT, Checkpoint, upgraded_config
from tests.support.same_runs import checkpoint

STORED = Path(__file__).resolve().parent / "stored_runs"
EXPECTED = json.loads((STORED / "expected.json").read_text())
RUNS = EXPECTED["runs"]
VAES = [name for name in RUNS if name != "pair"]
QUIET = {"figures": False, "progress": False}
EVALUATE = "--particles 64 --rows 20 --chains 4 --method AIS --method.temperatures 10 --bounds [1,5]".split()
EVALUATE += "--baseline false --compile false --device cpu".split()


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """The archive, unpacked; the config of the table names it by its path here."""
    folder = tmp_path_factory.mktemp("stored")
    with tarfile.open(STORED / "format-1.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    config = folder / "table" / "config.yaml"
    config.write_text(config.read_text().replace("data: table.csv", f"data: {folder / 'table.csv'}"))
    return folder


@pytest.fixture
def copy(stored, tmp_path):
    """A copy of a run, to be changed."""
    return lambda name: Path(shutil.copytree(stored / name, tmp_path / name))


def close(found, wanted, *, apart=1e-5, elsewhere=1e-2):
    """Equal numbers where they were made; other CPUs and versions of torch round in other ways."""
    made = EXPECTED["made_with"]
    here = (torch.__version__, torch.backends.cpu.get_cpu_capability(), platform.machine())
    tolerance = apart if here == (made["torch"], made["cpu"], made["machine"]) else elsewhere
    found, wanted = (np.asarray(values, dtype=float) for values in (found, wanted))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance)


def log_px(program, rows):
    options = {"method": "importance", "particles": 64, "seed": 0, "compile": False}
    return pv.log_evidence(program, rows, **options)


# ---------------------------------------------------------------- load and evaluate


@pytest.mark.parametrize("name", VAES)
def test_a_stored_run_has_its_log_px(stored, name):
    vae, data = open_run(str(stored / name), None)
    evidence = log_px(vae, data.test[:20])
    # Tables were kept in float32 then.
    close(evidence.log_px, RUNS[name]["log_px"], apart=1e-5)
    assert evidence.quantity == ("log p(x | c)" if name == "conditional" else "log p(x)")
    assert vae.schema is None  # it was not stored then
    assert (vae.context_shape is not None) == (name == "conditional")


@pytest.mark.parametrize("name", ["labelled", "m2"])
def test_a_stored_run_has_its_log_px_with_labels(stored, name, monkeypatch):
    """The labels were one-hot rows of a context then, of which the noise was a function; now they are y."""
    vae, data = open_run(str(stored / name), None)
    rows = pv.Rows(data.test.x[:20], y=data.labels.test[:20])
    one_hot = nn.functional.one_hot(rows.y, 10).float()
    before = data_keys(pv.Rows(rows.x, one_hot))
    monkeypatch.setattr("pyrovae.evidence.run.data_keys", lambda rows: before)
    evidence = log_px(vae, rows)
    close(evidence.log_px, RUNS[name]["log_pxy"])
    assert evidence.quantity == "log p(x, y)"
    assert data.train.y.ge(0).sum() == {"labelled": 100, "m2": 50}[name]  # two copies, and one


@pytest.mark.parametrize("name", [name for name in RUNS if "evaluate" in RUNS[name]])
def test_a_stored_run_is_evaluated_by_the_command_line(copy, name, capsys):
    folder = copy(name)
    assert main(["evaluate", str(folder), *EVALUATE]) == 0, capsys.readouterr().err
    evidence = json.loads((folder / "evidence.json").read_text())
    wanted = RUNS[name]["evaluate"]
    close(evidence["L_64"]["log_px"], wanted["L_64"])
    # Annealing starts at the modes now, which is better with these few temperatures.
    assert abs(evidence["ais"]["log_px"] - wanted["ais"]) < 0.3


# ---------------------------------------------------------------- resume


def ended(folder, stored, name):
    """Check a run that was resumed to its third epoch against what the old version made of it."""
    wanted, last = RUNS[name]["resumed"], checkpoint(folder)
    assert last["format"] == checkpoint(folder, "best")["format"] == FORMAT
    assert last["state"]["position"] == wanted["position"]
    assert last["state"]["best_epoch"] == wanted["best_epoch"]
    for column in ("train", "validation"):
        close(last["state"]["history"][column], wanted[column], apart=1e-5)
    weights, kept = last["best"], torch.load(stored / "resumed" / f"{name}.pt", weights_only=True)
    assert weights.keys() == kept.keys()
    for key in kept:
        close(weights[key].double(), kept[key].double(), elsewhere=0.05)


@pytest.mark.parametrize("name", VAES)
def test_a_stored_run_is_resumed(copy, stored, name):
    folder = copy(name)
    assert checkpoint(folder)["format"] == 1
    assert checkpoint(folder)["state"]["position"] == RUNS[name]["position"]
    config = yaml.safe_load((folder / "config.yaml").read_text())
    vae, data = open_run(str(folder), None)
    settings = {key: config[key] for key in ("lr", "batch_size", "seed", "checkpoint_seconds")}
    objective = Objective.from_dict(config["objective"])
    declared = vae.clone()
    pv.fit(
        declared,
        data,
        objective,
        epochs=3,
        compile=False,
        device="cpu",
        out=folder,
        resume=True,
        **settings,
        **QUIET,
    )
    ended(folder, stored, name)
    assert pv.load(folder).schema == data.schema


@pytest.mark.parametrize("name", ["plain", "labelled", "conditional"])
def test_a_stored_run_is_resumed_by_the_command_line(copy, stored, name):
    """With the options of its config, which is written in the words of this version."""
    folder = copy(name)
    assert main(["fit", "--out", str(folder), "--resume", "true", "--epochs", "3", "--figures", "false"]) == 0
    ended(folder, stored, name)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert upgraded_config(config) == config
    assert config["labels"] == (name == "labelled")
    assert config["context"] == ("labels" if name == "conditional" else None)


def numbers():
    """The data of the stored pair, (120, 3)."""
    draw = torch.Generator().manual_seed(11)
    z = torch.randn(120, 1, generator=draw)
    return z * torch.tensor([[1.0, -0.5, 0.25]]) + 0.3 * torch.randn(120, 3, generator=draw)


def pair():
    """The stored pair with its first weights, in an empty parameter store."""
    pyro.clear_param_store()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        decoder, encoder = nn.Linear(1, 3), nn.Linear(3, 1)

    def model(x):
        pyro.module("decoder", decoder)
        noise = pyro.param("noise", torch.tensor(0.5), constraint=dist.constraints.positive)
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
            pyro.sample("x", dist.Normal(decoder(z[..., None]), noise).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        scale = pyro.param("scale", torch.tensor(1.0), constraint=dist.constraints.positive)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(encoder(x)[..., 0], scale))

    return model, guide


@torch.no_grad()
def test_a_stored_pair_has_its_log_px(stored):
    model, guide = pair()
    x = numbers()[:20]
    guide(x)
    model(x)  # now the parameters are in the store
    saved = Checkpoint.read(stored / "pair" / "best.ckpt")
    assert saved.declaration is None
    for name, value in saved.weights.items():
        pyro.get_param_store()._params[name].copy_(value)
    close(log_px((model, guide), x).log_px, RUNS["pair"]["log_px"])
    with pytest.raises(InputError, match="hand-written"):
        pv.load(stored / "pair")


def test_a_stored_pair_is_resumed(copy, stored):
    folder = copy("pair")
    settings = {"batch_size": 20, "lr": 0.01, "seed": 3, "device": "cpu", "compile": False}
    pv.fit(pair(), numbers(), epochs=3, out=folder, resume=True, **settings, **QUIET)
    ended(folder, stored, "pair")


# ---------------------------------------------------------------- later formats


@pytest.fixture(params=[2, 3, 4])
def later(request, tmp_path):
    """A folder with a run of a later format, its expected numbers, and the weights of its third epoch."""
    with tarfile.open(STORED / f"format-{request.param}.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    assert checkpoint(tmp_path / "plain")["format"] == request.param
    return tmp_path


def test_a_run_of_a_later_format_is_evaluated_and_resumed(later):
    expected = json.loads((later / "expected.json").read_text())
    vae, data = open_run(str(later / "plain"), None)
    assert vae.schema == data.schema
    close(log_px(vae, data.test[:20]).log_px, expected["log_px"], apart=1e-5)
    words = ["--out", str(later / "plain"), "--resume", "--epochs", "3"]
    assert main(["fit", *words]) == 0
    last, kept = checkpoint(later / "plain"), torch.load(later / "third.pt", weights_only=True)
    assert last["format"] == FORMAT
    # Before format 4 the bound chose the weights, and does so until the run ends.
    assert (
        last["identity"]["keep"]
        == last["config"]["keep"]
        == ("objective" if "objective" in expected else "bound")
    )
    for column in {"train", "validation", "objective"} & expected.keys():
        close(last["state"]["history"][column], expected[column], apart=1e-5)
    assert ("objective" in last["state"]["history"]) == ("objective" in expected)
    assert last["best"].keys() == kept.keys()
    for key in kept:
        close(last["best"][key].double(), kept[key].double(), apart=1e-5, elsewhere=0.05)


# ---------------------------------------------------------------- what is refused


def test_another_run_is_refused_as_before(copy):
    folder = copy("labelled")
    vae, data = open_run(str(folder), None)
    before = (folder / "last.ckpt").read_bytes()
    settings = {"lr": 0.005, "seed": 1, "epochs": 3, "compile": False, "device": "cpu"}
    for other, said in (
        ({"lr": 0.1}, "another lr .was 0.005 and is 0.1"),
        ({"data": pv.datasets.load("digits", binarize="threshold", known=60, copies=2)}, "another data"),
        ({"objective": pv.objectives.SemiSupervised(6.0)}, "another objective"),
        ({"vae": pv.VAE((1, 8, 8), 2, prior=vae.prior)}, "belongs to another declaration"),
    ):
        options = {"vae": vae.clone(), "data": data, "objective": pv.objectives.SemiSupervised(5.0)}
        with pytest.raises(InputError, match=said):
            pv.fit(**(options | settings | other), out=folder, resume=True, **QUIET)
    assert (folder / "last.ckpt").read_bytes() == before


@pytest.mark.parametrize(
    ("version", "cure"),
    [(FORMAT + 1, "update pyrovae"), (0, "fit again"), ("2", "fit again"), (None, "fit again")],
)
def test_a_format_that_is_not_known_is_refused(copy, version, cure):
    folder = copy("plain")
    content = checkpoint(folder, "best")
    torch.save(content | {"format": version}, folder / "best.ckpt")
    with pytest.raises(InputError, match=f"not a PyroVAE checkpoint of format {FORMAT} or older: .*{cure}"):
        pv.load(folder)


def test_a_config_is_upgraded_where_labels_were_a_context():
    mixture = {"prior": {"class_path": "pyrovae.priors.GaussianMixture", "init_args": {"labels": True}}}
    for old, new in (
        ({"context": "labels"}, {"context": "labels"}),
        ({"context": "labels", "known": 5}, {"context": None, "labels": True, "known": 5}),
        ({"context": "labels"} | mixture, {"context": None, "labels": True} | mixture),
        ({"context": None} | mixture, {"context": None} | mixture),
        ({"context": "labels", "prior": None}, {"context": "labels", "prior": None}),
    ):
        given = dict(old)
        assert upgraded_config(given) == new
        assert given == old
