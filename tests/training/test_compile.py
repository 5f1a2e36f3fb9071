"""The compiled step: a run gives what it gives in Python, or continues in Python and says why.

A C++ compiler needs half a minute for one step, so most tests run the captured graph operation by operation
(`code`); two cells of the table go through the real one. The full table takes an hour: by default every two
parts meet in some cell for 12 steps and every part stands in one of 100 steps; PYROVAE_LONG=1 runs 100 steps
on the whole.
"""

import itertools
import os
import signal

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import pyrovae as pv
from pyrovae.errors import Uncapturable
from pyrovae.networks import MLP
from pyrovae.training.optimizers import OPTIMIZERS
from pyrovae.training.step import move, shortened
from tests.support.captured import QUIET, alike, interpreted, learned, willing
from tests.support.cells import cell_name, data_of, declared, sample, tiny
from tests.support.interrupted import Crashed, crash_after, fit_in_pieces
from tests.support.parts import raises_one_sentence
from tests.support.same_runs import assert_same_runs, binary, checkpoint, same, small

LONG = bool(os.environ.get("PYROVAE_LONG"))
TORCHS = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "adamax": torch.optim.Adamax,
    "radam": torch.optim.RAdam,
    "sgd": torch.optim.SGD,
}
FULL = 3 * 4  # of 38 rows; an epoch also has a batch of 6


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    """Code that was compiled lies in a folder of this module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYROVAE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def code(monkeypatch):
    return interpreted(monkeypatch)


@pytest.fixture
def data():
    return pv.datasets.load(binary(58), validation=10, test=10)


# ---------------------------------------------------------------- the table of parts


def agrees(cell, code, *, epochs, **settings):
    data = tiny(declared(cell))
    alike(lambda: declared(cell), data, cell[3], epochs=epochs, batch_size=6, **settings)
    assert code.calls == 3 * epochs - 1  # every full batch but the first


@pytest.mark.parametrize("cell", sample(4, seed=2), ids=cell_name)
def test_a_captured_run_is_the_run(cell, code):
    """In single precision, over epochs whose last batch is smaller; double precision is in test_grid.py."""
    agrees(cell, code, epochs=25 if LONG else 3)


# ---------------------------------------------------------------- optimisers and schedules


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_optimiser_as_arithmetic_is_torchs(optimizer, clip, float64):
    """RAdam changes its formula at step 6."""
    assert OPTIMIZERS.keys() == TORCHS.keys()
    update = OPTIMIZERS[optimizer]
    theirs = [torch.randn(3, 2, requires_grad=True), torch.randn(4, requires_grad=True)]
    ours = [w.detach().clone() for w in theirs]
    torchs = TORCHS[optimizer](theirs)
    made = update.over({str(i): w for i, w in enumerate(theirs)}, lr=0.1)
    assert type(made) is TORCHS[optimizer]
    moments = [[torch.zeros_like(w) for _ in update.moments] for w in ours]
    for step in range(40):
        lr, gradient = 0.1 / (1 + step), [torch.randn_like(w) for w in ours]
        torchs.param_groups[0]["lr"] = lr
        for w, g in zip(theirs, gradient, strict=True):
            w.grad = g.clone()
        if clip:
            nn.utils.clip_grad_norm_(theirs, clip)
        torchs.step()
        numbers = [torch.tensor(c) for c in update.coefficients(step + 1, lr)]
        move(update, ours, moments, shortened(gradient, clip), numbers, torch.tensor(True))
        for w, own in zip(theirs, ours, strict=True):
            torch.testing.assert_close(own, w.detach(), rtol=1e-12, atol=1e-12)
    for w, of_weight in zip(theirs, moments, strict=True):
        for key, moment in zip(update.moments, of_weight, strict=True):
            torch.testing.assert_close(moment, torchs.state[w][key], rtol=1e-12, atol=1e-14)


ALL = {"clip": 0.1, "kl_warmup": 3.3, "lr_schedule": "cosine"}


@pytest.mark.parametrize(
    ("optimizer", "settings"),
    [
        *itertools.product(OPTIMIZERS, [ALL]),
        ("adam", {"kl_warmup": 3.3}),
        ("adam", {"lr_schedule": "linear"}),
        ("sgd", {"clip": 0.1}),
    ],
    ids=str,
)
def test_optimisers_and_schedules(code, data, float64, optimizer, settings):
    given = {"epochs": 7, "batch_size": 9, "lr": 0.01, "optimizer": optimizer}  # 4 full batches and one of 2
    alike(small, data, apart=1e-9, **given, **settings)
    assert code.calls == 7 * 4 - 1


# ---------------------------------------------------------------- data and programs


def pair():
    """A model with an enumerated site and a module, and a guide, in a new parameter store."""
    pyro.clear_param_store()
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net, reader = nn.Linear(1, 3), nn.Linear(3, 2)

    def model(x):
        decoder = pyro.module("decoder", net)
        weights = pyro.param("weights", torch.tensor([0.3, 0.7]), constraint=dist.constraints.simplex)
        loc = pyro.param("loc", torch.tensor([-1.0, 2.0]))
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(weights), infer={"enumerate": "parallel"})
            z = pyro.sample("z", dist.Normal(loc[k], 1.0))
            pyro.sample("x", dist.Normal(decoder(z[..., None]), 1.0).to_event(1), obs=x)

    def guide(x):
        loc, raw = pyro.module("reader", reader)(x).unbind(-1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, raw.exp()))

    return model, guide


def test_a_hand_written_pair(code):
    x = torch.randn(58, 3)
    run = alike(pair, x, pv.objectives.IWAE(3), epochs=5)
    assert len(code.graphs) == 1
    assert {"decoder$$$weight", "reader$$$bias", "weights", "loc"} <= learned(run.program).keys()


@pytest.mark.parametrize("context_shape", [None, (2,)])
def test_labels_that_a_program_observes(code, context_shape):
    """With and without a context: x, context and y are gathered in the compiled step."""
    rows = pv.Rows(binary(58), y=torch.arange(58) % 4 - 1)
    if context_shape:
        rows = pv.Rows(rows.x, torch.randn(58, 2), rows.y)
    data = data_of(rows, validation=10, test=10)

    def make():
        prior = pv.priors.GaussianMixture(3, labels=True)
        return small(prior=prior, context_shape=context_shape)

    alike(make, data, pv.objectives.SemiSupervised(5.0))
    assert code.calls == FULL - 1


def test_labels_as_a_context(code):
    labelled = torch.utils.data.TensorDataset(binary(58), torch.arange(58) % 3)
    data = pv.datasets.load(labelled, context="labels", validation=10, test=10)
    alike(lambda: small(context_shape=(3,), prior=pv.priors.GaussianMixture(2)), data)
    assert code.calls == FULL - 1


@pytest.mark.parametrize("stream", [True, False])
def test_data_that_are_drawn_again_for_every_epoch(code, stream):
    rows = torch.utils.data.TensorDataset(torch.rand(58, 1, 4, 4))
    data = pv.datasets.load(rows, binarize="dynamic", stream=stream, validation=10, test=10)
    assert data.streams == stream
    alike(small, data, batch_size=9, kl_warmup=1.7)
    assert code.calls == FULL - 1


class Buffered(MLP):
    """A buffer, which is read and not trained."""

    def __init__(self) -> None:
        super().__init__(8)

    def attach(self, *sizes, **named):
        super().attach(*sizes, **named)
        self.register_buffer("scale", torch.tensor(0.7))

    def forward(self, *inputs):
        return super().forward(*inputs) * self.scale


def test_a_buffer_is_an_input(code, data):
    run = alike(lambda: small(decoder=Buffered()), data)
    assert any(tensor is run.program.generation.network.scale for tensor in code.graphs[0].lifted)


class Masked(Buffered):
    """A buffer with infinite values."""

    def attach(self, *sizes, **named):
        super().attach(*sizes, **named)
        self.scale = torch.tensor([0.0, 0.0, -torch.inf])

    def forward(self, *inputs):
        return MLP.forward(self, *inputs) * self.scale.softmax(0)[0]


def test_a_buffer_with_infinite_values(code, data):
    alike(lambda: small(decoder=Masked()), data)
    assert code.calls


class Spare(Buffered):
    """A layer that nothing uses."""

    def attach(self, *sizes, **named):
        super().attach(*sizes, **named)
        self.spare = nn.Linear(2, 2)


class Counting(Buffered):
    """A buffer that every call moves."""

    def forward(self, *inputs):
        if self.training:
            self.scale.mul_(0.99)
        return super().forward(*inputs)


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_a_parameter_that_nothing_uses(code, data, optimizer):
    alike(lambda: small(decoder=Spare()), data, optimizer=optimizer)


def test_a_buffer_that_moves_at_every_call(code, data):
    alike(lambda: small(decoder=Counting()), data)


# ---------------------------------------------------------------- the real compiler


@pytest.mark.slow
@pytest.mark.parametrize(
    ("declaration", "objective"),
    [
        ({}, pv.objectives.ELBO()),
        (
            {
                "prior": pv.priors.GaussianMixture(2),
                "encoder": pv.networks.ConvEncoder((2, 3), 5),
                "decoder": pv.networks.ConvDecoder((3, 2)),
            },
            pv.objectives.IWAE(3),
        ),
    ],
    ids=["dense", "convolutions"],
)
def test_machine_code_is_the_run_and_is_kept(declaration, objective, monkeypatch, capsys):
    event = (1, 8, 8) if declaration else (1, 4, 4)
    data = pv.datasets.load(binary(58, event), validation=10, test=10)

    def make():
        return small(event, **declaration)

    validates = torch.distributions.Distribution._validate_args
    random = torch.get_rng_state()
    alike(make, data, objective, progress=True, clip=0.5)
    assert "compiled steps: compiled in" in capsys.readouterr().out
    monkeypatch.setattr("torch._inductor.aot_compile", None)  # nothing to compile with
    alike(make, data, objective, progress=True, clip=0.5)
    assert "compiled steps: loaded in" in capsys.readouterr().out
    assert torch.distributions.Distribution._validate_args == validates
    assert torch.equal(torch.get_rng_state(), random)
    assert len(pyro.get_param_store()) == 0


# ---------------------------------------------------------------- resume


@pytest.mark.parametrize("name", ["plain", "schedules", "radam", "stream"])
def test_a_captured_run_that_crashed_ends_like_one_that_never_did(code, data, tmp_path, name):
    settings = QUIET | {"checkpoint_seconds": 0, "compile": True}
    if name == "schedules":
        settings |= {"lr_schedule": "cosine", "kl_warmup": 1.7, "clip": 0.1}
    elif name == "radam":
        settings["optimizer"] = "radam"
    elif name == "stream":
        rows = torch.utils.data.TensorDataset(torch.rand(58, 1, 4, 4))
        data = pv.datasets.load(rows, binarize="dynamic", stream=True, validation=10, test=10)
    pv.fit(small(), data, out=tmp_path / "whole", **settings)
    fit_in_pieces(small, data, tmp_path / "pieces", (3, 7), **settings)
    assert_same_runs(tmp_path / "whole", tmp_path / "pieces")
    assert checkpoint(tmp_path / "pieces")["state"]["captured"] is True


def test_a_checkpoint_of_captured_steps_is_one_of_any(code, data, tmp_path):
    settings = QUIET | {"checkpoint_seconds": 0, "optimizer": "radam"}
    with crash_after(8), pytest.raises(Crashed):
        pv.fit(small(), data, out=tmp_path / "pieces", compile=True, **settings)
    saved = checkpoint(tmp_path / "pieces")
    for moments in saved["optimizer"]["state"].values():
        assert moments["step"] == saved["state"]["position"]["step"] == 8
        assert all(tensor.is_contiguous() for tensor in moments.values())
    again = pv.fit(small(), data, out=tmp_path / "pieces", resume=True, compile=False, **settings)
    whole = pv.fit(small(), data, compile=False, **settings)
    torch.testing.assert_close(learned(again.program), learned(whole.program), rtol=1e-5, atol=1e-5)


def test_auto_resumes_with_the_kind_of_step_that_it_had(code, data, tmp_path, monkeypatch):
    willing(monkeypatch)
    settings = QUIET | {"checkpoint_seconds": 0}
    pv.fit(small(), data, out=tmp_path / "whole", **settings)
    fit_in_pieces(small, data, tmp_path / "pieces", (7, 8), **settings)
    assert_same_runs(tmp_path / "whole", tmp_path / "pieces")
    assert len(code.graphs) == 4
    willing(monkeypatch, 1e9)
    with crash_after(7), pytest.raises(Crashed):
        pv.fit(small(), data, out=tmp_path / "slow", **settings)
    assert checkpoint(tmp_path / "slow")["state"]["captured"] is False
    willing(monkeypatch)
    pv.fit(small(), data, out=tmp_path / "slow", resume=True, **settings)
    pv.fit(small(), data, out=tmp_path / "eager", compile=False, **settings)
    assert_same_runs(tmp_path / "slow", tmp_path / "eager")


@pytest.mark.parametrize("every", [0, 1e9])
@pytest.mark.parametrize("crashes", [(1,), (2, 4), (3,), (5,), (6,), (1, 2, 3, 4, 5, 6, 7, 8, 9)])
def test_auto_resumes_from_any_early_step(code, data, tmp_path, monkeypatch, crashes, every):
    """The step at which it chooses is counted, whatever was timed before the crash."""
    willing(monkeypatch)
    settings = QUIET | {"checkpoint_seconds": every}
    pv.fit(small(), data, out=tmp_path / "whole", **settings)
    fit_in_pieces(small, data, tmp_path / "pieces", crashes, **settings)
    assert_same_runs(tmp_path / "whole", tmp_path / "pieces")
    assert checkpoint(tmp_path / "pieces")["state"]["captured"] is True


@pytest.mark.parametrize("batch_size", [10, 38])  # of 38 rows: four batches in an epoch, and one
@pytest.mark.parametrize("first", [0.0, 1e9])
def test_what_auto_chose_is_stored_before_it_matters(code, data, tmp_path, monkeypatch, first, batch_size):
    """A run that is killed after the choice keeps it, even if it would choose otherwise now."""
    settings = QUIET | {"checkpoint_seconds": 1e9, "batch_size": batch_size, "epochs": 12}
    willing(monkeypatch, first)
    pv.fit(small(), data, out=tmp_path / "whole", **settings)
    with crash_after(6), pytest.raises(Crashed):
        pv.fit(small(), data, out=tmp_path / "r", **settings)
    willing(monkeypatch, 1e9 - first)
    pv.fit(small(), data, out=tmp_path / "r", resume=True, **settings)
    assert_same_runs(tmp_path / "whole", tmp_path / "r")
    assert checkpoint(tmp_path / "r")["state"]["captured"] is (first == 0)


# ---------------------------------------------------------------- numbers that are not finite


class Cliff(MLP):
    """NaN where a latent is far out."""

    def __init__(self) -> None:
        super().__init__(8)

    def forward(self, z, context=None):
        return super().forward(z, context).where((z.abs() < 3.3).all(-1, keepdim=True), torch.nan)


def test_a_step_whose_loss_is_not_finite_moves_nothing(code):
    data, said, ends = pv.datasets.load(binary(600), validation=10, test=10), [], []
    for kind in (False, True):
        vae = small(decoder=Cliff())
        with pytest.raises(pv.NumericalError) as caught:
            pv.fit(vae, data, compile=kind, **QUIET)
        said.append(str(caught.value))
        ends.append(learned(vae))
    assert said[0] == said[1]
    assert "log p(x|z) is not, at the site 'x' of the model" in said[1]
    assert code.calls > 10
    torch.testing.assert_close(ends[1], ends[0], rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------- precision


def test_coarse_products_train_as_well(code, data):
    fine, coarse = (
        pv.fit(small(), data, compile=True, precision=p, **(QUIET | {"epochs": 8}))
        for p in ("float32", "bf16")
    )
    assert not same(fine.program.state_dict(), coarse.program.state_dict())
    assert abs(fine.history["validation"][-1] - coarse.history["validation"][-1]) < 0.05
    assert code.calls == 2 * (8 * 4 - 1)
    raises_one_sentence(lambda: pv.fit(small(), data, precision="tf32", device="cpu", **QUIET), "tf32")


@pytest.mark.parametrize(("compile", "steps"), [(True, 1), ("auto", 5)])
def test_ctrl_c_that_ends_the_compiler_stops_the_run_before_the_step(
    compile, steps, code, data, tmp_path, monkeypatch
):
    """A terminal sends it to the compiler too; the run must not continue in Python."""
    willing(monkeypatch)
    settings = QUIET | {"compile": compile, "checkpoint_seconds": 0}
    pv.fit(small(), data, out=tmp_path / "whole", **settings)
    assert code.calls > 0
    with monkeypatch.context() as patch:

        def ended(graph, inputs):
            os.kill(os.getpid(), signal.SIGINT)
            raise Uncapturable("the compiler was ended")

        patch.setattr("pyrovae.compiling.Graph.compiled", ended)
        with pytest.raises(KeyboardInterrupt, match=f"stopped after {steps} steps; resume it"):
            pv.fit(small(), data, out=tmp_path / "pieces", **settings)
    pv.fit(small(), data, out=tmp_path / "pieces", resume=True, **settings)
    assert_same_runs(tmp_path / "whole", tmp_path / "pieces")
