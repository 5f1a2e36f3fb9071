"""Which weights a run keeps: the best by its objective, the best by its bound, or the last."""

import pytest
import torch

import pyrovae as pv
from pyrovae import objectives
from pyrovae.errors import InputError
from pyrovae.objectives import ELBO, Objective
from pyrovae.terms import Runner
from pyrovae.training.loop import VALIDATION_SEED
from tests.support.same_runs import binary, checkpoint, same, small

QUIET = {"progress": False, "figures": False, "batch_size": 20}
EVERY = [name for name in objectives.__all__ if name[0].isupper() and name != "Objective"]
# Training maximises their bound, or adds to it what the validation set lacks.
BY_BOUND = """CIWAE ELBO IWAE MIWAE PIWAE Balanced DReG Renyi ReweightedWakeSleep ScoreFunction
SemiSupervised StickingTheLanding""".split()


@pytest.fixture
def data():
    return pv.datasets.load(binary(100), validation=20, test=20)


def error_of(vae, rows):
    """The mean squared error of E[x|z] at the mean of q(z|x)."""
    with torch.no_grad():
        return (vae.decode(vae.encode(rows).mean).mean - rows.x).square().mean().item()


@pytest.fixture(scope="module")
def digits():
    return pv.datasets.load("digits", binarize="threshold")


def reconstructing(digits, **options):
    vae = pv.VAE(digits.event_shape, 8, seed=0)
    run = pv.fit(
        vae, digits, ELBO(beta=0.0), epochs=15, lr=3e-3, kl_warmup=0, progress=False, figures=False, **options
    )
    return run, error_of(vae, digits.test)


def test_without_a_divergence_the_kept_weights_reconstruct(digits):
    """By the bound, a VAE that is trained to reconstruct keeps its first epoch, which cannot."""
    by_bound, poor = reconstructing(digits, keep="bound", patience=None)
    kept, good = reconstructing(digits)
    last, at_the_end = reconstructing(digits, keep="last")
    assert by_bound.best_epoch == 1
    assert last.best_epoch == 15
    assert kept.best_epoch > 12
    assert good < 1.05 * at_the_end < poor / 2
    assert kept.best_epoch == 1 + int(kept.history["objective"].argmax())


def test_the_objective_on_the_validation_set_is_its_own(digits):
    """With beta = 0 it is E_q[log p(x|z)]; its distance from the bound is the KL."""
    run, _ = reconstructing(digits)
    assert set(run.history) - {"objective"} == set(reconstructing(digits, keep="bound")[0].history)
    torch.manual_seed(VALIDATION_SEED)
    with torch.no_grad():
        terms = Runner(run.program).run(digits.validation, particles=1).terms()
    at = run.best_epoch - 1
    assert run.history["objective"][at] == pytest.approx(terms.log_px_z.mean().item(), abs=1e-4)
    assert run.history["validation"][at] == pytest.approx(terms.log_w.mean().item(), abs=1e-4)


@pytest.mark.parametrize("keep", ["objective", "bound", "last"])
def test_the_last_line_says_which_weights_were_kept(data, keep):
    run = pv.fit(small(), data, ELBO(beta=0.5), epochs=3, keep=keep, **QUIET)
    at = run.best_epoch - 1
    bound = f"{run.history['validation'][at]:.3f}"
    if keep == "objective":
        value = f"{run.history['objective'][at]:.3f}"
        said = f"best at {at + 1}: validation objective {value} (bound {bound}) nats per observation"
    elif keep == "bound":
        said = f"best at {at + 1}: validation bound {bound} nats per observation"
    else:
        said = f"the last one kept: validation bound {bound} nats per observation"
    assert str(run) == f"3 epochs, {said}"


def test_the_bound_is_the_objective_of_the_plain_elbo(data):
    """Then nothing is added, and both choices keep the same weights."""
    vaes = [small(), small()]
    runs = [
        pv.fit(vae, data, epochs=25, lr=0.05, keep=keep, **QUIET)
        for vae, keep in zip(vaes, (None, "bound"), strict=True)
    ]
    assert "objective" not in runs[0].history
    assert runs[0].best_epoch == runs[1].best_epoch == 1 + int(runs[0].history["validation"].argmax())
    assert same(vaes[0].state_dict(), vaes[1].state_dict())
    assert str(runs[0]) == str(runs[1])


@pytest.mark.parametrize("name", EVERY)
def test_every_objective_says_whether_its_bound_chooses(name):
    assert getattr(objectives, name)().chosen_by_bound == (name in BY_BOUND)


def test_modified_bounds_and_custom_objectives_choose_by_themselves():
    class Custom(Objective):
        def maximised(self, terms):
            return terms.mean(terms.log_px_z)

    class Bound(Objective):
        def bound(self, terms):
            return terms.log_mean_w()

    assert [o.chosen_by_bound for o in (ELBO(beta=2.0), ELBO(free_bits=0.1), Custom())] == [False] * 3
    assert [o.chosen_by_bound for o in (ELBO(analytic_kl=True), Bound(), ELBO(beta=1))] == [True] * 3


@pytest.mark.parametrize("objective", [ELBO(beta=0.0), objectives.BetaTC(), objectives.MMD()])
def test_last_is_the_end_and_best_the_highest_objective(data, tmp_path, objective):
    for keep in ("objective", "last"):
        vae, folder = small(), tmp_path / keep
        run = pv.fit(vae, data, objective, epochs=12, lr=0.05, keep=keep, out=folder, **QUIET)
        best = checkpoint(folder, "best")
        assert best["epoch"] == run.best_epoch
        assert same(best["weights"], vae.state_dict())
        assert same(vae.state_dict(), pv.load(folder).state_dict())
        if keep == "last":
            assert run.best_epoch == 12
            assert same(checkpoint(folder)["weights"], vae.state_dict())
        else:
            assert run.best_epoch == 1 + int(run.history["objective"].argmax())


def test_measuring_the_objective_changes_no_training(data):
    """The weights of the last epoch and the bounds are the same, whatever is kept."""
    vaes, histories = {}, {}
    for keep in ("objective", "last"):
        vaes[keep] = small()
        run = pv.fit(vaes[keep], data, objectives.Factor(), epochs=1, keep=keep, **QUIET)
        histories[keep] = run.history
    assert same(vaes["objective"].state_dict(), vaes["last"].state_dict())
    for name in ("train", "validation", "kl"):
        assert histories["objective"][name].tolist() == histories["last"][name].tolist()


def test_an_objective_of_the_batch_is_measured_in_batches_of_the_run(data, monkeypatch):
    """Its value depends on the number of rows that it sees together."""
    seen = []

    class Counting(objectives.Capacity):
        def annealed(self, terms, kl_weight=1.0):
            if not torch.is_grad_enabled():
                seen.append(terms.log_px_z.shape[1])
            return super().annealed(terms, kl_weight)

    pv.fit(small(), data, Counting(), epochs=1, compile=False, **(QUIET | {"batch_size": 15}))
    assert seen[-2:] == [15, 5]


def test_early_stopping_follows_what_is_kept(data):
    """A run without a divergence goes on while it reconstructs better, though its bound falls."""
    options = {"epochs": 40, "patience": 3, "lr": 0.05, "kl_warmup": 0} | QUIET
    by_bound = pv.fit(small(), data, ELBO(beta=0.0), keep="bound", **options)
    kept = pv.fit(small(), data, ELBO(beta=0.0), **options)
    for run, column in ((by_bound, "validation"), (kept, "objective")):
        assert run.best_epoch == 1 + int(run.history[column].argmax())
        assert len(run.history["epoch"]) == min(run.best_epoch + 3, 40)
    assert len(kept.history["epoch"]) > len(by_bound.history["epoch"])


def test_the_last_weights_wait_for_nothing(data):
    with pytest.raises(InputError, match="keep='last' has no best epoch to wait for: leave patience out"):
        pv.fit(small(), data, epochs=3, keep="last", patience=3, **QUIET)
    run = pv.fit(small(), data, epochs=60, lr=0.1, keep="last", **QUIET)
    assert len(run.history["epoch"]) == run.best_epoch == 60


def test_a_word_that_is_not_known_is_refused(data):
    with pytest.raises(InputError, match="keep must be 'objective', 'bound' or 'last', not 'best'"):
        pv.fit(small(), data, epochs=3, keep="best", **QUIET)


@pytest.mark.parametrize("keep", ["objective", "last"])
def test_a_resumed_run_keeps_by_the_same_rule(data, tmp_path, keep):
    options = {"lr": 0.05, "keep": keep, "lr_schedule": "constant", "patience": None} | QUIET
    options |= {"kl_warmup": 0, "compile": False}
    whole, parts = small(), small()
    pv.fit(whole, data, ELBO(beta=0.0), epochs=8, out=tmp_path / "whole", **options)
    pv.fit(parts, data, ELBO(beta=0.0), epochs=3, out=tmp_path / "parts", **options)
    again = {name: value for name, value in options.items() if name != "keep"}
    run = pv.fit(small(), data, ELBO(beta=0.0), epochs=8, out=tmp_path / "parts", resume=True, **again)
    assert same(run.program.state_dict(), whole.state_dict())
    other = again | {"keep": "bound"}
    with pytest.raises(InputError, match=f"another keep .was {keep} and is bound.: resume with the same"):
        pv.fit(small(), data, ELBO(beta=0.0), epochs=9, out=tmp_path / "parts", resume=True, **other)
