"""A program of a user's own: a subclass of `terms.Program` that is not a VAE, and what `fit` asks of it."""

import dataclasses

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import pyrovae as pv
from pyrovae.errors import InputError
from pyrovae.terms import Pair, Program, Runner, as_program
from tests.support.cells import data_of
from tests.support.parts import raises_one_sentence
from tests.support.same_runs import assert_same_runs, checkpoint, same

QUIET = {"progress": False, "figures": False, "batch_size": 10, "compile": False}
QUIET |= {"lr_schedule": "constant", "kl_warmup": 0}  # so that a run may be extended


class Switched(Program, nn.Module):
    """Two regimes of a factor model; the second starts after some epochs. It notes what it is asked."""

    event_shape = (3,)
    latent_size = 1

    def __init__(self, waits=0):
        super().__init__()
        self.waits, self.calls = waits, []
        with torch.random.fork_rng():
            torch.manual_seed(4)
            self.decoder, self.encoder = nn.Linear(1, 3), nn.Linear(3, 2)
        self.register_buffer("is_second", torch.tensor(False))

    def model(self, x=None, context=None, y=None):
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", 1 if x is None else len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(()), torch.where(self.is_second, 2.0, 1.0)))
            return pyro.sample("x", dist.Normal(self.decoder(z[..., None]), 1.0).to_event(1), obs=x)

    def guide(self, x, context=None, y=None):
        pyro.module("encoder", self.encoder)
        loc, raw = self.encoder(x).unbind(-1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, raw.exp()))

    @property
    def waits_for(self):
        return 0 if self.is_second else self.waits

    def check_rows(self, rows, what):
        self.calls.append(("check_rows", what, len(rows)))
        if rows.x.abs().max() > 100:
            raise InputError(f"{what} hold values beyond 100: scale them")

    def check_run(self, epochs, processes):
        self.calls.append(("check_run", epochs, processes))
        if self.waits >= epochs:
            raise InputError(f"the second regime would not start in {epochs} epochs: use more")

    def start_from(self, x):
        self.calls.append(("start_from", tuple(x.shape), x.dtype))
        with torch.no_grad():
            self.decoder.bias.copy_(x.mean(0))

    def begin_epoch(self, epoch, some):
        self.calls.append(("begin_epoch", epoch))
        assert not self.training
        if self.waits and epoch == self.waits:
            rows = some()
            self.calls.append(("some", len(rows), rows.x.dtype))
            self.is_second.fill_(True)
            return "the second regime starts"
        return None


@pytest.fixture
def x():
    draw = torch.Generator().manual_seed(1)
    return torch.randn(100, 1, generator=draw) * torch.tensor([1.0, -2.0, 0.5]) + 3.0


@pytest.fixture
def data(x):
    return pv.datasets.load(x, validation=20, test=20)


def test_fit_asks_a_program_in_this_order(data):
    program = Switched(waits=2)
    run = pv.fit(program, data, epochs=4, **QUIET)
    assert run.program is program
    assert program.calls == [
        ("check_rows", "the training data", 60),
        ("check_rows", "the validation data", 20),
        ("check_rows", "the test data", 20),
        ("check_run", 4, 1),
        ("start_from", (60, 3), torch.float32),
        ("begin_epoch", 0),
        ("begin_epoch", 1),
        ("begin_epoch", 2),
        ("some", 60, torch.float32),
        ("begin_epoch", 3),
    ]
    assert np.isfinite(run.history["validation"]).all()
    assert program.schema == data.schema


def test_a_fit_that_is_refused_leaves_the_schema_as_it_was(data, tmp_path):
    program = Switched()
    pv.fit(program, data, epochs=1, out=tmp_path / "run", **QUIET)
    schema = program.schema
    other = dataclasses.replace(data, schema=dataclasses.replace(schema, scaling="other"))
    with pytest.raises(InputError, match="holds another run"):
        pv.fit(program, other, epochs=1, out=tmp_path / "run", **QUIET)
    assert program.schema is schema


def test_a_pair_that_needs_every_label_is_checked_with_labels(data):
    """One-hot rows cannot be made of -1, which no row of these data has."""
    labels, seen = torch.arange(len(data.train)) % 2, []

    def model(x, context=None, y=None):
        shift = pyro.param("shift", torch.zeros(2))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            loc = z if y is None else z + nn.functional.one_hot(y).to(x) @ shift
            seen.append(None if y is None else y.tolist())
            pyro.sample("x", dist.Normal(loc[..., None], torch.ones(3)).to_event(1), obs=x)

    def guide(x, context=None, y=None):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(pyro.param("loc", torch.zeros(())), 1.0))

    pyro.clear_param_store()
    labelled = dataclasses.replace(data, train=dataclasses.replace(data.train, y=labels))
    pv.fit((model, guide), labelled, epochs=1, **QUIET)
    assert seen[0] == [0, 1]


def test_a_change_is_said_and_bounds_before_it_do_not_compare(data, capsys, monkeypatch):
    """The bound falls at every epoch; the best one is the first after the change."""
    monkeypatch.setattr(
        pv.training.loop.Loop, "validate", lambda self: {"validation": -1.0 - self.job.state.position.epoch}
    )
    run = pv.fit(Switched(waits=2), data, epochs=4, **(QUIET | {"progress": True}))
    assert run.best_epoch == 3
    assert "epoch 3: the second regime starts" in capsys.readouterr().out.splitlines()
    assert pv.fit(Switched(), data, epochs=4, **QUIET).best_epoch == 1


def test_patience_is_counted_from_the_change(data, monkeypatch):
    monkeypatch.setattr(
        pv.training.loop.Loop, "validate", lambda self: {"validation": -1.0 - self.job.state.position.epoch}
    )
    assert len(pv.fit(Switched(), data, epochs=9, patience=2, **QUIET).history["epoch"]) == 3
    assert len(pv.fit(Switched(waits=4), data, epochs=9, patience=2, **QUIET).history["epoch"]) == 7


def test_rows_that_it_refuses_are_not_trained_on_and_leave_no_folder(x, tmp_path):
    for part, wrong in (("training", slice(0, 60)), ("validation", slice(60, 80)), ("test", slice(80, 100))):
        rows = data_of(pv.Rows(x), validation=20, test=20)
        split = {"training": rows.train, "validation": rows.validation, "test": rows.test}[part]
        assert len(split) == wrong.stop - wrong.start
        split.x[3] = 1000.0
        raises_one_sentence(
            lambda rows=rows: pv.fit(Switched(), rows, epochs=1, out=tmp_path / "r", **QUIET),
            f"the {part} data hold values beyond 100",
        )
    raises_one_sentence(
        lambda: pv.fit(Switched(waits=3), x, epochs=3, out=tmp_path / "r", **QUIET), "would not start in 3"
    )
    assert not (tmp_path / "r").exists()


def test_a_stream_is_checked_batch_by_batch_in_its_first_epoch(x):
    stream = pv.datasets.load(torch.utils.data.TensorDataset(x), stream=True, validation=20, test=20)
    program = Switched()
    pv.fit(program, stream, epochs=2, **QUIET)
    checked = [call[1:] for call in program.calls if call[0] == "check_rows"]
    batches = [(f"batch {k} of the training data", 10) for k in range(1, 7)]
    assert checked == [("the validation data", 20), ("the test data", 20), *batches]
    x[stream.train.index[25]] = 1000.0
    raises_one_sentence(lambda: pv.fit(Switched(), stream, epochs=1, **QUIET), "of the training data hold")


def test_it_is_saved_resumed_and_loaded_by_hand(data, tmp_path):
    settings = QUIET | {"checkpoint_seconds": 0}
    whole = pv.fit(Switched(waits=2), data, epochs=4, out=tmp_path / "whole", **settings).program
    pv.fit(Switched(waits=1), data, epochs=2, out=tmp_path / "other", **settings)
    pv.fit(Switched(waits=2), data, epochs=3, out=tmp_path / "pieces", **settings)
    again = Switched(waits=2)
    pv.fit(again, data, epochs=4, out=tmp_path / "pieces", resume=True, **settings)
    assert_same_runs(tmp_path / "whole", tmp_path / "pieces")
    assert same(whole.state_dict(), again.state_dict())
    assert not any(call[0] == "start_from" for call in again.calls)
    saved = checkpoint(tmp_path / "whole", "best")
    assert saved["declaration"] is None
    assert saved["schema"]["event_shape"] == (3,)
    assert same(saved["weights"], whole.state_dict())
    with pytest.raises(InputError, match="build the program and load its weights yourself"):
        pv.load(tmp_path / "whole")


class Declaring(Switched):
    """A program that can be written down, and one that cannot."""

    def __init__(self, words):
        super().__init__()
        self.words = words

    def declaration(self):
        if self.words is None:
            raise InputError("this program cannot be written")
        return {"words": self.words}


def test_a_declaration_of_ones_own_is_stored_and_compared(data, tmp_path):
    out = tmp_path / "r"
    raises_one_sentence(
        lambda: pv.fit(Declaring(None), data, epochs=1, out=out, **QUIET), "cannot be written"
    )
    assert not out.exists()
    pv.fit(Declaring("one"), data, epochs=1, out=out, **QUIET)
    assert checkpoint(out)["declaration"] == {"words": "one"}
    raises_one_sentence(
        lambda: pv.fit(Declaring("two"), data, epochs=2, out=out, resume=True, **QUIET), "another declaration"
    )
    pv.fit(Declaring("one"), data, epochs=2, out=out, resume=True, **QUIET)
    raises_one_sentence(lambda: pv.load(out), "build the program and load its weights yourself")


def test_log_evidence_checks_rows_and_knows_its_answer(x):
    """z ~ N(0, 1), x | z ~ N(W z + b, I) is a normal distribution; the guide is the prior."""
    program = Switched()
    with torch.no_grad():
        for p in program.encoder.parameters():
            p.zero_()
    weight, bias = program.decoder.weight.detach(), program.decoder.bias.detach()
    exact = dist.MultivariateNormal(bias, torch.eye(3) + weight @ weight.T).log_prob(x[:8])
    evidence = pv.log_evidence(program, x[:8], particles=20_000, method="importance", compile=False)
    assert (np.abs(evidence.log_px - exact.numpy()) < 5 * evidence.mc_stderr + 1e-3).all()
    assert ("check_rows", "x", 8) in program.calls
    raises_one_sentence(lambda: pv.log_evidence(program, 1000 * x, particles=2), "x hold values beyond 100")


def test_what_is_observed_when_nothing_is_given_can_be_simulated():
    program = Switched()
    torch.manual_seed(0)
    x, latents = program.simulate(4000)
    assert x.shape == (4000, 3)
    assert latents["z"].shape == (1, 4000)
    residual = x - program.decoder(latents["z"][0][:, None])
    assert abs(residual.mean()) < 5 / 12_000**0.5
    raises_one_sentence(lambda: program.simulate(2, torch.zeros(2, 1)), "declares its context")
    raises_one_sentence(lambda: Pair(lambda x: x, lambda x: x).simulate(2), "cannot be simulated")


def test_labels_of_a_program_that_takes_none_are_refused_before_a_folder(x, tmp_path):
    """A pair (model, guide) of x alone is called with labels where the data have some."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample(
                "x", dist.Normal(pyro.param("w", torch.ones(3)) * z[..., None], 1.0).to_event(1), obs=x
            )

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(pyro.param("a", torch.ones(())) * x[:, 0], 1.0))

    rows = pv.Rows(x, y=torch.arange(100) % 3)
    raises_one_sentence(
        lambda: pv.fit((model, guide), rows, epochs=1, out=tmp_path / "r", **QUIET), "the program cannot take"
    )
    assert not (tmp_path / "r").exists()
    pv.fit((model, guide), rows.unlabelled(), epochs=1, **QUIET)


def test_the_old_name_of_the_term_of_x_given_z_still_works(x):
    terms = Runner(Switched()).terms(pv.Rows(x[:3]), particles=2)
    with pytest.warns(DeprecationWarning, match="Terms.log_px_z"):
        assert terms.log_px is terms.log_px_z


def test_what_makes_a_program():
    program = Switched()
    assert as_program(program) is program
    assert Runner(program).module is program
    assert Runner(program).parameter is program.decoder.weight
    bare = as_program((program.model, program.guide))
    assert isinstance(bare, Pair)
    assert bare.module is None
    assert bare.declaration() is None
    assert bare.event_shape is None
    assert bare.waits_for == bare.components_wait == bare.latent_size == 0
    assert bare.begin_epoch(3, None) is None
    for thing in (3, "vae", (1, 2), (program.model,), None):
        raises_one_sentence(lambda thing=thing: as_program(thing), "not a probabilistic program")
    with pytest.raises(NotImplementedError, match="Program has no model"):
        Program().model()
