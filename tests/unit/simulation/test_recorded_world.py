import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from verl_vip.errors import InvalidInputError
from verl_vip.prediction.contract import Prompts
from verl_vip.simulation.recorded_world import RecordedPolicy, RecordedWorld
from verl_vip.simulation.run import Arm, SimulationSettings, simulate
from verl_vip.simulation.update import Update


def world_of(rates):
    rates = torch.as_tensor(rates, dtype=torch.float64)
    embeddings = torch.randn(len(rates), 4, generator=torch.Generator().manual_seed(0))
    return RecordedWorld(Prompts(tuple(f"q{row}" for row in range(len(rates))), embeddings), rates)


@given(st.integers(1, 6), st.integers(1, 12))
def test_success_goes_from_the_first_recorded_rate_to_the_last_and_stays(times, steps):
    rates = torch.rand(3, times, generator=torch.Generator().manual_seed(times), dtype=torch.float64)
    policy = RecordedPolicy(world_of(rates), steps, 0)
    empty = torch.zeros(0, dtype=torch.float64)
    nothing = Update(empty, empty, 0, empty)
    for step in range(steps + 3):
        position = (times - 1) * min(step, steps - 1) / max(steps - 1, 1)
        before, after = int(position), min(int(position) + 1, times - 1)
        expected = rates[:, before] + (position - before) * (rates[:, after] - rates[:, before])
        torch.testing.assert_close(policy.success(), expected)
        policy.learn(torch.zeros(0, dtype=torch.int64), nothing)


def test_rewards_are_drawn_at_the_given_rates():
    policy = RecordedPolicy(world_of([[0.0], [0.25], [1.0]]), 1, 0)
    rewards = policy.sample(policy.success(), torch.tensor([50, 4000, 50]))
    assert [float(each.mean()) for each in rewards] == pytest.approx([0.0, 0.25, 1.0], abs=0.02)


def test_a_run_meets_the_record_and_known_rates_attain_everything(small):
    rates = torch.rand(small.world.num_prompts, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    record = world_of(rates)
    run = simulate(Arm("vip", "oracle"), small, 0, record)
    assert run.success[0] == pytest.approx(float(rates[:, 0].mean()))
    assert run.success[small.steps - 1] == pytest.approx(float(rates[:, -1].mean()))
    assert all(step.variance == pytest.approx(step.oracle_variance) for step in run.steps)
    assert simulate(Arm("vip", "oracle"), small, 0, record) == run


@pytest.mark.parametrize("rates", [[[0.5]], [0.5, 0.5], [[], []], [[0.5], [1.2]], [[0.5], [float("nan")]]])
def test_a_record_that_cannot_be_is_refused(rates):
    with pytest.raises(InvalidInputError, match="rates must be"):
        RecordedWorld(Prompts(("a", "b"), torch.eye(2)), torch.tensor(rates, dtype=torch.float64))


def test_a_record_smaller_than_a_batch_is_refused():
    with pytest.raises(InvalidInputError, match="does not fit a record of 3"):
        simulate(Arm("vip", "beta_table"), SimulationSettings(), 0, world_of([[0.5]] * 3))
