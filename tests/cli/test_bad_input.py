"""Bad input: one sentence, status 2, no traceback, nothing lost and nothing left behind."""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pyrovae as pv
from pyrovae.cli import main
from pyrovae.errors import InputError
from pyrovae.part import Declared
from tests.support.same_runs import assert_same_runs, binary, small

QUICK = ["--epochs", "1", "--batch_size", "10", "--figures", "false"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder to work in, with good and bad data and a run."""
    monkeypatch.chdir(tmp_path)
    x = binary(60, (6,)).numpy()
    np.save("x.npy", x)
    np.save("grey.npy", x * 0.5)
    np.save("empty.npy", x[:0])
    holes = x.copy()
    holes[3, 2] = holes[10, 1] = np.inf
    np.save("infinite.npy", holes)
    for name, sizes in {"mixed": [8] * 5 + [9], "broken": [8] * 6}.items():
        Path(name).mkdir()
        for i, size in enumerate(sizes):
            Image.fromarray(np.full((8, size), 9 * i, "u1")).save(f"{name}/{i}.png")
    Path("broken/3.png").write_bytes(Path("broken/3.png").read_bytes()[:40])
    Path("file").write_text("not a folder")
    Path("bad.yaml").write_text("prior: {class_path: pyrovae.priors.Gausian}\n")
    Path("typo.yaml").write_text("epoks: 3\n")
    Path("memory.yaml").write_text("data: null\n")
    Path("broken.yaml").write_text("a: b: c\n")
    Path("list.yaml").write_text("[1, 2]\n")
    return tmp_path


def refused(capsys, line):
    """The sentence that a command line is refused with."""
    before = sorted(Path().rglob("*"))
    status = main(line.split())
    error = capsys.readouterr().err
    assert status == 2, error
    assert error.startswith("pyrovae: ")
    assert error.count("\n") == 1, "one sentence"
    assert "Traceback" not in error
    assert sorted(Path().rglob("*")) == before, "something was left behind"
    return without_parts_of_tests(error.removeprefix("pyrovae: ").rstrip())


def without_parts_of_tests(sentence):
    """The sentence without the parts that other test modules have declared in this process."""
    for name in {cls.__name__ for cls in subclasses(Declared) if not cls.__module__.startswith("pyrovae")}:
        sentence = re.sub(rf"\b{name}, (?=.*or )", "", sentence)
    return sentence


def subclasses(base):
    for cls in base.__subclasses__():
        yield cls
        yield from subclasses(cls)


LINES = {
    # unknown names
    "fit --prior Gausian": "there is no prior 'Gausian': did you mean GaussianMixture? choose one of Auto",
    "fit --prior.help Gausian": "there is no prior 'Gausian': did you mean GaussianMixture? choose one",
    "fit --prior.help": "which prior? choose one of Autoregressive",
    "fit --likelihood Bernouli": "did you mean Bernoulli? choose one of Bernoulli, Beta",
    "fit --guide Foo": "choose one of Categorical, Classes, DiagonalNormal",
    "fit --encoder CNN": "choose one of Bayesian, Conv1dDecoder, Conv1dEncoder",
    "fit --objective VIMCO": "choose one of Autoencoder, Balanced, BetaTC, Capacity",
    "fit --prior collections.OrderedDict": "choose one of Autoregressive",
    "fit --prior no.such.Prior": "No module named 'no'",
    "fit --prior pyrovae.likelihoods.Bernoulli": "choose one of Autoregressive",
    "fit --data mnits": "'mnits' is not a known data set, and no file or folder has this name: did you mean",
    "fit --data no.npy": "'no.npy' is not a known data set, and no file or folder has this name",
    "fit --lattent_dim 3": "there is no option --lattent_dim: did you mean --latent_dim?",
    "fit --epocs=3": "there is no option --epocs: did you mean --epochs?",
    "fit extra": "'extra' is an unexpected argument",
    "fit --prior GaussianMixture --prior.componets 3": (
        "there is no --prior.componets: GaussianMixture takes components"
    ),
    "fit --prior.components 3": "--prior must be named before its own options",
    "fly": "there is no command 'fly': choose one of bandit, clusters, compare, complete, completion",
    "evalute": "there is no command 'evalute': did you mean evaluate? choose one of bandit, clusters",
    "--verison": "there is no command '--verison': did you mean --version?",
    "evaluate": "run is missing; see --help",
    # values of the wrong kind
    "fit --epochs 2.5": "--epochs cannot be '2.5': give a whole number",
    "fit --lr fast": "--lr cannot be 'fast': give a number",
    "fit --resume maybe": "--resume cannot be 'maybe': give true or false",
    "fit --binarize maybe": "--binarize cannot be 'maybe': give one of 'dynamic', 'static', 'threshold'",
    "fit --optimizer adm": "give one of 'adam', 'adamw', 'adamax', 'radam', 'sgd'",
    "fit --prior GaussianMixture --prior.components three": (
        "--prior.components cannot be 'three': give a whole number"
    ),
    "fit --likelihood Normal --likelihood.scale wide": (
        "--likelihood.scale cannot be 'wide': give a number or one of 'learned', 'predicted'"
    ),
    "fit --encoder MLP --encoder.sizes 64": "--encoder.sizes cannot be '64': give a list",
    "fit --latent_dim=": "--latent_dim cannot be '': give a whole number; see --help latent_dim",
    "fit --latent_dim": "--latent_dim needs a value; see --help latent_dim",
    "fit --compile=": "--compile cannot be '': give true or false or 'auto'; see --help compile",
    "fit --kinds x": "--kinds cannot be 'x': give words by name, as in {age: real}; see --help kinds",
    "fit --epochs.x 3": "there is no option --epochs.x: see --help all",
    "fit --prior.a.b 3": "there is no option --prior.a.b: see --help all",
    "fit --prior GaussianMixture --prior.init_args 3": (
        "--prior must be a name with its options, as in --prior NAME --prior.x 1; choose one of"
    ),
    "fit --encoder Wrapped": "--encoder.module and --encoder.features are missing; see --help",
    "fit --config grey.npy": "grey.npy cannot be read: it is not plain YAML",
    "fit --config list.yaml": "list.yaml has no options; write one on each line",
    "fit --config mixed": "mixed cannot be read: is a directory",
    # values out of range
    "fit --data x.npy --latent_dim 0": "latent_dim must be a whole number of 1 or more, not 0",
    "fit --data x.npy --epochs 0": "epochs must be a whole number of 1 or more, not 0",
    "fit --data x.npy --batch_size 0": "batch_size must be a whole number of 1 or more, not 0",
    "fit --data x.npy --batch_size 100": "batch_size 100 is larger than the 42 training rows: use 42 or less",
    "fit --data x.npy --batch_size 9 --lr 0": "lr must be a finite number, above 0",
    "fit --data x.npy --batch_size 9 --lr inf": "--lr cannot be 'inf': give a number",
    "fit --data x.npy --batch_size 9 --clip 0": "clip must be a finite number, above 0",
    "fit --data x.npy --batch_size 9 --patience 0": "patience must be a whole number of 1 or more",
    "fit --data x.npy --batch_size 9 --kl_warmup -1": "kl_warmup must be a finite number, 0 or more",
    "fit --data x.npy --batch_size 9 --checkpoint_seconds -1": "checkpoint_seconds must be a finite number",
    "fit --data x.npy --seed -1": "seed must be a whole number of 0 or more",
    "fit --data x.npy --seed 99999999999999999999": "seed must be a whole number from 0 to 9,223,372",
    "fit --data x.npy --objective IWAE --objective.particles 0": "particles must be a whole number of 1",
    "fit --data x.npy --objective ELBO --objective.beta -1": "beta must be a finite number, 0 or more",
    "fit --data x.npy --prior GaussianMixture --prior.components 0": "components of GaussianMixture must be",
    "fit --data x.npy --likelihood Normal --likelihood.scale -1": "must be a finite number, above 0, not -1",
    "fit --data x.npy --encoder MLP --encoder.sizes [0]": "a size in sizes of MLP must be a whole number",
    "fit --data x.npy --encoder ConvEncoder": "ConvEncoder needs images",
    # data
    "fit --likelihood Bernoulli": "Bernoulli cannot give the training data a density: 33784 values",
    "fit --data grey.npy --likelihood Bernoulli": "every value must be 0 or 1: binarise them",
    "fit --data x.npy --binarize threshold --dequantize": "choose one of the two",
    "fit --data infinite.npy": "2 values that are infinite, in 2 rows, the first (inf) in row 3",
    "fit --data empty.npy": "empty.npy is empty",
    "fit --data mixed": "give images of the same size",
    "fit --data broken": "broken/3.png cannot be read as an image",
    "fit --data x.npy --context labels": "x.npy has no labels",
    "fit --data mnist --root nowhere": "connect to a network, or put train-images-idx3-ubyte.gz",
    # folders, files, devices
    "fit --data x.npy --batch_size 9 --out file": "cannot create the folder file: not a directory",
    "fit --data x.npy --batch_size 9 --out file/r": "cannot create the folder file/r: not a directory",
    "fit --data x.npy --batch_size 9 --device cuda": "device 'cuda' is not available to torch here",
    "fit --data x.npy --batch_size 9 --device banana": "device 'banana' is not available to torch",
    "fit --config no.yaml": "no.yaml cannot be read: no such file or directory",
    "fit --config broken.yaml": "mapping values are not allowed here in line 1",
    "fit --config typo.yaml": "there is no option epoks: did you mean --epochs?",
    "fit --config bad.yaml": "which is not a part of PyroVAE: did you mean GaussianMixture?",
    "fit --config memory.yaml": "name them with --data",
    "evaluate nowhere": "there is no checkpoint nowhere/best.ckpt: is this the folder of a run?",
    "sample mixed": "there is no checkpoint mixed/best.ckpt: is this the folder of a run?",
}


@pytest.mark.parametrize("line", LINES)
def test_a_line_that_cannot_be_used(capsys, monkeypatch, line):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    if "mnist" in line:  # without a network
        monkeypatch.setattr("urllib.request.urlopen", _no_network)
        assert main(line.split()) == 2
        assert LINES[line] in capsys.readouterr().err.splitlines()[-1]
        return
    assert LINES[line] in refused(capsys, line)


def _no_network(*_, **__):
    raise OSError("Name or service not known")


RUN_LINES = {
    "fit --data x.npy --batch_size 10 --out r": (
        "r holds another run: choose a new name, or resume it with pyrovae fit --out r --resume"
    ),
    "fit --data x.npy --batch_size 10 --out r --resume --seed 2": "r holds a run with another seed",
    "fit --out r --resume --likelihood ContinuousBernoulli": "belongs to another declaration",
    "demo --out r": "r holds another run",
    "evaluate r --particles 0": "particles must be a whole number of 1 or more, not 0",
    "evaluate r --bounds []": "bounds must name at least one number of particles",
    "evaluate r --bounds 5": "--bounds cannot be '5': give a list",
    "evaluate r --rows 0": "rows must be a whole number of 1 or more, not 0",
    "evaluate r --split exam": "give one of 'train', 'validation', 'test'",
    "evaluate r --data digits": "digits has rows of shape (1, 8, 8), and the model was trained on (6,)",
    "evaluate r --chunk 0": "chunk must be a whole number of 1 or more",
    "sample r --count 0": "count must be a whole number of 1 or more, not 0",
    "reconstruct r --count 0": "count must be a whole number of 1 or more, not 0",
}


def test_lines_that_a_run_refuses(capsys):
    assert main(["fit", "--data", "x.npy", *QUICK, "--out", "r"]) == 0
    capsys.readouterr()
    shutil.copytree("r", "before")
    for line, said in RUN_LINES.items():
        assert said in refused(capsys, line)
    for name, cut in {"last.ckpt": "fit --out r --resume", "best.ckpt": "evaluate r"}.items():
        whole = Path("r", name).read_bytes()
        Path("r", name).write_bytes(whole[: len(whole) // 2])
        assert f"r/{name} cannot be read: it is cut off" in refused(capsys, cut)
        Path("r", name).write_bytes(whole)
    assert_same_runs("before", "r")
    config = Path("r/config.yaml").read_text()
    Path("r/config.yaml").write_text(config.replace("split_seed: 0", "split_seed: 1"))
    assert "split_seed was 0 and is 1" in refused(capsys, "evaluate r")
    Path("r/config.yaml").write_text(config[: len(config) // 2])
    assert "r/config.yaml" in refused(capsys, "evaluate r")


def test_a_refused_fit_does_not_block_the_next(capsys):
    words = ["fit", "--data", "x.npy", "--figures", "false", "--epochs", "1", "--out", "r"]
    assert main([*words, "--batch_size", "100"]) == 2
    assert not Path("r").exists()
    assert main([*words, "--batch_size", "10"]) == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(capsys, folder):
    (folder / "closed").mkdir(mode=0o555)
    for out in ("closed", "closed/r"):
        assert "closed" in refused(capsys, f"fit --data x.npy --batch_size 9 --out {out}")


def test_a_folder_that_the_system_refuses(capsys, folder, monkeypatch):
    """The same for root, for whom a system call has to say no."""
    (folder / "closed").mkdir()
    line = "fit --data x.npy --batch_size 9 --out closed"

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", refuse)
        assert "cannot create the folder closed: permission denied" in refused(capsys, line)
    (folder / "closed" / "figures").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda *_: False)
        assert "cannot write to the folder closed" in refused(capsys, line)
    with monkeypatch.context() as patch:
        patch.setattr("os.open", refuse)
        assert "cannot write to the folder closed: permission denied" in refused(
            capsys, line.replace("x.npy", "ring --likelihood Normal")
        )


# -------------------------------------------------------------------- from Python


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"objective": "IWAE"}, "objective must be a pyrovae.objectives.Objective"),
        ({"objective": pv.objectives.IWAE}, "objective must be a pyrovae.objectives.Objective"),
        ({"optimizer": "lion"}, "optimizer must be 'adam', 'adamw'"),
        ({"lr_schedule": "step"}, "lr_schedule must be 'constant', 'linear'"),
        ({"epochs": 2.5}, "epochs must be a whole number"),
        ({"epochs": True}, "epochs must be a whole number"),
        ({"seed": None}, "seed must be a whole number"),
        ({"lr": "0.1"}, "lr must be a finite number"),
        ({"lr": float("nan")}, "lr must be a finite number"),
        ({"clip": float("nan")}, "clip must be a finite number"),
        ({"device": "cuda:99"}, "device 'cuda:99' is not available"),
        ({"device": 3.5}, "device must be a name, as in 'cuda', not 3.5"),
        ({"vae": "a VAE"}, "str is not a probabilistic program"),
        ({"data": 7}, "data of type int cannot be used"),
        ({"data": torch.zeros(60, 5)}, "declared for events .6,., and the data have .5,."),
        ({"data": torch.full((60, 6), 0.5)}, "every value must be 0 or 1"),
        ({"data": torch.zeros(2, 6)}, "2 rows cannot be split"),
    ],
)
def test_arguments_that_cannot_be_used(changed, said, tmp_path):
    good = {"vae": small((6,)), "data": binary(60, (6,)), "objective": None, "batch_size": 20}
    with pytest.raises(InputError, match=said) as refused:
        pv.fit(**(good | changed), out=tmp_path / "r")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "r").exists()


def test_a_streamed_value_outside_the_support_is_found_when_it_is_read():
    x = binary(60, (6,))
    x[pv.datasets.split.parts(60, validation=10, test=10).train[7]] = 0.5
    data = pv.datasets.load(torch.utils.data.TensorDataset(x), stream=True, validation=10, test=10)
    with pytest.raises(InputError, match="batch .* of the training data"):
        pv.fit(small((6,)), data, batch_size=10, epochs=1, progress=False)
