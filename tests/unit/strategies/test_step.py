import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from verl_vip.advantages.selection import Selection
from verl_vip.errors import IntegrationError, InvalidInputError, StateError
from verl_vip.prediction.contract import Prediction
from verl_vip.strategies.contract import Budget, Stateless
from verl_vip.strategies.registry import STRATEGIES, build_strategy
from verl_vip.strategies.step import Step

BUDGET = Budget(total=24, lower=2, upper=10)


class Scripted(Stateless):
    """Yields given counts and keeps what it is told to."""

    def __init__(self, *rounds, selection=None, decides_beforehand=False):
        self.counts, self.last, self.decides_beforehand = rounds, selection or Selection(), decides_beforehand
        self.received = []

    def rounds(self, prompts, prediction, budget):
        for counts in self.counts:
            self.received.append((yield torch.tensor(counts)))
        return self.last


def start(batch, *rounds, **settings):
    strategy = Scripted(*rounds, **settings)
    return strategy, Step(strategy, *batch([0.5, 0.5, 0.5]), BUDGET, name="scripted")


def rewards(*groups):
    return tuple(torch.tensor(group, dtype=torch.float64) for group in groups)


def test_rounds_are_asked_for_one_after_the_other_and_joined(batch):
    strategy, step = start(batch, [2, 2, 0], [0, 4, 4])
    assert step.counts.tolist() == [2, 2, 0]
    with pytest.raises(IntegrationError, match="still waits for the rollouts of round 1"):
        _ = step.selection
    step.receive(rewards([1, 0], [0, 0], []))
    assert step.counts.tolist() == [0, 4, 4]
    step.receive(rewards([], [1, 1, 1, 0], [0, 0, 0, 0]))
    assert step.counts is None
    assert step.num_rounds == 2
    assert step.requested.tolist() == [2, 6, 4]
    assert [group.tolist() for group in step.outcomes] == [[1, 0], [0, 0, 1, 1, 1, 0], [0, 0, 0, 0]]
    assert step.selection == Selection()
    assert [len(received) for received in strategy.received] == [3, 3]


@pytest.mark.parametrize(
    ("counts", "complaint"),
    [
        ([9, 9, 9], "requested 27 rollouts over 3 prompts, at most 9 for one, but the budget is 24"),
        ([11, 2, 2], "at most 11 for one, but the budget is 24 and 10 for one"),
        ([4, 4], r"shape \\(2,\\)"),
        ([4, 4, -1], "with minimum -1"),
        ([4.0, 4.0, 4.0], "type torch.float32"),
        ([0, 0, 0], "requested no rollout"),
    ],
)
def test_counts_that_break_the_budget_are_refused_before_they_are_sampled(batch, counts, complaint):
    with pytest.raises(IntegrationError, match=complaint.replace("\\\\", "\\")):
        start(batch, counts)


def test_the_budget_holds_over_all_rounds_together(batch):
    _, step = start(batch, [8, 8, 8], [1, 0, 0])
    with pytest.raises(IntegrationError, match="requested 25 rollouts"):
        step.receive(rewards([0] * 8, [0] * 8, [0] * 8))
    _, step = start(batch, [6, 2, 2], [5, 0, 0])
    with pytest.raises(IntegrationError, match="at most 11 for one"):
        step.receive(rewards([0] * 6, [0] * 2, [0] * 2))


def test_a_strategy_that_decides_beforehand_must_spend_everything(batch):
    with pytest.raises(IntegrationError, match=r"23 rollouts .* it must spend the budget exactly"):
        start(batch, [8, 8, 7], decides_beforehand=True)
    _, step = start(batch, [8, 8, 8], decides_beforehand=True)
    assert step.requested.sum() == BUDGET.total


def test_a_selection_has_to_fit_what_came_back(batch):
    flags = tuple(torch.ones(8, dtype=torch.bool) for _ in range(3))
    _, step = start(batch, [8, 8, 8], selection=Selection(keep=flags))
    with pytest.raises(
        IntegrationError, match=r"'scripted': the selection is for 24 rollouts .*, but 23 rollouts of 3 prompts have"
    ):
        step.receive(rewards([0] * 8, [0] * 7, [0] * 8))
    _, step = start(batch, [8, 8, 8], selection=Selection(prompt_weight=torch.ones(2)))
    with pytest.raises(IntegrationError, match=r"'scripted': prompt_weight has shape \(2,\), and there are 3 prompts"):
        step.receive(rewards([0] * 8, [0] * 7, [0] * 8))


def test_a_selection_may_weigh_only_what_the_strategy_declared(batch):
    weighed = Selection(prompt_weight=torch.ones(3))
    strategy, step = start(batch, [2, 2, 2], selection=weighed)
    assert strategy.weighs == set()
    with pytest.raises(
        IntegrationError, match=r"'scripted' returned prompt_weight in its selection; it must declare that"
    ):
        step.receive(rewards([0] * 2, [0] * 2, [0] * 2))


@pytest.mark.parametrize("name", sorted(STRATEGIES))
@settings(max_examples=15, deadline=None, derandomize=True)
@given(lost=st.lists(st.integers(0, 2), min_size=12, max_size=12), seed=st.integers(0, 99))
def test_every_strategy_goes_on_when_rollouts_are_lost(name, lost, seed, batch):
    generator = torch.Generator().manual_seed(seed)
    p = torch.rand(12, generator=generator, dtype=torch.float64)
    budget = Budget(12 * 8, 3, 24)
    strategy = build_strategy(name, "rloo")
    step = Step(strategy, *batch(p, 0.3 * p * (1 - p)), budget, name=name)
    while step.counts is not None:
        step.receive(
            tuple(
                (torch.rand(max(int(count) - gone, 0), generator=generator, dtype=torch.float64) < chance).double()
                for count, gone, chance in zip(step.counts, lost, p, strict=True)
            )
        )
    assert step.requested.sum() <= budget.total
    kept = step.selection.keep
    assert kept is None or [len(row) for row in kept] == [len(row) for row in step.outcomes]


def test_rewards_that_were_not_asked_for_are_refused(batch):
    _, step = start(batch, [2, 2, 0])
    for wrong in (rewards([1, 0, 1], [0, 0], []), rewards([1, 0], [0, 0])):
        with pytest.raises(InvalidInputError, match=r"requested \[2, 2, 0\] rollouts and received"):
            step.receive(wrong)
    with pytest.raises(InvalidInputError, match="a reward is not finite"):
        step.receive(rewards([1, float("nan")], [0, 0], []))
    step.receive(rewards([1, 0], [0], []))
    with pytest.raises(IntegrationError, match="has ended its step"):
        step.receive(rewards([1, 0], [0, 0], []))


@pytest.mark.parametrize("mean", [[0.5, float("nan"), 0.5], [0.5, 1.5, 0.5], [0.5, -0.1, 0.5]])
def test_predictions_that_are_no_probabilities_are_refused(batch, mean):
    prompts, _ = batch([0.5, 0.5, 0.5])
    prediction = Prediction(torch.tensor(mean), torch.zeros(3))
    with pytest.raises(InvalidInputError, match=r"must lie in \[0, 1\]"):
        Step(Scripted([2, 2, 2]), prompts, prediction, BUDGET, name="scripted")


def test_a_step_needs_prompts_and_a_prediction_for_each(batch):
    prompts, prediction = batch([0.5, 0.5, 0.5])
    for few in (prompts.select([]), prompts.select([0, 1])):
        with pytest.raises(InvalidInputError, match="at least one prompt and one prediction for each"):
            Step(Scripted([2, 2, 2]), few, prediction, BUDGET, name="scripted")


@pytest.mark.parametrize("numbers", [(24.5, 2, 10), (24, 2.0, 10), (24, True, 10), (24, 5, 4), (24, -1, 4)])
def test_a_budget_is_integers_in_order(numbers):
    with pytest.raises(InvalidInputError, match=r"integer number of rollouts|0 <= lower <= upper"):
        Budget(*numbers)


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_a_step_of_which_no_rollout_came_back_does_not_stop_the_next(batch, name):
    strategy = build_strategy(name, "rloo")
    prompts, prediction = batch([0.2, 0.5, 0.8])
    for lost in (True, False):
        step = Step(strategy, prompts, prediction, BUDGET, name=name)
        while step.counts is not None:
            step.receive(tuple((torch.arange(0 if lost else int(count)) % 2).double() for count in step.counts))


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_states_of_something_else_are_refused(name):
    for state in ({"x": 1}, None, [1]):
        with pytest.raises(StateError):
            build_strategy(name, "rloo").load_state_dict(state)
