"""Networks of sequences: padding, gaps and other rows change nothing; whole models of sequences."""

import dataclasses

import pytest
import torch
from torch import nn

import pyrovae as pv
from pyrovae.likelihoods import Categorical, Mixed, Normal
from pyrovae.networks import MLP, Conv1dDecoder, Conv1dEncoder, Recurrent, Transformer
from pyrovae.networks.sequences import sinusoids
from tests.support.captured import interpreted
from tests.support.parts import attached, each, raises_one_sentence

ENCODERS = [
    Recurrent(6),
    Recurrent(5, layers=2),
    Recurrent(4, layers=2, cell="lstm", bidirectional=False),
    Transformer(8, heads=2),
    Transformer(6, layers=1, heads=3, positions="learned"),
    Conv1dEncoder((3, 4, 2), 5),
    Conv1dEncoder((4,), 6, kernel=3, activation="tanh"),
]
PAIRS = [
    (Recurrent(8), Recurrent(8)),
    (Transformer(8, heads=2), Transformer(8, heads=2)),
    (Conv1dEncoder((4, 6), 8), Conv1dDecoder((6, 4))),
]
DECODERS = [decoder for _, decoder in PAIRS]


@pytest.fixture
def x():
    """Five rows of at most 9 steps of 3 channels, some shorter."""
    x = torch.randn(5, 9, 3, generator=torch.Generator().manual_seed(0))
    for row, length in enumerate([9, 1, 4, 7, 8]):
        x[row, length:] = torch.nan
    return x


def longer(network, encoder, steps):
    """The same network for sequences of more steps, with the same weights where both have some."""
    new = attached(network, (steps, 3), seed=1)
    with torch.no_grad():
        for (name, weight), old in zip(new.named_parameters(), encoder.parameters(), strict=True):
            if name == "places":
                weight[: len(old)] = old
            else:
                weight.view(len(weight), -1)[:, : old[0].numel()] = old.view(len(old), -1)
    return new


# ---------------------------------------------------------------- padding


@each("network", ENCODERS)
@pytest.mark.parametrize("steps", [10, 14, 21])
def test_more_padding_changes_nothing(network, steps, x):
    encoder = attached(network, (9, 3))
    other = longer(network, encoder, steps)
    padded = torch.cat([x, torch.full((5, steps - 9, 3), torch.nan)], 1)
    torch.testing.assert_close(other(padded), encoder(x), rtol=0, atol=1e-6)


@each("network", ENCODERS)
def test_other_rows_change_nothing(network, x):
    encoder = attached(network, (9, 3))
    features = encoder(x)
    for row in range(5):
        torch.testing.assert_close(encoder(x[row]), features[row], rtol=0, atol=1e-6)
    with torch.no_grad():
        changed = x.clone()
        changed[1:] = 50 * torch.randn(4, 9, 3)
        torch.testing.assert_close(encoder(changed)[0], features[0], rtol=0, atol=1e-6)


@each("network", ENCODERS)
def test_no_gradient_reaches_padding_and_none_is_nan(network, x):
    encoder, value = attached(network, (9, 3)), x.clone().requires_grad_()
    encoder(value).sin().sum().backward()
    padding = x.isnan()
    assert (value.grad[padding] == 0).all()
    assert (value.grad[~padding] != 0).any()
    assert all(p.grad.isfinite().all() for p in encoder.parameters())


@each("network", ENCODERS)
def test_a_row_of_padding_alone_is_finite_and_depends_on_nothing(network):
    encoder = attached(network, (9, 3))
    features = encoder(torch.full((2, 9, 3), torch.nan))
    assert features.isfinite().all()
    torch.testing.assert_close(features[0], features[1])


@each("network", [n for n in ENCODERS if isinstance(n, Recurrent)])
def test_a_recurrent_network_passes_gaps_over(network):
    encoder, short = attached(network, (9, 3)), torch.randn(4, 5, 3)
    gaps, places = torch.full((4, 9, 3), torch.nan), [0, 2, 3, 7, 8]
    gaps[:, places] = short
    filled = torch.cat([short, torch.full((4, 4, 3), torch.nan)], 1)
    torch.testing.assert_close(encoder(gaps), encoder(filled), rtol=0, atol=1e-6)


@each("network", ENCODERS)
def test_a_missing_entry_is_not_a_zero(network):
    encoder = attached(network, (9, 3))
    zero, missing = torch.randn(2, 9, 3), None
    zero[:, 4, 1] = 0
    missing = zero.clone()
    missing[:, 4, 1] = torch.nan
    assert (encoder(zero) - encoder(missing)).abs().max() > 1e-4


@each("network", ENCODERS)
def test_the_order_of_steps_matters(network):
    encoder, value = attached(network, (9, 3)), torch.randn(2, 9, 3)
    assert (encoder(value) - encoder(value.flip(1))).abs().max() > 1e-3


# ---------------------------------------------------------------- formulas


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_recurrent_encoder_is_torchs_network_on_the_present_steps(cell, x):
    encoder = attached(Recurrent(4, cell=cell), (9, 3))
    torchs = {"gru": nn.GRU, "lstm": nn.LSTM}[cell](6, 4, batch_first=True, bidirectional=True)
    with torch.no_grad():
        for suffix, own in zip(("", "_reverse"), encoder.stack[0].cells, strict=True):
            for name, weight in own.named_parameters():
                getattr(torchs, name + suffix).copy_(weight)
    lengths = (~x.isnan().all(-1)).sum(1)
    numbers = torch.cat([x.nan_to_num(), (~x.isnan()).float()], -1)
    packed = nn.utils.rnn.pack_padded_sequence(numbers, lengths, batch_first=True, enforce_sorted=False)
    last = torchs(packed)[1]
    states = last[0] if cell == "lstm" else last
    torch.testing.assert_close(encoder.pooled(x), torch.cat(list(states), -1))


def test_attention_is_torchs(x):
    block = attached(Transformer(8, layers=1, heads=2), (9, 3)).blocks[0]
    torchs = nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        torchs.in_proj_weight.copy_(block.match.weight)
        torchs.out_proj.weight.copy_(block.mix.weight)
        torchs.out_proj.bias.copy_(block.mix.bias)
    h, mask = torch.randn(5, 9, 8), ~x.isnan().all(-1)
    own = block.mix(block._attention(h, mask[:, None, None]))
    torch.testing.assert_close(own, torchs(h, h, h, key_padding_mask=~mask)[0])


@each("network", [Recurrent(6), Transformer(8, heads=2)])
def test_a_step_of_a_decoder_does_not_depend_on_the_number_of_steps(network):
    short = attached(network, (2,), (5, 3))
    long = attached(network, (2,), (9, 3), seed=1)
    with torch.no_grad():
        for new, old in zip(long.parameters(), short.parameters(), strict=True):
            new.copy_(old)
    z = torch.randn(4, 2)
    torch.testing.assert_close(long(z)[:, :5], short(z))
    assert (short(z)[:, 1:] - short(z)[:, :-1]).abs().min() > 0  # steps differ


def test_positions_are_distinct():
    places = sinusoids(500, 16)
    assert torch.cdist(places, places).fill_diagonal_(1.0).min() > 1e-2
    assert sinusoids(4, 5).shape == (4, 5)


# ---------------------------------------------------------------- whole models


def padded(x):
    """A data set of rows with missing entries."""
    data = pv.datasets.load(x.nan_to_num())
    parts = {name: getattr(data, name) for name in ("train", "validation", "test")}
    return dataclasses.replace(data, **{name: rows.of_values(x[rows.index]) for name, rows in parts.items()})


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: type(pair[0]).__name__)
@pytest.mark.parametrize("shape", [(9,), (9, 3), (7, 2, 2)], ids=str)
def test_a_vae_of_sequences_of_any_shape(pair, shape):
    vae = pv.VAE(
        shape, 2, likelihood=Normal("predicted"), encoder=pair[0], decoder=pair[1], context_shape=(2,)
    )
    c = torch.randn(3, 2)
    x = vae.sample(3, c)
    assert x.shape == (3, *shape)
    assert vae.encode(x, c).mean.shape == (3, 2)
    assert pv.VAE.from_dict(vae.to_dict()) == vae


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: type(pair[0]).__name__)
def test_padded_sequences_are_scored_over_their_present_steps(pair, x):
    """log p(x) of a padded row is that of its present entries, whatever the other rows are."""
    torch.manual_seed(0)
    vae = pv.VAE((9, 3), 2, likelihood=Mixed(), encoder=pair[0], decoder=pair[1])
    run = pv.fit(vae, padded(x.repeat(8, 1, 1)), epochs=2, batch_size=10, progress=False, compile=False)
    assert all(abs(v) < 1e4 for v in run.history["train"])
    together = pv.log_evidence(vae, x, particles=20).log_px
    for row in range(5):
        alone = pv.log_evidence(vae, x[row : row + 1], particles=20).log_px
        assert alone[0] == pytest.approx(together[row], abs=1e-3)
    z = torch.randn(1, 2)
    with torch.no_grad():
        by_hand = vae.decode(z).base_dist.log_prob(x[2:3])[0]
        whole = float(vae.decode(z).log_prob(x[2:3])[0])
    assert whole == pytest.approx(float(by_hand[:4].sum()), abs=1e-4)
    assert (by_hand[4:] == 0).all()


def test_codes_are_read_as_symbols():
    """The order of the codes has no meaning: with the rows of the embedding permuted, nothing changes."""
    torch.manual_seed(0)
    codes = torch.randint(0, 7, (4, 9)).double()
    for network in (
        Recurrent(6, symbols=7),
        Transformer(8, heads=2, symbols=7),
        Conv1dEncoder((3,), 4, symbols=7),
    ):
        encoder = attached(network, (9,))
        before, order = encoder(codes), torch.randperm(7)
        weight = encoder.read.symbols.weight
        with torch.no_grad():
            weight[order] = weight.clone()
        torch.testing.assert_close(encoder(order[codes.long()].double()), before)
    vae = pv.VAE((9,), 2, likelihood=Categorical(7, grey=False), encoder=network, decoder=Recurrent(6))
    assert vae.encode(vae.sample(4)).mean.shape == (4, 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "pair",
    [
        (Transformer(4, layers=1, heads=2), Transformer(4, layers=1, heads=2)),
        (Conv1dEncoder((3, 4), 5, kernel=3), Conv1dDecoder((4, 3), kernel=3)),
    ],
    ids=lambda pair: type(pair[0]).__name__,
)
def test_a_captured_step_gives_the_eager_weights(pair, x, monkeypatch):
    code, weights = interpreted(monkeypatch), []
    for option in (False, True):
        torch.manual_seed(0)
        vae = pv.VAE((9, 3), 2, likelihood=Mixed(), encoder=pair[0], decoder=pair[1])
        pv.fit(vae, padded(x.repeat(8, 1, 1)), epochs=2, batch_size=12, progress=False, compile=option)
        weights.append(vae.state_dict())
    assert code.calls > 0
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, rtol=1e-3, atol=1e-4)


def test_a_recurrent_step_is_not_compiled(x):
    vae = pv.VAE((9, 3), 2, likelihood=Mixed(), encoder=Recurrent(4), decoder=Recurrent(4))
    options = {"epochs": 2, "batch_size": 12, "progress": False}
    sentence = ("compile=True, but the step cannot be captured", "loop over steps", "use compile='auto'")
    raises_one_sentence(lambda: pv.fit(vae, padded(x.repeat(8, 1, 1)), compile=True, **options), *sentence)


def test_a_vamp_prior_has_pseudo_sequences(x):
    prior = pv.priors.VampPrior(components=3, pseudo_inputs="data")
    vae = pv.VAE((9, 3), 2, prior=prior, likelihood=Mixed(), encoder=Recurrent(4), decoder=Recurrent(4))
    pv.fit(vae, padded(x.repeat(8, 1, 1)), epochs=1, batch_size=12, progress=False, compile=False)
    assert all(p.isfinite().all() for p in vae.parameters())


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (lambda: Recurrent().attach(()), ("Recurrent", "(steps, channels)", "use MLP")),
        (lambda: Recurrent(0).attach((4,)), ("hidden of Recurrent", "1 or more")),
        (lambda: Recurrent(layers=0).attach((4,)), ("layers of Recurrent", "1 or more")),
        (lambda: Recurrent(cell="rnn").attach((4,)), ("cell of Recurrent", "'gru' or 'lstm'")),
        (lambda: Recurrent(symbols=5).attach((4, 3)), ("symbols", "(steps,)", "(4, 3)", "leave symbols out")),
        (lambda: Transformer(10, heads=4).attach((4,)), ("width of Transformer", "4 heads", "use 8")),
        (lambda: Transformer(positions="sine").attach((4,)), ("positions of Transformer", "learned")),
        (lambda: Conv1dEncoder(kernel=4).attach((4,)), ("kernel of Conv1dEncoder", "odd", "use 5")),
        (lambda: Conv1dEncoder(channels=()).attach((4,)), ("channels of Conv1dEncoder", "at least 1 size")),
        (lambda: Conv1dEncoder().attach((2,), (4,)), ("Conv1dEncoder is an encoder", "use Conv1dDecoder")),
        (lambda: Conv1dDecoder().attach((4,)), ("Conv1dDecoder is a decoder", "use Conv1dEncoder")),
        (
            lambda: pv.VAE((2,), 2, likelihood=Mixed(["normal", "categorical:3"]), encoder=Recurrent(4)),
            ("Recurrent", "columns of classes", "use MLP"),
        ),
    ],
)
def test_networks_of_sequences_that_cannot_be_made_say_why(given, words):
    raises_one_sentence(given, *words)


def test_an_mlp_still_reads_zeros_and_flags(x):
    vae = pv.VAE((9, 3), 2, likelihood=Mixed(), encoder=MLP(4), decoder=MLP(4))
    assert vae.inputs(x).shape == (5, 18, 3)
