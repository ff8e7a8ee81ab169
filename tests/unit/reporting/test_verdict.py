"""Whether it helped, and what it cost."""

import pytest

from verl_vip.reporting.grouping import group_runs
from verl_vip.reporting.verdict import verdict_cards
from verl_vip.statistics.intervals import mean_interval


def pairs(run_of, gains, n=8):
    """A run of "vip" for each gain, in points, and the uniform run of its seed."""
    other = {"actor_rollout_ref": {"rollout": {"n": n}}}
    runs = {}
    for seed, gain in enumerate(gains):
        for strategy, reached in (("uniform", 30.0), ("vip", 30.0 + gain)):
            name = f"{strategy}-n{n}-seed{seed}"
            runs[name] = run_of(name, strategy, {0: 10.0, 16: reached}, seed=seed, other=other)
    return runs


def test_a_gain_beyond_chance(run_of):
    against, cost = verdict_cards(group_runs(pairs(run_of, [10.0, 11.0, 14.0])))
    interval = mean_interval([0.10, 0.11, 0.14])
    assert 'class="card good"' in against
    assert "vip against uniform" in against
    assert "+11.7 points" in against
    assert (
        f"after 16 rollouts each; 95% interval {100 * interval.low:+.1f} to {100 * interval.high:+.1f} over 3"
        in against
    )
    assert "chance" not in against
    assert "Rollouts of a run" in cost


@pytest.mark.parametrize(
    ("gains", "look", "words"),
    [
        ([-10.0, -11.0, -14.0], "bad", "over 3 seeds"),
        ([-10.0, 11.0, 14.0], "", "which may be chance"),
        ([10.0], "", "a single seed, so this may be chance"),
    ],
)
def test_a_loss_and_what_may_be_chance(run_of, gains, look, words):
    against = verdict_cards(group_runs(pairs(run_of, gains)))[0]
    assert f'class="card {look}"' in against
    assert words in against


def test_several_settings_share_a_card(run_of):
    runs = pairs(run_of, [10.0, 11.0, 12.0], n=8) | pairs(run_of, [-9.0, 9.0, 0.0], n=16)
    against = verdict_cards(group_runs(runs))[0]
    assert "+0.0 to +11.0 points" in against
    assert "above in 1 and below in 0 of 2 settings" in against
    assert 'class="card "' in against


def test_without_a_baseline_there_is_only_the_cost(run_of):
    (cost,) = verdict_cards(group_runs({"a": run_of("a"), "b": run_of("b", "dars")}))
    assert "Rollouts of a run" in cost
    assert "nan" not in cost
