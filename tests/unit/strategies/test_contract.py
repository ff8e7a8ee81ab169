from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from verl_vip.advantages.selection import Selection, Weighing
from verl_vip.errors import InfeasibleBudgetError, InvalidInputError, StateError
from verl_vip.strategies.contract import Budget, Stateless, Strategy
from verl_vip.strategies.registry import STRATEGIES, build_strategy

#: Strategies that serve every prompt in one round, and so spend the budget exactly.
ONE_ROUND = {
    "coba", "dynamo", "gvm", "knapsack", "oracle", "pods", "random_permutation", "uniform", "vip", "vip_paper",
    "vip_released_code",
}  # fmt: skip
STATEFUL = {
    "balanced", "balanced_clusters", "cero", "coba", "dynamic_pruning", "greso", "mopps", "pilot_commit", "prioritized",
    "random_permutation", "thompson",
}  # fmt: skip


def drawn_case(data):
    size = data.draw(st.integers(1, 10))
    lower = data.draw(st.integers(2, 5))
    upper = lower + data.draw(st.integers(0, 30))
    total = data.draw(st.integers(size * lower, size * upper))
    unit = st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1))
    p = data.draw(st.lists(unit, min_size=size, max_size=size))
    spread = data.draw(st.lists(st.floats(0, 0.9), min_size=size, max_size=size))
    return p, [m * (1 - m) * s for m, s in zip(p, spread, strict=True)], Budget(total, lower, upper)


@pytest.mark.parametrize("name", sorted(STRATEGIES))
@settings(max_examples=20, deadline=None, derandomize=True)
@given(data=st.data())
def test_budget_and_bounds_hold_over_all_rounds(name, data, batch, play):
    p, variance, budget = drawn_case(data)
    strategy = build_strategy(name, "rloo")
    for visit in range(2):
        step = play(strategy, *batch(p, variance), budget, success=p, seed=visit)
        totals = step.totals
        assert all(counts.dtype == torch.int64 and counts.shape == (len(p),) for counts in step.counts)
        assert all((counts >= 0).all() for counts in step.counts)
        assert totals.sum() <= budget.total
        assert ((totals == 0) | ((totals >= budget.lower) & (totals <= budget.upper))).all()
        if name in ONE_ROUND:
            assert len(step.counts) == 1
            assert totals.sum() == budget.total
        if strategy.decides_beforehand:
            assert name in ONE_ROUND
            assert step.selection == Selection()
        selection = step.selection
        assert selection.weighs <= strategy.weighs
        for flags in (selection.keep, selection.rollout_weight):
            assert flags is None or [len(row) for row in flags] == totals.tolist()
        assert selection.keep is None or all(row.dtype == torch.bool for row in selection.keep)
        assert selection.prompt_weight is None or selection.prompt_weight.shape == (len(p),)


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_restored_strategy_continues_exactly(name, batch, play, tmp_path):
    p = torch.rand(24, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    p[:4], p[4:8] = 0.0, 1.0
    budget = Budget(24 * 8, 3, 32)
    first, second = (build_strategy(name, "rloo") for _ in range(2))
    for visit in range(3):
        play(first, *batch(p, 0.3 * p * (1 - p)), budget, success=p, seed=visit)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for visit in range(3, 6):
        steps = [play(s, *batch(p, 0.3 * p * (1 - p)), budget, success=p, seed=visit) for s in (first, second)]
        one, other = steps
        assert [counts.tolist() for counts in one.counts] == [counts.tolist() for counts in other.counts]
        if one.selection.keep is not None:
            assert all(map(torch.equal, one.selection.keep, other.selection.keep))
    assert (first.state_dict() != {}) == (name in STATEFUL)


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_what_is_decided_beforehand_does_not_depend_on_rewards(name, batch, play):
    p = torch.rand(24, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    budget = Budget(24 * 8, 3, 32)
    plans = []
    for success in (torch.zeros(24), torch.ones(24)):
        strategy = build_strategy(name, "rloo")
        if not strategy.decides_beforehand:
            return
        for visit in range(3):
            last = play(strategy, *batch(p, 0.3 * p * (1 - p)), budget, success=success, seed=visit)
        plans.append(last.totals.tolist())
    assert plans[0] == plans[1]


@pytest.mark.parametrize("name", sorted(STATEFUL))
def test_state_of_another_strategy_is_refused(name):
    strategy = build_strategy(name, "rloo")
    with pytest.raises(StateError, match=str(strategy.state_dict()["kind"])):
        strategy.load_state_dict({"kind": "other", "version": 1, "values": {}})
    with pytest.raises(StateError, match="lacks"):
        strategy.load_state_dict({**strategy.state_dict(), "values": {}})


def test_a_stateless_strategy_refuses_a_state():
    stateless = Stateless()
    stateless.load_state_dict({})
    with pytest.raises(StateError, match="has no state"):
        stateless.load_state_dict({"kind": "greso"})


SETTINGS = [(name, {}) for name in sorted(STRATEGIES)] + [("prioritized", {"correction": 0.5})]


@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_a_strategy_weighs_what_it_says_it_weighs_and_no_more(name, settings, batch, play):
    p = torch.rand(24, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    strategy = build_strategy(name, "rloo", **settings)
    assert strategy.weighs <= set(get_args(Weighing))
    found = set()
    for visit, success in enumerate((p, torch.zeros(24), torch.ones(24))):
        step = play(strategy, *batch(p, 0.3 * p * (1 - p)), Budget(24 * 8, 3, 32), success=success, seed=visit)
        found |= step.selection.weighs
    assert found == strategy.weighs


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_every_strategy_keeps_the_contract(name, batch):
    strategy = build_strategy(name, "dr_grpo")
    assert isinstance(strategy, Strategy)
    assert strategy.pool_ratio >= 1
    with pytest.raises(InvalidInputError):
        next(strategy.rounds(*batch([0.5, 0.5]), Budget(1, 3, 8)))


@pytest.mark.parametrize(("total", "lower", "upper"), [(5, 3, 16), (33, 3, 16)])
def test_infeasible_budgets_name_their_numbers(total, lower, upper):
    with pytest.raises(InfeasibleBudgetError, match=f"take 6 to 32 rollouts, and the budget is {total}"):
        Budget(total, lower, upper).require_feasible(2)


@pytest.mark.parametrize(("prompts", "lower", "upper"), [(0, 1, 2), (2, 3, 2), (2, -1, 2)])
def test_malformed_budgets_are_refused(prompts, lower, upper):
    with pytest.raises(InvalidInputError):
        Budget(4, lower, upper).require_feasible(prompts)
