"""With `seed=` the result depends only on the seed, and torch's random state does not change."""

import inspect
import threading

import numpy as np
import pyro
import pytest
import torch

import pyrovae as pv
from pyrovae import datasets
from pyrovae.seeds import seeded
from pyrovae.threads import alone
from tests.support.parts import raises_one_sentence, small_vae

X = torch.bernoulli(torch.full((6, 5), 0.4), generator=torch.Generator().manual_seed(0))
MIXTURE = pv.VAE((5,), 2, prior=pv.priors.GaussianMixture(3), seed=0)
CALLS = {
    "sample": lambda seed: small_vae().sample(7, seed=seed),
    "means": lambda seed: small_vae().sample(7, mean=True, seed=seed),
    "reconstruct": lambda seed: small_vae().reconstruct(X, seed=seed),
    "responsibilities": lambda seed: MIXTURE.responsibilities(X, particles=4, seed=seed),
    "weights": lambda seed: torch.cat([p.flatten() for p in pv.VAE((5,), 2, seed=seed).parameters()]),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_the_result_depends_on_the_seed_alone(call):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = call(3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    torch.testing.assert_close(call(3), first, rtol=0, atol=0)
    assert not torch.equal(call(4), first)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_generator_gives_the_next_samples(call):
    generator = torch.Generator().manual_seed(5)
    first, second = call(generator), call(generator)
    assert not torch.equal(first, second)
    again = torch.Generator().manual_seed(5)
    torch.testing.assert_close(torch.stack([call(again), call(again)]), torch.stack([first, second]))


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_without_a_seed_torchs_random_state_is_used(call):
    torch.manual_seed(3)
    first, second = call(None), call(None)
    torch.manual_seed(3)
    torch.testing.assert_close(call(None), first, rtol=0, atol=0)
    assert not torch.equal(first, second)
    torch.testing.assert_close(call(3), first, rtol=0, atol=0)  # the same numbers as manual_seed(3)


@pytest.mark.parametrize("seed", ["x", 1.5, -1, 2**63, True, float("nan"), [1], np.array([1, 2])], ids=repr)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_other_seeds_are_refused(call, seed):
    raises_one_sentence(lambda: call(seed), "seed must be a whole number", "torch.Generator")


ELSEWHERE = {
    "log_prob": lambda seed: small_vae().log_prob(X, seed=seed),
    "log_evidence": lambda seed: pv.log_evidence(small_vae(), X, particles=2, seed=seed),
    "iwae_bound": lambda seed: pv.iwae_bound(small_vae(), X, particles=(1, 2), seed=seed),
    "diagnose": lambda seed: pv.diagnose(small_vae(), X, particles=2, seed=seed),
    "gaps": lambda seed: pv.gaps(small_vae(), X, particles=2, steps=1, seed=seed),
    "sandwich": lambda seed: pv.sandwich(small_vae(), temperatures=(2,), count=2, chains=2, seed=seed),
    "fit": lambda seed: pv.fit(small_vae(), X, epochs=1, progress=False, seed=seed),
    "score": lambda seed: pv.score(small_vae(), X, particles=2, seed=seed),
    "condition": lambda seed: pv.condition(small_vae(), X, particles=30, draws=2, seed=seed),
    "explore": lambda seed: pv.explore(MIXTURE, X, particles=2, seed=seed),
    "load": lambda seed: datasets.load("ring", split_seed=seed),
    "toy": lambda seed: datasets.toys.ring(5, seed=seed),
    "oracle": lambda seed: pv.oracles.LinearGaussian.random(3, 2, seed=seed),
    "oracle sample": lambda seed: pv.oracles.LinearGaussian.random(3, 2).sample(3, seed=seed),
}


@pytest.mark.parametrize("seed", ["x", 1.5, -1, 2**70, None])
@pytest.mark.parametrize("call", ELSEWHERE.values(), ids=ELSEWHERE)
def test_seeds_of_other_calls_are_refused_in_the_same_words(call, seed):
    raises_one_sentence(lambda: call(seed), "seed must be a whole number")


def test_every_public_seed_is_an_option_by_name():
    calls = [pv.VAE.__init__, pv.VAE.sample, pv.VAE.reconstruct, pv.VAE.responsibilities]
    for call in calls:
        assert inspect.signature(call).parameters["seed"].kind is inspect.Parameter.KEYWORD_ONLY
    assert "seed" not in pv.VAE((5,), 2, seed=1).to_dict()


def test_a_seeded_block_keeps_other_threads_out():
    order = []
    entered, may_leave = threading.Event(), threading.Event()

    def other():
        entered.wait()
        may_leave.set()
        with alone:
            order.append("other")

    thread = threading.Thread(target=other)
    thread.start()
    with seeded(1):
        entered.set()
        may_leave.wait()
        order.append("seeded")
    thread.join()
    assert order == ["seeded", "other"]


def test_validation_is_as_before_when_calls_in_threads_overlap():
    """Each evaluation turns validation off; the last one to end must not leave it off."""
    vae = small_vae()
    pyro.enable_validation(True)

    def work(seed):
        for k in range(5):
            pv.log_evidence(vae, X, particles=3, seed=seed + k, compile=False)
            vae.sample(3, seed=k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    modules = (pyro.distributions, pyro.infer, pyro.poutine)
    assert all(module.is_validation_enabled() for module in modules)
