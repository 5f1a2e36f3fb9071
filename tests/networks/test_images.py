"""Maps that are enlarged and convolved in one operation: the same numbers as in two."""

import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate
from torch.nn.utils import parametrize

import pyrovae as pv
from pyrovae.networks import images

pytestmark = pytest.mark.usefixtures("float64")


def in_two(maps, side, layer):
    return layer(interpolate(maps, size=side, mode="nearest"))


class Halved(nn.Module):
    def forward(self, weight):
        return weight / 2


@pytest.mark.parametrize("side", [(10, 14), (9, 14), (10, 13), (5, 7)])
def test_enlarged_maps_and_their_gradients_are_those_of_two_operations(side):
    maps, layer = torch.randn(2, 3, 5, 7, requires_grad=True), images.conv(3, 4)
    nn.init.normal_(layer.bias)
    given, found = in_two(maps, side, layer), images.enlarged(maps, side, layer)
    weights = torch.randn_like(given)
    inputs = (maps, *layer.parameters())
    torch.testing.assert_close(found, given)
    for a, b in zip(
        torch.autograd.grad((found * weights).sum(), inputs),
        torch.autograd.grad((given * weights).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


OPTIONS = {
    "circular": {"kernel_size": 3, "padding": 1, "padding_mode": "circular"},
    "wide": {"kernel_size": 5, "padding": 2},
    "dilated": {"kernel_size": 3, "padding": 2, "dilation": 2},
    "groups": {"kernel_size": 3, "padding": 1, "groups": 2},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_layer_with_other_options_computes_what_it_computes_alone(options):
    maps, layer = torch.randn(2, 2, 5, 5), nn.Conv2d(2, 4, **options)
    torch.testing.assert_close(images.enlarged(maps, (10, 10), layer), in_two(maps, (10, 10), layer))


def test_a_hook_of_the_gradient_is_called():
    maps, layer, calls = torch.randn(2, 3, 5, 5, requires_grad=True), images.conv(3, 4), []
    layer.register_full_backward_hook(lambda *given: calls.append(given))
    images.enlarged(maps, (10, 10), layer).sum().backward()
    assert len(calls) == 1


@pytest.mark.parametrize("change", ["hook", "pre-hook", "parametrisation", "class"])
def test_a_layer_that_was_changed_computes_what_it_computes_alone(change):
    maps, layer = torch.randn(2, 3, 5, 5), images.conv(3, 4)
    if change == "hook":
        layer.register_forward_hook(lambda module, args, out: out + 1)
    elif change == "pre-hook":
        layer.register_forward_pre_hook(lambda module, args: (2 * args[0],))
    elif change == "parametrisation":
        parametrize.register_parametrization(layer, "weight", Halved())
    else:
        layer = nn.Sequential(layer, nn.Tanh())
    torch.testing.assert_close(images.enlarged(maps, (10, 10), layer), in_two(maps, (10, 10), layer))


@pytest.mark.parametrize("decoder", [pv.networks.ConvDecoder, pv.networks.ResidualDecoder])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 13), (1, 28, 28)])
def test_decoders_are_the_formula_of_their_docstring(monkeypatch, decoder, shape):
    network = decoder()
    network.attach((3,), shape)
    z = torch.randn(2, 4, 3)
    found = network(z)
    monkeypatch.setattr(images, "enlarged", in_two)
    torch.testing.assert_close(found, network(z))


@pytest.mark.parametrize("kind", ["Conv", "Residual"])
def test_networks_of_images_are_mapped_over_rows(kind):
    encoder, decoder = (getattr(pv.networks, f"{kind}{part}")() for part in ("Encoder", "Decoder"))
    encoder.attach((3, 8, 8))
    decoder.attach((2,), (3, 8, 8))
    for network, value in ((encoder, torch.randn(4, 3, 8, 8)), (decoder, torch.randn(4, 2))):
        torch.testing.assert_close(torch.func.vmap(network)(value.unsqueeze(1)).squeeze(1), network(value))


def test_parameters_of_images_have_the_usual_strides():
    decoder = pv.networks.ConvDecoder()
    decoder.attach((2,), (3, 8, 8))
    assert decoder.head((3, 8, 8))(decoder(torch.randn(5, 4, 2))).is_contiguous()
