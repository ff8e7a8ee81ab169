from dataclasses import replace

import pytest

from verl_vip.errors import ConfigError, InfeasibleBudgetError, InvalidInputError
from verl_vip.simulation.run import Arm, SimulationSettings, simulate
from verl_vip.simulation.world import WorldSettings
from verl_vip.strategies.registry import STRATEGIES


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_every_strategy_trains_within_its_budget_and_repeatably(strategy, small):
    arm = Arm(strategy, "oracle" if strategy == "oracle" else "beta_table")
    run = simulate(arm, small, seed=1)
    assert all(0 <= step.rollouts <= small.budget.total for step in run.steps)
    assert all(0 <= step.trained <= step.rollouts for step in run.steps)
    assert all(step.oracle_variance <= step.uniform_variance * (1 + 1e-12) for step in run.steps)
    spent = sum(step.rollouts for step in run.steps)
    assert spent >= small.steps * small.budget.total or len(run.steps) == 4 * small.steps
    assert len(run.success) == len(run.steps) + 1
    assert all(0 <= success <= 1 for success in run.success)
    assert simulate(arm, small, seed=1) == run
    assert simulate(arm, small, seed=2) != run


@pytest.mark.parametrize("objective", ["rloo", "dr_grpo"])
def test_the_oracle_has_the_least_variance_and_uniform_none_of_the_reduction(objective, small):
    settings = replace(small, objective=objective)
    oracle = simulate(Arm("oracle", "oracle"), settings, 0)
    uniform = simulate(Arm("uniform", "beta_table"), settings, 0)
    assert all(step.variance == pytest.approx(step.oracle_variance) for step in oracle.steps)
    assert all(step.variance == pytest.approx(step.uniform_variance) for step in uniform.steps)
    assert all(step.serves_batch for step in (*oracle.steps, *uniform.steps))


def test_arms_of_one_seed_meet_the_same_first_batch(small):
    one, other = (simulate(Arm(name, "beta_table"), small, 3) for name in ("uniform", "knapsack"))
    assert one.success[0] == other.success[0]
    assert one.steps[0].uniform_variance == other.steps[0].uniform_variance


def test_arm_settings_reach_strategy_and_predictor(small):
    with pytest.raises(ConfigError, match="has no setting 'probes'"):
        simulate(Arm("hora", "beta_table", strategy_settings={"probes": 2}), small, 0)
    with pytest.raises(ConfigError, match="decay must be a finite number from 0 to 1"):
        simulate(Arm("vip", "beta_table", predictor_settings={"decay": 2.0}), small, 0)


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(InvalidInputError, match="steps must be at least 1"):
        SimulationSettings(steps=0)
    with pytest.raises(InvalidInputError, match="does not fit a data set of 8"):
        SimulationSettings(world=WorldSettings(num_prompts=8))
    with pytest.raises(InfeasibleBudgetError):
        SimulationSettings(lower=9)
