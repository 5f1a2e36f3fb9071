"""No row of a batch changes another: networks and programs in which one does are refused."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import pyrovae as pv
from pyrovae.likelihoods import Normal
from pyrovae.networks import MLP, Network, Wrapped
from pyrovae.networks.coupling import coupling
from tests.support.parts import raises_one_sentence

QUICK = {"epochs": 1, "batch_size": 10, "progress": False, "compile": False}


class Layer(nn.Module):
    """A layer that reads (rows, steps, channels) if it has batch_first."""

    def __init__(self, kind, *sizes, **options):
        super().__init__()
        self.embed, self.layer = nn.Linear(3, 8), kind(*sizes, **options)

    def forward(self, x):
        out = self.layer(self.embed(x.reshape(len(x), 4, 3)))
        return (out[0] if isinstance(out, tuple) else out)[:, -1]


class Attention(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.embed, self.layer = nn.Linear(3, 8), nn.MultiheadAttention(8, 2, **options)

    def forward(self, x):
        h = self.embed(x.reshape(len(x), 4, 3))
        return self.layer(h, h, h)[0].mean(1)


def transformer(**options):
    block = nn.TransformerEncoderLayer(8, 2, 16, **options)
    return nn.TransformerEncoder(block, 1, enable_nested_tensor=False)


def layers(**options):
    """A recurrent or attention layer of each kind, with the name of the class that is to be changed."""
    return {
        "GRU": Layer(nn.GRU, 8, 8, **options),
        "LSTM": Layer(nn.LSTM, 8, 8, **options),
        "TransformerEncoderLayer": Layer(transformer, **options),
        "MultiheadAttention": Attention(**options),
    }


class Function(nn.Module):
    def __init__(self, function, inputs=12):
        super().__init__()
        self.linear, self.function = nn.Linear(inputs, 8), function

    def forward(self, x):
        return self.function(self.linear(x.flatten(1)))


class Custom(Network):
    """A network of a user, with layers between two linear maps."""

    def __init__(self, kind: str = "", *, context_leaks: bool = False) -> None:
        super().__init__()
        self.kind = kind
        self.context_leaks = context_leaks

    def attach(self, input_shape, output_shape=None, context_dim=0):
        self.features, self.dims = 8, len(input_shape)
        self.first = nn.Linear(torch.Size(input_shape).numel(), 8)
        sizes = [8] if self.kind.endswith(("Norm", "Norm1d")) else []
        self.between = getattr(nn, self.kind or "Identity")(*sizes)
        self.last = nn.Linear(8, 8)

    def forward(self, value, context=None):
        rows = self.first(value.flatten(-self.dims))
        h = self.between(rows.reshape(-1, 8)).reshape(rows.shape)
        if self.context_leaks:
            h = h + context.mean()
        return torch.tanh(self.last(h))


def vae(encoder=None, decoder=None, **more):
    parts = {"encoder": encoder or MLP(4), "decoder": decoder or MLP(4)}
    return pv.VAE((4, 3), 3, likelihood=Normal("predicted"), **parts, **more)


@pytest.mark.parametrize("name", layers())
def test_layers_that_read_time_first_are_refused(name):
    sentence = ("the encoder Wrapped", "row", "changes when row", f"declare its {name} with batch_first=True")
    raises_one_sentence(lambda: vae(Wrapped(layers()[name], features=8)), *sentence)
    vae(Wrapped(layers(batch_first=True)[name], features=8))


@pytest.mark.parametrize(
    "function",
    [
        lambda h: h - h.mean(0),
        lambda h: h.softmax(0),
        lambda h: h.sort(0).values,
        lambda h: h / len(h),
        lambda h: h.cumsum(0),
        lambda h: h.flip(0).cumsum(0),
        lambda h: h + 0.01 * h.roll(1, 0),
    ],
)
def test_functions_of_the_batch_are_refused(function):
    for role, inputs in (("encoder", 12), ("decoder", 3)):
        network = Wrapped(Function(function, inputs), features=8)
        raises_one_sentence(
            lambda role=role, network=network: vae(**{role: network}), f"the {role} Wrapped", "from itself"
        )


@pytest.mark.parametrize("role", ["encoder", "decoder"])
def test_batch_normalisation_is_refused_in_training_mode(role):
    raises_one_sentence(
        lambda: vae(**{role: Custom("BatchNorm1d")}),
        f"the {role} Custom",
        "in training mode",
        "replace its BatchNorm1d by GroupNorm or LayerNorm",
    )
    images = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten())
    raises_one_sentence(
        lambda: pv.VAE((1, 4, 4), 2, encoder=Wrapped(images, features=8)), "batch normalisation", "GroupNorm"
    )


@pytest.mark.parametrize(
    "network",
    [
        Custom(),
        Custom("LayerNorm"),
        Custom("Dropout"),
        Custom("Softplus"),
        Wrapped(
            nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.GroupNorm(2, 8), nn.Dropout(0.3)), features=8
        ),
        Wrapped(nn.Sequential(nn.Flatten(), nn.LazyLinear(8)), features=8),
        Wrapped(Function(lambda h: h + torch.randn_like(h)), features=8),
        Wrapped(Function(lambda h: h + torch.rand(())), features=8),
    ],
    ids=str,
)
def test_networks_that_keep_rows_apart_are_accepted(network):
    vae(network)
    if isinstance(network, Custom):
        vae(None, network)
        vae(network, network, context_shape=(2,))


def test_a_leak_of_the_context_is_refused():
    raises_one_sentence(
        lambda: vae(Custom(context_leaks=True), context_shape=(2,)), "the encoder Custom", "row 1"
    )


def test_the_check_changes_nothing():
    """Neither running statistics, nor gradients or modes."""
    layers = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.Unflatten(1, (2, 4)))
    layers.append(nn.InstanceNorm1d(2, track_running_stats=True)).append(nn.Flatten()).append(nn.Dropout())
    layers[3].eval()
    model = vae(Wrapped(layers, features=8), MLP(3))
    net = model.encoder.net
    assert net[3].num_batches_tracked == 0
    assert (net[3].running_mean == 0).all()
    assert [part.training for part in net] == [part.training for part in layers]
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert torch.is_grad_enabled()


def test_declaring_with_the_check_draws_what_declaring_without_it_draws(monkeypatch):
    weights = []
    for checked in (True, False):
        if not checked:
            monkeypatch.setattr("pyrovae.vae.vae.dry_run", lambda vae: None)
        torch.manual_seed(0)
        weights.append(vae(Custom("Dropout"), Custom()).state_dict())
        weights[-1]["next"] = torch.rand(3)
    for name in weights[0]:
        assert torch.equal(weights[0][name], weights[1][name]), name


# ---------------------------------------------------------------- hand-written programs


class Pair(nn.Module):
    """A hand-written VAE whose guide or model may use the batch."""

    def __init__(self, leak=""):
        super().__init__()
        self.leak = leak
        self.norm = nn.BatchNorm1d(4)
        self.encode, self.decode = nn.Linear(4, 2), nn.Linear(2, 4)

    def model(self, x):
        pyro.module("pair_decode", self.decode)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            loc = self.decode(z)
            if self.leak == "model":
                loc = loc - loc.mean(-2, keepdim=True)
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)

    def guide(self, x):
        pyro.module("pair_encode", self.encode)
        with pyro.plate("data", len(x)):
            h = self.norm(x) if self.leak == "norm" else x
            loc = self.encode(h)
            if self.leak == "guide":
                loc = loc + x.mean()
            pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))


@pytest.mark.parametrize(
    ("leak", "words"),
    [
        ("model", ("log p(x|z) of row 1 changes when row 2 does", "from itself")),
        ("guide", ("log q(z|x) of row 1 changes when row 2 does", "from itself")),
        ("norm", ("in training mode", "log q(z|x) of row 1", "replace its BatchNorm1d")),
    ],
)
def test_a_hand_written_program_is_checked_before_the_first_step(leak, words):
    x = torch.randn(60, 4)
    program = Pair(leak)
    before = {name: value.clone() for name, value in program.state_dict().items()}
    state = torch.get_rng_state()
    raises_one_sentence(lambda: pv.fit(program, x, **QUICK), "the program lets the rows", *words)
    assert all(torch.equal(before[name], value) for name, value in program.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    assert program.training
    if leak != "norm":
        raises_one_sentence(lambda: pv.fit((program.model, program.guide), x, **QUICK), words[0])
        pyro.clear_param_store()


def test_a_program_that_keeps_rows_apart_is_trained():
    x = torch.randn(60, 4)
    assert len(pv.fit(Pair(), x, **QUICK).history["train"]) == 1
    assert len(pv.fit(Pair(), x[:20], batch_size=4, epochs=1, progress=False).history["train"]) == 1
    optimal = pv.VAE((4,), 2, likelihood=Normal("optimal"), encoder=MLP(4), decoder=MLP(4))
    assert len(pv.fit(optimal, x, **QUICK).history["train"]) == 1  # it says that it uses the batch


def test_a_likelihood_of_a_user_is_checked_too():
    class Coupled(Normal):
        def forward(self, loc):
            return super().forward(loc - loc.mean(-2, keepdim=True))

    model = pv.VAE((4,), 2, likelihood=Coupled(), encoder=MLP(4), decoder=MLP(4))
    raises_one_sentence(lambda: pv.fit(model, torch.randn(60, 4), **QUICK), "log p(x|z) of row 1")


def test_the_size_of_a_change_is_reported():
    x = torch.tensor([[1.0], [2.0], [8.5]])
    assert (
        str(coupling(lambda rows: [x[rows].cumsum(0).flip(0).flip(0)]))
        == "row 2 changes when row 1 does, by 7.5"
    )
    assert str(coupling(lambda rows: [x[rows] + x[rows].sum()])) == "row 1 changes when row 2 does, by 6.5"
    assert str(coupling(lambda rows: [x[rows] + len(rows)])) == "row 1 changes when row 2 is left out, by 1"
    assert coupling(lambda rows: [x[rows].exp(), x[rows] * 1e6 + 1e-3 * x[rows].sum()]) is None  # rounding
