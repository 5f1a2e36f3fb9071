"""A request that cannot fit into memory is refused before anything is computed, with its size."""

import gzip
import io
import zipfile
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from scipy import sparse

import pyrovae as pv
from pyrovae import datasets, memory
from pyrovae.evidence.annealing import Annealer
from pyrovae.memory import available, in_bytes, is_exhausted
from pyrovae.oracles import LinearGaussian
from tests.support.parts import small_vae


@pytest.fixture
def little(monkeypatch):
    """A machine with 100 MiB free."""
    monkeypatch.setattr(memory, "available", lambda: 100 * 2**20)


@contextmanager
def refused(words):
    """The block is refused by an InputError of one line with the words."""
    with pytest.raises(pv.InputError) as caught:
        yield
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_free_is_known_and_plausible():
    assert 2**26 < available() < 2**45
    assert in_bytes(2.9 * 2**40) == "2.9 TiB"


def test_the_sentence_has_both_sizes(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: int(7.6 * 2**30))
    with pytest.raises(pv.InputError) as caught:
        memory.refuse_too_large("1,000,000,000 samples of 784 values", 784 * 4 * 10**9)
    assert str(caught.value) == (
        "1,000,000,000 samples of 784 values need 2.9 TiB; this machine has 7.6 GiB free: ask for fewer"
    )


def test_what_fits_is_not_refused(little):
    memory.refuse_too_large("a few numbers", 99 * 2**20)


@pytest.mark.parametrize(
    "call",
    [
        lambda: np.empty(2**60),
        lambda: np.empty((2**40, 2**40)),
        lambda: torch.empty(2**60),
        lambda: torch.empty(2**40, 2**40),
    ],
)
def test_errors_of_numpy_and_torch_are_recognised(call):
    with pytest.raises((MemoryError, RuntimeError, ValueError)) as caught:
        call()
    assert is_exhausted(caught.value)
    assert not is_exhausted(ValueError("shapes differ"))


def test_samples_and_particles():
    vae = small_vae()
    with refused("1,000,000,000,000 samples of 5 values need"):
        vae.sample(10**12)
    mixture = pv.VAE((5,), 2, prior=pv.priors.GaussianMixture(3))
    with refused("particles of 20,000 rows need"):
        mixture.responsibilities(torch.zeros(20_000, 5), particles=10**9)


@pytest.mark.parametrize("call", ["log_prob", "responsibilities", "log_evidence", "iwae_bound", "ais"])
def test_counts_have_an_upper_bound(call):
    vae, x = pv.VAE((5,), 2, prior=pv.priors.GaussianMixture(3)), torch.zeros(2, 5)
    with refused("must be a whole number from 1 to 1,000,000,000"):
        match call:
            case "log_evidence":
                pv.log_evidence(vae, x, particles=10**30)
            case "iwae_bound":
                pv.iwae_bound(vae, x, particles=(1, 10**30))
            case "ais":
                pv.evidence.AIS(temperatures=10**30)
            case _:
                getattr(vae, call)(x, particles=10**30)


def test_log_prob_of_many_particles_runs_in_pieces(monkeypatch):
    vae, x = small_vae(), torch.zeros(2, 5)
    whole = vae.log_prob(x, particles=1000)
    monkeypatch.setattr("pyrovae.vae.observations.PAIRS", 64)
    pieces = vae.log_prob(x, particles=1000)
    assert (whole - pieces).abs().max() < 0.2


def test_many_samples_are_decoded_in_pieces(monkeypatch):
    vae = pv.VAE((5,), 2, context_shape=(3,))
    context = torch.rand(50, 3)
    whole = vae.sample(50, context, mean=True, seed=1)
    monkeypatch.setattr("pyrovae.vae.observations.SAMPLES", 7)
    torch.testing.assert_close(vae.sample(50, context, mean=True, seed=1), whole)
    torch.testing.assert_close(
        vae.sample(20, context[:1], mean=True, seed=2),
        vae.sample(20, context[:1].repeat(20, 1), mean=True, seed=2),
    )
    assert vae.sample(50, context, seed=1).shape == (50, 5)


@pytest.mark.parametrize("name", ["linear_gaussian", "mixture_1d", "pinwheel", "ring"])
def test_rows_of_a_toy(name):
    with refused("10,000,000,000 rows of"):
        datasets.load(name, count=10**10)


def test_copies_of_labelled_rows():
    with refused("copies of rows with a label need"):
        datasets.load("digits", known=100, copies=10**9)


def test_a_header_that_promises_more_rows_than_follow(tmp_path):
    path = tmp_path / "x.npy"
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<f8", "fortran_order": False, "shape": (10**12, 3)}
        )
        file.write(bytes(800))
    with refused("is cut off, as its header declares 21.8 TiB and only 800 bytes follow"):
        datasets.load(path)


def test_arrays_that_do_not_fit(tmp_path, little):
    np.save(tmp_path / "x.npy", np.zeros((2**21, 7)))
    with refused("the 2097152 x 7 values of x.npy need 112 MiB; this machine has 100 MiB free"):
        datasets.load(tmp_path / "x.npy")
    np.savez_compressed(tmp_path / "x.npz", x=np.zeros((2**21, 7)))
    with refused("the arrays of x.npz need 112 MiB"):
        datasets.load(tmp_path / "x.npz")


def test_a_member_whose_header_lies(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", header.getvalue() + bytes(80))
    with refused("x.npy in x.npz is cut off"):
        datasets.load(tmp_path / "x.npz")


@pytest.mark.parametrize(
    "change", [(b"}", b"("), (b"'shape'", b"'shapf'"), (b"<f8", b"<z8"), (b"(5, 2)", b"(-5,2)")]
)
def test_a_damaged_header(tmp_path, change):
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((5, 2)))
    path.write_bytes(path.read_bytes().replace(*change))
    with refused("cannot be read as .npy"):
        datasets.load(path)


def test_an_encrypted_archive(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, x=np.zeros((5, 2)))
    content = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + offset] |= 1
    path.write_bytes(content)
    with refused("is encrypted: save it again without a password"):
        datasets.load(path)


def test_sparse_matrices_with_too_many_zeros(tmp_path):
    matrix = sparse.csr_matrix(([1.0], ([0], [0])), shape=(10**7, 10**7))
    with refused("all 10,000,000 x 10,000,000 cells of the sparse matrix"):
        datasets.load(matrix)
    sparse.save_npz(tmp_path / "x.npz", matrix)
    with refused("all 10,000,000 x 10,000,000 cells of the sparse matrix x.npz"):
        datasets.load(tmp_path / "x.npz")
    with refused("all 10,000,000 x 10,000,000 cells of the sparse matrix"):
        datasets.load(torch.sparse_coo_tensor([[0], [0]], [1.0], (10**7, 10**7), check_invariants=True))


def test_text_that_unpacks_to_more_than_fits(tmp_path, little):
    path = tmp_path / "x.csv.gz"
    with gzip.open(path, "wb") as file:
        for _ in range(40):
            file.write(b"1,2,3,4,5,6,7,8\n" * 2**16)
    with refused("of text in x.csv.gz need"):
        datasets.load(path)


def test_layers_that_do_not_fit():
    with refused("need"):
        pv.VAE((5,), 2, encoder=pv.networks.MLP(10**6, 10**6))
    with refused("need"):
        pv.VAE((10**6, 10**6), 2)


def annealed(monkeypatch, chains, pairs):
    """log p(x) of two rows, and the largest number of chains of a row that ran at once."""
    most = 0
    at = Annealer._at

    def counted(self, u):
        nonlocal most
        most = max(most, u.shape[0])
        return at(self, u)

    monkeypatch.setattr(Annealer, "_at", counted)
    oracle = LinearGaussian.random(4, 2, guide_scale=1.5)
    x = oracle.sample(2)
    method = pv.evidence.AIS(temperatures=4, start="guide")
    evidence = pv.log_evidence(oracle, x, method=method, particles=chains, chunk=pairs)
    return evidence, oracle.log_px(x).numpy(), most


def test_very_many_annealed_chains_run_in_groups(monkeypatch):
    evidence, exact, most = annealed(monkeypatch, 2000, 500)
    assert most == 500
    assert (abs(evidence.log_px - exact) < 4 * evidence.mc_stderr).all()
    single, _, most = annealed(monkeypatch, 2000, 10**5)
    assert most == 2000
    assert (abs(evidence.log_px - single.log_px) > 0).all()
    assert (abs(evidence.mc_stderr / single.mc_stderr - 1) < 0.2).all()


def test_annealing_refuses_chains_whose_weights_do_not_fit(little):
    oracle = LinearGaussian.random(4, 2)
    with refused("the weights of 100,000,000 chains need 3.0 GiB"):
        pv.log_evidence(oracle, oracle.sample(1), method="ais", particles=10**8)
    with refused("the steps of 100,000,000 temperatures need"):
        pv.log_evidence(oracle, oracle.sample(1), method=pv.evidence.AIS(10**8), particles=2)
