"""Damaged, swapped and edited files of a run are reported, and intact files are kept."""

import math
import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import pyrovae as pv
from pyrovae.cli import main
from pyrovae.cli.runs import open_run
from pyrovae.errors import InputError
from pyrovae.training.checkpoint import Checkpoint
from pyrovae.training.config import LARGEST, read_config
from pyrovae.training.folder import RunFolder
from tests.support.same_runs import assert_same_runs, binary, small

QUIET = {"figures": False, "progress": False, "compile": False, "batch_size": 20, "lr_schedule": "constant"}
STORED = Path(__file__).resolve().parent / "stored_runs"
WORDS = ["--epochs", "2", "--figures", "false", "--latent_dim", "2", "--batch_size", "20", "--encoder", "MLP"]
WORDS += ["--encoder.sizes", "[8]", "--decoder", "MLP", "--decoder.sizes", "[8]", "--lr_schedule", "constant"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two runs of two epochs from a file, `r` and `other`, with other seeds."""
    folder = tmp_path_factory.mktemp("runs")
    np.save(folder / "x.npy", binary(60).numpy())
    for name, seed in (("r", "0"), ("other", "1")):
        words = ["--data", str(folder / "x.npy"), *WORDS, "--seed", seed, "--out", str(folder / name)]
        assert main(["fit", *words]) == 0
    return folder


@pytest.fixture
def run(made, tmp_path, monkeypatch):
    shutil.copytree(made, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    config = Path("r/config.yaml").read_text()
    assert str(made / "x.npy") in config
    return Path("r")


def resumed(run):
    """Resume a run in Python, for another epoch."""
    vae = small()
    data = pv.datasets.load(yaml.safe_load((run / "config.yaml").read_text())["data"])
    return pv.fit(vae, data, out=run, resume=True, epochs=3, **QUIET)


# -------------------------------------------------------------------- checkpoints


def test_every_flipped_bit_is_noticed(run):
    draw = random.Random(0)
    for name in ("best.ckpt", "last.ckpt"):
        path = run / name
        whole = path.read_bytes()
        for _ in range(100):
            place, bit = draw.randrange(len(whole)), draw.randrange(8)
            flipped = bytearray(whole)
            flipped[place] ^= 1 << bit
            path.write_bytes(flipped)
            with pytest.raises(InputError, match=f"{name} (is damaged|cannot be read)") as refusal:
                Checkpoint.read(path)
            assert "\n" not in str(refusal.value)
        path.write_bytes(whole)
        Checkpoint.read(path)


def test_every_truncation_is_noticed(run):
    path = run / "best.ckpt"
    whole = path.read_bytes()
    for size in {*range(0, len(whole), 997), *range(len(whole) - 60, len(whole))}:
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"best.ckpt cannot be read"):
            Checkpoint.read(path)


def damaged(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_damaged_file_is_named_with_what_is_whole(run):
    whole = {name: (run / name).read_bytes() for name in ("best.ckpt", "last.ckpt")}
    damaged(run / "best.ckpt")
    with pytest.raises(InputError, match=r"best.ckpt is damaged.*last.ckpt is intact: resume with"):
        pv.load(run)
    pv.load(run, which="last")
    damaged(run / "last.ckpt")
    with pytest.raises(InputError, match="last.ckpt is damaged.*; restore it from a copy or fit again"):
        pv.load(run, which="last")
    (run / "best.ckpt").write_bytes(whole["best.ckpt"])
    with pytest.raises(InputError, match=r"last.ckpt is damaged.*best.ckpt is intact: load it"):
        pv.load(run, which="last")


def test_a_damaged_last_checkpoint_costs_nothing(run, capsys):
    damaged(run / "last.ckpt")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert main(["fit", "--out", "r", "--resume", "--epochs", "3", "--figures", "false"]) == 2
    assert "r/last.ckpt is damaged" in capsys.readouterr().err
    with pytest.raises(InputError, match="last.ckpt is damaged"):
        resumed(run)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_damaged_best_checkpoint_is_written_again(run, made):
    damaged(run / "best.ckpt")
    assert main(["fit", "--out", "r", "--resume", "--figures", "false"]) == 0
    assert_same_runs(made / "r", run)


def test_a_damaged_run_can_be_repeated_from_its_config(run, made):
    damaged(run / "last.ckpt")
    damaged(run / "best.ckpt")
    assert main(["fit", "--config", "r/config.yaml", "--out", "again"]) == 0
    assert_same_runs(made / "r", Path("again"))


def test_the_best_weights_of_a_run_without_its_state_are_kept(run, capsys):
    (run / "last.ckpt").unlink()
    before = (run / "best.ckpt").read_bytes()
    assert main(["fit", "--out", "r", "--resume", "--figures", "false"]) == 2
    assert "r has best.ckpt but not last.ckpt, from which its run would resume" in capsys.readouterr().err
    with pytest.raises(InputError, match="but not last.ckpt"):
        resumed(run)
    assert (run / "best.ckpt").read_bytes() == before


def test_a_run_that_is_not_there_is_not_resumed(run, capsys):
    assert main(["fit", "--out", "nowhere", "--resume", "--trust", "spy"]) == 2
    assert "there is no run to resume in nowhere" in capsys.readouterr().err


def test_bits_of_a_run_of_an_older_version(tmp_path):
    """Older formats have no digest; the checksums of the ZIP archive find a changed tensor."""
    saved = Checkpoint(None, {}, None, {"w": torch.arange(4000.0)})
    path = tmp_path / "old.ckpt"
    torch.save({"format": 2} | vars(saved), path)
    whole = path.read_bytes()
    assert torch.equal(Checkpoint.read(path).weights["w"], torch.arange(4000.0))
    start = whole.index(torch.arange(4000.0).numpy().tobytes())
    for place in range(start, start + 16_000, 500):
        flipped = bytearray(whole)
        flipped[place] ^= 4
        path.write_bytes(flipped)
        with pytest.raises(InputError, match=r"old.ckpt cannot be read: it is cut off, damaged or not"):
            Checkpoint.read(path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(run, value):
    saved = Checkpoint.read(run / "best.ckpt")
    name = next(iter(saved.weights))
    saved.weights[name].view(-1)[0] = value
    saved.write(run / "best.ckpt")
    with pytest.raises(InputError, match=f"weights that are not finite .{name}.; .*last.ckpt is"):
        pv.load(run)


WRONG = {"weights": 3, "declaration": [1], "identity": None, "schema": "x", "epoch": "two", "best": 1}
WRONG |= {"config": 3, "mark": 5, "source": []}


@pytest.mark.parametrize("name", WRONG)
def test_content_of_a_wrong_type_is_refused(run, name):
    replace(Checkpoint.read(run / "best.ckpt"), **{name: WRONG[name]}).write(run / "best.ckpt")
    with pytest.raises(InputError, match=f"not a PyroVAE checkpoint: its {name} has the wrong type"):
        pv.load(run)


DECLARED = {
    "sizes that are words": {"event_shape": "wide"},
    "options that are a list": {"prior": {"class_path": "pyrovae.priors.StandardNormal", "init_args": [1]}},
    "a part that is a number": {"prior": 3},
    "an unknown option": {"depth": 3},
}


@pytest.mark.parametrize("what", DECLARED)
def test_a_declaration_of_nonsense_is_one_sentence(run, what):
    saved = Checkpoint.read(run / "best.ckpt")
    replace(saved, declaration=saved.declaration | DECLARED[what]).write(run / "best.ckpt")
    with pytest.raises(InputError) as refusal:
        pv.load(run)
    assert "\n" not in str(refusal.value)


def test_a_declaration_that_holds_itself_is_refused(run):
    saved = Checkpoint.read(run / "best.ckpt")
    itself: dict = {"class_path": "pyrovae.priors.StandardNormal"}
    itself["init_args"] = itself
    laughs: list = ["x"] * 10
    for _ in range(30):
        laughs = [laughs] * 10
    for value in (itself, laughs):
        replace(saved, declaration=saved.declaration | {"prior": value}).write(run / "best.ckpt")
        with pytest.raises(InputError, match="best.ckpt is not a PyroVAE checkpoint: its declaration is too"):
            pv.load(run)


@pytest.mark.parametrize(
    "convert",
    [
        lambda w: w.to_sparse(),
        lambda w: w * complex(0, math.nan),
        lambda w: w.to("meta"),
        lambda w: w.to(torch.float8_e4m3fn),
        lambda w: torch.zeros(1).expand(10**9, 10**3),  # four bytes that stand for 4 TB
    ],
    ids=["sparse", "complex", "meta", "eight bits", "expanded"],
)
def test_weights_that_are_no_plain_tensors(run, convert):
    saved = Checkpoint.read(run / "best.ckpt")
    name = next(name for name, value in saved.weights.items() if value.dim() == 2)
    replace(saved, weights=saved.weights | {name: convert(saved.weights[name])}).write(run / "best.ckpt")
    with pytest.raises(InputError, match="not a PyroVAE checkpoint"):
        pv.load(run)


def test_a_state_of_nonsense_is_one_sentence(run):
    saved = Checkpoint.read(run / "last.ckpt")
    for name in ("state", "random", "optimizer"):
        replace(saved, **{name: {"position": 3}}).write(run / "last.ckpt")
        with pytest.raises(InputError):
            resumed(run)


def test_a_file_without_rights_is_not_called_cut_off(run, monkeypatch):
    def denied(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", denied)
    with pytest.raises(InputError, match=r"best.ckpt cannot be read: permission denied; change"):
        pv.load(run)


def test_a_path_that_no_folder_can_have_is_not_a_matter_of_permissions():
    for path in ("a" * 300, "a/" * 3000):
        with pytest.raises(InputError, match=r"cannot be read: file name too long; name the folder of a run"):
            pv.load(path)


# -------------------------------------------------------------------- config.yaml

DOORS = ["evaluate r --method importance --particles 2", "sample r --count 3", "reconstruct r", "clusters r"]
DOORS += ["compare r r", "score r x.npy --out s.csv", "fit --out r --resume"]
DOORS += ["fit --config r/config.yaml --out s", "evaluate r --split all --method importance --particles 2"]


def refused(capsys, said):
    for line in DOORS:
        assert main(line.split()) == 2, line
        error = capsys.readouterr().err
        assert said in error, (line, error)
        assert error.count("\n") == 1


def test_an_edited_config_is_noticed_at_every_door(run, capsys):
    path = run / "config.yaml"
    text = path.read_text()
    path.write_text(text.replace("split_seed: 0", "split_seed: 1"))
    refused(
        capsys, "r/config.yaml does not match the checkpoint (split_seed was 0 and is 1): restore the file"
    )
    path.write_text(f"# a remark\n\n{text}\n")
    assert main("sample r --count 3".split()) == 0
    path.unlink()
    assert main("evaluate r --method importance --particles 2".split()) == 0  # from the copy
    assert main("fit --out r --resume --figures false".split()) == 0
    assert yaml.safe_load(path.read_text()) == yaml.safe_load(text)


def test_a_config_that_is_cut_or_flipped_is_noticed(run):
    path, draw = run / "config.yaml", random.Random(1)
    whole = path.read_bytes()
    kept = yaml.safe_load(whole)
    noticed = 0
    for size in range(0, len(whole) - 1, 3):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"^r/config.yaml .*[;:] restore the file, or delete it"):
            pv.load(run)
    for _ in range(200):
        flipped = bytearray(whole)
        flipped[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        try:
            pv.load(run)
        except InputError:
            noticed += 1
        else:
            assert yaml.safe_load(bytes(flipped)) == kept
    assert noticed > 150


def test_a_config_with_a_number_as_a_name_is_noticed(run):
    path = run / "config.yaml"
    options = yaml.safe_load(path.read_text())
    options["prior"] = {0: None, "class_path": "pyrovae.priors.StandardNormal"}
    path.write_text(yaml.safe_dump(options))
    with pytest.raises(InputError, match="does not match the checkpoint"):
        pv.load(run)


def test_the_files_of_another_run_are_noticed(run, capsys):
    for name in ("best.ckpt", "last.ckpt"):
        shutil.copy(Path("other") / name, run / name)
    refused(capsys, "r/config.yaml does not match the checkpoint (seed was 1 and is 0)")


@pytest.mark.parametrize("dies_at", [1, 2, 3])
def test_a_run_that_was_killed_while_it_was_resumed_goes_on(run, monkeypatch, dies_at):
    """The files are written one after another, and the process dies instead of writing one of them."""
    shutil.copytree(run, "whole")
    written = []

    def dying(function):
        def write(*args):
            written.append(args)
            if len(written) >= dies_at:
                raise KeyboardInterrupt
            function(*args)

        return write

    words = ["--resume", "--epochs", "3", "--figures", "false"]
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "write", dying(Checkpoint.write))
        patch.setattr(RunFolder, "write_config", dying(RunFolder.write_config))
        assert main(["fit", "--out", "r", *words]) == 130
    pv.load("r")
    assert main(["fit", "--out", "r", *words]) == 0
    assert main(["fit", "--out", "whole", *words]) == 0
    assert_same_runs(Path("whole"), run)


def test_a_short_config_cannot_describe_gigabytes(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    lines += [
        f"{two}: &{two} [{', '.join([f'*{one}'] * 10)}]"
        for one, two in zip("abcdefg", "bcdefgh", strict=True)
    ]
    Path("bomb.yaml").write_text("\n".join(lines))
    assert main(["fit", "--config", "bomb.yaml"]) == 2
    assert "bomb.yaml cannot be read: it has the alias *a in line 2" in capsys.readouterr().err
    Path("long.yaml").write_text("data: " + "x" * LARGEST)
    with pytest.raises(InputError, match=r"long.yaml is larger than a megabyte"):
        read_config("long.yaml")
    Path("deep.yaml").write_text("[" * 100_000)
    for text in ("[" * 100_000, "\x00", "- a", "3: x", "", "a: 2024-13-45", "a: !!python/object:os.system x"):
        Path("deep.yaml").write_text(text)
        with pytest.raises(InputError, match=r"deep.yaml"):
            read_config("deep.yaml")


# -------------------------------------------------------------------- the data


def test_changed_data_are_noticed_at_every_door(run, capsys):
    data = Path(yaml.safe_load((run / "config.yaml").read_text())["data"])
    whole = data.read_bytes()
    x = np.load(data)
    x[0, 0, 0, 0] = 1 - x[0, 0, 0, 0]
    np.save(data, x)
    try:
        for line in DOORS[:1] + DOORS[2:5] + DOORS[6:7] + DOORS[8:]:
            assert main(line.split()) == 2, line
            error = capsys.readouterr().err
            assert "has changed, or is not the data of r" in error or "another data" in error, (line, error)
        assert main("score r x.npy --out s.csv --percentiles true".split()) == 2
        assert "has changed" in capsys.readouterr().err
    finally:
        data.write_bytes(whole)


def test_other_data_are_named_in_the_output(run, capsys):
    np.save("new.npy", binary(30, seed=5).numpy())
    assert main("evaluate r --data new.npy --method importance --particles 2".split()) == 2
    assert "pyrovae score r FILE" in capsys.readouterr().err
    assert main("evaluate r --data new.npy --split all --method importance --particles 2".split()) == 0
    assert "data: 30 rows of new.npy, which are not checked against those of r" in capsys.readouterr().out


def test_changed_labels_are_noticed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x, y = binary(60).numpy(), np.arange(60) % 3
    np.savez("d.npz", x=x, y=y)
    assert main(["fit", "--data", "d.npz", *WORDS, "--out", "r"]) == 0
    open_run("r", None)
    np.savez("d.npz", x=x, y=(y + 1) % 3)
    with pytest.raises(InputError, match="the labels are different"):
        open_run("r", None)
