"""A run on data that are read while training is the run on the same rows in memory, however they are read."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading

import numpy as np
import pandas
import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

import pyrovae as pv
from pyrovae.datasets import Data, Rows
from pyrovae.networks import MLP
from pyrovae.training.batches import Epoch, batches_of, generator, order
from pyrovae.training.blocks import Blocks
from pyrovae.training.compiled import CompiledStep
from pyrovae.training.reading import Ahead, Place
from pyrovae.training.state import Position
from tests.support.captured import alike, interpreted, learned
from tests.support.interrupted import Crashed, crash_after, fit_in_pieces, stop_after, wait_for_step
from tests.support.parts import raises_one_sentence
from tests.support.same_runs import assert_same_runs, checkpoint, same, small, untimed

QUIET = {"progress": False, "figures": False, "batch_size": 9, "epochs": 2, "kl_warmup": 0}
QUIET |= {"lr": 1e-2, "lr_schedule": "constant", "compile": False}
N = 91
RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (N, 4, 4)).astype(np.uint8)
GAPS = np.where(RNG.random((N, 5)) < 0.3, np.nan, RNG.normal(size=(N, 5))).astype(np.float32)
TABLE = pandas.DataFrame(
    {
        "size": np.where(np.arange(N) % 7 == 0, np.nan, RNG.normal(size=N)),
        "age": RNG.integers(0, 90, N),
        "colour": np.where(np.arange(N) % 5 == 0, None, RNG.choice(["red", "green"], N)),
        "species": RNG.choice(["cat", "dog"], N),
    }
)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """Chunks of 4 rows of 16 floats, windows of 24; blocks of 2 batches of 9."""
    monkeypatch.setattr("pyrovae.datasets.readers.row_files.CHUNK", 4 * 16)
    monkeypatch.setattr("pyrovae.datasets.streams.WINDOW", 24 * 64)
    monkeypatch.setattr("pyrovae.datasets.streams.BATCHES", 2)


@pytest.fixture(autouse=True)
def no_leftovers():
    """A run leaves no thread and no process behind, however it ends."""
    before = set(multiprocessing.active_children())  # of other tests
    yield
    assert [thread.name for thread in threading.enumerate() if "reading" in thread.name] == []
    assert set(multiprocessing.active_children()) <= before


def array_file(folder, x=BYTES, **labels):
    path = folder / ("x.npz" if labels else "x.npy")
    np.savez(path, x=x, **labels) if labels else np.save(path, x)
    return path


def table_file(folder):
    pytest.importorskip("pyarrow")
    TABLE.to_parquet(folder / "x.parquet", row_group_size=8)
    return folder / "x.parquet"


def images(*_):
    dataset = TensorDataset(torch.from_numpy(BYTES), torch.arange(N) % 3)
    dataset.targets = torch.arange(N) % 3
    return dataset


# ---------------------------------------------------------------- as in memory


class Held(Data):
    """Data in memory with the rows of each epoch in the order of a stream, and with its draws."""

    stream: Data

    def epoch(self, number, seed):
        stream = self.stream.train
        size, each = QUIET["batch_size"], stream.batches_in_block(QUIET["batch_size"])
        if stream.chunks is None:
            positions = order(len(stream), seed, number)
        else:
            blocks = max(1, -(-(len(stream) // size) // each))
            cuts = [*range(0, blocks * each * size, each * size), len(stream)]
            cuts = [*cuts[:blocks], len(stream)]
            pairs = zip(cuts, cuts[1:], strict=False)
            positions = torch.cat([stream.chunks.window(i, j, seed, number) for i, j in pairs])
        batches = [
            self.stream.streamed(stream.read(rows), rows, generator(seed, number, batch))
            for batch, rows in enumerate(positions.split(size))
        ]
        parts = [[getattr(rows, name) for rows in batches] for name in ("x", "context", "y")]
        return Rows(*(None if part[0] is None else torch.cat(part) for part in parts))


def run_of(data, vae, **settings):
    run = pv.fit(vae(data), data, **QUIET | settings)
    return learned(run.program), untimed(run.history)


def suited(data):
    torch.manual_seed(3)
    context = {} if data.context_shape is None else {"context_shape": data.context_shape}
    likelihood = None if data.columns or data.binarize else pv.likelihoods.Normal(1.0)
    if likelihood is not None:
        return pv.VAE(data.event_shape, 2, encoder=MLP(8), decoder=MLP(8), likelihood=likelihood, **context)
    return pv.VAE.suited(data, latent_dim=2, encoder=MLP(8), decoder=MLP(8))


def labelled(data):
    torch.manual_seed(3)
    prior = pv.priors.GaussianMixture(3, labels=True)
    likelihood = pv.likelihoods.Normal(1.0)
    return pv.VAE(data.event_shape, 2, prior=prior, likelihood=likelihood, encoder=MLP(8), decoder=MLP(8))


LABELS = np.arange(N) % 3
CASES = {
    "plain": (lambda f: array_file(f, GAPS[:, :4].round(1) * 0 + 1 + RNG.normal(size=(N, 4))), {}, suited),
    "missing": (lambda f: array_file(f, GAPS), {}, suited),
    "dynamic": (array_file, {"binarize": "dynamic"}, suited),
    "static": (array_file, {"binarize": "static"}, suited),
    "dequantised": (array_file, {"dequantize": True}, suited),
    "half": (array_file, {"binarize": "dynamic", "context": "left half"}, suited),
    "noisy": (array_file, {"context": "noisy .3"}, suited),
    "context": (lambda f: array_file(f, BYTES, y=LABELS), {"context": "labels"}, suited),
    "labels": (lambda f: array_file(f, BYTES, y=LABELS), {"known": 12}, labelled),
    "table": (table_file, {"context": ["colour"]}, suited),
    "data set": (images, {"binarize": "dynamic", "context": "labels"}, suited),
    "processes": (images, {"binarize": "dynamic", "context": "labels", "workers": 2}, suited),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("is_compiled", [False, True], ids=["eager", "captured"])
def test_a_streamed_run_is_that_in_memory(case, is_compiled, tmp_path, monkeypatch):
    make, options, vae = CASES[case]
    source = make(tmp_path)
    options = options | {"validation": 10, "test": 10}
    stream = pv.datasets.load(source, stream=True, **options)
    options.pop("workers", None)
    memory = pv.datasets.load(source, stream=False, **options)
    starts = pv.VAE.start_from  # a stream starts parts from its validation rows
    monkeypatch.setattr(pv.VAE, "start_from", lambda self, _: starts(self, memory.validation.x))
    held = Held(**{name: getattr(memory, name) for name in memory.__dataclass_fields__})
    monkeypatch.setattr(Held, "stream", stream, raising=False)
    first, said = run_of(stream, vae)
    with monkeypatch.context() as patch:
        patch.setattr("pyrovae.training.batches.order", lambda count, *_: torch.arange(count))
        second, too = run_of(held, vae)
        assert same(first, second)
        assert said == too
        if not is_compiled:
            return
        code = interpreted(monkeypatch)
        second, _ = run_of(held, vae, compile=True)
    count = code.calls
    first, _ = run_of(stream, vae, compile=True)
    assert code.calls == 2 * count == 2 * 2 * (71 // 9) - 2
    assert len(code.graphs) == 2
    torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-5)


def test_steps_of_a_block_enter_it_once(tmp_path, monkeypatch):
    """A compiled step computes its tables for each block, of one shape, and not for each batch."""
    interpreted(monkeypatch)
    entered, enter = [], CompiledStep._enter
    monkeypatch.setattr(CompiledStep, "_enter", lambda self, e: entered.append(e) or enter(self, e))
    data = pv.datasets.load(array_file(tmp_path), stream=True, validation=10, test=10)
    run_of(data, suited, compile=True)
    assert len(entered) == 2 * 4  # seven full batches in blocks of two
    assert {tuple(epoch.rows.x.shape) for epoch in entered} == {(18, 4, 4)}
    assert {tuple(epoch.order.shape) for epoch in entered} == {(18,)}


@pytest.mark.parametrize("first", [0, 1, 2, 5, 6, 7])
@pytest.mark.parametrize("rows", [N, 83, 84])
def test_a_batch_does_not_depend_on_where_reading_starts(first, rows, tmp_path):
    """83 rows leave seven full batches and no smaller one, 84 a last batch of one row."""
    path = array_file(tmp_path, BYTES[:rows])
    data = pv.datasets.load(path, stream=True, binarize="dynamic", validation=10, test=10)
    settings = type("Settings", (), {"seed": 5, "batch_size": 9})

    def batches(position):
        return [epoch.batch(number).x.clone() for epoch, number in batches_of(data, position, settings)]

    whole = batches(Position(epoch=1))
    assert [len(batch) for batch in whole] == [9] * 7 + [rows - 83] * (rows > 83)
    first = min(first, len(whole) - 1)
    part = batches(Position(epoch=1, batch=first))
    assert len(part) == len(whole) - first
    assert all(map(torch.equal, part, whole[first:]))


def test_a_block_in_use_is_not_written_into(tmp_path):
    """While steps use a block, the next one is read, into other memory."""
    data = pv.datasets.load(array_file(tmp_path), stream=True, validation=10, test=10)
    blocks = Blocks(data, type("Settings", (), {"seed": 5, "batch_size": 9})).read(Position(), 3)
    last = next(blocks)
    seen = 1
    while True:
        copy = last.rows.x[: 9 * last.batches.stop].clone()
        following = next(blocks, None)
        assert torch.equal(copy, last.rows.x[: len(copy)])
        if following is None:
            break
        last, seen = following, seen + 1
    assert seen == 3 * 5


@pytest.mark.parametrize("kind", ["array", "data set"])
@pytest.mark.parametrize("size", [9, 7])
def test_processes_share_the_rows_of_each_batch(kind, size, tmp_path, monkeypatch):
    """91 rows leave a last batch of 8 or 1: the second process has no row of the latter."""
    data = pv.datasets.load(SOURCES[kind][0](tmp_path), stream=True, validation=10, test=10)
    settings = type("Settings", (), {"seed": 5, "batch_size": size})

    def batches(rank, world):
        monkeypatch.setattr("pyrovae.sharing.rank", lambda: rank)
        monkeypatch.setattr("pyrovae.sharing.world", lambda: world)
        walk = batches_of(data, Position(), settings)
        return [(epoch.batch(number).x.clone(), epoch.count(number)) for epoch, number in walk]

    whole, first, second = batches(0, 1), batches(0, 2), batches(1, 2)
    for (x, count), (one, of_one), (two, of_two) in zip(whole, first, second, strict=True):
        assert len(x) == count == of_one == of_two
        assert torch.equal(one, x[0::2])
        assert torch.equal(two, x[1::2])
    assert [len(x) for x, _ in whole][-1] == 71 % size


# ---------------------------------------------------------------- interruptions

SOURCES = {
    "array": (array_file, {"binarize": "dynamic"}),
    "table": (table_file, {"context": ["colour"]}),
    "data set": (images, {"binarize": "dynamic"}),
    "processes": (images, {"binarize": "dynamic", "workers": 2}),
    "between steps": (images, {"binarize": "dynamic", "workers": 0}),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_a_run_that_crashed_ends_like_one_that_never_did(kind, tmp_path):
    make, options = SOURCES[kind]
    data = pv.datasets.load(make(tmp_path), stream=True, validation=10, test=10, **options)
    settings = QUIET | {"checkpoint_seconds": 0}
    pv.fit(suited(data), data, out=tmp_path / "whole", **settings)
    fit_in_pieces(lambda: suited(data), data, tmp_path / "pieces", (1, 6, 7, 11), **settings)
    assert_same_runs(tmp_path / "whole", tmp_path / "pieces")


@pytest.mark.parametrize("kind", SOURCES)
def test_ctrl_c_ends_a_run_and_its_helpers(kind, tmp_path):
    make, options = SOURCES[kind]
    data = pv.datasets.load(make(tmp_path), stream=True, validation=10, test=10, **options)
    settings = QUIET | {"checkpoint_seconds": 0}
    with stop_after(5), pytest.raises(KeyboardInterrupt):
        pv.fit(suited(data), data, out=tmp_path / "r", **settings)
    assert checkpoint(tmp_path / "r")["state"]["position"]["step"] == 5
    pv.fit(suited(data), data, out=tmp_path / "r", resume=True, **settings)
    pv.fit(suited(data), data, out=tmp_path / "whole", **settings)
    assert_same_runs(tmp_path / "whole", tmp_path / "r")


COMMAND = """
import sys
from pyrovae.datasets import streams
from pyrovae.datasets.readers import row_files
streams.WINDOW, row_files.CHUNK = 300 * 256, 1024
from pyrovae.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_run_from_a_file_that_is_killed_and_resumed(tmp_path):
    """kill -9 of a process, by the command line; the folder alone says how the file is read."""
    rng = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", rng.random((1500, 8, 8)).astype(np.float32))
    options = "--stream true --binarize dynamic --latent_dim 2 --batch_size 25 --figures false --epochs 6"
    networks = "--encoder MLP --encoder.sizes [8] --decoder MLP --decoder.sizes [8] --checkpoint_seconds 0"
    command = [sys.executable, "-c", COMMAND, "fit", "--data", str(tmp_path / "x.npy")]

    def start(folder, *more):
        words = [*command, *options.split(), *networks.split(), "--out", str(folder), *more]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    whole = start(tmp_path / "whole")
    assert whole.wait() == 0, whole.stderr.read()
    folder = tmp_path / "r"
    for step in (5, 60):
        process = start(folder, "--resume")
        wait_for_step([process], folder, step)
        process.kill()
        assert process.wait() == -signal.SIGKILL, process.stderr.read()
        process.stderr.close()
    process = start(folder, "--resume")
    assert process.wait() == 0, process.stderr.read()
    for one in (whole, process):
        one.stderr.close()
    assert_same_runs(tmp_path / "whole", folder)


# ---------------------------------------------------------------- what reads


class Noisy(Dataset):
    """Rows with noise from each of the generators that a data set may use."""

    targets = torch.arange(60) % 3

    def __len__(self):
        return 60

    def __getitem__(self, number):
        return torch.full((3,), number / 60) + torch.rand(3) + np.random.rand() + random.random()


@pytest.mark.parametrize("workers", [None, 1])
def test_a_data_set_that_draws_gives_the_same_run_again(workers, tmp_path):
    def data(workers=workers):
        torch.manual_seed(0)
        np.random.seed(0)
        random.seed(0)
        return pv.datasets.load(Noisy(), stream=True, workers=workers, validation=5, test=5)

    settings = QUIET | {"checkpoint_seconds": 0, "out": tmp_path / "one"}
    pv.fit(suited(data()), data(), **settings)
    pv.fit(suited(data()), data(), **settings | {"out": tmp_path / "two"})
    assert_same_runs(tmp_path / "one", tmp_path / "two")
    if workers is not None:  # a seed for each batch: the number of processes makes no difference
        pv.fit(suited(data()), data(2), **settings | {"out": tmp_path / "three"})
        assert_same_runs(tmp_path / "one", tmp_path / "three")
        with crash_after(5), pytest.raises(Crashed):
            pv.fit(suited(data()), data(), **settings | {"out": tmp_path / "four"})
        pv.fit(suited(data()), data(), **settings | {"out": tmp_path / "four", "resume": True})
        assert_same_runs(tmp_path / "one", tmp_path / "four")


class Failing(Dataset):
    """A data set with an item that cannot be read, or that ends its process."""

    def __init__(self, bad=None, end=None):
        self.bad, self.end, self.own = bad, end, os.getpid()

    def __len__(self):
        return 200

    def __getitem__(self, number):
        if number == self.bad:
            raise OSError("the disk is broken")
        if number == self.end and os.getpid() != self.own:
            os._exit(3)
        return torch.full((3,), number / 200)


@pytest.mark.parametrize("workers", [None, 0, 2])
def test_an_error_of_a_data_set_is_one_sentence_and_the_steps_before_it_are_kept(workers, tmp_path):
    healthy = pv.datasets.load(Failing(), stream=True, validation=5, test=5)
    last = healthy.train.index[order(190, 0, 0)[150]].item()
    data = pv.datasets.load(Failing(last), stream=True, workers=workers, validation=5, test=5)
    out = tmp_path / "r"
    settings = QUIET | {"seed": 0, "out": out, "checkpoint_seconds": 0}
    words = (f"item {last} of Failing cannot be read (OSError: the disk is broken)", "correct the data set")
    raises_one_sentence(lambda: pv.fit(suited(data), data, **settings), *words)
    assert checkpoint(out)["state"]["position"]["step"] >= 14


def test_a_process_that_ends_is_named():
    data = pv.datasets.load(Failing(), stream=True, validation=5, test=5)
    data.train.dataset.end, data.train.workers = int(data.train.index[7]), 1
    words = ("a process that reads Failing ended too early", "workers=0")
    raises_one_sentence(lambda: pv.fit(suited(data), data, **QUIET), *words)


def test_a_file_that_changes_while_training(tmp_path):
    path = array_file(tmp_path)
    data = pv.datasets.load(path, stream=True, validation=10, test=10)

    class Touch(pv.Callback):
        def on_epoch(self, run):
            path.write_bytes(b"")

    raises_one_sentence(
        lambda: pv.fit(suited(data), data, callbacks=[Touch()], **QUIET | {"epochs": 9}), "x.npy has changed"
    )


def test_errors_of_the_thread_are_raised_where_its_items_are_awaited():
    def items():
        yield 1
        raise ValueError("gone")

    waits = []
    ahead = Ahead(items(), lambda: waits.append(1))
    assert next(ahead) == 1
    with pytest.raises(ValueError, match="gone"):
        next(ahead)
    ahead.close()
    ahead = Ahead(iter([1, 2]))
    assert list(ahead) == [1, 2]
    ahead.close()
    never = Ahead(iter(range(10**9)))  # reads one item ahead, and no more
    assert next(never) == 0
    never.close()
    assert not never.thread.is_alive()


def test_blocks_on_a_gpu_lie_in_the_same_tensors():
    place = Place(torch.device("cpu"), fixed=True)
    first = place.put(Rows(torch.zeros(4, 2), torch.ones(4, 1), torch.arange(4)), is_block=True)
    second = place.put(Rows(torch.ones(4, 2), torch.zeros(4, 1), torch.arange(4) + 1), is_block=True)
    for name in ("x", "context", "y"):
        assert getattr(first, name) is getattr(second, name)
    assert second.x.sum() == 8
    assert second.y.tolist() == [1, 2, 3, 4]
    tail = place.put(Rows(torch.full((1, 2), 5.0)), is_block=False)
    assert second.x.sum() == 8
    assert tail.x.tolist() == [[5.0, 5.0]]


def test_captured_steps_of_a_stream_are_eager_ones(tmp_path, monkeypatch):
    code = interpreted(monkeypatch)
    data = pv.datasets.load(array_file(tmp_path), stream=True, binarize="dynamic", validation=10, test=10)
    settings = {"lr_schedule": "cosine", "kl_warmup": 1.7, "batch_size": 9, "epochs": 3}
    alike(lambda: small((4, 4)), data, **settings)
    assert code.calls == 3 * 7 - 1


def test_an_epoch_counts_the_rows_of_a_block():
    epoch = Epoch(Rows(torch.arange(6.0)[:, None]), torch.arange(6), 3)
    assert [epoch.count(0), epoch.count(1)] == [3, 3]
