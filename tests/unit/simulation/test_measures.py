import pytest
import torch

from verl_vip.advantages.selection import Selection
from verl_vip.simulation.measures import measure_step, variance_of_counts
from verl_vip.simulation.update import compute_update
from verl_vip.strategies.contract import Budget

P = torch.tensor([0.01, 0.1, 0.2, 0.4, 0.5, 0.8, 0.95, 0.99], dtype=torch.float64)
BUDGET = Budget(64, 4, 12)


@pytest.mark.parametrize(
    ("objective", "best", "even"), [("rloo", 0.113382828, 0.138185714), ("dr_grpo", 0.0885634637, 0.105798438)]
)
def test_golden_variances(objective, best, even):
    counts = {"rloo": [4, 7, 10, 11, 12, 10, 6, 4], "dr_grpo": [4, 7, 10, 12, 12, 10, 5, 4]}[objective]
    assert variance_of_counts(P, torch.tensor(counts), objective) == pytest.approx(best / 64, rel=1e-7)
    assert variance_of_counts(P, torch.full((8,), 8), objective) == pytest.approx(even / 64, rel=1e-7)


def measure(counts, selection, num_rounds=1, success=P):
    outcomes = tuple(torch.tensor([k % 2 for k in range(count)], dtype=torch.float64) for count in counts)
    update = compute_update(outcomes, selection, success, "rloo")
    return update, measure_step(
        outcomes,
        selection,
        update,
        success,
        budget=BUDGET,
        nominal=8,
        num_rounds=num_rounds,
        objective="rloo",
    )


def test_the_best_counts_have_the_oracles_variance_and_even_counts_uniforms():
    _, best = measure([4, 7, 10, 11, 12, 10, 6, 4], Selection())
    _, even = measure([8] * 8, Selection())
    assert best.serves_batch
    assert best.variance == best.oracle_variance < even.variance
    assert even.variance == even.uniform_variance
    assert best.rollouts == best.trained == 64


@pytest.mark.parametrize(
    ("counts", "selection", "num_rounds", "success"),
    [
        pytest.param([8] * 8, Selection(), 2, P, id="rounds"),
        pytest.param([16, 0] + [8] * 6, Selection(), 1, P, id="left out"),
        pytest.param([15, 1] + [8] * 6, Selection(), 1, P, id="single rollout"),
        pytest.param([8] * 16, Selection(), 1, P.repeat(2), id="pool"),
        pytest.param([8] * 8, Selection(prompt_weight=torch.ones(8)), 1, P, id="weights"),
    ],
)
def test_variances_of_other_gradients_are_told_apart(counts, selection, num_rounds, success):
    update, step = measure(counts, selection, num_rounds, success)
    assert not step.serves_batch
    assert step.variance == pytest.approx(float(update.noise.sum()) / update.used**2)


def test_silent_groups_are_counted_in_rollouts():
    outcomes = (torch.zeros(5).double(), torch.tensor([0.0, 1.0]).double(), torch.ones(3).double())
    p = torch.full((3,), 0.5).double()
    update = compute_update(outcomes, Selection(), p, "rloo")
    step = measure_step(
        outcomes, Selection(), update, p, budget=Budget(12, 2, 6), nominal=3, num_rounds=1, objective="rloo"
    )
    assert (step.rollouts, step.without_signal) == (10, 8)
