"""Importance weights that underflow: no denormal number enters a matrix product of a step."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import pyrovae as pv
from pyrovae.networks import MLP
from pyrovae.objectives import IWAE, MIWAE, PIWAE, DReG, Renyi, ReweightedWakeSleep
from pyrovae.terms import Runner
from tests.support.captured import QUIET, alike, interpreted

SIZE, PARTICLES = 300, 60
OBJECTIVES = [
    IWAE(PARTICLES),
    MIWAE(4, PARTICLES),
    PIWAE(4, PARTICLES),
    Renyi(0.5, PARTICLES),
    DReG(PARTICLES),
    ReweightedWakeSleep(PARTICLES),
]


class Products(TorchDispatchMode):
    """Counts the numbers that enter matrix products, and the denormal ones among them."""

    def __init__(self):
        super().__init__()
        self.denormal = self.all = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default, torch.ops.aten.bmm.default):
            for tensor in args:
                size = tensor.detach().abs()
                self.denormal += int(((size > 0) & (size < torch.finfo(size.dtype).tiny)).sum())
                self.all += size.numel()
        return func(*args, **(kwargs or {}))


@pytest.fixture
def data():
    return pv.datasets.load((torch.rand(24, SIZE) < 0.3).float(), validation=4, test=4)


@torch.no_grad()
def spread():
    """A VAE with particles whose weights differ by hundreds of nats."""
    torch.manual_seed(1)
    vae = pv.VAE((SIZE,), 8, encoder=MLP(8), decoder=MLP(8))
    for weight in vae.decoder.parameters():
        weight.mul_(12)
    return vae


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda objective: type(objective).__name__)
def test_no_denormal_number_enters_a_product_of_a_step(objective, data):
    """CIWAE has none in any case, since the ELBO gives each particle the same weight."""
    with Products() as products:
        pv.fit(spread(), data, objective, compile=False, **(QUIET | {"epochs": 2}))
    assert products.all > 100_000
    assert products.denormal == 0


@pytest.mark.parametrize("objective", [IWAE(PARTICLES), DReG(PARTICLES)], ids=["IWAE", "DReG"])
def test_the_captured_step_leaves_out_the_same_weights(objective, data, monkeypatch):
    code, inputs = interpreted(monkeypatch), []
    code.spoilt = inputs.append
    alike(spread, data, objective, epochs=2)
    for tensor in inputs[-1]:
        if tensor.dtype == torch.int64 and tensor.numel() == 1:
            tensor.zero_()  # the number of the step
    with torch.no_grad(), Products() as products:
        code.graphs[0].module(*inputs[-1])
    assert products.all > 10_000
    assert products.denormal == 0


def test_the_gradient_is_that_of_all_weights_in_double_precision(data):
    vae = spread()
    terms = Runner(vae).run(data.train[:8], particles=PARTICLES).terms()
    weights = [weight for weight in vae.parameters() if weight.requires_grad]
    shares = torch.softmax(terms.log_w.detach().double(), 0).float()
    exact = torch.autograd.grad((shares * terms.log_w).sum(), weights, retain_graph=True)
    slope = torch.autograd.grad(terms.log_mean_w().sum(), weights)
    torch.testing.assert_close(slope, exact, rtol=1e-4, atol=1e-4)
