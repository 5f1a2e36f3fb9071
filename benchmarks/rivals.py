"""The contestants of `train_step.py`: one training step of the same VAE, in six implementations.

Each is built from (case, batch size, data x) and has one method, `run(steps)`: this number of steps on
batches gathered from x by an index, with Adam at 1e-3; it gives the mean loss over them in nats per
observation. They share the architecture, the first weights (those of `HandVAE`), softplus + 1e-4 for a
scale, the estimator log p(x|z) + log p(z) - log q(z|x) at a sample z, and IWAE's bound for K > 1. Each
imports only its own library, so that its memory can be measured alone.
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
    """Ten prototypes and noise around them, (ROWS, *event): binary or real values."""
    generator = torch.Generator().manual_seed(0)
    prototypes = torch.rand(10, *case.event_shape, generator=generator) ** 4
    means = prototypes[torch.randint(10, (ROWS,), generator=generator)]
    if case.real:
        return means + 0.1 * torch.randn(means.shape, generator=generator)
    return torch.bernoulli(means, generator=generator)


def indices(x: Tensor, batch: int) -> Iterator[Tensor]:
    """Whole batches of a new permutation in every epoch, without end, on the device of x."""
    while True:
        yield from torch.randperm(len(x), device=x.device)[: len(x) // batch * batch].split(batch)


# ---------------------------------------------------------------- networks, by hand


def encoder_of(case: Case) -> nn.Sequential:
    """From x to loc and raw scale of q(z|x) in one vector: one product instead of two."""
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


class Training:
    """The loop of `pyrovae.fit`, ends of epochs included, a few steps at a time."""

    def __init__(
        self, vae: Any, data: Any, objective: Any, batch: int, *, compile: bool, device: Any = "cpu"
    ) -> None:
        from pyrovae.terms import Runner
        from pyrovae.training.calling import Callbacks
        from pyrovae.training.fit import _job, _trained
        from pyrovae.training.loop import Loop
        from pyrovae.training.preparing import placed
        from pyrovae.training.progress import Progress
        from pyrovae.training.saver import Saver
        from pyrovae.training.settings import Settings

        never = {"kl_warmup": 0.0, "clip": None, "patience": None, "checkpoint_seconds": 1e9}
        usual = {"optimizer": "adam", "lr": LR, "seed": 0, "lr_schedule": "constant"}
        settings = Settings(epochs=10**9, batch_size=batch, compile=compile, **usual, **never)
        runner = Runner(vae)
        with runner.isolated():
            data = placed(runner, data, torch.device(device))
            trained = _trained(runner, data, objective, settings)
            job = _job(runner, data, objective, settings, trained, lambda: False)
        job.state.sums, self.device = job.state.sums.to(device), torch.device(device)
        idle = Callbacks((), job, None), lambda: None
        self.job, self.loop = job, Loop(job, Saver(job, None), Progress(job, show=False), *idle)
        self.walk = self._steps()

    def run(self, steps: int) -> None:
        from pyrovae.training.loop import _training

        with self.job.runner.isolated(), _training(self.job, self.device):
            for _ in islice(self.walk, steps):
                pass

    def _steps(self) -> Iterator[None]:
        """`Loop.run`, interrupted after each step: the start of an epoch must not be paid in each round."""
        from pyrovae.training.ahead import NextEpoch
        from pyrovae.training.batches import batches_of

        data, settings, position = self.job.data, self.job.settings, self.job.state.position
        with NextEpoch(data, settings) as rows:
            while True:
                self.loop._begin_epoch()
                for epoch, number in batches_of(data, position, settings, rows):
                    self.loop.steps.take(epoch, number)
                    position.batch, position.step = position.batch + 1, position.step + 1
                    if position.batch < self.job.batch_count:
                        yield
                self.loop._end_epoch(1.0, self.job.batch_count, store=False)
                yield


class PyroVAE(Training):
    """A run of `pyrovae.fit`; an epoch is every whole batch of x. With `compile`, its compiled step."""

    def __init__(self, case: Case, batch: int, x: Tensor, *, compile: bool) -> None:
        import pyrovae as pv

        mlp = pv.networks.MLP(200, 200, activation="tanh")
        vae = pv.VAE(
            case.event_shape,
            case.latent_dim,
            prior=pv.priors.GaussianMixture(case.components) if case.components else None,
            likelihood=pv.likelihoods.Normal(scale="learned") if case.real else None,
            encoder=pv.networks.ConvEncoder() if case.images else mlp,
            decoder=pv.networks.ConvDecoder() if case.images else mlp,
        )
        train, few = pv.Rows(x[: len(x) // batch * batch]), pv.Rows(x[:2])
        data = replace(pv.datasets.load(x[:10].cpu()), train=train, validation=few, test=few)
        objective = pv.objectives.IWAE(case.particles) if case.particles > 1 else pv.objectives.ELBO()
        super().__init__(vae, data, objective, batch, compile=compile, device=x.device)
        trained = list(self.job.trained.values())
        put_first_weights(HandVAE(case), trained)
        self.size = sum(p.numel() for p in trained)

    def run(self, steps: int) -> float:
        total, count = self._sums()
        super().run(steps)
        total_after, count_after = self._sums()
        return (total - total_after) / (count_after - count)

    def _sums(self) -> tuple[float, float]:
        """The sum of the bound over all rows since the first step, and their number."""
        rows, means = len(self.job.data.train), self.job.state.history.get("train", [])
        total, _, _, count = self.job.state.sums.tolist()
        return total + rows * sum(means), count + rows * len(means)


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
        self.x, self.batches, self.batch = x, indices(x, batch), batch
        net, many = HandVAE(case).to(x.device), case.particles > 1
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

    zeros = torch.zeros(case.latent_dim, device=next(net.parameters()).device)

    def prior() -> dist.TorchDistribution:
        if not case.components:
            return dist.Normal(zeros, 1.0).to_event(1)
        mixture = pyro.module("prior", net.prior)
        components = dist.Normal(mixture["loc"], positive(mixture["raw_scale"])).to_event(1)
        return dist.MixtureSameFamily(dist.Categorical(logits=mixture["logits"]), components)

    def model(x: Tensor) -> None:
        decoder = pyro.module("decoder", net.decoder)
        with pyro.plate("data", len(x)):
            out = decoder(pyro.sample("z", prior()))
            if case.real:
                p_x = dist.Normal(out, positive(pyro.param("raw_scale", net.raw_scale)))
            else:
                p_x = dist.Bernoulli(logits=out)
            pyro.sample("x", p_x.to_event(len(case.event_shape)), obs=x)

    def guide(x: Tensor) -> None:
        encoder = pyro.module("encoder", net.encoder)
        with pyro.plate("data", len(x)):
            loc, raw = encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, positive(raw)).to_event(1))

    return model, guide


class PyTorch:
    """The terms by hand on plain tensors and one fused Adam; with `compile`, the loss through torch.compile.

    The optimiser's step stays as it is: compiled too, fused or not, it was never faster. On a GPU
    torch.compile records its kernels in CUDA graphs.
    """

    def __init__(self, case: Case, batch: int, x: Tensor, *, compile: bool) -> None:
        self.case, self.x, self.batches = case, x, indices(x, batch)
        self.net = HandVAE(case).to(x.device)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=LR, fused=True)
        self.size = sum(p.numel() for p in self.net.parameters())
        # Another batch size in the same process must not turn the shapes into symbols.
        mode = "reduce-overhead" if x.is_cuda else None
        self.loss = torch.compile(self._loss, dynamic=False, mode=mode) if compile else self._loss

    def _loss(self, data: Tensor, index: Tensor) -> Tensor:
        x, particles = data[index], self.case.particles
        loc, raw = self.net.encoder(x).chunk(2, -1)
        scale = positive(raw)
        noise = torch.randn(*([particles] if particles > 1 else []), *loc.shape, device=loc.device)
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
        total = torch.zeros((), device=self.x.device)
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
        self.batch, self.batches = batch, indices(x, batch)
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
