"""A shared model says what is known about it, to people and to the Hub, and nothing private."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

import pyrovae as pv
from pyrovae import networks, priors
from pyrovae.cli import main
from pyrovae.vae.saving import Model
from tests.support.hub import hub  # noqa: F401 - a fixture
from tests.support.parts import raises_one_sentence, small_vae


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a table and the run of a model of it, with evidence."""
    folder = tmp_path_factory.mktemp("shared") / "secret-place"
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = [f"{rng.normal(50, 10):.2f},{rng.choice(['a', 'b', ''])}" for _ in range(80)]
    (folder / "people.csv").write_text("\n".join(["age,kind", *rows]))
    data = pv.datasets.load(folder / "people.csv")
    prior = priors.VampPrior(3, pseudo_inputs="data")
    vae = pv.VAE.suited(data, encoder=networks.MLP(4), decoder=networks.MLP(4), prior=prior)
    quiet = {"progress": False, "figures": False}
    pv.fit(vae, data, epochs=2, batch_size=20, out=folder / "runs" / "people", seed=0, **quiet)
    here = os.getcwd()
    os.chdir(folder)
    try:
        options = "--particles 20 --method PSIS --method.particles 20 --bounds [1,5] --baseline false"
        assert main(["evaluate", "runs/people", *options.replace("--method.particles 20 ", "").split()]) == 0
    finally:
        os.chdir(here)
    return folder


@pytest.fixture
def run(trained, tmp_path, monkeypatch):
    """The run, in a working folder of its own."""
    shutil.copytree(trained, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    return "runs/people"


def test_the_card_says_what_is_known(run, capsys):
    assert main(["share", run, "--license", "cc-by-4.0", "--author", "A. Person"]) == 0
    printed = capsys.readouterr().out
    assert "written: people.pyrovae and its card people.md" in printed
    assert "the pseudo-inputs of the prior started as training rows" in printed
    assert "the file contains the names of the columns" in printed
    card = Path("people.md").read_text()
    matter = yaml.safe_load(card.split("---\n")[1])
    assert matter["license"] == "cc-by-4.0"
    assert matter["library_name"] == "pyrovae"
    evidence = json.loads(Path(run, "evidence.json").read_text())
    results = matter["model-index"][0]["results"]
    found = [one["metrics"][0]["value"] for one in results]
    assert found == [pytest.approx(evidence[name]["corrected"], abs=1e-4) for name in ("L_20", "psis")]
    fingerprint = pv.datasets.load("people.csv").record["fingerprint"]
    for words in (
        'pv.load("people.pyrovae")',
        "z     ~ VampPrior(components=3, pseudo_inputs='data')",
        "x | z ~ Mixed(",
        f"fingerprint of the training rows: `{fingerprint}`",
        "rows: 56 train, 8 validation, 16 test (split seed 0)",
        "| kind | categorical:2 |  | a, b |",
        "maximised: `ELBO(",
        f"PyroVAE {pv.__version__}",
        "@software{pyrovae",
        'Tomczak & Welling (2018), "VAE with a VampPrior"',
        evidence["psis"]["verdict"][:20],
        "by A. Person",
    ):
        assert words in card, words


def test_nothing_private_is_in_the_file_or_the_card(run, trained):
    pv.share(run, "m.pyrovae", author="A. Person")
    content = Model.read(Path("m.pyrovae"))
    texts = [Path("m.pyrovae").read_bytes(), Path("m.md").read_bytes()]
    assert content.facts["config"]["data"] == "people.csv"
    words = ("secret-place", str(trained), str(Path.home()), os.uname().nodename, "work")
    for text in texts:
        for word in words:
            assert not re.search(rf"\b{re.escape(word)}\b".encode(), text), word
    assert content.facts["source"]["train"] == content.facts["identity"]["data"]["fingerprint"]


def test_evidence_of_other_weights_is_left_out(run):
    path = Path(run, "evidence.json")
    path.write_text(path.read_text().replace('"weights": "', '"weights": "x'))
    shared = pv.share(run, "m.pyrovae")
    assert any("evidence.json is of other weights" in note for note in shared.notes)
    assert "## log p(x)" not in Path("m.md").read_text()
    path.write_text("{")
    raises_one_sentence(lambda: pv.share(run, "m.pyrovae"), "evidence.json cannot be read")


def test_a_model_file_is_shared_again_with_what_it_says(run):
    pv.share(run, "m.pyrovae", author="A. Person")
    pv.share("m.pyrovae", "n.pyrovae", license="mit")
    one, two = (Model.read(Path(f"{name}.pyrovae")) for name in "mn")
    assert two.facts == one.facts | {"license": "mit"}
    assert "## log p(x)" in Path("n.md").read_text()


def test_a_bare_vae_has_a_card(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small_vae().save("bare.pyrovae")
    pv.share("bare.pyrovae", "again.pyrovae")
    card = Path("again.md").read_text()
    assert "## Training" not in card
    assert "z     ~ StandardNormal()" in card


def test_the_card_of_a_conditional_model_loads_it_with_a_context(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text("\n".join(["a,group", *(f"{i}.5,{'xy'[i % 2]}" for i in range(30))]))
    data = pv.datasets.load("t.csv", context=["group"])
    vae = pv.VAE.suited(data, encoder=networks.MLP(4), decoder=networks.MLP(4))
    vae.schema = data.schema
    vae.save("m.pyrovae", facts={"identity": {"data": {"name": "t"}}})
    pv.share("m.pyrovae", "n.pyrovae")
    card = Path("n.md").read_text()
    assert "- conditioned on: group, shape (2,)" in card
    code = card.split("```python\n")[1].split("```")[0].replace("context = ...", "context = [0.0, 1.0]")
    names = {}
    exec(code, names)
    assert len(names["x"]) == 10


def test_facts_that_a_card_cannot_use_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for facts in (
        {"identity": {"data": 3}},
        {"identity": {"objective": {"init_args": "x"}}},
        {"evidence": {"L_5": {"method": "a", "quantity": "b", "corrected": {}}}},
    ):
        small_vae().save("m.pyrovae", facts=facts)
        raises_one_sentence(lambda: pv.share("m.pyrovae", "n.pyrovae"), "facts stored with the model")
    assert sorted(Path().iterdir()) == [Path("m.pyrovae")]


def test_what_cannot_be_shared_is_refused(run, capsys):
    before = sorted(Path().rglob("*"))
    lines = {
        "share no": "is this the folder of a run?",
        f"share {run} --out m.txt": "let it end in .pyrovae",
        f"share {run} --hub name": "give one as in 'user/name'",
        f"share {run} --hub a/b --out m.pyrovae": "--hub and --out exclude each other",
        f"share {run} --private": "--private is for a repository of the Hub",
        f"share {run} --license=": "license must be words, not ''",
        f"share {run} --out no/m.pyrovae": "no such file or directory",
    }
    for line, words in lines.items():
        assert main(line.split()) == 2, line
        assert words in capsys.readouterr().err, line
    assert sorted(Path().rglob("*")) == before


# -------------------------------------------------------------------- commands that take the file


def test_commands_take_the_file_in_place_of_the_run(run, capsys):
    pv.share(run, "m.pyrovae")
    Path("new.csv").write_text("age,kind\n40,a\n,b\n55,\n")
    for line in (
        "score {} new.csv --out scores-{}.csv --percentiles false --particles 20",
        "impute {} new.csv --out filled-{}.csv",
        "sample {} --count 5 --out samples-{}.csv",
    ):
        found = []
        for name, one in (("run", run), ("file", "m.pyrovae")):
            assert main(line.format(one, name).split()) == 0, capsys.readouterr().err
            found.append(Path(line.format(one, name).split("--out ")[1].split()[0]).read_text())
        assert found[0] == found[1], line


def test_commands_find_the_rows_of_the_split_in_data_that_are_named(run, capsys):
    pv.share(run, "m.pyrovae")
    printed = []
    for one in (run, "m.pyrovae --data people.csv"):
        assert main(f"evaluate {one} --particles 20 --method PSIS --baseline false".split()) == 0
        printed.append([line for line in capsys.readouterr().out.splitlines() if "mean" in line])
    assert printed[0] == printed[1]
    assert Path("m-results/evidence.json").is_file()
    pv.share("m.pyrovae", "n.pyrovae")


REFUSED = {
    "evaluate m.pyrovae": "has the model without its data: name them with --data",
    "evaluate m.pyrovae --data other.csv": "the training rows are different",
    "score m.pyrovae other.csv --out s.csv --percentiles true": "the model without its training rows",
    "fit-prior m.pyrovae --data people.csv": "fit-prior needs the settings of a run, and m.pyrovae has none",
    "evaluate bare.pyrovae --data people.csv": "does not say how its data were split",
    "sample cut.pyrovae": "is not a model of PyroVAE, or is cut off",
}


def test_what_needs_the_run_says_so(run, capsys):
    pv.share(run, "m.pyrovae")
    pv.load("m.pyrovae").save("bare.pyrovae")
    Path("cut.pyrovae").write_bytes(Path("m.pyrovae").read_bytes()[:-9])
    Path("other.csv").write_text(Path("people.csv").read_text().replace("5", "6"))
    for line, words in REFUSED.items():
        assert main(line.split()) == 2, line
        assert words in capsys.readouterr().err, line


# -------------------------------------------------------------------- the Hub


def is_private(asked):
    """What was asked for when a repository was created, by huggingface-hub 1 or 2."""
    return asked.get("visibility") == "private" or asked.get("private") is True


def test_a_model_goes_to_the_hub_and_back(run, hub, capsys):  # noqa: F811
    assert main(["share", run, "--hub", "user/people", "--private", "--license", "mit"]) == 0
    assert "hub:user/people" in capsys.readouterr().out
    assert is_private(hub.created["user/people"])
    assert hub.tokens == {"Bearer hf_of_a_test"}
    assert {name for _, name in hub.files} == {"model.pyrovae", "README.md"}
    card = hub.files["user/people", "README.md"].decode()
    assert 'pv.load("hub:user/people")' in card
    assert yaml.safe_load(card.split("---\n")[1])["license"] == "mit"
    assert pv.load("hub:user/people") == pv.load(run)
    assert main("sample hub:user/people --count 3 --out s.csv".split()) == 0


def test_a_vae_in_memory_goes_to_the_hub(hub):  # noqa: F811
    vae = small_vae()
    shared = pv.push_to_hub(vae, "user/small")
    assert str(shared.model) == "hub:user/small"
    assert pv.load("hub:user/small@main") == vae
    assert not is_private(hub.created["user/small"])


def test_what_the_hub_lacks_is_refused(hub, monkeypatch):  # noqa: F811
    raises_one_sentence(lambda: pv.load("hub:user/no"), "there is no repository user/no on the Hub")
    hub.files["user/other", "README.md"] = b"# Other"
    raises_one_sentence(lambda: pv.load("hub:user/other"), "has no file model.pyrovae")
    raises_one_sentence(lambda: pv.push_to_hub(3, "user/x"), "a VAE, a run folder or a model file is needed")
    raises_one_sentence(lambda: pv.load("hub:../x"), "'../x' is not a repository of the Hub")
    hub.files["user/cut", "model.pyrovae"] = b"cut"
    raises_one_sentence(lambda: pv.load("hub:user/cut"), "is not a model of PyroVAE, or is cut off")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    raises_one_sentence(
        lambda: pv.push_to_hub(small_vae(), "user/x"), "the Hub did not accept or give user/x"
    )
