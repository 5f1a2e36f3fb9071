"""`fit`: what a run trains, keeps, reports and leaves alone."""

import math
import traceback
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import yaml

import pyrovae as pv
from pyrovae.cli import main
from pyrovae.errors import InputError, NumericalError
from pyrovae.priors import Prior
from pyrovae.terms import Runner
from pyrovae.training.batches import batches_of
from pyrovae.training.loop import Loop
from pyrovae.training.schedules import kl_weight, lr_factor
from pyrovae.training.state import Position
from pyrovae.training.steps import Steps
from tests.support.same_runs import binary, checkpoint, same, small, table, untimed

QUIET = {"progress": False, "figures": False, "batch_size": 20}


@pytest.fixture
def data():
    return pv.datasets.load(binary(100), validation=20, test=20)


def test_training_raises_the_bound(data):
    vae = small()
    run = pv.fit(vae, data, epochs=60, lr=1e-2, **QUIET)
    independent = -16 * math.log(2)
    assert run.history["train"][0] < independent + 1
    assert run.history["train"][-1] > independent + 1.5
    assert run.history["validation"][-1] > independent + 1.5


def test_the_best_weights_are_loaded_and_the_last_are_kept(data, tmp_path):
    vae = small()
    run = pv.fit(vae, data, epochs=25, lr=0.05, out=tmp_path / "r", **QUIET)
    validation = run.history["validation"]
    assert run.best_epoch == 1 + int(validation.argmax()) < 25
    assert same(vae.state_dict(), checkpoint(tmp_path / "r", "best")["weights"])
    assert same(pv.load(tmp_path / "r").state_dict(), vae.state_dict())
    last = pv.load(tmp_path / "r", which="last")
    assert same(last.state_dict(), checkpoint(tmp_path / "r")["weights"])
    assert not same(last.state_dict(), vae.state_dict())
    assert checkpoint(tmp_path / "r", "best")["epoch"] == run.best_epoch
    assert last == vae


def test_validation_has_the_same_noise_at_every_epoch_and_moves_nothing(data, monkeypatch):
    """Weights that stand still have one validation bound; a run that never validates trains the same."""
    still = pv.fit(small(), data, epochs=3, lr=1e-30, **QUIET)
    assert len(set(still.history["validation"])) == 1
    assert len(set(still.history["train"])) == 3

    validated, blind = small(), small()
    pv.fit(validated, data, epochs=3, **QUIET)
    monkeypatch.setattr(Loop, "validate", lambda self: {"validation": float(self.job.state.position.epoch)})
    pv.fit(blind, data, epochs=3, **QUIET)
    assert same(validated.state_dict(), blind.state_dict())


def test_the_first_epoch_by_hand(data):
    """One batch an epoch: the history is the objective's terms on the drawn noise, and one step of SGD."""
    vae, hand = small(), small()
    data = pv.datasets.load(binary(60), validation=10, test=10)
    options = {"optimizer": "sgd", "lr": 0.01, "kl_warmup": 0, "lr_schedule": "constant"}
    run = pv.fit(vae, data, epochs=1, batch_size=40, seed=5, progress=False, **options)
    order = torch.randperm(40, generator=pv.training.batches.generator(5, 0))
    with torch.random.fork_rng():
        torch.manual_seed(5)
        terms = Runner(hand).terms(data.train[order])
        elbo = (terms.log_px_z + terms.log_pz - terms.log_qz).mean()
        elbo.backward()
        torch.manual_seed(pv.training.loop.VALIDATION_SEED)
        with torch.no_grad():
            for p in hand.parameters():
                p += 0.01 * p.grad
            validation = Runner(hand).terms(data.validation).log_w.mean()
    history = {name: values[0] for name, values in run.history.items()}
    assert history["train"] == pytest.approx(elbo.item(), rel=1e-6)
    assert history["reconstruction"] == pytest.approx(terms.log_px_z.mean().item(), rel=1e-6)
    assert history["kl"] == pytest.approx((terms.log_qz - terms.log_pz).mean().item(), rel=1e-4, abs=1e-6)
    assert history["validation"] == pytest.approx(validation.item(), rel=1e-6)
    assert history["lr"] == 0.01
    for mine, theirs in zip(vae.parameters(), hand.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_the_train_bound_is_the_mean_over_rows_also_when_the_last_batch_is_small(data):
    bounds = []

    class Spy(pv.objectives.ELBO):
        def maximised(self, terms):
            bounds.append(self.bound(terms).detach().double())
            return super().maximised(terms)

    run = pv.fit(small(), data, Spy(), epochs=2, batch_size=25, lr=1e-30, keep="bound", progress=False)
    assert len(bounds.pop(0)) == 2  # the check before the first step
    assert [len(batch) for batch in bounds] == [25, 25, 10] * 2
    means = [torch.cat(epoch).mean().item() for epoch in (bounds[:3], bounds[3:])]
    assert run.history["train"] == pytest.approx(means, rel=1e-6)
    assert run.history["train"] == pytest.approx(run.history["reconstruction"] - run.history["kl"], rel=1e-5)


def flat_epoch(data, position):
    settings = SimpleNamespace(seed=0, batch_size=8)
    batches = [epoch.batch(number).x for epoch, number in batches_of(data, position, settings)]
    return torch.cat(batches).flatten().tolist()


def test_every_row_is_used_once_an_epoch_in_a_new_order():
    x = torch.arange(30.0)[:, None]
    data = pv.datasets.load(x, validation=5, test=5)
    orders = []
    for epoch in (0, 1):
        orders.append(flat_epoch(data, Position(epoch=epoch)))
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(data.train.x.flatten().tolist())
    assert orders[0] != orders[1]
    assert flat_epoch(data, Position(epoch=1, batch=2)) == orders[1][16:]


def test_metrics_csv_is_the_history(data, tmp_path):
    run = pv.fit(small(), data, epochs=3, out=tmp_path / "r", **QUIET)
    rows = table(tmp_path / "r")
    assert {name: [float(row[name]) for row in rows] for name in rows[0]} == untimed(run.history)
    assert run.history["epoch"].tolist() == [1, 2, 3]
    assert (run.history["seconds"] > 0).all()


def test_the_same_seed_gives_the_same_run_and_another_seed_another(data):
    weights = []
    for seed in (0, 0, 1):
        vae = small()
        pv.fit(vae, data, epochs=2, seed=seed, **QUIET)
        weights.append(vae.state_dict())
    assert same(weights[0], weights[1])
    assert not same(weights[0], weights[2])


def test_config_repeats_the_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", binary(60).numpy())
    common = ["--latent_dim", "2", "--epochs", "3", "--batch_size", "7", "--figures", "false"]
    parts = ["--prior", "GaussianMixture", "--prior.components", "3", "--objective", "IWAE"]
    more = [
        "--lr_schedule",
        "linear",
        "--kl_warmup",
        "1.5",
        "--clip",
        "1",
        "--seed",
        "4",
        "--validation",
        "9",
    ]
    assert main(["fit", "--data", "x.npy", *common, *parts, *more, "--out", "first"]) == 0
    assert main(["fit", "--config", "first/config.yaml", "--figures", "false", "--out", "second"]) == 0
    assert same(checkpoint("first")["weights"], checkpoint("second")["weights"])
    assert table("first") == table("second")
    first, second = (yaml.safe_load(Path(name, "config.yaml").read_text()) for name in ("first", "second"))
    assert first == second


# -------------------------------------------------------------------- the way of a batch


def test_an_eager_batch_passes_eight_functions_from_fit_to_the_program(data):
    """A reader who asks what a step does has no more to read than this."""
    ways = set()

    class Looking(pv.likelihoods.Bernoulli):
        def forward(self, **params):
            frames = [frame for frame, _ in traceback.walk_stack(None)]
            names = [f"{Path(f.f_code.co_filename).stem}.{f.f_code.co_name}" for f in frames]
            if "step.eager_step" in names:
                ours = [n for f, n in zip(frames, names, strict=True) if is_ours(f)]
                below, above = ours.index("trace.run"), ours.index("fit.fit")
                ways.add(tuple(reversed(ours[below : above + 1])))
            return super().forward(**params)

    def is_ours(frame):
        return frame.f_globals.get("__name__", "").startswith("pyrovae.")

    pv.fit(small(likelihood=Looking()), data, epochs=2, compile=False, **QUIET)
    assert ways == {
        (
            "fit.fit",
            "loop.run",
            "steps.take",
            "step.eager_step",
            "job.differentiate",
            "job.loss",
            "runner.run",
            "trace.run",
        )
    }


# -------------------------------------------------------------------- options


def test_learning_rate_schedules(data):
    """The rate of an epoch's last step: lr f(t), t = step / steps."""
    for schedule, factor in {
        "constant": lambda t: 1.0,
        "linear": lambda t: 1 - t,
        "cosine": lambda t: 0.5 + 0.5 * math.cos(math.pi * t),
    }.items():
        run = pv.fit(small(), data, epochs=4, lr=0.01, lr_schedule=schedule, **QUIET)
        last_steps = [(3 * epoch + 2) / 12 for epoch in range(4)]
        assert run.history["lr"].tolist() == pytest.approx([0.01 * factor(t) for t in last_steps])
    assert lr_factor("cosine", 1.0) == lr_factor("linear", 1.0) == 0.0


def test_kl_warmup_weights_the_kl_and_nothing_else(data, monkeypatch):
    """With warm-up the loss of step s is minus E_q[log p(x|z)] plus w KL, w = min(1, s / (3 warmup))."""
    weights = []

    class Spy(pv.objectives.ELBO):
        def annealed(self, terms, kl_weight=1.0):
            found = super().annealed(terms, kl_weight)
            kl = (terms.log_qz - terms.log_pz).mean(0)
            torch.testing.assert_close(found, terms.log_px_z.mean(0) - kl_weight * kl)
            weights.append(kl_weight)
            return found

        def maximised(self, terms):
            weights.append(1.0)
            return super().maximised(terms)

    warm = pv.fit(small(), data, Spy(), epochs=3, kl_warmup=2.0, keep="bound", **QUIET)
    assert weights.pop(0) == 1.0  # the check before the first step
    # annealed calls maximised itself, which notes a 1 before each weight
    assert weights[1:12:2] == pytest.approx([s / 6 for s in range(6)])
    assert set(weights[12:]) == {1.0}
    assert kl_weight(2.0, 0.5) == 0.25
    assert kl_weight(2.0, 7.0) == kl_weight(0.0, 0.0) == 1.0
    # What is shown stays the plain bound.
    difference = warm.history["reconstruction"] - warm.history["kl"]
    assert warm.history["train"] == pytest.approx(difference, rel=1e-5)


def test_clip_bounds_the_step(data):
    """One step of SGD moves the weights by at most lr * clip, and by lr times the gradient without."""
    moved = {}
    for clip in (None, 0.01):
        vae = small()
        before = torch.cat([p.detach().flatten() for p in vae.parameters()])
        pv.fit(vae, data, epochs=1, batch_size=60, optimizer="sgd", lr=1.0, clip=clip, progress=False)
        moved[clip] = (torch.cat([p.detach().flatten() for p in vae.parameters()]) - before).norm().item()
    assert moved[0.01] == pytest.approx(0.01, rel=1e-3)
    assert moved[None] > 0.1


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "adamax", "radam", "sgd"])
def test_each_optimizer_trains(data, optimizer):
    run = pv.fit(small(), data, epochs=6, lr=0.02, optimizer=optimizer, **QUIET)
    assert run.history["train"][-1] > run.history["train"][0] + 0.2


def test_patience_stops_after_this_number_of_epochs_without_a_better_one(data):
    run = pv.fit(small(), data, epochs=200, lr=0.1, patience=4, **QUIET)
    assert len(run.history["epoch"]) == run.best_epoch + 4 < 200
    assert (run.history["validation"][run.best_epoch :] <= run.history["validation"].max()).all()


# -------------------------------------------------------------------- what may be given


def test_a_tensor_an_array_and_data_are_the_same_to_fit():
    x = binary(60)
    weights = []
    for given in (x, x.numpy(), pv.datasets.load(x, test=1)):
        vae = small()
        pv.fit(vae, given, epochs=1, **QUIET)
        weights.append(vae.state_dict())
    assert same(weights[0], weights[1])
    assert same(weights[0], weights[2])


def test_numpy_numbers_are_settings_too(data, tmp_path):
    run = pv.fit(
        small(likelihood=pv.likelihoods.ContinuousBernoulli(), prior=pv.priors.GaussianMixture(np.int64(3))),
        data,
        pv.objectives.ELBO(beta=np.float64(0.5)),
        epochs=np.int64(2),
        lr=np.float64(1e-3),
        seed=np.int32(1),
        out=tmp_path / "r",
        **QUIET,
    )
    assert pv.load(run.folder) == run.program


def test_a_hand_written_pair_trains_the_parameters_it_keeps_in_the_store(tmp_path):
    x = dist.Normal(2.0, 1.5).sample((200,))[:, None]

    def model(x):
        loc = pyro.param("loc", torch.tensor(0.0))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(loc, 1.0))
            pyro.sample("x", dist.Normal(z[..., None], 1.0).to_event(1), obs=x)

    def guide(x):
        a, b = pyro.param("a", torch.tensor(0.1)), pyro.param("b", torch.tensor(0.0))
        scale = pyro.param("scale", torch.tensor(1.0), constraint=dist.constraints.positive)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(a * x[:, 0] + b, scale))

    run = pv.fit((model, guide), x, epochs=150, lr=0.02, out=tmp_path / "pair", **QUIET)
    fitted = {name: pyro.param(name).item() for name in ("loc", "a", "scale")}
    exact = {"loc": x.mean().item(), "a": 0.5, "scale": 0.5**0.5}
    assert fitted == pytest.approx(exact, abs=0.15)
    assert run.program == (model, guide)
    with pytest.raises(InputError, match="hand-written"):
        pv.load(tmp_path / "pair")


@pytest.mark.usefixtures("float64")
def test_a_program_in_double_precision_takes_data_in_single(tmp_path):
    data = pv.datasets.load(binary(60), binarize="dynamic")
    vae = small()
    pv.fit(vae, data, epochs=1, batch_size=20, progress=False, out=tmp_path / "r")
    assert next(vae.parameters()).dtype == torch.float64
    torch.set_default_dtype(torch.float32)
    loaded = pv.load(tmp_path / "r")
    torch.set_default_dtype(torch.float64)
    assert same(loaded.state_dict(), vae.state_dict())


def test_a_conditional_vae_is_given_its_context(data):
    x, labels = binary(60), torch.arange(60) % 3
    data = pv.datasets.load(torch.utils.data.TensorDataset(x, labels), context="labels")
    vae = small(context_shape=(3,))
    run = pv.fit(vae, data, epochs=2, **QUIET)
    assert np.isfinite(run.history["validation"]).all()
    with pytest.raises(InputError, match="context"):
        pv.fit(small(), data, epochs=1, **QUIET)


def test_dropout_is_on_in_training_and_off_in_validation(data):
    modes = []

    class Dropped(pv.networks.MLP):
        def forward(self, value, context=None):
            modes.append(self.training)
            return super().forward(value, context)

    vae = small(encoder=Dropped(8)).eval()
    modes.clear()
    pv.fit(vae, data, epochs=1, **QUIET)
    assert modes[-4:] == [True, True, True, False]
    assert not vae.training


# -------------------------------------------------------------------- what is left alone


def test_the_callers_random_state_store_threads_and_gradient_mode_are_untouched(data, tmp_path):
    pyro.param("mine", torch.tensor(1.0))
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    with torch.no_grad():
        pv.fit(small(), data, epochs=1, out=tmp_path / "r", progress=False, batch_size=20)
        assert not torch.is_grad_enabled()
    pv.load(tmp_path / "r")
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    assert list(pyro.get_param_store().keys()) == ["mine"]


def test_nothing_is_left_on_disk_without_out(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pv.fit(small(), data, epochs=1, progress=False, batch_size=20)
    assert list(tmp_path.iterdir()) == []


def test_lines_where_there_is_no_terminal_and_silence_on_request(data, capsys):
    pv.fit(small(), data, epochs=2, **QUIET)
    assert capsys.readouterr().out == ""
    run = pv.fit(small(), data, epochs=2, **(QUIET | {"progress": True}))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    shown = f"train {run.history['train'][1]:.3f}  validation {run.history['validation'][1]:.3f}"
    assert lines[2].startswith(f"epoch 2/2  {shown}  reconstruction ")
    assert " kl " in lines[1]
    assert lines[1].endswith(" rows/s")


def test_the_run_prints_its_best_epoch(data, tmp_path):
    run = pv.fit(small(), data, epochs=2, out=tmp_path / "r", **QUIET)
    best = run.history["validation"][run.best_epoch - 1]
    assert str(run) == (
        f"2 epochs, best at {run.best_epoch}: validation bound {best:.3f} nats per observation, "
        f"in {tmp_path / 'r'}"
    )


# -------------------------------------------------------------------- numbers that are not finite


class Poisoned(Prior):
    """A normal prior whose log-density is NaN, or its gradient only, once it is poisoned."""

    def __init__(self, where: str = "value") -> None:
        super().__init__()
        self.where = where

    def attach(self, latent_dim, context_dim=0):
        self.loc = torch.nn.Parameter(torch.zeros(latent_dim))
        self.poisoned = False

    def forward(self, context=None):
        loc = self.loc
        if self.poisoned:
            # 0 * sqrt(0) is 0 and its derivative is 0 * inf
            loc = loc * float("nan") if self.where == "value" else loc + 0 * (0 * loc).sqrt()
        return dist.Normal(loc, 1.0).to_event(1)


@pytest.fixture
def poison(monkeypatch):
    """Poison the prior of a run from one of its steps on."""
    take = Steps.take

    def at(first):
        def poisoned(self, *batch):
            self.job.runner.target.prior.poisoned = self.job.state.position.step + 1 >= first
            take(self, *batch)

        monkeypatch.setattr(Steps, "take", poisoned)

    return at


def test_a_loss_that_is_not_finite_stops_with_step_term_and_site(data, tmp_path, poison):
    poison(6)
    with pytest.raises(NumericalError) as raised:
        pv.fit(small(prior=Poisoned()), data, epochs=9, out=tmp_path / "r", checkpoint_seconds=0, **QUIET)
    message = str(raised.value)
    assert "at step 6 (epoch 2, batch 3)" in message
    assert "log p(z) is not, at the site 'z' of the model" in message
    assert f"the last good checkpoint is {tmp_path / 'r' / 'last.ckpt'}" in message
    saved = checkpoint(tmp_path / "r")
    assert saved["state"]["position"]["step"] == 5
    assert all(w.isfinite().all() for w in saved["weights"].values())


def test_a_gradient_that_is_not_finite_is_found_at_the_next_step_and_never_written(data, tmp_path, poison):
    poison(4)
    vae = small(prior=Poisoned("gradient"))
    with pytest.raises(NumericalError, match="at step 5 .*after step 4, whose gradient left prior.loc"):
        pv.fit(vae, data, epochs=9, out=tmp_path / "r", checkpoint_seconds=0, **QUIET)
    saved = checkpoint(tmp_path / "r")
    assert saved["state"]["position"]["step"] == 3
    assert all(w.isfinite().all() for w in saved["weights"].values())


def test_a_gradient_that_is_not_finite_in_the_last_step_is_found_by_the_validation(data, tmp_path, poison):
    poison(6)
    vae = small(prior=Poisoned("gradient"))
    with pytest.raises(NumericalError, match="validation became nan at the end of epoch 2 .after step 6"):
        pv.fit(vae, data, epochs=2, out=tmp_path / "r", **QUIET)
    assert [row["epoch"] for row in table(tmp_path / "r")] == ["1"]


def test_the_command_line_ends_a_diverged_run_with_status_1(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", 1e3 * torch.randn(60, 3).numpy())
    options = [
        "--lr",
        "1e30",
        "--likelihood",
        "Normal",
        "--encoder",
        "MLP",
        "--decoder",
        "MLP",
        "--batch_size",
        "10",
        "--epochs",
        "3",
    ]
    assert main(["fit", "--data", "x.npy", *options, "--out", "r"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("pyrovae: the loss is not finite at step 2 (epoch 1, batch 2): log ")
    assert error.count("\n") == 1
    assert checkpoint("r")["state"]["position"]["step"] == 0


class Warped(pv.guides.Guide):
    """A distribution without a known mean."""

    @property
    def param_shapes(self):
        return {"loc": (self.latent_dim,)}

    def forward(self, loc):
        normal = dist.Normal(loc, 1.0)
        return dist.TransformedDistribution(normal, [dist.transforms.AffineTransform(0.0, 2.0)]).to_event(1)


class Squashed(pv.likelihoods.Likelihood):
    """Values in (0, 1) under a distribution without a known mean."""

    @property
    def param_shapes(self):
        return {"loc": self.event_shape}

    def forward(self, loc):
        normal = dist.Normal(loc, 1.0)
        distribution = dist.TransformedDistribution(normal, [dist.transforms.SigmoidTransform()])
        return distribution.to_event(len(self.event_shape))


def test_pictures_are_drawn_of_distributions_without_a_mean(tmp_path):
    x = 0.05 + 0.9 * torch.rand(40, 1, 4, 4)
    vae = pv.VAE((1, 4, 4), latent_dim=2, guide=Warped(), likelihood=Squashed())
    pv.fit(vae, x, epochs=1, batch_size=20, out=tmp_path / "r", progress=False)
    drawn = {path.stem for path in (tmp_path / "r" / "figures").glob("*.png")}
    assert drawn == {"training", "samples", "reconstructions", "latents", "manifold"}
