import pytest

from verl_vip.strategies.contract import Budget
from verl_vip.strategies.registry import build_strategy

P = [0.01, 0.1, 0.2, 0.4, 0.5, 0.8, 0.95, 0.99]


@pytest.mark.parametrize(
    ("objective", "expected"), [("rloo", [4, 7, 10, 11, 12, 10, 6, 4]), ("dr_grpo", [4, 7, 10, 12, 12, 10, 5, 4])]
)
@pytest.mark.parametrize("name", ["vip", "vip_paper", "oracle"])
def test_golden_counts(name, objective, expected, batch, play):
    strategy = build_strategy(name, objective)
    step = play(strategy, *batch(P), Budget(64, 4, 12))
    assert step.totals.tolist() == expected
    assert step.selection.keep is None
    assert step.selection.prompt_weight is None


def test_uncertainty_lowers_a_prompts_worth_unless_plugged_in(batch, play):
    budget = Budget(32, 3, 29)
    prompts, prediction = batch([0.5, 0.5], [0.0, 0.2])
    sure, unsure = play(build_strategy("vip", "rloo"), prompts, prediction, budget).totals.tolist()
    assert sure > unsure
    assert play(build_strategy("vip_paper", "rloo"), prompts, prediction, budget).totals.tolist() == [16, 16]


def test_permutation_keeps_the_counts_and_changes_with_the_seed(batch, play):
    budget = Budget(64, 4, 12)
    best = play(build_strategy("vip", "rloo"), *batch(P), budget).totals.tolist()
    seen = set()
    for seed in range(4):
        strategy = build_strategy("random_permutation", "rloo", seed=seed)
        counts = play(strategy, *batch(P), budget).totals.tolist()
        assert sorted(counts) == sorted(best)
        again = build_strategy("random_permutation", "rloo", seed=seed)
        assert play(again, *batch(P), budget).totals.tolist() == counts
        seen.add(tuple(counts))
    assert len(seen) > 1
