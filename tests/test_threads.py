"""Threads of one process: each call gives what it gives alone."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.poutine import runtime
from torch import nn

import pyrovae as pv
from pyrovae import threads
from pyrovae.terms import Runner
from pyrovae.threads import alone, taking_turns
from tests.support.parts import raises_one_sentence, small_vae

QUICK = {"epochs": 3, "batch_size": 10, "progress": False, "compile": False}


@pytest.fixture(autouse=True)
def no_slices(monkeypatch):
    """Threads change at every step, so that there is much to get wrong."""
    monkeypatch.setattr("pyrovae.threads.SLICE", 0.0)


@pytest.fixture
def x():
    return torch.bernoulli(torch.full((60, 5), 0.4), generator=torch.Generator().manual_seed(0))


def together(*calls):
    """Run calls in threads that start at one time; returns their results."""
    start = threading.Barrier(len(calls))

    def run(call):
        start.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def trained(x, seed, prior=None, **options):
    """The weights and the history of a fit; the first weights depend on the seed alone."""
    with alone:
        torch.manual_seed(seed)
        vae = pv.VAE((5,), 2, prior=prior, encoder=pv.networks.MLP(8), decoder=pv.networks.MLP(8))
    run = pv.fit(vae, x, seed=seed, **(QUICK | options))
    return vae.state_dict(), run.history["validation"].tolist(), run.history["train"].tolist()


def same(one, two):
    assert one[1:] == two[1:]
    assert all(torch.equal(one[0][name], two[0][name]) for name in one[0])


@pytest.mark.parametrize("count", [2, 4])
def test_fits_in_threads_equal_fits_alone_bit_for_bit(x, count):
    serial = [trained(x, seed) for seed in range(count)]
    for _ in range(2):
        results = together(*(lambda seed=seed: trained(x, seed) for seed in range(count)))
        for one, two in zip(serial, results, strict=True):
            same(one, two)


def test_suited_vaes_have_their_own_first_weights_in_threads(x):
    def fit(seed):
        return [*pv.fit(None, x, seed=seed, **QUICK).program.state_dict().values()]

    wanted = [fit(seed) for seed in range(4)]
    for one, two in zip(together(*(lambda s=s: fit(s) for s in range(4))), wanted, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_fits_of_several_kinds_in_threads(x, tmp_path):
    options = [
        {"objective": pv.objectives.IWAE(3), "lr_schedule": "cosine"},
        {"prior": pv.priors.GaussianMixture(3, start="kmeans"), "kl_warmup": 1.0},
        {"objective": pv.objectives.Factor(layers=(4,))},
    ]
    serial = [trained(x, k, **o) for k, o in enumerate(options)]
    calls = [
        lambda k=k, o=o: trained(x, k, out=tmp_path / str(k), figures=k == 0, **o)
        for k, o in enumerate(options)
    ]
    for one, two in zip(serial, together(*calls), strict=True):
        same(one, two)
    assert len(pyro.get_param_store()) == 0


def test_a_fit_and_an_evaluation_of_the_same_vae(x):
    """Neither the evaluation's mode and random state nor its samples reach the fit."""
    layers = nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.5), nn.Tanh())

    def run(between):
        torch.manual_seed(0)
        vae = pv.VAE((5,), 2, encoder=pv.networks.Wrapped(layers, features=8), decoder=pv.networks.MLP(8))
        done = threading.Event()
        errors = []

        def others():
            while not done.is_set():
                try:
                    between(vae)
                except Exception as error:
                    errors.append(error)
                    return
                time.sleep(0)

        thread = threading.Thread(target=others)
        thread.start()
        try:
            pv.fit(vae, x, **(QUICK | {"epochs": 10}))
        finally:
            done.set()
            thread.join()
        assert not errors
        return vae.state_dict()

    torch.manual_seed(1)
    nn.init.normal_(layers[0].weight)
    quiet = run(lambda vae: None)
    calls = 0

    def busy(vae):
        nonlocal calls
        calls += 1
        vae.sample(3)
        vae.reconstruct(x[:2])
        pv.log_evidence(vae, x[:4], particles=5, compile=False)
        pv.VAE((5,), 2)

    loud = run(busy)
    assert calls > 3
    assert all(torch.equal(quiet[name], loud[name]) for name in quiet)


@pytest.mark.parametrize("method", ["importance", pv.evidence.AIS(temperatures=2)])
def test_evidence_in_threads_equals_evidence_alone(x, method):
    vaes = [small_vae(seed=k) for k in range(2)]
    call = lambda k: pv.log_evidence(vaes[k % 2], x[:20], particles=20, seed=k, method=method)  # noqa: E731
    serial = [call(k).log_px for k in range(4)]
    for _ in range(3):
        results = together(*(lambda k=k: call(k).log_px for k in range(4)))
        for one, two in zip(serial, results, strict=True):
            assert (one == two).all()


def test_other_verbs_in_threads(x):
    vae = small_vae(seed=3)
    calls = [
        lambda: pv.diagnose(vae, x, particles=4).kl.tolist(),
        lambda: pv.iwae_bound(vae, x[:5], particles=(1, 4)).mean.tolist(),
        lambda: pv.gaps(vae, x[:3], steps=3, particles=4).approximation.tolist(),
        lambda: pv.log_evidence(vae, x[:5], particles=4).log_px.tolist(),
    ]
    serial = [call() for call in calls]
    assert together(*calls) == serial


def test_two_fits_of_one_program_at_once_are_refused(x):
    vae = small_vae()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(pv.fit, vae, x, **(QUICK | {"epochs": 20}))
        while not threads._CLAIMED:
            time.sleep(0.001)
        raises_one_sentence(lambda: pv.fit(vae, x, **QUICK), "another fit trains this program", "vae.clone()")
        assert len(first.result().history["train"]) == 20
    assert len(pv.fit(vae, x, **QUICK).history["train"]) == 3  # the claim is over


def test_pairs_keep_their_parameters_in_the_store_of_all_threads(x):
    def pair(name):
        def model(x):
            loc = pyro.param(f"{name}_loc", torch.zeros(5))
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
                pyro.sample("x", dist.Normal(loc + z.unsqueeze(-1), 1.0).to_event(1), obs=x)

        def guide(x):
            shift = pyro.param(f"{name}_shift", torch.zeros(()))
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(x.mean(-1) + shift, 0.5))

        return model, guide

    def call(name, seed):
        pv.fit(pair(name), x, seed=seed, **QUICK)

    call("a", 0), call("b", 1)
    serial = {name: p.clone() for name, p in pyro.get_param_store().items()}
    pyro.clear_param_store()
    together(lambda: call("a", 0), lambda: call("b", 1), lambda: trained(x, 0))
    threaded = dict(pyro.get_param_store().items())
    assert threaded.keys() == serial.keys()
    assert all(torch.equal(threaded[name], serial[name]) for name in serial)
    pyro.clear_param_store()


def test_a_call_that_fails_leaves_nothing_on_the_stack_of_others(x):
    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.0, 1.0))
            raise ValueError("planted")

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    def failing():
        for _ in range(20):
            with pytest.raises((ValueError, pv.InputError)):
                Runner((model, guide)).run(pv.Rows(x))

    vae = small_vae()
    serial = pv.log_evidence(vae, x, particles=5).log_px
    result = together(failing, lambda: pv.log_evidence(vae, x, particles=5).log_px, failing)[1]
    assert (result == serial).all()
    assert not runtime._PYRO_STACK
    assert not runtime._DIM_ALLOCATOR._stack


@alone
def _fail_inside_a_handler():
    poutine.trace().__enter__()
    raise ValueError("planted")


def test_a_handler_that_a_failed_call_left_is_removed():
    with pytest.raises(ValueError, match="planted"):
        _fail_inside_a_handler()
    assert not runtime._PYRO_STACK


def test_the_callers_random_state_is_kept_and_that_of_others_goes_on(x):
    """A fit restores what it found; what another thread drew in the meantime is not drawn again."""
    torch.manual_seed(7)
    drawn = torch.rand(6)
    torch.manual_seed(7)
    results = []

    def others():
        for _ in range(5):
            with alone:
                results.append(torch.rand(1))

    with taking_turns() as give_way:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            first = torch.rand(1)
            thread = threading.Thread(target=others)
            thread.start()
            while thread.is_alive():
                give_way()
            second = torch.rand(1)
            torch.manual_seed(0)
            assert torch.equal(torch.cat([first, second]), torch.rand(2))
    assert torch.equal(torch.cat([*results, torch.rand(1)]), drawn)


def test_work_inside_alone_does_not_give_way():
    reached = threading.Event()

    def others():
        with alone:
            reached.set()

    with alone, taking_turns() as give_way:
        thread = threading.Thread(target=others)
        thread.start()
        time.sleep(0.05)
        give_way()
        assert not reached.is_set()
    thread.join(5)
    assert reached.is_set()


def test_a_thread_that_waits_is_next():
    order = []

    def others():
        with alone:
            order.append("other")

    with taking_turns() as give_way:
        thread = threading.Thread(target=others)
        thread.start()
        while not alone.door.locked():
            time.sleep(0.001)
        give_way()
        order.append("first")
    thread.join(5)
    assert order == ["other", "first"]


def test_the_lock_is_not_noticed():
    """It costs a microsecond, and a step takes a millisecond."""

    @alone
    def nothing():
        pass

    with taking_turns() as give_way:
        start = time.perf_counter()
        for _ in range(1000):
            nothing()
            give_way()
        assert (time.perf_counter() - start) / 1000 < 2e-4
