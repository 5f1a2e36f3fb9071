"""Reading a declaration runs only the package's code, unless the reader trusts other code by name."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import pyrovae as pv
from pyrovae.cli import main
from pyrovae.errors import InputError
from pyrovae.networks import MLP, Wrapped
from pyrovae.part import Declared
from pyrovae.priors import Prior
from pyrovae.training import marks
from pyrovae.training.checkpoint import Checkpoint
from pyrovae.trust import check_paths, foreign_paths, trusted_names, trusting
from tests.support.parts import LaplacePrior
from tests.support.same_runs import binary, small

QUIET = {"figures": False, "progress": False, "epochs": 1, "compile": False}

SPY = """
from pathlib import Path

Path({sign!r}).touch()

import pyro.distributions as dist
import torch
from pyrovae.priors import Prior


def build(width=5):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(width))


class Wide(Prior):
    def __init__(self, width: float = 2.0) -> None:
        super().__init__()
        self.width = width

    def attach(self, latent_dim, context_dim=0):
        super().attach(latent_dim, context_dim)
        self.register_buffer("loc", torch.zeros(latent_dim), persistent=False)

    def forward(self, context=None):
        return dist.Normal(self.loc, self.width).to_event(1)
"""


@pytest.fixture
def sign(tmp_path, monkeypatch):
    """A module `spy` in the working folder that leaves a file when it is imported; the file's path."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "was_run"
    for name in ("spy.py", "sp-y.py"):
        Path(name).write_text(SPY.format(sign=str(path)))
    np.save("x.npy", binary(40).numpy())
    yield path
    sys.modules.pop("spy", None)


@pytest.fixture
def run(sign):
    """A run folder with its data."""
    words = ["--epochs", "1", "--figures", "false", "--latent_dim", "2", "--batch_size", "20"]
    words += ["--encoder", "MLP", "--encoder.sizes", "[8]", "--decoder", "MLP", "--decoder.sizes", "[8]"]
    assert main(["fit", "--data", "x.npy", *words, "--out", "r"]) == 0
    return Path("r")


def planted(run: Path, role: str, declaration: dict) -> None:
    """Write a declaration into every file of a run, as an attacker who knows the format would."""
    config = yaml.safe_load((run / "config.yaml").read_text()) | {role: declaration}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    for name in ("best.ckpt", "last.ckpt"):
        saved = Checkpoint.read(run / name)
        changed = saved.declaration | {role: declaration}
        replace(saved, declaration=changed, config=config).write(run / name)


SYSTEM = {"module": "os.system", "features": 8, "options": {"command": "touch was_run"}}
BUILD = {"module": "spy.build"}
INNER = {"class_path": "pyrovae.sharing.os.system", "init_args": {"command": "touch was_run"}}
POPEN = {
    "class_path": "pyrovae.compiling.native.subprocess.Popen",
    "init_args": {"args": ["touch", "was_run"]},
}
LINEAR = {
    "module": "torch.nn.Linear",
    "features": 8,
    "options": {"in_features": POPEN, "out_features": INNER},
}
MAIN = {"argv": ["fit", "--data", "x.npy", "--prior", "spy.Wide", "--out", "t"]}
PLANTS = {
    "a function": ("encoder", {"class_path": "pyrovae.networks.Wrapped", "init_args": SYSTEM}),
    "a module": ("prior", {"class_path": "spy.Wide", "init_args": {}}),
    "a builder": (
        "encoder",
        {"class_path": "pyrovae.networks.Wrapped", "init_args": BUILD},
    ),
    "a function of the package": (
        "encoder",
        {
            "class_path": "pyrovae.networks.Wrapped",
            "init_args": {"module": "pyrovae.cli.main", "features": 8, "options": MAIN},
        },
    ),
    "what the package imports": ("encoder", {"class_path": "pyrovae.networks.Wrapped", "init_args": LINEAR}),
    "a class of another kind": ("prior", {"class_path": "subprocess.Popen", "init_args": {"args": "ls"}}),
    "a part of a part": (
        "prior",
        {"class_path": "pyrovae.priors.Layers", "init_args": {"top": {"class_path": "spy.Wide"}}},
    ),
}
DOORS = ["evaluate r", "sample r", "reconstruct r", "clusters r", "compare r r", "explore r --show false"]
DOORS += ["complete r", "denoise r", "enlarge r", "impute r t.csv --out f.csv"]
DOORS += ["score r x.npy --out s.csv", "fit --out r --resume", "fit --config r/config.yaml --out s"]


@pytest.mark.parametrize("plant", PLANTS)
def test_no_door_runs_code_that_a_run_names(run, sign, capsys, plant):
    planted(run, *PLANTS[plant])
    for line in DOORS:
        assert main(line.split()) == 2, line
        error = capsys.readouterr().err
        assert "an import path outside PyroVAE" in error or "of PyroVAE" in error, (line, error)
        assert "--trust" in error or "name one" in error or "`pyrovae parts` lists" in error
        assert error.count("\n") == 1
        assert not sign.exists(), line
    for which in ("best", "last"):
        with pytest.raises(InputError, match=r"add trust=\['(os|spy|subprocess)'\]|of PyroVAE"):
            pv.load(run, which=which)
    assert not sign.exists()
    assert "spy" not in sys.modules


TEXTS = {
    "a path": "prior: spy.Wide",
    "a mapping": "prior: {class_path: spy.Wide}",
    "a text that is a mapping": "prior: '{class_path: spy.Wide}'",
    "a text in a text": "prior: '\"{class_path: spy.Wide}\"'",
    "a quoted path": "prior: '\"spy.Wide\"'",
    "an alias in a text": "prior: '{class_path: &a spy.Wide, b: *a}'",
    "a key with dots": "prior.class_path: spy.Wide",
    "a list": "prior: {class_path: pyrovae.priors.Layers, init_args: {top: [spy.Wide]}}",
    "a nested path": "prior: {class_path: pyrovae.priors.Layers, init_args: {top: spy.Wide}}",
    "another file": "config: other.yaml",
    "trust of itself": "trust: spy\nprior: spy.Wide",
    "an objective": "objective: spy.Wide",
    "no import path": "encoder: {class_path: Wrapped, init_args: {module: sp-y.build, features: 5}}",
    "a path and more": 'encoder: {class_path: Wrapped, init_args: {module: "spy.build\\\\", features: 5}}',
    "a path and a comment": "encoder: {class_path: Wrapped, init_args: {module: 'spy.build #', features: 5}}",
    "a path with a tag": "encoder: {class_path: Wrapped, init_args: {features: 5, module: '!!str spy.Wide'}}",
    "an alias": "x: &x [spy.Wide]\nprior: *x",
}


@pytest.mark.parametrize("how", TEXTS)
def test_a_config_file_runs_no_code(sign, capsys, how):
    Path("c.yaml").write_text(f"data: x.npy\nepochs: 1\nfigures: false\n{TEXTS[how]}\n")
    Path("other.yaml").write_text("prior: spy.Wide\n")
    assert main(["fit", "--config", "c.yaml", "--out", "r"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    assert not sign.exists()
    assert not Path("r").exists()


def test_a_trusted_module_is_used(sign, capsys):
    Path("c.yaml").write_text("data: x.npy\nepochs: 1\nfigures: false\nbatch_size: 20\nprior: spy.Wide\n")
    assert main(["fit", "--config", "c.yaml", "--out", "r", "--trust", "spy"]) == 0, capsys.readouterr().err
    assert sign.exists()
    assert repr(pv.load("r").prior) == "Wide(width=2.0)"  # it was imported already


def test_the_import_path_on_the_command_line_is_trust_enough(sign):
    words = ["--data", "x.npy", "--epochs", "1", "--figures", "false", "--batch_size", "20", "--out", "r"]
    assert main(["fit", *words, "--prior", "spy.Wide", "--prior.width", "3"]) == 0
    assert sign.exists()


# -------------------------------------------------------------------- the user's own runs


@pytest.fixture
def own(sign):
    """A run with a part of the user's, as a new process finds it."""
    words = ["--data", "x.npy", "--epochs", "1", "--figures", "false", "--batch_size", "20", "--out", "r"]
    assert main(["fit", *words, "--prior", "spy.Wide"]) == 0
    sys.modules.pop("spy")
    sign.unlink()
    return Path("r")


def test_a_run_of_this_user_needs_no_trust(own, sign):
    assert main(["sample", "r", "--count", "3"]) == 0
    assert sign.exists()
    sys.modules.pop("spy")
    assert main(["fit", "--out", "r", "--resume"]) == 0


def test_the_options_in_a_config_file_must_be_those_that_were_marked(own, sign, capsys):
    """The mark is of the declaration, so it trusts no other options of the user's own code."""
    for name in ("best.ckpt", "last.ckpt"):
        saved = Checkpoint.read(own / name)
        prior = saved.config["prior"] | {"init_args": {"width": 9.0}}
        config = saved.config | {"prior": prior}
        replace(saved, config=config).write(own / name)
    (own / "config.yaml").write_text(yaml.safe_dump(config))
    for line in ("fit --out r --resume", "fit --config r/config.yaml --out s"):
        assert main(line.split()) == 2
        assert "--trust spy" in capsys.readouterr().err
    assert not sign.exists()


def test_a_config_file_that_was_marked_needs_no_trust(own, sign):
    assert main(["fit", "--config", "r/config.yaml", "--out", "s"]) == 0
    assert sign.exists()


def test_the_key_is_private(own):
    assert marks.key_file().stat().st_mode & 0o777 == 0o600
    assert marks.key_file().parent.stat().st_mode & 0o077 == 0


def of_another_user(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "other"))


def with_a_readable_key(monkeypatch, tmp_path):
    key = tmp_path / "open" / "pyrovae" / "mark.key"
    key.parent.mkdir(parents=True)
    key.write_bytes(marks.key_file().read_bytes())
    key.chmod(0o644)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "open"))


def with_the_module_elsewhere(monkeypatch, tmp_path):
    """The same run in a folder that has another module of that name."""
    (tmp_path / "theirs").mkdir()
    for name in ("spy.py", "r"):
        (tmp_path / name).rename(tmp_path / "theirs" / name)
    monkeypatch.chdir(tmp_path / "theirs")


def with_another_declaration(monkeypatch, tmp_path):
    for name in ("best.ckpt", "last.ckpt"):
        saved = Checkpoint.read(Path("r") / name)
        prior = {"class_path": "spy.Wide", "init_args": {"width": 7.0}}
        replace(saved, declaration=saved.declaration | {"prior": prior}).write(Path("r") / name)


@pytest.mark.parametrize(
    "foreign",
    [of_another_user, with_a_readable_key, with_the_module_elsewhere, with_another_declaration],
)
def test_a_mark_is_for_one_user_one_place_and_one_declaration(
    own, sign, foreign, monkeypatch, tmp_path, capsys
):
    foreign(monkeypatch, tmp_path)
    assert main(["sample", "r", "--count", "3"]) == 2
    assert "if you trust it, add --trust spy" in capsys.readouterr().err
    assert not sign.exists()
    assert main(["sample", "r", "--count", "3", "--trust", "spy"]) == 0
    assert sign.exists()


@pytest.mark.parametrize(
    "odd", [{1: "a"}, {"a": torch.zeros(2)}, {"a": b"x"}], ids=["keys of two types", "a tensor", "bytes"]
)
def test_a_mark_on_values_that_no_run_of_ours_has_is_no_mark(own, sign, odd):
    saved = Checkpoint.read(own / "best.ckpt")
    replace(saved, declaration=saved.declaration | odd).write(own / "best.ckpt")
    with pytest.raises(InputError, match=r"trust=\['spy'\]"):
        pv.load(own)
    replace(saved, mark="\u00e9" * 64).write(own / "best.ckpt")
    with pytest.raises(InputError, match=r"trust=\['spy'\]"):
        pv.load(own)
    assert not sign.exists()


def test_trust_in_a_run_of_others_is_not_stored(own, sign, monkeypatch, tmp_path):
    of_another_user(monkeypatch, tmp_path)
    assert main(["fit", "--out", "r", "--resume", "--trust", "spy"]) == 0
    sys.modules.pop("spy")
    for name in ("best.ckpt", "last.ckpt"):
        with pytest.raises(InputError, match=r"trust=\['spy'\]"):
            pv.load("r", which=name.partition(".")[0])
    assert main(["fit", "--config", "r/config.yaml", "--out", "s", "--trust", "spy"]) == 0
    sys.modules.pop("spy")
    assert main(["sample", "s", "--count", "3"]) == 0  # this user fitted this run


def test_a_home_that_cannot_be_written_gives_no_mark(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    assert marks.mark_of({"class_path": "spy.Wide"}) is None
    assert marks.mark_of({"class_path": "pyrovae.priors.StandardNormal"}) is None


# -------------------------------------------------------------------- in Python


def test_a_part_that_was_imported_needs_no_trust(tmp_path):
    pv.fit(small(prior=LaplacePrior(3.0)), binary(), out=tmp_path / "r", **QUIET)
    for name in ("best.ckpt", "last.ckpt"):  # without the mark, as from somebody else
        replace(Checkpoint.read(tmp_path / "r" / name), mark=None).write(tmp_path / "r" / name)
    assert pv.load(tmp_path / "r").prior == LaplacePrior(3.0)


@pytest.mark.parametrize(
    "path", ["os.system", "subprocess.Popen", "pyrovae.part.copy", "torch.load", "x y.z"]
)
def test_the_class_is_checked_before_it_is_called(path):
    with pytest.raises(InputError):
        Prior.from_dict({"class_path": path, "init_args": {}})


def test_layers_of_torch_need_no_trust():
    declared = {"module": "torch.nn.Linear", "features": 3, "options": {"in_features": 4, "out_features": 3}}
    network = Declared.from_dict({"class_path": "pyrovae.networks.Wrapped", "init_args": declared})
    network.attach((4,))
    assert network(torch.zeros(2, 4)).shape == (2, 3)
    others = ["torch.load", "torch.hub.load", "torch.nn.functional.relu", "torch.nn.Missing"]
    for path in [*others, "torch.nn.parallel.DistributedDataParallel", "torch.nn.modules.module.torch.load"]:
        with pytest.raises(InputError, match="outside PyroVAE"):
            Declared.from_dict(
                {"class_path": "pyrovae.networks.Wrapped", "init_args": {"module": path, "features": 3}}
            )


def test_what_is_no_import_path_is_not_to_be_trusted():
    declared = {"module": ".spy.Wide", "features": 3}
    with pytest.raises(InputError, match="'.spy.Wide' is not an import path"):
        Declared.from_dict({"class_path": "pyrovae.networks.Wrapped", "init_args": declared})


def test_a_module_that_the_program_named_itself_is_read_again():
    network = Wrapped("tests.support.user_networks.Both", 5, {"width": 6})
    assert Declared.from_dict(network.to_dict()) == network


def test_trust_ends_with_its_block_and_covers_what_is_below():
    declared = {"class_path": "a.b.C"}
    with trusting(["a.b"]):
        check_paths(declared, "it", Declared)
        with pytest.raises(InputError, match="a.bc.D"):
            check_paths({"class_path": "a.bc.D"}, "it", Declared)
    with pytest.raises(InputError, match=r"it names 'a.b.C', an import path outside PyroVAE.*trust=\['a'\]"):
        check_paths(declared, "it", Declared)


def test_names_to_trust():
    assert trusted_names(None) == ()
    assert trusted_names("a,b.c") == ("a", "b.c")
    assert trusted_names([]) == ()
    assert trusted_names({"a"}) == ("a",)
    others = (3, True, b"a", {"a": 1}, np.array(["a", "b"]), torch.tensor([1, 2]), object())
    for wrong in ("", "a b", "a/b", [3], "a.,b", *others):
        with pytest.raises(InputError, match="trust takes names of modules"):
            trusted_names(wrong)


def test_paths_are_found_wherever_they_are():
    nested = {"a": [{"b": ("x.Y", 3)}], "c.D": None, "e": "text: {f: [g.H]}", "i": 0.5, "j": "pyrovae.k.L"}
    assert list(foreign_paths(nested)) == ["x.Y", "c.D", "g.H"]


def test_the_networks_of_the_package_name_no_foreign_code():
    assert not list(foreign_paths(small(encoder=MLP(8)).to_dict()))
