"""Training of variables that all rows share: neither the batches nor the processes change what is maximised.

The guide of `Point` has no noise, so what is a statement about expectations elsewhere is exact here.
"""

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer.autoguide import AutoDiagonalNormal, AutoNormal
from torch import nn

import pyrovae as pv
from pyrovae.datasets import Rows
from pyrovae.networks import MLP, Bayesian
from pyrovae.objectives import ELBO, IWAE
from pyrovae.threads import alone
from pyrovae.training.fit import _training_rows
from tests.support.captured import alike, interpreted
from tests.support.interrupted import fit_in_pieces
from tests.support.same_runs import assert_same_runs, binary, same, small, untimed

QUIET = {"progress": False, "figures": False, "compile": False, "keep": "last", "kl_warmup": 0}
ROWS = 20
OBJECTIVES = [ELBO(), ELBO(3, weights="own"), ELBO(2, weights="shared"), IWAE(2)]


class Point(nn.Module):
    """x = w z + noise; q(w) and q(z|x) are points."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([0.5, -0.3, 0.2]))
        self.reader = nn.Parameter(torch.tensor([0.4, 0.1, -0.2]))

    def model(self, x, context=None, y=None):
        w = pyro.sample("w", dist.Normal(torch.zeros(3), 0.7).to_event(1))
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
            pyro.sample("x", dist.Normal(z.unsqueeze(-1) * w, 0.5).to_event(1), obs=x)

    def guide(self, x, context=None, y=None):
        pyro.sample("w", dist.Delta(self.w, event_dim=1))
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Delta(x @ self.reader))

    def bound(self, x, share=1.0):
        """The bound of all rows, for each, with a weight of the global term."""
        z = x @ self.reader
        of_rows = dist.Normal(z.unsqueeze(-1) * self.w, 0.5).log_prob(x).sum(-1)
        of_rows = of_rows + dist.Normal(0.0, 1.0).log_prob(z)
        return of_rows.mean() + share * dist.Normal(0.0, 0.7).log_prob(self.w).sum() / len(x)


def numbers(count=ROWS + 4):
    draw = torch.Generator().manual_seed(2)
    return torch.randn(count, 3, generator=draw, dtype=torch.float32)


def data_of(x=None, *, copies=1, **options):
    x = numbers() if x is None else x
    data = pv.datasets.load(x, validation=3, test=1, **options)
    if copies > 1:
        rows, count = data.train.x, len(data.train)
        record = data.record | {"repeated": (copies - 1) * count}
        data = dataclasses.replace(data, train=Rows(rows.repeat(copies, 1)), record=record)
    return data


# ---------------------------------------------------------------- batches, copies, streams, processes


@contextmanager
def noted_gradients():
    """The gradient of each step of a run with the optimiser sgd."""
    gradients, move = [], torch.optim.SGD.step

    def noted(self):
        gradients.append(torch.cat([w.grad.flatten() for w in self.param_groups[0]["params"]]))
        return move(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.SGD, "step", noted)
        yield gradients


def gradient_of(point, x, share=1.0):
    """The gradient of the loss of all rows."""
    wanted = torch.autograd.grad(-point.bound(x, share), list(point.parameters()))
    return torch.cat([g.flatten() for g in wanted])


STILL = QUIET | {"optimizer": "sgd", "lr": 1e-30, "epochs": 1}  # weights that do not move


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
@pytest.mark.parametrize("batch_size", [20, 7, 1])
@pytest.mark.parametrize("kind", ["rows", "copies", "stream"])
def test_an_epoch_has_the_gradient_of_the_bound_of_the_whole_data(objective, batch_size, kind):
    """Whatever the batches, the divergence counts once for distinct rows."""
    x = torch.utils.data.TensorDataset(numbers()) if kind == "stream" else None
    data, point = data_of(x, copies=3 if kind == "copies" else 1, stream=kind == "stream"), Point()
    with noted_gradients() as gradients:
        run = pv.fit(point, data, objective, **STILL, batch_size=batch_size)
    rows = torch.stack(list(data.train)) if kind == "stream" else data.train.x[:ROWS]
    assert len(rows) == data.distinct == ROWS
    count = len(data.train)
    counts = torch.tensor([min(batch_size, count - start) for start in range(0, count, batch_size)])
    found = (torch.stack(gradients) * counts.unsqueeze(-1)).sum(0) / count
    torch.testing.assert_close(found, gradient_of(point, rows), rtol=1e-4, atol=1e-5)
    bound, ratio = point.bound(rows).item(), dist.Normal(0.0, 0.7).log_prob(point.w).sum().item()
    history = {name: values[0] for name, values in run.history.items()}
    assert history["train"] - history["global_kl"] == pytest.approx(bound, rel=1e-5)
    assert history["global_kl"] == pytest.approx(-ratio / ROWS, rel=1e-5)
    assert history["train"] == pytest.approx(history["reconstruction"] - history["kl"], rel=1e-5)


def gradients_of_a_run(settings):
    """The gradient of each step in float64, and the bound of each epoch."""
    torch.set_default_dtype(torch.float64)
    try:
        with noted_gradients() as gradients:
            options = STILL | {"batch_size": ROWS} | settings
            run = pv.fit(Point().double(), data_of(numbers().double()), **options)
    finally:
        torch.set_default_dtype(torch.float32)
    return torch.stack(gradients), run.history["train"].tolist()


@pytest.mark.parametrize(
    "settings", [{}, {"batch_size": 19}, {"batch_size": 7, "global_warmup": 2.0, "epochs": 2}]
)
def test_two_processes_have_the_gradient_of_one(pair, settings):
    gradients, train = gradients_of_a_run(settings)
    for theirs, said in pair(gradients_of_a_run, settings):
        torch.testing.assert_close(theirs, gradients, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(said, train, rtol=1e-9)


def test_a_warm_up_of_the_global_divergence_changes_its_weight_only():
    gradients, train = gradients_of_a_run({"epochs": 4, "global_warmup": 2.0})
    point, x = Point(), data_of(numbers()).train.x
    for found, share in zip(gradients, (0.0, 0.5, 1.0, 1.0), strict=True):
        torch.testing.assert_close(found.float(), gradient_of(point, x, share), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(train, point.bound(x, 0.0).item(), rtol=1e-5)  # what is reported has none


def weights_of_a_run(name):
    """The weights that a process ends with, and what it says of the run."""
    make, objective, settings = PROGRAMS[name]
    options = QUIET | {"batch_size": 9, "epochs": 2} | settings
    run = pv.fit(make(), rows_for(name), objective, **options)
    return run.program.state_dict(), untimed(run.history)


@pytest.mark.parametrize("name", ["normal", "lowrank", "laplace"])
def test_two_processes_end_with_equal_weights(pair, name):
    """Each draws its own weights; `laplace` has its curvature after the last step."""
    (first, said), (second, too) = pair(weights_of_a_run, name)
    assert same(first, second)
    assert said == too
    assert said["global_kl"][-1] > 0


def loss_of_batches(vae, x, count, draws):
    """Losses of random batches, as `fit` computes them for N rows."""
    objective, runner = ELBO(), pv.terms.Runner(vae).check(Rows(x))
    found = []
    with torch.no_grad():
        for _ in range(draws):
            rows = Rows(x[torch.randperm(len(x))[:count]])
            pair = runner.run(rows, **objective.draw_options())
            found.append(objective.ascended(pair).mean() + objective.global_share(pair, len(x)))
    return torch.stack(found).double()


@pytest.mark.parametrize("posterior", ["normal", "lowrank"])
def test_batches_of_a_bayesian_decoder_have_one_expected_bound(posterior):
    """With noise: means over batches of 2 and of all 40 rows, in standard errors."""
    x = binary(40)
    vae = small(decoder=Bayesian(MLP(4), posterior=posterior, rank=2)).eval()
    few, all_rows = (loss_of_batches(vae, x, count, 300) for count in (2, 40))
    error = (few.var() / len(few) + all_rows.var() / len(all_rows)).sqrt()
    assert abs(few.mean() - all_rows.mean()) < 4.5 * error


# ---------------------------------------------------------------- compiled, resumed, in threads


def test_a_component_without_weight_has_the_gradient_of_the_formula():
    """Most draws of a weight with the concentration 0.01 are 0 in floating point, and have another one."""
    vae = small(prior=pv.priors.GaussianMixture(4, weights="dirichlet"))
    with torch.no_grad():
        vae.prior.random_means.loc.zero_()  # equal components: rows say nothing about their weights
        vae.prior.random_means.log_width.fill_(-30.0)
        vae.prior.random_weights.log_concentration.copy_(torch.tensor([50.0, 0.02, 0.005, 0.01]).log())
    parameter = vae.prior.random_weights.log_concentration
    before, data = parameter.detach().clone(), data_of(binary(ROWS))
    (wanted,) = torch.autograd.grad(vae.prior.random_weights.divergence(), parameter)
    options = QUIET | {"optimizer": "sgd", "lr": 0.1, "lr_schedule": "constant", "global_warmup": 0}
    pv.fit(vae, data, epochs=1, batch_size=len(data.train), **options)
    moved = (before - parameter.detach()) * len(data.train) / 0.1
    torch.testing.assert_close(moved, wanted, atol=2e-3, rtol=0.0)


def test_the_rows_of_the_curvature_are_spread_over_the_training_rows():
    data = data_of()
    every = data.without_jitter().x
    assert torch.equal(_training_rows(data, 5).x, every[[k * len(every) // 5 for k in range(5)]])
    assert torch.equal(_training_rows(data, 10**6).x, every)


def with_autoguide(auto):
    """A pair in an empty parameter store."""

    def make():
        pyro.clear_param_store()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            point = Point()
            of_w = auto(poutine.block(point.model, hide=["z"]), init_scale=0.1)

        def guide(x):
            of_w(x)
            reader = pyro.param("reader", torch.tensor([0.4, 0.1, -0.2]))
            with pyro.plate("data", len(x), dim=-1):
                pyro.sample("z", dist.Normal(x @ reader, 0.5))

        return point.model, guide

    return make


WARM = {"kl_warmup": 1.5, "global_warmup": 2.5}
PROGRAMS = {
    "normal": (lambda: small(decoder=Bayesian(MLP(8))), None, WARM),
    "learned": (lambda: small(decoder=Bayesian(MLP(8), scale="learned")), ELBO(2, weights="own"), {}),
    "lowrank": (lambda: small(decoder=Bayesian(MLP(8), posterior="lowrank", rank=2)), None, {}),
    "lastlayer": (lambda: small(decoder=Bayesian(MLP(8), posterior="lastlayer")), IWAE(3), WARM),
    "laplace": (lambda: small(decoder=Bayesian(MLP(8), posterior="laplace")), None, {}),
    "AutoNormal": (with_autoguide(AutoNormal), None, {"global_warmup": 1.0}),
    "AutoDiagonalNormal": (with_autoguide(AutoDiagonalNormal), IWAE(2), {}),
}


def rows_for(name):
    return data_of() if name.startswith("Auto") else pv.datasets.load(binary(30), validation=6, test=4)


@pytest.mark.parametrize("name", PROGRAMS)
def test_captured_and_eager_steps_are_alike(monkeypatch, name):
    make, objective, settings = PROGRAMS[name]
    made = interpreted(monkeypatch)
    alike(make, rows_for(name), objective, **settings)
    assert made.calls > 3


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_crashed_run_ends_like_one_that_never_was(tmp_path, name):
    make, objective, settings = PROGRAMS[name]
    options = {"progress": False, "figures": False, "compile": False, "batch_size": 8, "epochs": 3}
    options |= {"checkpoint_seconds": 0, "objective": objective} | settings
    data = rows_for(name)
    run = pv.fit(make(), data, out=tmp_path / "whole", **options)
    again = fit_in_pieces(make, data, tmp_path / "pieces", (0, 2, 4), **options)
    assert_same_runs(tmp_path / "whole", tmp_path / "pieces")
    assert untimed(run.history) == untimed(again.history)
    if isinstance(run.program, pv.VAE):
        assert same(run.program.state_dict(), again.program.state_dict())
        assert same(pv.load(tmp_path / "pieces").state_dict(), again.program.state_dict())
        assert pv.load(tmp_path / "pieces").global_variables.keys() == run.program.global_variables.keys()


def test_fits_in_threads_equal_fits_alone(monkeypatch):
    monkeypatch.setattr("pyrovae.threads.SLICE", 0.0)  # they change at every step
    names = ["normal", "lowrank", "laplace"]

    def trained(name):
        make, objective, settings = PROGRAMS[name]
        with alone:
            vae = make()
        data = rows_for(name)
        run = pv.fit(vae, data, objective, **(QUIET | {"batch_size": 8, "epochs": 3} | settings))
        evidence = pv.log_evidence(vae, data.test, particles=250, weights=3, compile=False)
        return vae.state_dict(), untimed(run.history), evidence.log_px.tolist()

    serial = [trained(name) for name in names]
    with ThreadPoolExecutor(len(names)) as pool:
        for one, two in zip(serial, pool.map(trained, names), strict=True):
            assert one[1:] == two[1:]
            assert same(one[0], two[0])
