"""log p(x) is the same number on each device, in constant memory, and leaves no trace."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import pyrovae as pv
from pyrovae.compiling import random_state
from pyrovae.evidence import AIS, draws
from tests.support.recordings import needs_gpus
from tests.support.same_runs import binary, small

X = binary(6, (1, 4, 4), seed=4)


def test_the_random_state_is_kept(device):
    vae = small().to(device)
    torch.manual_seed(11)
    before = torch.get_rng_state(), random_state(device)
    first = pv.log_evidence(vae, X, particles=600, seed=3)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.equal(random_state(device), before[1])
    torch.manual_seed(99)
    np.testing.assert_array_equal(pv.log_evidence(vae, X, particles=600, seed=3).log_px, first.log_px)


@pytest.mark.parametrize("method", ["importance", "psis", "laplace", AIS(8, leapfrog=2)], ids=str)
def test_devices_agree(method, device, float64):
    """The noise of a row is drawn on the CPU, from its own generator."""
    options = {"particles": 8 if isinstance(method, AIS) else 300, "method": method}
    here = pv.log_evidence(small(), X, **options)
    there = pv.log_evidence(small().to(device), X, **options)
    np.testing.assert_allclose(there.log_px, here.log_px, rtol=1e-7)


def test_the_size_of_the_pieces_changes_nothing(device, float64):
    vae = small().to(device)
    whole, pieces = (pv.log_evidence(vae, X, particles=1000, chunk=chunk).log_px for chunk in (6000, 250))
    np.testing.assert_allclose(pieces, whole, rtol=1e-9)


class Largest(TorchDispatchMode):
    """The largest memory of a tensor of floating point numbers that an operation gives, in bytes."""

    size = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for value in result if isinstance(result, (list, tuple)) else (result,):
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                self.size = max(self.size, value.untyped_storage().nbytes())
        return result


def test_memory_does_not_grow_with_particles_or_rows(device):
    """But for a few numbers of each row: a piece of 2,000 images has 1.6 million."""
    vae, chunk = small((1, 28, 28)).to(device), 2000

    def peak(rows, particles):
        x = binary(rows, (1, 28, 28))
        with Largest() as largest:
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            pv.log_evidence(vae, x, particles=particles, chunk=chunk, compile=False)
            if device.type == "cuda":
                return torch.cuda.max_memory_allocated(device)
        return largest.size

    first, more_particles, more_rows = peak(2, 1000), peak(2, 10_000), peak(20, 1000)
    assert more_particles < 1.1 * first
    assert more_rows < 1.1 * first


def test_noise_for_a_gpu_is_the_noise_for_the_cpu(monkeypatch):
    """Several threads draw it there, each row and block from its own generator."""
    vae = small()
    here = pv.log_evidence(vae, X, particles=1100, compile=False).log_px
    monkeypatch.setattr(draws, "_is_far", lambda like: True)
    np.testing.assert_array_equal(pv.log_evidence(vae, X, particles=1100, compile=False).log_px, here)


@needs_gpus(1)
def test_precision_on_a_gpu():
    vae = small().to("cuda")
    exact = pv.log_evidence(vae, X, particles=500)
    for precision, apart in (("tf32", 0.05), ("bf16", 0.5)):
        coarse = pv.log_evidence(vae, X, particles=500, precision=precision)
        assert np.abs(coarse.log_px - exact.log_px).max() < apart
    assert torch.get_float32_matmul_precision() == "highest"
    auto = pv.log_evidence(vae, X, particles=500, precision="auto").settings["precision"]
    assert auto.startswith(("float32", "bf16", "tf32"))


def test_compiled_evidence_on_a_gpu_says_that_there_is_none(device):
    vae = small().to(device)
    if device.type == "cuda":
        with pytest.raises(pv.InputError, match="code is made for processors"):
            pv.log_evidence(vae, X, particles=50, compile=True)
    assert np.isfinite(pv.log_evidence(vae, X, particles=50, compile="auto").log_px).all()
