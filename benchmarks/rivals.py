"""The contestants of `train_step.py`: one training step of the same VAE, written by six hands.

Each is built from (case, batch size, data x) and has one method, `run(steps)`: so many steps on batches
gathered from x by an index, Adam at 1e-3 and all, and the mean loss over them in nats per datum. They share
the architecture, the first weights (those of `HandVAE`), softplus + 1e-4 for a scale, the
estimator log p(x|z) + log p(z) - log q(z|x) at a draw z, and IWAE's bound for K > 1. Each imports its own
library only, so that its memory can be measured alone.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

ROWS, LR, FLOOR = 10_000, 1e-3, 1e-4
RAW_SCALE = {scale: math.log(math.expm1(scale - FLOOR)) for scale in (0.5, 1.0)}
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


@dataclass(frozen=True)
class Case:
    """What is trained.

    Attributes:
        particles: K; above 1 the objective is IWAE's bound.
        components: of a Gaussian mixture as prior, summed out; 0 is N(0, I).
        batches: the batch sizes that are timed unless others are asked for.
    """

    name: str
    event_shape: tuple[int, ...] = (784,)
    latent_dim: int = 50
    particles: int = 1
    components: int = 0
    batches: tuple[int, ...] = (100,)

    @property
    def images(self) -> bool:
        """Convolutions and ReLU; otherwise 784-200-200-50 and back with tanh."""
        return len(self.event_shape) == 3

    @property
    def real(self) -> bool:
        """Real values under a Normal with one learned scale; otherwise binary ones under a Bernoulli."""
        return self.images and self.event_shape[0] == 3


CASES = {
    case.name: case
    for case in (
        Case("dense", batches=(20, 100, 512)),
        Case("conv28", (1, 28, 28), latent_dim=16),
        Case("conv32", (3, 32, 32), latent_dim=16),
        Case("iwae50", particles=50, batches=(20, 100)),
        Case("mixture", components=10),
    )
}


def data_of(case: Case) -> Tensor:
    """Ten prototypes and noise around them, (ROWS, *event): binary draws, or real values."""
    generator = torch.Generator().manual_seed(0)
    prototypes = torch.rand(10, *case.event_shape, generator=generator) ** 4
    means = prototypes[torch.randint(10, (ROWS,), generator=generator)]
    if case.real:
        return means + 0.1 * torch.randn(means.shape, generator=generator)
    return torch.bernoulli(means, generator=generator)


def indices(rows: int, batch: int) -> Iterator[Tensor]:
    """Whole batches of a new permutation in every epoch, without end."""
    while True:
        yield from torch.randperm(rows)[: rows // batch * batch].split(batch)


# ---------------------------------------------------------------- networks, by hand


def encoder_of(case: Case) -> nn.Sequential:
    """From x to loc and raw scale of q(z|x), side by side: one product instead of two."""
    if case.images:
        channels, height, width = case.event_shape
        flat = 64 * (height // 4) * (width // 4)
        first = nn.Conv2d(channels, 32, 3, stride=2, padding=1)
        second = nn.Conv2d(32, 64, 3, stride=2, padding=1)
        body = [first, nn.ReLU(), second, nn.ReLU(), nn.Flatten(), nn.Linear(flat, 256), nn.ReLU()]
    else:
        body = [nn.Linear(784, 200), nn.Tanh(), nn.Linear(200, 200), nn.Tanh()]
    net = nn.Sequential(*body, nn.Linear(256 if case.images else 200, 2 * case.latent_dim))
    return glorot(net, heads=2)


def decoder_of(case: Case) -> nn.Sequential:
    """From z to the logits, or the mean, of p(x|z), of the shape of an event."""
    if not case.images:
        body = [nn.Linear(case.latent_dim, 200), nn.Tanh(), nn.Linear(200, 200), nn.Tanh()]
        return glorot(nn.Sequential(*body, nn.Linear(200, 784)))
    channels, height, width = case.event_shape
    small = (64, height // 4, width // 4)
    return glorot(
        nn.Sequential(
            *(nn.Linear(case.latent_dim, math.prod(small)), nn.ReLU(), nn.Unflatten(-1, small)),
            *(nn.Upsample(scale_factor=2), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU()),
            *(nn.Upsample(scale_factor=2), nn.Conv2d(64, 32, 3, padding=1), nn.ReLU()),
            nn.Conv2d(32, channels, 3, padding=1),
        )
    )


@torch.no_grad()
def glorot(net: nn.Sequential, heads: int = 1) -> nn.Sequential:
    """Weights Glorot-uniform, the last layer's for each of its heads; biases zero."""
    layers = [layer for layer in net if hasattr(layer, "weight")]
    for layer in layers:
        for part in layer.weight.chunk(heads if layer is layers[-1] else 1):
            nn.init.xavier_uniform_(part)
        nn.init.zeros_(layer.bias)
    return net


class HandVAE(nn.Module):
    """The parameters, and their first values for all rivals."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.decoder, self.prior = encoder_of(case), decoder_of(case), nn.ParameterDict()
        if case.components:
            shape = (case.components, case.latent_dim)
            self.prior["logits"] = nn.Parameter(torch.zeros(case.components))
            self.prior["loc"] = nn.Parameter(torch.randn(shape))
            self.prior["raw_scale"] = nn.Parameter(torch.full(shape, RAW_SCALE[1.0]))
        if case.real:
            self.raw_scale = nn.Parameter(torch.tensor(RAW_SCALE[0.5]))


def positive(raw: Tensor) -> Tensor:
    return F.softplus(raw) + FLOOR


class PyroVAE:
    """The loop of `pyrovae.fit`, ends of epochs and all; with `compile`, its captured step."""

    def __init__(self, case: Case, batch: int, x: Tensor, *, compile: bool) -> None:
        self.loop = pyrovae_loop(case, batch, x, compile=compile)
        self.walk, self.size = walked(self.loop), sum(p.numel() for p in self.loop.trained.values())

    def run(self, steps: int) -> float:
        import pyro

        total, count = self._seen()
        with self.loop.program.isolated(), pyro.validation_enabled(False):
            for _ in islice(self.walk, steps):
                pass
        total_after, count_after = self._seen()
        return (total - total_after) / (count_after - count)

    def _seen(self) -> tuple[float, float]:
        """The sum of the bound over all data seen since the first step, and their number."""
        rows, means = len(self.loop.data.train), self.loop.state.history.get("train", [])
        total, _, _, count = self.loop.state.sums.tolist()
        return total + rows * sum(means), count + rows * len(means)


def walked(loop: Any) -> Iterator[None]:
    """`Loop.run`, handing back after each step: an epoch's preparations must not be paid in each round."""
    from pyrovae.training.batches import rows_of
    from pyrovae.training.progress import Progress

    position, quiet, loop.stop = loop.state.position, Progress(1, 1, show=False), lambda: True
    loop.run(quiet)  # makes ready, and stops before the first step
    while True:
        for rows, number in rows_of(loop.data, position, loop.settings):
            loop._step(rows, number)
            position.batch, position.step = position.batch + 1, position.step + 1
            if position.batch < loop.batch_count:
                yield
        loop._end_epoch(quiet, 1.0, loop.batch_count)
        yield


def pyrovae_loop(case: Case, batch: int, x: Tensor, *, compile: bool) -> Any:
    """A run at its first step, made as `fit` makes it; an epoch is every whole batch of x."""
    import pyrovae as pv
    from pyrovae.terms import Program
    from pyrovae.training.fit import _prepared
    from pyrovae.training.settings import Settings

    mlp = pv.networks.MLP(200, 200, activation="tanh")
    vae = pv.VAE(
        case.event_shape,
        case.latent_dim,
        prior=pv.priors.GaussianMixture(case.components) if case.components else None,
        likelihood=pv.likelihoods.Normal(scale="learned") if case.real else None,
        encoder=pv.networks.ConvEncoder() if case.images else mlp,
        decoder=pv.networks.ConvDecoder() if case.images else mlp,
    )
    whole = x[: len(x) // batch * batch]
    data = replace(pv.datasets.load(x[:10]), train=whole, validation=x[:2], test=x[:2])
    objective = pv.objectives.IWAE(case.particles) if case.particles > 1 else pv.objectives.ELBO()
    settings = Settings("adam", LR, 10**9, batch, 0, "constant", 0.0, None, None, 1e9, compile=compile)
    program = Program(vae)
    with program.isolated():
        loop = _prepared(program, data, objective, settings)
    put_first_weights(HandVAE(case), list(loop.trained.values()))
    return loop


@torch.no_grad()
def put_first_weights(net: HandVAE, trained: list[Tensor]) -> None:
    """PyroVAE's parameters are prior, likelihood, encoder, a head for loc and one for raw scale, decoder."""
    *body, weight, bias = net.encoder.parameters()
    heads = [half for pair in zip(weight.chunk(2), bias.chunk(2), strict=True) for half in pair]
    likelihood = [net.raw_scale] if hasattr(net, "raw_scale") else []
    given = [*net.prior.values(), *likelihood, *body, *heads, *net.decoder.parameters()]
    for mine, first in zip(trained, given, strict=True):
        assert mine.shape == first.shape, f"PyroVAE has {mine.shape} where the others have {first.shape}"
        mine.copy_(first)


class PyroSVI:
    """Pyro's documented way: `pyro.module`, a plate, `SVI.step`; validation off, as a careful user has it."""

    def __init__(self, case: Case, batch: int, x: Tensor) -> None:
        import pyro
        from pyro.infer import SVI, RenyiELBO, Trace_ELBO

        pyro.clear_param_store()
        pyro.enable_validation(False)
        self.x, self.batches, self.batch = x, indices(len(x), batch), batch
        net, many = HandVAE(case), case.particles > 1
        options = {"num_particles": case.particles, "max_plate_nesting": 1, "vectorize_particles": many}
        objective = RenyiELBO(alpha=0, **options) if many else Trace_ELBO(**options)
        self.svi = SVI(*pyro_program(case, net), pyro.optim.Adam({"lr": LR}), objective)
        self.size = sum(p.numel() for p in net.parameters())

    def run(self, steps: int) -> float:
        total = sum(self.svi.step(self.x[index]) for index in islice(self.batches, steps))
        return total / steps / self.batch


def pyro_program(case: Case, net: HandVAE) -> tuple[Callable, Callable]:
    """An ordinary model and guide over the hand-written networks."""
    import pyro
    import pyro.distributions as dist

    def prior() -> dist.TorchDistribution:
        if not case.components:
            return dist.Normal(torch.zeros(case.latent_dim), 1.0).to_event(1)
        mixture = pyro.module("prior", net.prior)
        components = dist.Normal(mixture["loc"], positive(mixture["raw_scale"])).to_event(1)
        return dist.MixtureSameFamily(dist.Categorical(logits=mixture["logits"]), components)

    def model(x: Tensor) -> None:
        decoder = pyro.module("decoder", net.decoder)
        with pyro.plate("data", len(x)):
            out = decoder(pyro.sample("z", prior()))
            if case.real:
                law = dist.Normal(out, positive(pyro.param("raw_scale", net.raw_scale)))
            else:
                law = dist.Bernoulli(logits=out)
            pyro.sample("x", law.to_event(len(case.event_shape)), obs=x)

    def guide(x: Tensor) -> None:
        encoder = pyro.module("encoder", net.encoder)
        with pyro.plate("data", len(x)):
            loc, raw = encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, positive(raw)).to_event(1))

    return model, guide


class PyTorch:
    """The terms by hand on plain tensors and one fused Adam; with `compile`, the loss through torch.compile.

    The optimiser's step stays as it is: compiled too, fused or not, it was never faster.
    """

    def __init__(self, case: Case, batch: int, x: Tensor, *, compile: bool) -> None:
        self.case, self.x, self.batches, self.net = case, x, indices(len(x), batch), HandVAE(case)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=LR, fused=True)
        self.size = sum(p.numel() for p in self.net.parameters())
        # Another batch size in the same process must not turn the shapes into symbols.
        self.loss = torch.compile(self._loss, dynamic=False) if compile else self._loss

    def _loss(self, data: Tensor, index: Tensor) -> Tensor:
        x, particles = data[index], self.case.particles
        loc, raw = self.net.encoder(x).chunk(2, -1)
        scale = positive(raw)
        noise = torch.randn(*([particles] if particles > 1 else []), *loc.shape)
        z = loc + scale * noise
        log_qz = -(0.5 * noise.square() + scale.log() + HALF_LOG_2PI).sum(-1)
        log_w = self._log_px(x, self.net.decoder(z)) + self._log_pz(z) - log_qz
        bound = log_w if particles == 1 else torch.logsumexp(log_w, 0) - math.log(particles)
        return -bound.mean()

    def _log_px(self, x: Tensor, out: Tensor) -> Tensor:
        event = len(self.case.event_shape)
        if not self.case.real:
            nll = F.binary_cross_entropy_with_logits(out, x.expand_as(out), reduction="none")
            return -nll.flatten(-event).sum(-1)
        scale = positive(self.net.raw_scale)
        log_px = -0.5 * ((x - out) / scale).square() - scale.log() - HALF_LOG_2PI
        return log_px.flatten(-event).sum(-1)

    def _log_pz(self, z: Tensor) -> Tensor:
        if not self.case.components:
            return -(0.5 * z.square() + HALF_LOG_2PI).sum(-1)
        prior = self.net.prior
        scale = positive(prior["raw_scale"])
        whitened = (z.unsqueeze(-2) - prior["loc"]) / scale
        log_components = -(0.5 * whitened.square() + scale.log() + HALF_LOG_2PI).sum(-1)
        return torch.logsumexp(log_components + prior["logits"].log_softmax(-1), -1)

    def run(self, steps: int) -> float:
        total = torch.zeros(())
        for index in islice(self.batches, steps):
            loss = self.loss(self.x, index)
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            total += loss.detach()
        return total.item() / steps


class NumPyro:
    """`SVI.update` in one compiled scan over the batches' indices, its state donated; dense networks only."""

    def __init__(self, case: Case, batch: int, x: Tensor) -> None:
        import jax
        from numpyro.infer import SVI, RenyiELBO, Trace_ELBO
        from numpyro.optim import Adam

        jax.config.update("jax_platforms", "cpu")
        self.batch, self.batches = batch, indices(len(x), batch)
        net, many = HandVAE(case), case.particles > 1
        objective = RenyiELBO(alpha=0, num_particles=case.particles) if many else Trace_ELBO()
        svi = SVI(*numpyro_program(case, net), Adam(LR), objective)
        data = jax.numpy.array(x.numpy())
        self.state = svi.init(jax.random.PRNGKey(0), data[:batch])
        self.size = sum(p.numel() for p in net.parameters())

        def scan(state: Any, index: Any, data: Any) -> tuple[Any, Any]:
            return jax.lax.scan(lambda state, rows: svi.update(state, data[rows]), state, index)

        self.scan = partial(jax.jit(scan, donate_argnums=0), data=data)

    def run(self, steps: int) -> float:
        index = torch.stack(list(islice(self.batches, steps))).int().numpy()
        self.state, losses = self.scan(self.state, index)
        return float(losses.mean()) / self.batch  # waits for the scan


def numpyro_program(case: Case, net: HandVAE) -> tuple[Callable, Callable]:
    """The same model and guide."""
    import jax
    import numpyro
    import numpyro.distributions as dist

    softplus, zeros = jax.nn.softplus, jax.numpy.zeros(case.latent_dim)
    mixture = {name: jax.numpy.array(value.detach().numpy()) for name, value in net.prior.items()}

    def first(net: nn.Sequential) -> list[list[jax.Array]]:
        linear = [layer for layer in net if isinstance(layer, nn.Linear)]
        return [[jax.numpy.array(p.detach().numpy().T) for p in (m.weight, m.bias)] for m in linear]

    def dense(layers: list[list[jax.Array]], x: jax.Array) -> jax.Array:
        *hidden, (weight, bias) = layers
        for w, b in hidden:
            x = jax.numpy.tanh(x @ w + b)
        return x @ weight + bias

    def prior() -> dist.Distribution:
        if not case.components:
            return dist.Normal(zeros, 1.0).to_event(1)
        learned = numpyro.param("prior", mixture)
        components = dist.Normal(learned["loc"], softplus(learned["raw_scale"]) + FLOOR).to_event(1)
        return dist.MixtureSameFamily(dist.Categorical(logits=learned["logits"]), components)

    def model(x: jax.Array) -> None:
        layers = numpyro.param("decoder", first(net.decoder))
        with numpyro.plate("data", len(x)):
            z = numpyro.sample("z", prior())
            numpyro.sample("x", dist.Bernoulli(logits=dense(layers, z)).to_event(1), obs=x)

    def guide(x: jax.Array) -> None:
        layers = numpyro.param("encoder", first(net.encoder))
        with numpyro.plate("data", len(x)):
            loc, raw = jax.numpy.split(dense(layers, x), 2, -1)
            numpyro.sample("z", dist.Normal(loc, softplus(raw) + FLOOR).to_event(1))

    return model, guide
