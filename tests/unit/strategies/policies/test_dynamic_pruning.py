import torch

from verl_vip.advantages.selection import Selection
from verl_vip.simulation.update import compute_update
from verl_vip.strategies.contract import Budget
from verl_vip.strategies.policies.dynamic_pruning import DynamicPruning


def test_expected_update_is_that_of_the_whole_batch(batch, play):
    script = [[1, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 0], [1, 0, 1, 0, 1, 0]]
    p = torch.tensor([0.1, 0.8, 0.5], dtype=torch.float64)
    strategy = DynamicPruning()
    estimates = []
    for _ in range(1500):
        step = play(strategy, *batch(p), Budget(18, 2, 8), script=script)
        update = compute_update(step.outcomes[0], step.selection, p, "rloo")
        estimates.append(update.signal / max(update.used, 1))
    found = torch.stack(estimates)
    whole = tuple(torch.tensor(values, dtype=torch.float64) for values in script)
    full = compute_update(whole, Selection(), p, "rloo")
    error = found.std(0) / len(estimates) ** 0.5
    assert ((found.mean(0) - full.signal / 3).abs() < 4 * error + 1e-12).all()


def test_prompts_of_certain_outcome_are_left_out_most(batch, play):
    strategy = DynamicPruning(prompt_pruning=0.9)
    p = [0.5] * 200 + [0.0] * 200
    totals = play(strategy, *batch(p), Budget(1600, 2, 8)).totals
    assert (totals[:200] == 4).all()
    assert 5 <= int((totals[200:] > 0).sum()) <= 40


def test_without_pruning_everything_is_kept_at_weight_one(batch, play):
    strategy = DynamicPruning(prompt_pruning=0.0, rollout_pruning=0.0)
    selection = play(strategy, *batch([0.2, 0.5]), Budget(16, 2, 8)).selection
    assert all(flags.all() for flags in selection.keep)
    assert selection.prompt_weight.tolist() == [1.0, 1.0]
    assert torch.cat(selection.rollout_weight).tolist() == [1.0] * 16
