"""Averages of the weights: the formula, what is validated and kept, resuming, and several processes."""

import numpy as np
import pytest
import torch

import pyrovae as pv
from pyrovae.callbacks import ExponentialAverage
from pyrovae.training.checkpoint import Checkpoint
from tests.support.captured import interpreted
from tests.support.interrupted import stop_after
from tests.support.parts import raises_one_sentence
from tests.support.same_runs import assert_same_runs, binary, checkpoint, same, small, untimed

QUIET = {"progress": False, "figures": False, "batch_size": 8, "epochs": 3, "compile": False}
DECAY = 0.9


class Record(pv.Callback):
    """The weights after each step."""

    def __init__(self):
        self.steps = []

    def on_step(self, run):
        self.steps.append({name: weight.detach().clone() for name, weight in run.weights.items()})


@pytest.fixture(scope="module")
def data():
    return pv.datasets.load(binary(58), validation=10, test=10)


def by_hand(steps, name):
    """(1 - d) / (1 - d^t) times the sum of d^(t - s) w_s, in double precision."""
    powers = DECAY ** torch.arange(len(steps) - 1, -1, -1, dtype=torch.float64)
    stack = torch.stack([step[name].double() for step in steps])
    return torch.einsum("s,s...->...", powers, stack) * (1 - DECAY) / (1 - DECAY ** len(steps))


@pytest.mark.parametrize("compiled", [False, True])
def test_the_average_is_its_formula_and_is_what_is_validated_and_kept(data, compiled, monkeypatch, tmp_path):
    code = interpreted(monkeypatch)
    record, average = Record(), ExponentialAverage(DECAY)
    plain = pv.fit(small(), data, **QUIET | {"compile": compiled})
    run = pv.fit(
        small(),
        data,
        out=tmp_path / "a",
        keep="last",
        patience=None,
        callbacks=[average, record],
        **QUIET | {"compile": compiled},
    )
    assert bool(code.calls) == compiled
    assert len(record.steps) == average.count == 15
    last, kept = checkpoint(tmp_path / "a"), checkpoint(tmp_path / "a", "best")
    for name, weight in run.program.named_parameters():
        torch.testing.assert_close(weight.double(), by_hand(record.steps, name), rtol=1e-5, atol=1e-6)
        assert torch.equal(weight, kept["weights"][name])
        assert torch.equal(weight, last["best"][name])
        assert torch.equal(record.steps[-1][name], last["weights"][name])  # training goes on from here
        assert not torch.equal(weight, record.steps[-1][name])
    # the steps are those of a run without an average, and the bounds are those of the average
    np.testing.assert_array_equal(run.history["train"], plain.history["train"])
    assert (run.history["validation"] != plain.history["validation"]).all()


def test_the_best_weights_are_those_that_were_validated(data):
    """Validation again of the weights that are kept gives the largest bound."""
    seen = {}

    class Look(pv.Callback):
        def on_epoch(self, run):
            seen[run.epoch] = {name: weight.detach().clone() for name, weight in run.weights.items()}

    run = pv.fit(small(), data, lr=0.1, callbacks=[Look(), ExponentialAverage(DECAY)], **QUIET)
    assert run.best_epoch == 1 + np.argmax(run.history["validation"])
    assert same(dict(run.program.named_parameters()), seen[run.best_epoch])


def test_without_decay_the_run_is_the_usual_one(data):
    plain = pv.fit(small(), data, **QUIET)
    averaged = pv.fit(small(), data, callbacks=[ExponentialAverage(0.0)], **QUIET)
    assert untimed(plain.history) == untimed(averaged.history)
    assert same(plain.program.state_dict(), averaged.program.state_dict())


@pytest.mark.parametrize("steps", [5, 7, 12])
def test_a_stopped_run_resumes_to_the_same_average(data, steps, tmp_path):
    """Stopped within an epoch and at its end; the callback is a new object, as in a new process."""
    for out, stops in ((tmp_path / "whole", ()), (tmp_path / "stopped", (steps,))):
        for stop in stops:
            with stop_after(stop), pytest.raises(KeyboardInterrupt):
                pv.fit(small(), data, out=out, callbacks=[ExponentialAverage(DECAY)], **QUIET)
        pv.fit(small(), data, out=out, resume=True, callbacks=[ExponentialAverage(DECAY)], **QUIET)
    assert_same_runs(tmp_path / "whole", tmp_path / "stopped")
    one, other = (
        checkpoint(tmp_path / name)["callbacks"]["ExponentialAverage"] for name in ("whole", "stopped")
    )
    assert one["count"] == other["count"] == 15
    assert same(one["average"], other["average"])


def test_a_run_is_not_resumed_with_another_average(data, tmp_path):
    out, averages = tmp_path / "a", [ExponentialAverage(DECAY)]
    pv.fit(small(), data, out=out, callbacks=averages, **QUIET | {"epochs": 1, "lr_schedule": "constant"})
    more = QUIET | {"out": out, "resume": True, "lr_schedule": "constant"}
    for other in ([], [ExponentialAverage(0.5)]):
        raises_one_sentence(
            lambda other=other: pv.fit(small(), data, callbacks=other, **more), "another average"
        )
    assert Checkpoint.read(out / "last.ckpt").identity["average"] == "ExponentialAverage(decay=0.9)"


def test_the_average_starts_again_when_a_prior_starts_its_components(data):
    def vae():
        return small(prior=pv.priors.GaussianMixture(components=2, start="kmeans", start_epoch=2))

    record, average = Record(), ExponentialAverage(DECAY)
    pv.fit(vae(), data, callbacks=[average, record], **QUIET)
    assert average.count == 5 < len(record.steps) == 15
    for name, weight in average.average.items():
        torch.testing.assert_close(weight.double(), by_hand(record.steps[10:], name), rtol=1e-5, atol=1e-6)


def test_a_hand_written_pair_has_an_average(data):
    import pyro
    import pyro.distributions as dist

    def model(x):
        bias = pyro.param("bias", torch.zeros(16))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=bias + z).to_event(1), obs=x.flatten(1))

    def guide(x):
        scale = pyro.param("scale", torch.ones(1), constraint=dist.constraints.positive)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(len(x), 1), scale).to_event(1))

    average, record = ExponentialAverage(DECAY), Record()
    pv.fit((model, guide), data, keep="last", patience=None, callbacks=[average, record], **QUIET)
    bias = pyro.get_param_store()["bias"].double()
    torch.testing.assert_close(bias, by_hand(record.steps, "bias"), rtol=1e-5, atol=1e-6)


def test_what_is_no_decay_is_refused():
    for decay in (1.0, -0.1, "much"):
        raises_one_sentence(lambda decay=decay: ExponentialAverage(decay), "decay of ExponentialAverage")
    raises_one_sentence(
        lambda: pv.fit(small(), binary(), callbacks=[ExponentialAverage(), ExponentialAverage(0.5)]),
        "choose the weights",
    )


def averaged_run(out):
    """A run of two processes: the weights that it keeps, and its bounds."""
    data = pv.datasets.load(binary(58), validation=10, test=10)
    evidence = pv.callbacks.Evidence(every=1, particles=5)
    average = ExponentialAverage(DECAY)
    run = pv.fit(small(), data, out=out, callbacks=[average, evidence], **QUIET | {"epochs": 2})
    return run.program.state_dict(), run.history["validation"].tolist(), run.history["log_px"].tolist()


def test_two_processes_keep_the_same_average(pair, tmp_path):
    """The first calls callbacks, and evaluates without the other, which waits."""
    (weights, bounds, evidence), (others, too, also) = pair(averaged_run, tmp_path / "a")
    assert same(weights, others)
    assert bounds == too
    assert evidence == also
    assert (np.asarray(evidence) > np.asarray(bounds)).all()  # five particles, and one


def failing_run(out, method):
    """The error of a run of two processes, in the first of which a callback fails."""

    def fail(self, run):
        if run.step == 5:
            raise ZeroDivisionError("my own mistake")

    data = pv.datasets.load(binary(58), validation=10, test=10)
    callback = type("Fail", (pv.Callback,), {method: fail})()
    try:
        pv.fit(small(), data, out=out, callbacks=[callback], **QUIET)
    except Exception as error:
        return type(error).__name__, *getattr(error, "__notes__", ())
    return None


@pytest.mark.parametrize("method", ["on_step", "on_epoch"])
def test_an_error_of_a_callback_ends_both_processes(pair, tmp_path, method):
    first, second = pair(failing_run, tmp_path / "a", method)
    assert first == ("ZeroDivisionError", f"raised by {method} of the callback Fail")
    assert second[0] == "Lost"
    assert checkpoint(tmp_path / "a")["state"]["position"]["step"] == 5
