"""Bandits over VAEs: pulls are the training itself, shared encoders, resuming, failures, figures."""

import importlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from pyrovae import VAE, fit, log_evidence
from pyrovae.datasets import Data, load
from pyrovae.errors import InputError, NumericalError
from pyrovae.networks import MLP, ConvDecoder
from pyrovae.objectives import IWAE
from pyrovae.searching.arms import declared
from pyrovae.searching.bandit import bandit
from pyrovae.searching.policies import UCB, Halving, Turns
from pyrovae.searching.pulls import Log, Pull
from pyrovae.searching.rewards import SEED, reward_of
from pyrovae.searching.space import Space
from pyrovae.searching.values import Mean
from pyrovae.seeds import seeded
from pyrovae.training.checkpoint import Checkpoint
from pyrovae.training.loop import Loop
from pyrovae.training.steps import Steps

module = importlib.import_module("pyrovae.searching.bandit")

ARMS = {"small": {"decoder": MLP(4)}, "large": {"decoder": MLP(32)}, "conv": {"decoder": ConvDecoder((4, 2))}}
FIXED: dict[str, Any] = {
    "latent_dim": 2,
    "encoder": MLP(16),
    "lr": 3e-3,
    "batch_size": 64,
    "kl_warmup": 0.0,
    "compile": False,
    "particles": 5,
    "progress": False,
}


@pytest.fixture(scope="module")
def data() -> Data:
    return load("digits", binarize="dynamic", validation=100, test=1000)


def run(arms: Any, data: Data, **options: Any) -> Any:  # noqa: ANN401
    return bandit(arms, data, **FIXED | options)


def states(result: Any) -> dict[str, dict[str, torch.Tensor]]:  # noqa: ANN401
    return {name: arm.vae.state_dict() for name, arm in result.arms.items()}


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def trained_alone(data: Data, epochs: int, **parts: Any) -> VAE:  # noqa: ANN401
    own = {name: FIXED[name] for name in ("lr", "batch_size", "kl_warmup", "compile")}
    with seeded(0):
        vae = VAE.suited(data, latent_dim=2, encoder=MLP(16), **parts)
    fit(
        vae,
        data,
        **own,
        epochs=epochs,
        lr_schedule="constant",
        patience=None,
        keep="last",
        progress=False,
    )
    return vae


# ------------------------------------------------------------------ a pull is the training itself


@pytest.mark.parametrize("shared", [None, "encoder"])
def test_pulling_one_arm_is_training_that_vae(data: Data, shared: Any) -> None:  # noqa: ANN401
    result = run({"small": ARMS["small"]}, data, pulls=3, shared=shared)
    alone = trained_alone(data, 3, decoder=MLP(4))
    assert same(result.best.state_dict(), alone.state_dict())
    evidence = log_evidence(alone, data.validation, particles=5, seed=SEED)
    assert result.pulls["reward"].iloc[-1] == float(evidence.log_px.mean())


def test_pulls_in_between_change_nothing(data: Data) -> None:
    result = run(ARMS, data, pulls=9, policy="turns")
    for name, parts in ARMS.items():
        assert result.arms[name].epochs == 3
        assert same(states(result)[name], trained_alone(data, 3, **parts).state_dict())
    assert result.pulls["arm"].tolist() == ["small", "large", "conv"] * 3
    assert result.pulls["epochs"].tolist() == [1] * 3 + [2] * 3 + [3] * 3


def test_pull_of_several_epochs(data: Data) -> None:
    result = run({"small": ARMS["small"]}, data, pulls=2, epochs_a_pull=2)
    assert result.pulls["epochs"].tolist() == [2, 4]
    assert same(result.best.state_dict(), trained_alone(data, 4, decoder=MLP(4)).state_dict())


def test_bandit_ends_when_all_arms_are_trained(data: Data) -> None:
    result = run({"small": ARMS["small"]}, data, pulls=5, full=2)
    assert len(result.pulls) == 2


# ------------------------------------------------------------------ a shared encoder


def test_shared_encoder_is_trained_by_whoever_is_pulled(data: Data, tmp_path: Path) -> None:
    """After each pull all arms have one encoder, and the optimiser's moments of it go on."""
    result = run(ARMS, data, pulls=4, policy="turns", shared="encoder", out=tmp_path / "b", figures=False)
    encoders = [
        {k: v for k, v in own.items() if k.startswith("recognition")} for own in states(result).values()
    ]
    assert same(encoders[0], encoders[1])
    assert same(encoders[0], encoders[2])
    saved = {name: Checkpoint.read(tmp_path / "b/arms" / name / "last.ckpt", to_resume=True) for name in ARMS}
    steps = -(-len(data.train) // 64)
    for name, pulls in (("small", 4), ("large", 2), ("conv", 3)):
        names = [n for n, _ in result.arms[name].vae.named_parameters()]
        state = saved[name].optimizer["state"]
        counts = {n: int(state[i]["step"]) for i, n in enumerate(names)}
        own = 2 if name == "small" else 1
        assert {count for n, count in counts.items() if n.startswith("recognition")} == {pulls * steps}
        assert {count for n, count in counts.items() if n.startswith("generation")} == {own * steps}


def test_shared_encoder_by_hand(data: Data) -> None:
    """Two arms: one step after the other with one Adam for the encoder, in plain torch."""
    few = load("digits", binarize="threshold", validation=20, test=1757)
    rows = len(few.train)
    arms = {"a": {"decoder": MLP(4)}, "b": {"decoder": MLP(5)}}
    result = run(arms, few, pulls=3, policy="turns", shared="encoder", batch_size=rows)
    vaes = {}
    for name, own in arms.items():
        with seeded(0):
            vaes[name] = VAE.suited(few, latent_dim=2, encoder=MLP(16), **own)
    vaes["b"].share(vaes["a"])
    encoder = torch.optim.Adam(vaes["a"].recognition.parameters(), lr=3e-3)
    decoders = {n: torch.optim.Adam(v.generation.parameters(), lr=3e-3) for n, v in vaes.items()}
    for name, epoch in (("a", 0), ("b", 0), ("a", 1)):
        reference_step(few, vaes[name], epoch, [encoder, decoders[name]])
    for name, vae in vaes.items():
        for key, value in vae.state_dict().items():
            torch.testing.assert_close(states(result)[name][key], value, rtol=1e-4, atol=2e-5)


def reference_step(data: Data, vae: VAE, epoch: int, optimizers: list[torch.optim.Optimizer]) -> None:
    """The first step of an epoch of a run with seed 0, in which a batch has all rows.

    The noise of a run is that of torch's generator after the seed, which goes on from step to step
    of an arm.
    """
    from pyrovae.training.batches import order

    rows = data.epoch(epoch, 0)
    batch = rows.x[order(len(rows), 0, epoch)]
    generator = torch.Generator().manual_seed(0)
    noise = [torch.randn(1, len(rows), 2, generator=generator) for _ in range(epoch + 1)][epoch][0]
    q = vae.encode(batch)
    z = q.mean + q.stddev * noise
    loss = -(vae.decode(z).log_prob(batch) + vae.latents().log_prob(z) - q.log_prob(z)).mean()
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()


def test_arms_that_cannot_share_are_refused(data: Data) -> None:
    arms = {"one": {"encoder": MLP(8)}, "two": {"encoder": MLP(9)}}
    with pytest.raises(InputError, match=r"arms 'one' and 'two': the VAEs cannot share an encoder.*encoder"):
        run(arms, data, shared="encoder")
    arms = {"one": {"optimizer": "adam"}, "two": {"optimizer": "sgd"}}
    with pytest.raises(InputError, match=r"share an encoder and differ in optimizer \(adam and sgd\)"):
        run(arms, data, shared="encoder")
    with pytest.raises(InputError, match="a compiled step counts"):
        run({"one": {"compile": True}}, data, shared="encoder")


# ------------------------------------------------------------------ rewards


def test_rewards(data: Data) -> None:
    with seeded(0):
        vae = VAE.suited(data, latent_dim=2, encoder=MLP(16), decoder=MLP(4))
    result = fit(vae, data, epochs=8, progress=False)
    options = {"rows": None, "particles": 200}
    log_px = reward_of("log_px", result, data, **options)
    bound = reward_of("bound", result, data, **options)
    reconstruction = reward_of("reconstruction", result, data, **options)
    assert bound < log_px + 0.5  # one particle a row
    with torch.no_grad():
        kl = torch.distributions.kl_divergence(vae.encode(data.validation).base_dist, Normal(0, 1)).sum(-1)
    assert bound == pytest.approx(reconstruction - kl.mean().item(), abs=0.5)
    assert bound == result.history["validation"][-1]
    assert reconstruction == reward_of("reconstruction", result, data, **options)
    with torch.no_grad():
        z = vae.encode(data.validation).sample((300,))
        want = vae.decode(z).log_prob(data.validation.x).mean(-1)
    assert reconstruction == pytest.approx(want.mean().item(), abs=5 * want.std().item())
    some = reward_of("log_px", result, data, rows=10, particles=200)
    assert some == pytest.approx(
        float(log_evidence(vae, data.validation[:10], particles=200, seed=SEED).log_px.mean())
    )


# ------------------------------------------------------------------ the answer


def test_result(data: Data) -> None:
    result = run(ARMS, data, pulls=9, policy=Halving())
    table = result.table
    assert table.index[0] == result.chosen
    assert result.best is result.arms[result.chosen].vae
    assert table["pulls"].sum() == len(result.pulls) == 9
    assert (table["final_stderr"] > 0).all()
    assert "predicted after 9 pulls" in str(result)
    assert "log p(x), the bound L_5" in str(result)


def test_regret_by_hand(data: Data) -> None:
    result = run(ARMS, data, pulls=6, policy="turns")
    regret = result.regret({"small": -30.0, "large": [-50.0, -20.0], "conv": np.array(-26.0)})
    lost = {"small": 10.0, "large": 0.0, "conv": 6.0}
    assert regret["simple"].tolist() == [lost[name] for name in regret["chosen"]]
    assert regret["mean"].iloc[:4].tolist() == pytest.approx([10.0, 5.0, 16 / 3, 26 / 4])
    full = run(ARMS, data, pulls=9, policy=Turns())
    assert result.regret(full)["simple"].min() >= 0
    with pytest.raises(InputError, match="arm 'large' has no final reward"):
        result.regret({"small": -30.0})


def test_figures(data: Data, tmp_path: Path) -> None:
    result = run(ARMS, data, pulls=4, policy="turns", out=tmp_path / "b")
    assert {path.name for path in (tmp_path / "b/figures").iterdir()} == {
        "pulls.png",
        "rewards.png",
        "reconstructions.png",
    }
    labels = [text.get_text() for text in result.plot_arms(count=3).get_yticklabels()]
    assert labels == ["original", *ARMS]
    assert [bar.get_width() for bar in result.plot_pulls().patches] == [2, 1, 1]
    assert len(result.plot_regret(dict.fromkeys(ARMS, 0.0)).lines) == 1


# ------------------------------------------------------------------ arms


def test_arms_of_a_space(data: Data) -> None:
    space = Space.of(["decoder=MLP,ConvDecoder", "latent_dim=2,3"])
    result = bandit(
        space, data, pulls=4, policy="turns", **{k: v for k, v in FIXED.items() if k != "latent_dim"}
    )
    assert list(result.arms) == [
        "decoder=MLP latent_dim=2",
        "decoder=MLP latent_dim=3",
        "decoder=ConvDecoder latent_dim=2",
        "decoder=ConvDecoder latent_dim=3",
    ]
    assert [arm.vae.latent_dim for arm in result.arms.values()] == [2, 3, 2, 3]


def test_arms_in_words() -> None:
    arms = declared({"a": {"decoder": {"class_path": "MLP", "init_args": {"sizes": [7]}}}}, {"latent_dim": 2})
    assert arms == {"a": {"latent_dim": 2, "decoder": MLP(7)}}
    assert declared({"a": {"objective": IWAE(5), "lr": 0.1}}, {"lr": 0.2})["a"]["lr"] == 0.1


@pytest.mark.parametrize(
    ("arms", "options", "words"),
    [
        ({}, {}, "there are no arms"),
        ({"a": {"epochs": 3}}, {}, "arm 'a' has the option epochs, but a bandit chooses the epochs"),
        ({"a": {}}, {"patience": 3}, "stops training an arm by not pulling it"),
        ({"a": {}}, {"lr_schedule": "cosine"}, "the learning rate of an arm is constant"),
        ({"a": {"latent_dim": [2, 3]}}, {}, "arm 'a' has choices"),
        ({"a": MLP(3)}, {}, "arm 'a' must be a mapping of options"),
        ([MLP(3)], {}, "arms must be a mapping from names to options, or a Space"),
        ({"a": {"leatent_dim": 2}}, {}, "did you mean latent_dim"),
        ({"a": {}}, {"policy": "greedy"}, "there is no policy 'greedy'"),
        ({"a": {}}, {"reward": "loss"}, "reward must be"),
        ({"a": {}}, {"shared": "decoder"}, "shared must be"),
        ({"a": {}}, {"pulls": 0}, "pulls must be"),
    ],
)
def test_refused(data: Data, arms: Any, options: Any, words: str) -> None:  # noqa: ANN401
    with pytest.raises(InputError, match=words):
        run(arms, data, **options)


# ------------------------------------------------------------------ failures


def test_arm_that_cannot_be_declared_is_in_the_table(data: Data) -> None:
    arms = {"wrong": {"latent_dim": 0}, **ARMS}
    result = run(arms, data, pulls=3, policy="turns")
    assert result.pulls["arm"].tolist() == list(ARMS)
    assert "latent_dim must be" in result.table.loc["wrong", "failed"]
    assert "wrong" in str(result)
    with pytest.raises(InputError, match="latent_dim must be"):
        run({"wrong": {"latent_dim": 0}}, data)


@pytest.mark.parametrize("shared", [None, "encoder"])
def test_arm_that_diverges_is_not_pulled_again(
    data: Data,
    monkeypatch: pytest.MonkeyPatch,
    shared: Any,  # noqa: ANN401
) -> None:
    real = module.reward_of

    def breaks(kind: Any, result: Any, *rest: Any, **options: Any) -> float:  # noqa: ANN401
        if result.program.decoder == MLP(4):
            with torch.no_grad():  # as after a step with NaN
                for weight in result.program.parameters():
                    weight.fill_(float("nan"))
            raise NumericalError("the loss is nan in step 3")
        return real(kind, result, *rest, **options)

    monkeypatch.setattr(module, "reward_of", breaks)
    result = run(ARMS, data, pulls=6, policy="turns", shared=shared)
    assert result.pulls["arm"].tolist() == ["small", "large", "conv", "large", "conv", "large"]
    assert result.table.loc["small", "failed"] == "the loss is nan in step 3"
    assert result.chosen != "small"
    assert result.pulls["reward"].iloc[1:].notna().all()
    labels = [text.get_text() for text in result.plot_arms(count=2).get_yticklabels()]
    assert labels == ["original", "large", "conv"]
    with pytest.raises(InputError, match="the loss is nan in step 3"):
        run({"small": ARMS["small"]}, data, pulls=2)


def test_full_disk_is_not_the_fault_of_an_arm(data: Data, tmp_path: Path) -> None:
    (tmp_path / "b/arms").mkdir(parents=True)
    (tmp_path / "b/arms/large").write_text("in the way")
    with pytest.raises(InputError, match="cannot create the folder"):
        run(ARMS, data, pulls=3, policy="turns", out=tmp_path / "b", figures=False)
    (tmp_path / "b/arms/large").unlink()
    result = run(ARMS, data, pulls=3, policy="turns", out=tmp_path / "b", figures=False)
    assert result.pulls["reward"].notna().all()


# ------------------------------------------------------------------ resuming

BEFORE = """
import sys
from tests.searching.test_bandit import ARMS, load, run
data = load("digits", binarize="dynamic", validation=100, test=1000)
run(ARMS, data, pulls=8, policy="thompson", shared=eval(sys.argv[2]), out=sys.argv[1])
"""


@pytest.mark.parametrize("shared", [None, "encoder"])
def test_killed_bandit_ends_with_the_same_pulls(data: Data, tmp_path: Path, shared: Any) -> None:  # noqa: ANN401
    whole = run(ARMS, data, pulls=8, policy="thompson", shared=shared, out=tmp_path / "a", figures=False)
    words = [sys.executable, "-c", BEFORE, str(tmp_path / "b"), repr(shared)]
    process = subprocess.Popen(words, env=os.environ, cwd=Path(__file__).parents[2])
    log = tmp_path / "b/pulls.csv"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (not log.exists() or len(log.read_text().splitlines()) < 5):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = Log(log).pulls
    assert 3 <= len(done) < 8
    again = run(ARMS, data, pulls=8, policy="thompson", shared=shared, out=tmp_path / "b", figures=False)
    assert again.log[: len(done)] == done  # not repeated
    assert again.pulls[["arm", "reward", "epochs"]].equals(whole.pulls[["arm", "reward", "epochs"]])
    for name in ARMS:
        assert same(states(again)[name], states(whole)[name])


@pytest.mark.parametrize("shared", [None, "encoder"])
def test_more_pulls_later(data: Data, tmp_path: Path, shared: Any) -> None:  # noqa: ANN401
    """Settings that depend on the number of epochs, such as the warm-up, are those planned at first."""
    options = {"policy": "turns", "shared": shared, "figures": False}
    whole = run(ARMS, data, pulls=7, **options, kl_warmup=0.4)
    options["kl_warmup"] = None
    run(ARMS, data, pulls=4, out=tmp_path / "b", **options)
    again = run(ARMS, data, pulls=7, out=tmp_path / "b", **options)
    assert again.pulls[["arm", "reward"]].equals(whole.pulls[["arm", "reward"]])
    for name in ARMS:
        assert same(states(again)[name], states(whole)[name])


@pytest.mark.parametrize("shared", [None, "encoder"])
def test_killed_in_the_middle_of_an_epoch(
    data: Data,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shared: Any,  # noqa: ANN401
) -> None:
    """The pull goes on with the encoder that it has trained, not with that of the arm before."""
    options = {"policy": "turns", "shared": shared, "figures": False, "checkpoint_seconds": 0.0}
    arms = {name: ARMS[name] for name in ("small", "large")}
    whole = run(arms, data, pulls=4, **options)
    real, calls = Steps.take, []

    def dies(*args: Any) -> None:  # noqa: ANN401
        calls.append(1)
        if len(calls) == 3 * -(-len(data.train) // 64) - 4:  # in the third pull
            raise SystemExit
        real(*args)

    monkeypatch.setattr(Steps, "take", dies)
    with pytest.raises(SystemExit):
        run(arms, data, pulls=4, out=tmp_path / "b", **options)
    again = run(arms, data, pulls=4, out=tmp_path / "b", **options)
    assert again.pulls[["arm", "reward"]].equals(whole.pulls[["arm", "reward"]])
    for name in arms:
        assert same(states(again)[name], states(whole)[name])


def test_killed_between_training_and_log(data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The epoch is in the checkpoint already: it is not trained twice, and the encoder stays."""
    options = {"policy": "turns", "shared": "encoder", "figures": False}
    whole = run(ARMS, data, pulls=5, **options)
    real, calls = module.reward_of, []

    def dies(*args: Any, **named: Any) -> float:  # noqa: ANN401
        calls.append(1)
        if len(calls) == 4:
            raise SystemExit
        return real(*args, **named)

    monkeypatch.setattr(module, "reward_of", dies)
    with pytest.raises(SystemExit):
        run(ARMS, data, pulls=5, out=tmp_path / "b", **options)
    assert Log(tmp_path / "b/pulls.csv").pending == "small"
    again = run(ARMS, data, pulls=5, out=tmp_path / "b", **options)
    assert again.pulls[["arm", "reward"]].equals(whole.pulls[["arm", "reward"]])


def test_folder_of_another_bandit_is_refused(data: Data, tmp_path: Path) -> None:
    out = tmp_path / "b"
    run(ARMS, data, pulls=3, out=out, figures=False)
    for options, words in (
        ({"seed": 1}, r"holds another bandit \(seed was 0 and is 1\)"),
        ({"policy": UCB(Mean())}, r"another bandit \(policy"),
        ({"lr": 0.1}, r"another bandit \(arms.small.lr was 0.003 and is 0.1\)"),
        ({"reward": "bound"}, r"another bandit \(reward was log_px"),
    ):
        with pytest.raises(InputError, match=words):
            run(ARMS, data, **{"pulls": 3, "out": out} | options)
    other = load("digits", binarize="dynamic", validation=99, test=1000)
    with pytest.raises(InputError, match="another bandit .data"):
        run(ARMS, other, pulls=3, out=out)
    fit(VAE.suited(data, latent_dim=2), data, epochs=1, progress=False, out=tmp_path / "run", figures=False)
    with pytest.raises(InputError, match="holds a run, and a bandit needs its own folder"):
        run(ARMS, data, pulls=3, out=tmp_path / "run")


def test_stopped_bandit_has_the_pulls_that_are_done(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    real, calls = module.reward_of, []

    def stops(*args: Any, **named: Any) -> float:  # noqa: ANN401
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args, **named)

    monkeypatch.setattr(module, "reward_of", stops)
    with pytest.raises(KeyboardInterrupt, match="stopped after 2 of 6 pulls; go on with the same bandit"):
        run(ARMS, data, pulls=6, policy="turns", out=tmp_path / "b", progress=True)
    assert "2 of 6 pulls, stopped early" in capsys.readouterr().out
    again = run(ARMS, data, pulls=6, policy="turns", out=tmp_path / "b")
    assert len(again.pulls) == 6
    calls[:] = [1, 1]
    with pytest.raises(KeyboardInterrupt, match="stopped before the first pull was done"):
        run(ARMS, data, pulls=6)


def test_request_to_stop_in_the_last_step_of_a_pull_is_heard(
    data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`fit` has nothing left to stop then, and the bandit has."""
    real, calls = Loop.validate, []

    def asks(loop: Loop) -> dict[str, float]:
        calls.append(1)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return real(loop)

    monkeypatch.setattr(Loop, "validate", asks)
    with pytest.raises(KeyboardInterrupt, match="stopped after 2 of 6 pulls"):
        run(ARMS, data, pulls=6, policy="turns")


def test_request_to_stop_during_the_reward(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """log p(x) of the first rows only is not the reward."""
    rewards, calls = importlib.import_module("pyrovae.searching.rewards"), []

    def stopped(*args: Any, **options: Any) -> Any:  # noqa: ANN401
        calls.append(1)
        return replace(log_evidence(*args, **options), partial=len(calls) == 2)

    monkeypatch.setattr(rewards, "log_evidence", stopped)
    with pytest.raises(KeyboardInterrupt, match="stopped after 1 of 6 pulls"):
        run(ARMS, data, pulls=6, policy="turns")


def test_log(tmp_path: Path) -> None:
    log = Log(tmp_path / "pulls.csv")
    log.begin("a, b")
    log.end(Pull("a, b", -1 / 3, 2, 0.25))
    log.end(Pull("c", failed='it "failed", so'))
    log.begin("d")
    again = Log(tmp_path / "pulls.csv")
    assert again.pulls[0] == log.pulls[0]
    assert again.pulls[1].failed == 'it "failed", so'
    assert again.pending == "d"
    (tmp_path / "pulls.csv").write_text("pull,arm,reward\n1,a,x\n")
    with pytest.raises(InputError, match="is not the log of a bandit"):
        Log(tmp_path / "pulls.csv")
