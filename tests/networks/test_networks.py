"""Properties of networks: leading dimensions pass, rows are independent, all input is used; and Wrapped."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn

import pyrovae as pv
from pyrovae.cli import main
from pyrovae.networks import (
    MLP,
    ConvDecoder,
    ConvEncoder,
    Gated,
    ResidualDecoder,
    ResidualEncoder,
    Wrapped,
)
from tests.support.parts import attached, raises_one_sentence
from tests.support.user_networks import Both, stacked

pytestmark = pytest.mark.usefixtures("float64")

OWN = "tests.support.user_networks"  # a file of the user's, by its import path
SHAPES = [(1, 8, 8), (3, 9, 13), (1, 28, 28), (1, 64, 64)]


# ---------------------------------------------------------------- properties of all networks


# ---------------------------------------------------------------- first weights and formulas


@pytest.mark.parametrize(("init", "variance"), [("glorot", 2 / 900), ("he", 2 / 400)])
@pytest.mark.parametrize("network", [MLP, Gated])
def test_first_weights_have_the_variance_of_their_paper(network, init, variance):
    net = network(500, init=init)
    net.attach((400,))
    weights = [p.detach() for p in net.parameters() if p.dim() == 2]
    for weight in weights:
        # The standard error of a variance of n normal numbers is sqrt(2 / n) of it.
        assert weight.var() == pytest.approx(variance, rel=5 * math.sqrt(2 / weight.numel()))
        uniform = weight.abs().max() <= math.sqrt(3 * variance)
        assert bool(uniform) == (init == "glorot")
    assert all((p == 0).all() for p in net.parameters() if p.dim() == 1)


def test_a_gated_layer_is_a_linear_map_times_its_gate():
    net = attached(Gated(3, init="glorot"), (4,))
    x = torch.randn(5, 4)
    a, b = net.layers[0].linear, net.layers[0].gate
    by_hand = (x @ a.weight.mT + a.bias) / (1 + (-(x @ b.weight.mT + b.bias)).exp())
    torch.testing.assert_close(net(x), by_hand)


def test_residual_branches_begin_at_zero():
    """However many blocks there are, the first network is that without them."""
    for kind, shapes in [(ResidualEncoder, ((2, 9, 7), None)), (ResidualDecoder, ((3,), (2, 9, 7)))]:
        plain, deep = kind((4, 3), blocks=0), kind((4, 3), blocks=3)
        for net in (plain, deep):
            torch.manual_seed(0)
            net.attach(*shapes)
        own = {name: p for name, p in plain.named_parameters()}
        renamed = [
            p for name, p in deep.named_parameters() if ".first." not in name and ".second." not in name
        ]
        with torch.no_grad():
            for mine, other in zip(own.values(), renamed, strict=True):
                other.copy_(mine)
        value = torch.randn(5, *shapes[0])
        torch.testing.assert_close(deep(value), plain(value))
        assert sum(p.numel() for p in deep.parameters()) > sum(p.numel() for p in plain.parameters())


@pytest.mark.parametrize("sides", [(1, 1), (2, 3), (5, 28), (9, 13)])
@pytest.mark.parametrize(
    ("encoder", "decoder"), [(ConvEncoder, ConvDecoder), (ResidualEncoder, ResidualDecoder)]
)
def test_image_networks_take_any_sides(encoder, decoder, sides):
    vae = pv.VAE((2, *sides), 2, encoder=encoder((3, 4)), decoder=decoder((4, 3)))
    assert vae.sample(3).shape == (3, 2, *sides)
    assert vae.decoder.sides[-1] == sides


def test_networks_read_as_they_are_written():
    for network in (MLP(8, 9, activation="tanh"), MLP(8, init="he"), Gated(8, 9), Gated(8, init="glorot")):
        assert eval(repr(network)) == network
    assert repr(MLP(8)) == "MLP(8, activation='relu')"
    assert MLP(8) != MLP(8, init="he")


def test_weights_of_older_runs_fit():
    """The names of parameters are what a checkpoint is read by."""
    names = {
        MLP(4): ["layers.0.weight", "layers.0.bias"],
        ConvEncoder((2,), 3): ["stages.0.weight", "stages.0.bias", "last.0.weight", "last.0.bias"],
        ConvDecoder((2,)): ["first.weight", "first.bias", "convs.0.weight", "convs.0.bias"],
        ConvDecoder((2,), hidden=(3,)): [
            *("first.0.weight", "first.0.bias", "first.2.weight", "first.2.bias"),
            *("convs.0.weight", "convs.0.bias"),
        ],
    }
    for network, expected in names.items():
        network.attach((1, 4, 4), (1, 4, 4))
        assert list(network.state_dict()) == expected
    assert MLP.from_dict({"class_path": "pyrovae.networks.MLP", "init_args": {"sizes": [4]}}) == MLP(4)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (lambda: MLP(8, activation="rely").attach((3,)), ("rely", "relu")),
        (lambda: MLP(8, init="zero").attach((3,)), ("zero", "'glorot' or 'he'")),
        (lambda: MLP(8, 0).attach((3,)), ("MLP", "1 or more")),
        (lambda: Gated(0).attach((3,)), ("Gated", "1 or more")),
        (lambda: ConvEncoder().attach((64,)), ("ConvEncoder", "(64,)", "MLP")),
        (lambda: ConvDecoder().attach((2,), (64,)), ("ConvDecoder", "(64,)")),
        (lambda: ConvEncoder(channels=()).attach((1, 8, 8)), ("channels of ConvEncoder", "at least 1 size")),
        (lambda: ResidualEncoder().attach((64,)), ("ResidualEncoder", "(64,)", "MLP")),
        (lambda: ResidualDecoder().attach((2,), (64,)), ("ResidualDecoder", "(64,)")),
        (lambda: ResidualEncoder(blocks=-1).attach((1, 8, 8)), ("ResidualEncoder", "blocks", "-1")),
        (lambda: ResidualDecoder(blocks=1.5).attach((2,), (1, 8, 8)), ("ResidualDecoder", "blocks", "1.5")),
    ],
)
def test_networks_that_cannot_be_made_say_why(given, words):
    raises_one_sentence(given, *words)


# ---------------------------------------------------------------- Wrapped


def module():
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.GELU())


class Counting(nn.InstanceNorm1d):
    """A layer that remembers how often it was trained."""

    def __init__(self):
        super().__init__(3, track_running_stats=True)

    def forward(self, x):
        self.num_batches_tracked += int(self.training)
        return x


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", torch.bernoulli(torch.full((80, 6), 0.5)).numpy())
    return tmp_path


def test_a_module_of_ones_own_is_trained_and_stays_as_it_was_given():
    own = module()
    before = own[1].weight.clone()
    vae = pv.VAE((6,), 2, encoder=Wrapped(own, features=5), decoder=MLP(4))
    torch.testing.assert_close(vae.encoder.net[1].weight, before)
    pv.fit(vae, torch.bernoulli(torch.full((80, 6), 0.5)), epochs=2, batch_size=20, progress=False)
    assert not torch.equal(vae.encoder.net[1].weight, before)
    torch.testing.assert_close(own[1].weight, before)
    torch.testing.assert_close(vae.clone().encoder.net[1].weight, before)  # nothing learned
    assert vae.clone().encoder == vae.encoder
    assert vae.encoder != Wrapped(module(), features=5)  # other first weights
    assert "of Wrapped(Sequential(...), features=5)(x)" in repr(vae)
    assert not [name for name, _ in vae.named_parameters() if ".module." in name]  # counted once


def test_a_module_that_was_built_in_python_is_not_written_down(folder):
    vae = pv.VAE((6,), 2, encoder=Wrapped(module(), features=5), decoder=MLP(4))
    raises_one_sentence(vae.to_dict, "Sequential", "cannot be written", "'mynets.encoder'")
    x = torch.bernoulli(torch.full((80, 6), 0.5))
    raises_one_sentence(lambda: pv.fit(vae, x, epochs=1, batch_size=20, out="r"), "cannot be written")
    assert not list(Path().glob("r/*.ckpt"))
    assert Wrapped(OWN + ".Both", features=5) != Wrapped(Both(), features=5)


@pytest.mark.parametrize("path", [OWN + ".Both", OWN + ".stacked"])
def test_an_import_path_is_written_loaded_and_resumed(folder, path):
    words = ["--data", "x.npy", "--encoder", "Wrapped", "--encoder.module", path, "--encoder.features", "4"]
    words += ["--encoder.options", "{features: 4}", "--decoder", "MLP", "--decoder.sizes", "[4]"]
    words += ["--batch_size", "20", "--latent_dim", "2", "--figures", "false", "--lr_schedule", "constant"]
    assert main(["fit", *words, "--epochs", "1", "--out", "r"]) == 0
    encoder = Wrapped(path, features=4, options={"features": 4})
    assert pv.load("r").encoder == encoder
    written = yaml.safe_load(Path("r/config.yaml").read_text())["encoder"]
    assert written == encoder.to_dict()
    assert main(["fit", "--out", "r", "--resume", "true", "--epochs", "2", "--figures", "false"]) == 0
    assert main(["fit", "--config", "r/config.yaml", "--out", "again", "--epochs", "2"]) == 0
    one, two = pv.load("r", which="last"), pv.load("again", which="last")
    for name, weight in one.state_dict().items():
        assert torch.equal(weight, two.state_dict()[name]), name


def test_wrapped_gives_what_its_module_gives():
    x, c = torch.randn(3, 4, 2, 3), torch.randn(4, 2)
    alone = attached(Wrapped(OWN + ".stacked", features=5), (2, 3))
    torch.testing.assert_close(alone(x)[2, 1], alone.net(x[2, 1:2])[0])
    given = attached(Wrapped(Both(), features=5), (2, 3), None, 2)
    torch.testing.assert_close(given(x, c)[2, 1], given.net(x[2, 1:2], c[1:2])[0])


def test_declaring_draws_nothing_and_leaves_the_mode():
    own = nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.Dropout())
    before = torch.get_rng_state()
    network = Wrapped(own, features=5)
    network.attach((6,))
    assert torch.equal(torch.get_rng_state(), before)
    assert network.net.training
    assert stacked().training
    counting = Wrapped(nn.Sequential(nn.Unflatten(1, (3, 2)), Counting(), nn.Flatten()), features=6)
    counting.attach((6,))
    assert counting.net[1].num_batches_tracked == 0


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (lambda: Wrapped("mynets.Missing", 3).attach((6,)), ("mynets.Missing", "'mynets.Encoder'")),
        (lambda: Wrapped("Sequential", 3).attach((6,)), ("'Sequential'", "import path")),
        (
            lambda: Wrapped(OWN + ".not_a_network", 3).attach((6,)),
            (OWN + ".not_a_network",),
        ),
        (
            lambda: Wrapped(OWN + ".module", 3).attach((6,)),
            (OWN + ".module", "cannot import"),
        ),
        (lambda: Wrapped("math.sqrt", 3, {}).attach((6,)), ("math.sqrt", "takes exactly one argument")),
        (lambda: Wrapped(Both, 5).attach((6,)), ("torch.nn.Module", "Both")),
        (lambda: Wrapped(Both(), 0).attach((6,)), ("Wrapped", "1 or more")),
        (lambda: Wrapped(Both(), 64).attach((6,)), ("(2, 5)", "expected (2, 64)", "change features")),
        (lambda: Wrapped(nn.Linear(6, 5), 5).attach((2, 6)), ("(2, 2, 5)", "(2, 6)", "flatten")),
        (
            lambda: Wrapped(module(), 5).attach((6,), None, 3),
            ("Sequential", "context", "forward(self, x, c)"),
        ),
        (
            lambda: Wrapped(nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 5)), 5).attach((6,)),
            ("batch normalisation", "LayerNorm"),
        ),
        (
            lambda: pv.VAE((9,), 2, encoder=Wrapped(module(), 5)),
            ("the encoder Wrapped(Sequential(...), features=5) cannot be used here", "shapes"),
        ),
        (
            lambda: Wrapped(OWN + ".Both", 5, {"depth": 2}).attach((6,)),
            (OWN + ".Both", "depth"),
        ),
    ],
)
def test_a_module_that_cannot_be_used_says_why(given, words):
    raises_one_sentence(given, *words)
