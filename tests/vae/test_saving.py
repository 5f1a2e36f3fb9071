"""A VAE in one file: every part survives, and a file that is not whole is refused."""

import errno
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save

import pyrovae as pv
from pyrovae import likelihoods, networks, priors
from pyrovae.errors import InputError
from pyrovae.vae.saving import FORMAT, Model
from tests.support import PROJECT
from tests.support.cells import cell_name, cover, declared
from tests.support.parts import data_for, perturb, raises_one_sentence

STORED = Path(__file__).resolve().parent / "stored_models"


def same_log_probs(vae, other, rows):
    """Whether two VAEs give the same log p(x), bit for bit."""
    one, two = (model.eval().log_prob(*rows, particles=3) for model in (vae, other))
    return torch.equal(one, two)


def same_tensors(vae, other):
    states = vae.state_dict(), other.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(tensor, states[1][name]) and tensor.dtype == states[1][name].dtype
        for name, tensor in states[0].items()
    )


@pytest.mark.parametrize("cell", cover(1), ids=cell_name)
def test_every_part_survives(cell, tmp_path):
    vae = declared(cell)
    rows = data_for(vae, 4)
    loaded = pv.load(vae.save(tmp_path / "model.pyrovae"))
    assert loaded == vae
    assert same_tensors(vae, loaded)
    assert same_log_probs(vae, loaded, rows)


def table_vae(tmp_path):
    """A trained VAE of a table with words, missing entries and a context."""
    path = tmp_path / "people.csv"
    rng = np.random.default_rng(0)
    words = (["a", "b", "ü"], ["", "3", "4"], ["x", "y"])
    rows = [(f"{rng.normal(1e6, 10):.2f}", *map(rng.choice, words)) for _ in range(60)]
    lines = [",".join(row) for row in rows]
    path.write_text("\n".join(["height,kind,count,group", *lines]), encoding="utf-8")
    data = pv.datasets.load(path, context=["group"])
    vae = pv.VAE.suited(
        data, encoder=networks.MLP(4), decoder=networks.MLP(4), prior=priors.GaussianMixture(2)
    )
    pv.fit(vae, data, epochs=2, batch_size=20, out=tmp_path / "run", progress=False, figures=False)
    return vae, data


def test_the_schema_of_a_table_survives(tmp_path):
    vae, data = table_vae(tmp_path)
    loaded = pv.load(vae.save(tmp_path / "model.pyrovae"))
    assert loaded.schema == vae.schema == data.schema
    assert loaded.schema.context_columns == data.schema.context_columns
    assert same_log_probs(vae, loaded, (data.test,))
    a, b = (model.sample(3, data.test.context[0], as_frame=True, seed=0) for model in (vae, loaded))
    assert a.equals(b)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_type_of_the_weights_and_what_rows_share_survive(tmp_path, dtype):
    decoder = networks.Bayesian(networks.MLP(4))
    vae = perturb(pv.VAE(5, 2, decoder=decoder, encoder=networks.MLP(4), likelihood=likelihoods.Poisson()))
    vae = vae.to(dtype)
    loaded = pv.load(vae.save(tmp_path / "model.pyrovae"))
    assert next(loaded.parameters()).dtype == dtype
    assert same_tensors(vae, loaded)
    assert same_log_probs(vae, loaded, (torch.ones(2, 5),))


def test_tensors_that_share_memory_are_written_apart(tmp_path):
    vae, other = small(), small()
    vae.share(other)
    flat = torch.arange(60.0)
    vae.recognition.heads["loc"].linear.weight.data = flat.as_strided((2, 4), (1, 7))
    loaded = pv.load(vae.save(tmp_path / "model.pyrovae"))
    assert same_tensors(vae, loaded)


def small():
    torch.manual_seed(3)
    return pv.VAE(6, 2, encoder=networks.MLP(4), decoder=networks.MLP(4))


@pytest.fixture
def path(tmp_path):
    return small().save(tmp_path / "model.pyrovae", facts={"license": "mit"})


def test_other_programs_can_read_the_tensors_and_the_declaration(path):
    with safe_open(path, framework="np") as file:
        content = json.loads(file.metadata()["pyrovae"])
        assert set(file.keys()) == small().state_dict().keys()
    assert content["declaration"] == small().to_dict()
    assert content["format"] == FORMAT
    assert content["version"] == pv.__version__
    assert content["facts"] == Model.read(path).facts == {"license": "mit"}


def test_nothing_of_the_machine_is_in_the_file(path):
    data = path.read_bytes()
    for word in (str(PROJECT), str(Path.home()), os.uname().nodename, str(path.parent)):
        assert word.encode() not in data


def test_a_saved_vae_is_replaced_whole_or_not_at_all(path, monkeypatch):
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    raises_one_sentence(lambda: small().save(path), "no space left")
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("cut", [0, 5, 8, 200, -1])
def test_a_file_that_is_cut_off_is_refused(path, cut):
    path.write_bytes(path.read_bytes()[:cut])
    raises_one_sentence(lambda: pv.load(path), str(path), "is not a model of PyroVAE, or is cut off")


def test_a_changed_byte_is_noticed_wherever_it_is(path):
    data = path.read_bytes()
    for place in (*range(8, len(data), 131), len(data) - 1):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(InputError):
            pv.load(path)


def changed(path, change=lambda content: content, *, weights=None, digest=None):
    """The file with other content; its digest is right unless it is given."""
    model = Model.read(path)
    content = change(json.loads(model._content()))
    tensors = model.weights if weights is None else weights(model.weights)
    from pyrovae.vae import saving

    words = json.dumps(content)
    path.write_bytes(save(tensors, {"pyrovae": words, "sha256": digest or saving._digest(words, tensors)}))


def test_a_newer_format_says_what_is_needed(path):
    changed(path, lambda content: content | {"format": FORMAT + 1, "version": "7.1"})
    raises_one_sentence(lambda: pv.load(path), "written by PyroVAE 7.1 in format 2", "update pyrovae")


def without_one(weights):
    return dict(list(weights.items())[1:])


def with_nan(weights):
    name = next(iter(weights))
    return weights | {name: torch.full_like(weights[name], torch.nan)}


def of_other_shape(weights):
    name = next(iter(weights))
    return weights | {name: weights[name].flatten()[:1].clone()}


def column(name):
    return {"name": name, "kind": "normal", "levels": None}


def schema_of(names):
    columns = tuple(pv.datasets.columns.Column(name, "normal") for name in names)
    return pv.datasets.Schema((len(names),), columns=columns).to_dict()


REFUSED = {
    "are not finite": {"weights": with_nan},
    "is missing in one of them or has another shape": {"weights": without_one},
    "has another shape": {"weights": of_other_shape},
    "is damaged: its facts cannot be read": {"change": lambda c: c | {"facts": 3}},
    "is damaged: its facts cannot": {"change": lambda c: c | {"facts": {"identity": "x"}}},
    "a name, word or unit that is not text": {
        "change": lambda c: c | {"schema": schema_of(["a", "b"]) | {"columns": [column("a"), column(3)]}}
    },
    "is damaged: its declaration cannot be read": {"change": lambda c: c | {"declaration": None}},
    "is damaged: its metadata are not JSON": {"change": lambda c: [1]},
    "is damaged: its content does not match its digest": {"digest": "0"},
    "pyrovae.vae.VAE is not a Prior": {
        "change": lambda c: (
            c | {"declaration": c["declaration"] | {"prior": {"class_path": "pyrovae.vae.VAE"}}}
        )
    },
    "hand-written": {"change": lambda c: c | {"declaration": {}}},
}


@pytest.mark.parametrize("words", REFUSED)
def test_a_file_that_does_not_fit_is_refused(path, words):
    changed(path, **REFUSED[words])
    raises_one_sentence(lambda: pv.load(path), words)


def test_what_is_no_model_is_refused(tmp_path):
    vae = small()
    raises_one_sentence(lambda: pv.load(tmp_path / "no"), "is this the folder of a run?")
    raises_one_sentence(lambda: vae.save(tmp_path), "is a folder: give the name of a file")
    raises_one_sentence(lambda: vae.save(tmp_path / "no" / "m"), "no such file or directory")
    raises_one_sentence(lambda: vae.save(None), "path must be a path")
    raises_one_sentence(lambda: vae.save(tmp_path / ("m" * 300)), "file name too long")
    raises_one_sentence(lambda: pv.load("m" * 300), "file name too long")
    raises_one_sentence(lambda: vae.save(tmp_path / "m", facts=[1]), "facts must be a mapping")
    raises_one_sentence(lambda: vae.save(tmp_path / "m", facts={"author": 3}), "'author' must be a str")
    (tmp_path / "text").write_text("hello")
    raises_one_sentence(lambda: pv.load(tmp_path / "text"), "is not a model of PyroVAE")
    (tmp_path / "other").write_bytes(save({"a": torch.zeros(1)}))
    raises_one_sentence(lambda: pv.load(tmp_path / "other"), "is not a model of PyroVAE")
    raises_one_sentence(lambda: vae.save(tmp_path / "m", facts={"a": {1, 2}}), "cannot be written as JSON")
    raises_one_sentence(lambda: pv.load(vae.save(tmp_path / "m"), which="last"), "leave which='last' out")
    with torch.no_grad():
        next(vae.parameters()).fill_(torch.nan)
    raises_one_sentence(lambda: vae.save(tmp_path / "n"), "weights that are not finite")
    assert not (tmp_path / "n").exists()


def test_code_outside_the_package_runs_only_if_it_is_trusted(path, tmp_path, monkeypatch):
    module = "from pyrovae.priors import StandardNormal\nclass Mine(StandardNormal):\n    pass\n"
    (tmp_path / "mypriors_of_save.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    prior = {"class_path": "mypriors_of_save.Mine", "init_args": {}}
    changed(path, lambda c: c | {"declaration": c["declaration"] | {"prior": prior}})
    raises_one_sentence(lambda: pv.load(path), "importing it runs code", "trust=['mypriors_of_save']")
    assert "mypriors_of_save" not in sys.modules
    assert type(pv.load(path, trust="mypriors_of_save").prior).__name__ == "Mine"
    assert pv.load(path).prior.latent_dim == 2  # it was imported by now


@pytest.mark.parametrize("name", sorted(path.name for path in STORED.glob("*.pyrovae")))
def test_models_of_older_versions_are_loaded(name, tmp_path):
    """`expected.json` has log p(x) of the version that wrote the file."""
    shutil.copy(STORED / name, tmp_path)
    vae = pv.load(tmp_path / name).eval()
    expected = json.loads((STORED / "expected.json").read_text())[name]
    x = vae.schema.rows({column: values for column, values in expected["x"].items()})
    found = vae.log_prob(x, particles=10)
    np.testing.assert_allclose(found.numpy(), expected["log_px"], rtol=1e-4)
