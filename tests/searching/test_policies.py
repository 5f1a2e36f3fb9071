"""Policies on arms whose answer is known: indices by hand, regret below its bound, known drift."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from pyrovae.errors import InputError
from pyrovae.names import names_of
from pyrovae.searching.curves import final_values, shapes
from pyrovae.searching.history import History
from pyrovae.searching.policies import EXP3, UCB, Halving, Policy, Thompson, Turns, as_policy
from pyrovae.searching.values import Curve, Mean

Arm = Callable[[int, np.random.Generator], float]  # the reward of its n-th pull

POLICIES = [
    UCB(),
    UCB(Mean()),
    Thompson(),
    Thompson(Mean(discount=0.9)),
    EXP3(),
    Halving(),
    Halving(value=Curve()),
    Turns(),
]


def play(policy: Policy, arms: list[Arm], pulls: int, seed: int = 0, full: int | None = None) -> History:
    rng, seen = np.random.default_rng(seed), []
    for _ in range(pulls):
        history = History(len(arms), pulls, seen, full, seed)
        arm = policy.next(history)
        seen.append((arm, arms[arm](int(history.counts[arm]) + 1, rng)))
    return History(len(arms), pulls, seen, full, seed)


def coin(p: float) -> Arm:
    return lambda _, rng: float(rng.random() < p)


def rising(end: float, gain: float, rate: float, noise: float = 0.02) -> Arm:
    """A reward that approaches `end` from below, with a rate for each pull."""
    return lambda n, rng: end - gain * rate**n + noise * rng.standard_normal()


# A slow starter that ends best: after 40 pulls 11.8, 10.0, 9.0; after 8 pulls 6.8, 10.0, 9.0.
DRIFTING = [rising(10.0, 5.0, 0.5), rising(12.0, 12.0, 0.9), rising(9.0, 5.0, 0.5)]


# ------------------------------------------------------------------ indices by hand


def test_ucb1_by_hand() -> None:
    history = History(2, 9, [(0, 1.0), (1, 0.0), (0, 0.5)])
    want = [0.75 + math.sqrt(2 * math.log(3) / 2), 0.0 + math.sqrt(2 * math.log(3) / 1)]
    assert UCB(Mean(scale=1.0)).index(history) == pytest.approx(want)


def test_discounted_ucb_by_hand() -> None:
    history = History(2, 9, [(0, 1.0), (1, 0.0), (0, 0.5)])
    counts = [0.25 + 1, 0.5]  # discount 1/2: the weights are 1/4, 1/2, 1
    values = [(0.25 * 1 + 0.5) / 1.25, 0.0]
    want = [v + 2 * math.sqrt(0.6 * math.log(1.75) / n) for v, n in zip(values, counts, strict=True)]
    assert UCB(Mean(discount=0.5, xi=0.6, scale=1.0)).index(history) == pytest.approx(want)


def test_window_forgets_what_is_before_it() -> None:
    history = History(2, 9, [(0, 100.0), (0, 1.0), (1, 0.0), (0, 0.5)])
    same = History(2, 9, [(0, 1.0), (1, 0.0), (0, 0.5)])
    for now, alone in ((Mean(window=3), Mean()), (Mean(window=3, scale=1.0), Mean(scale=1.0))):
        assert UCB(now).index(history) == pytest.approx(UCB(alone).index(same))


def test_exp3_by_hand() -> None:
    policy, gamma = EXP3(gamma=0.3, alpha=0.0, low=0.0, high=2.0), 0.3
    w = [1.0, 1.0, 1.0]
    for arm, gain in [(0, 0.5), (2, 1.0), (0, 0.0)]:
        p = [(1 - gamma) * v / sum(w) + gamma / 3 for v in w]
        w[arm] *= math.exp(gamma / 3 * gain / p[arm])
    want = [(1 - gamma) * v / sum(w) + gamma / 3 for v in w]
    history = History(3, 9, [(0, 1.0), (2, 2.0), (0, -5.0)])  # the last is below the range
    assert policy.probabilities(history) == pytest.approx(want)


def test_exp3_s_by_hand() -> None:
    gamma, alpha = 0.3, 0.1
    w = [1.0, 1.0]
    for arm, gain in [(0, 1.0), (1, 0.5)]:
        p = [(1 - gamma) * v / sum(w) + gamma / 2 for v in w]
        spread = math.e * alpha / 2 * sum(w)
        w = [v * (math.exp(gamma / 2 * gain / p[i]) if i == arm else 1) + spread for i, v in enumerate(w)]
    want = [(1 - gamma) * v / sum(w) + gamma / 2 for v in w]
    policy = EXP3(gamma=gamma, alpha=alpha, low=0.0, high=1.0)
    assert policy.probabilities(History(2, 9, [(0, 1.0), (1, 0.5)])) == pytest.approx(want)


def test_exp3_takes_the_gain_between_the_latest_rewards() -> None:
    """-30 is gone when arm 0 has -10: the gain of -12 is 0 then, not 0.9."""
    history = History(2, 9, [(0, -30.0), (1, -10.0), (0, -10.0), (1, -12.0)])
    assert EXP3()._gains(history) == [(0, 0.5), (1, 1.0), (0, 0.5), (1, 0.0)]


def test_thompson_draws_from_the_posterior() -> None:
    """Means 1.0 and 0.9 with errors s / sqrt(2): the first is larger with probability Phi(0.1 / s)."""
    seen = [(0, 0.5), (0, 1.5), (1, 0.4), (1, 1.4)]
    value, error = Mean().estimate(History(2, 9, seen))
    assert value == pytest.approx([1.0, 0.9])
    assert error == pytest.approx([math.sqrt(0.5) / math.sqrt(2)] * 2)
    first = [Thompson(Mean()).next(History(2, 9, seen, seed=seed)) == 0 for seed in range(4000)]
    want = 0.5 * (1 + math.erf(0.1 / math.sqrt(2 * 0.5) / math.sqrt(2)))
    assert np.mean(first) == pytest.approx(want, abs=5 * math.sqrt(want * (1 - want) / 4000))


@pytest.mark.parametrize(
    ("arms", "pulls", "eta", "want"),
    [
        (5, 40, 2.0, [(5, 2), (3, 4), (2, 6)]),
        (8, 24, 2.0, [(8, 1), (4, 2), (2, 4)]),
        (9, 36, 3.0, [(9, 2), (3, 6)]),
        (1, 7, 2.0, [(1, 7)]),
        (3, 2, 2.0, [(3, 1), (2, 1)]),  # too few pulls: one each
        (4, 8, 1.1, [(4, 1), (3, 1), (2, 1)]),
    ],
)
def test_schedule_of_halving(arms: int, pulls: int, eta: float, want: list[tuple[int, int]]) -> None:
    assert Halving(eta).schedule(arms, pulls) == want


def test_halving_keeps_its_schedule() -> None:
    history = play(Halving(), [coin(0.0)] * 3 + [lambda *_: 2.0, lambda *_: 1.0], 40)
    assert history.counts.tolist() == [6, 2, 2, 18, 12]  # 2, + 4, + 6, and 6 that are left; ties: the first
    assert set(history.arm[:10]) == {0, 1, 2, 3, 4}
    assert set(history.arm[22:34]) == {3, 4}
    assert set(history.arm[34:]) == {3}


def test_turns_pulls_all_alike() -> None:
    history = play(Turns(), DRIFTING, 10)
    assert history.arm.tolist() == [0, 1, 2] * 3 + [0]


# ------------------------------------------------------------------ regret of stationary arms


def test_regret_of_ucb1_is_logarithmic_and_below_its_bound() -> None:
    means, pulls = [0.9, 0.6, 0.5], 1000
    gaps = np.array([0.0, 0.3, 0.4])
    bound = sum(8 * math.log(pulls) / gap + (1 + math.pi**2 / 3) * gap for gap in gaps[1:])
    regrets = np.mean(
        [
            gaps[play(UCB(Mean(scale=1.0)), [coin(p) for p in means], pulls, seed).arm].cumsum()
            for seed in range(3)
        ],
        axis=0,
    )
    assert regrets[-1] < bound
    assert regrets[-1] < 0.5 * gaps.mean() * pulls  # half of pulling at random
    assert regrets[-1] < 1.4 * regrets[pulls // 2]  # ln 1000 / ln 500 = 1.11; linear regret has 2


def test_regret_of_exp3_is_below_its_bound() -> None:
    gaps, pulls = np.array([0.0, 0.8, 0.8]), 300
    arms = [coin(0.9), coin(0.1), coin(0.1)]
    regret = np.mean(
        [gaps[play(EXP3(alpha=0.0, low=0.0, high=1.0), arms, pulls, seed).arm].sum() for seed in range(3)]
    )
    assert regret < 2.63 * math.sqrt(pulls * 3 * math.log(3))
    assert regret < 0.7 * gaps.mean() * pulls


# ------------------------------------------------------------------ arms that learn


def test_mean_reward_misses_the_slow_starter() -> None:
    """What the textbook's policies see is how the arms were."""
    for policy in (UCB(Mean()), Halving()):
        history = play(policy, DRIFTING, 40)
        assert history.counts.argmax() == 0
        assert policy.next(history) == 0


@pytest.mark.parametrize("policy", [UCB(), Thompson(), Halving(value=Curve())], ids=repr)
@pytest.mark.parametrize("seed", range(5))
def test_curves_find_the_slow_starter(policy: Policy, seed: int) -> None:
    history = play(policy, DRIFTING, 40, seed)
    assert policy.best(history) == 1
    value, error = Curve().estimate(history)
    assert abs(value[1] - 11.82) < 3 * error[1] < 1.2


def test_best_is_not_an_arm_of_which_little_is_known() -> None:
    """Arm 1 has one reward, from which any end may follow."""
    seen = [(0, 10 - 5 * 0.5**n) for n in range(1, 10)] + [(1, 8.0)]
    assert UCB().best(History(2, 20, seen)) == 0


def test_exp3_s_follows_the_best_arm() -> None:
    """After 100 pulls the second arm becomes the better one."""
    pulls = 300
    seen: list[tuple[int, float]] = []
    counts = np.zeros(2)
    for t in range(pulls):
        arm = EXP3(gamma=0.2, alpha=0.01, low=0.0, high=1.0).next(History(2, pulls, seen))
        counts[arm] += t >= 200
        seen.append((arm, 0.5 if arm == 0 else float(t >= 100)))
    assert counts[1] > 0.7 * counts.sum()


# ------------------------------------------------------------------ the curves


@pytest.mark.parametrize("last", [2, 10, 100])
def test_shapes_fall_from_1_to_0(last: int) -> None:
    values = shapes(np.arange(1.0, last + 1), last)
    assert values[:, 0] == pytest.approx(np.ones(len(values)))
    assert values[:, -1] == pytest.approx(np.zeros(len(values)))
    assert (np.diff(values, axis=1) <= 1e-12).all()


@pytest.mark.parametrize("rate", [0.5, 0.8, 0.9])
@pytest.mark.parametrize("power", [0.5, 1.0])
def test_end_of_a_known_curve(rate: float, power: float) -> None:
    n = np.arange(1.0, 11.0)
    curves = [-100 - 40 * rate**n, -90 - 50 * n**-power]
    ends = [-100 - 40 * rate**40, -90 - 50 * 40**-power]
    value, error = final_values(curves, 40)
    assert (abs(value - ends) < 2 * error).all()
    assert (error < 8).all()


def test_errors_of_predictions_are_right() -> None:
    """Most true ends are within one error, and few beyond two."""
    rng, scores = np.random.default_rng(1), []
    for _ in range(40):
        rates = rng.uniform(0.4, 1.5, 4)
        curves = [-200 - 60 * np.arange(1.0, 26.0) ** -b + 0.1 * rng.standard_normal(25) for b in rates]
        value, error = final_values([curve[:8] for curve in curves], 25)
        scores += list((value - [curve[-1] for curve in curves]) / error)
    assert np.mean(np.abs(scores) < 1) > 0.6
    assert np.mean(np.abs(scores) > 2) < 0.08


def test_unit_and_shift_of_rewards_do_not_matter() -> None:
    curves = [np.array([1.0, 2.0, 2.5]), np.array([0.0, 2.0])]
    value, error = final_values(curves, 9)
    scaled, wider = final_values([100 * curve - 7 for curve in curves], 9)
    assert scaled == pytest.approx(100 * value - 7)
    assert wider == pytest.approx(100 * error)


def test_curves_without_a_change_end_where_they_are() -> None:
    value, error = final_values([np.full(6, -3.0), np.full(6, -3.0), np.empty(0)], 20)
    assert value[:2] == pytest.approx([-3.0, -3.0], abs=0.02)
    assert np.isfinite(value).all()
    assert (error > 0).all()


def test_arm_that_is_trained_to_the_end_has_its_own_value() -> None:
    curve = 10 - 5 * 0.7 ** np.arange(1.0, 21.0)
    value, error = final_values([curve], 20)
    assert value[0] == pytest.approx(curve[-1], abs=0.05)
    assert error[0] < 0.1


# ------------------------------------------------------------------ any policy


@pytest.mark.parametrize("policy", POLICIES, ids=repr)
def test_next_is_a_function_of_the_history(policy: Policy) -> None:
    history = play(policy, DRIFTING, 12)
    again = History(3, 12, list(history.seen), seed=0)
    assert policy.next(history) == policy.clone().next(again)
    assert type(policy).from_dict(policy.to_dict()) == policy
    assert policy.next(history) in range(3)


@pytest.mark.parametrize("policy", POLICIES, ids=repr)
def test_one_arm(policy: Policy) -> None:
    history = play(policy, DRIFTING[:1], 5)
    assert history.counts.tolist() == [5]
    assert policy.best(history) == 0


@pytest.mark.parametrize("policy", POLICIES, ids=repr)
def test_failed_arm_is_not_pulled_again(policy: Policy) -> None:
    arms = [lambda *_: math.nan, *DRIFTING, lambda n, _: 100.0 if n < 3 else -math.inf]
    history = play(policy, arms, 40)
    assert history.counts[0] <= 1
    assert history.counts[4] <= 3
    assert policy.best(history) in ((1, 2, 3) if history.counts[4] == 3 else (1, 2, 3, 4))


@pytest.mark.parametrize("policy", POLICIES, ids=repr)
def test_all_arms_failed(policy: Policy) -> None:
    history = History(2, 9, [(0, math.nan), (1, math.inf)])
    with pytest.raises(InputError, match="all arms have failed: change the arms"):
        policy.next(history)
    with pytest.raises(InputError, match="no arm has a reward"):
        policy.best(history)


@pytest.mark.parametrize("policy", POLICIES, ids=repr)
def test_equal_arms_are_all_pulled_and_give_an_answer(policy: Policy) -> None:
    history = play(policy, [lambda *_: 1.0] * 3, 12)
    assert (history.counts > 0).all()
    assert policy.best(history) in range(3)


@pytest.mark.parametrize("policy", POLICIES, ids=repr)
def test_arm_that_is_trained_to_the_end_is_not_pulled_again(policy: Policy) -> None:
    history = play(policy, DRIFTING, 18, full=6)
    assert history.counts.tolist() == [6, 6, 6]
    with pytest.raises(InputError, match="all arms are trained to the end"):
        policy.next(history)


def test_last_arm_of_halving_may_fail() -> None:
    """Then the best of the arms that were left out goes on."""
    seen = [(arm, reward) for arm, reward in ((0, 1.0), (1, 3.0), (2, 2.0), (3, 0.0))]
    history = History(4, 8, [*seen, (1, 3.0), (2, math.nan), (1, math.nan)])
    assert Halving().next(history) == 0


# ------------------------------------------------------------------ names and refusals


def test_policies_by_name() -> None:
    assert {"UCB", "Thompson", "EXP3", "Halving"} <= set(names_of(Policy))
    assert as_policy("exp3") == EXP3()
    with pytest.raises(InputError, match=r"there is no policy 'ucp': did you mean UCB\?"):
        as_policy("ucp")
    with pytest.raises(InputError, match="choose one of EXP3, Halving, Thompson, Turns, UCB"):
        as_policy("greedy")


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: Mean(discount=0.0), "discount of Mean"),
        (lambda: Mean(window=0), "window of Mean"),
        (lambda: Curve(1.5), "discount of Curve"),
        (lambda: EXP3(gamma=2.0), "gamma of EXP3"),
        (lambda: EXP3(low=0.0), "low and high of EXP3"),
        (lambda: EXP3(low=1.0, high=0.0), "low and high of EXP3"),
        (lambda: Halving(1.0), "eta of Halving"),
        (lambda: History(2, 9, [(2, 1.0)]), "there is no arm 2: number the 2 arms from 0"),
        (lambda: History(0, 9), "arms must be"),
    ],
)
def test_refused(build: Callable[[], object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        build()
