"""What a step planned, what came back of it, and whether the two agree."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from verl_vip.errors import IntegrationError, InvalidInputError
from verl_vip.prediction.contract import Prediction, Prompts
from verl_vip.strategies.contract import Budget
from verl_vip.strategies.step import Step

logger = logging.getLogger("verl_vip")

#: What a reward may miss its range by, in widths of it; and what it has lost of itself where verl stored it.
_ROUNDING = 1e-6
_SINGLE_PRECISION = 2.0**-23


@dataclass
class Plan:
    """One training batch of `B` prompts between planning and the end of its rounds.

    Attributes:
        step: The training step that takes the batch.
        strategy: Name of the strategy that chose the counts.
        uids: `B` identifiers that verl drew for this batch.
        labels: `B` data sources.
        prompts: The `B` prompts as the predictor sees them.
        prediction: What was predicted of them.
        budget: Of the step.
        rounds: The strategy's step.
        seconds: What each part took so far.
        outcomes: What came back, round by round.
    """

    step: int
    strategy: str
    uids: list[str]
    labels: list[str]
    prompts: Prompts
    prediction: Prediction
    budget: Budget
    rounds: Step
    seconds: dict[str, float]
    outcomes: "list[StepOutcomes]" = field(default_factory=list)

    @property
    def counts(self) -> list[int]:
        """`B` rollouts asked for in the round that is under way, all zero once the step is over."""
        counts = self.rounds.counts
        return [0] * len(self.uids) if counts is None else [int(count) for count in counts]

    @property
    def tokens(self) -> list[int]:
        """`B` sums of response tokens, all rounds together."""
        return [sum(column) for column in zip(*(round_.tokens for round_ in self.outcomes), strict=True)]

    @property
    def arrived(self) -> int:
        """Rollouts that came back, scored or not, all rounds together."""
        return sum(sum(round_.arrived) for round_ in self.outcomes)


@dataclass(frozen=True)
class Rollouts:
    """`N` rollouts that verl collected for a step, in any order.

    Attributes:
        uids: The prompt of each rollout.
        rewards: What the scorer gave each; NaN or infinite where it failed without an error.
        tokens: Response tokens of each.
        accuracies: What the scorer says of each beside its reward, from 0 (wrong) to 1 (right); None where it says
            nothing. Empty where it was not asked for.
    """

    uids: Sequence[str]
    rewards: Sequence[float]
    tokens: Sequence[int]
    accuracies: Sequence[float | None] = ()


@dataclass(frozen=True)
class StepOutcomes:
    """What came back for each of the `B` prompts of a plan.

    Attributes:
        rewards: `B` float64 tensors, the shares of success in [0, 1] of its scored rollouts.
        unscored: `B` counts of rollouts whose reward is not a finite number.
        tokens: `B` sums of response tokens, unscored rollouts included.
    """

    rewards: list[Tensor]
    unscored: list[int]
    tokens: list[int]

    @cached_property
    def observed(self) -> list[int]:
        """`B` counts of scored rollouts."""
        return [len(rewards) for rewards in self.rewards]

    @cached_property
    def arrived(self) -> list[int]:
        """`B` counts of all rollouts that came back."""
        return [scored + unscored for scored, unscored in zip(self.observed, self.unscored, strict=True)]


def _success_share(reward: float, reward_range: tuple[float, float], source: str) -> float:
    """Return where a reward lies between that of a failure (0) and that of a success (1); it must not lie outside."""
    low, high = reward_range
    share = (reward - low) / (high - low)
    slack = _ROUNDING + _SINGLE_PRECISION * max(abs(low), abs(high)) / (high - low)
    if not -slack <= share <= 1 + slack:
        raise InvalidInputError(
            f"a rollout of data source {source!r} earned {reward}, outside its range [{low}, {high}]; set "
            "vip.reward_range to the scorer's rewards of a failed and of a solved rollout, or "
            f"+vip.reward_range_by_source={{{source}: [failed, solved]}} if only this source has another scorer."
        )
    return min(max(share, 0.0), 1.0)


def group_by_prompt(plan: Plan, rollouts: Rollouts, ranges: Sequence[tuple[float, float]]) -> StepOutcomes:
    """Sort rollouts by planned prompt.

    Args:
        plan: The step's plan over `B` prompts.
        rollouts: What came back.
        ranges: `B` pairs, the rewards of a failed and of a solved rollout.

    Raises:
        IntegrationError: If a rollout is of a prompt that was not planned.
        InvalidInputError: If a finite reward is outside the range.
    """
    row_of = {uid: row for row, uid in enumerate(plan.uids)}
    if strangers := set(rollouts.uids) - row_of.keys():
        raise IntegrationError(
            f"step {plan.step} holds rollouts of {len(strangers)} prompts that were not planned; another "
            "component submits prompts, and the budget no longer holds."
        )
    shares: list[list[float]] = [[] for _ in plan.uids]
    unscored, tokens = [0] * len(plan.uids), [0] * len(plan.uids)
    for uid, reward, length in zip(rollouts.uids, rollouts.rewards, rollouts.tokens, strict=True):
        row = row_of[uid]
        tokens[row] += length
        if math.isfinite(reward):
            shares[row].append(_success_share(reward, ranges[row], plan.labels[row]))
        else:
            unscored[row] += 1
    return StepOutcomes([torch.tensor(share, dtype=torch.float64) for share in shares], unscored, tokens)


def require_requested(plan: Plan, outcomes: StepOutcomes, nominal: int) -> None:
    """Warn of rollouts that did not come back, or came back without a reward.

    Args:
        plan: The step's plan.
        outcomes: What came back.
        nominal: verl's own number of rollouts a prompt.

    Raises:
        IntegrationError: If verl sampled its own number instead of the requested ones.
    """
    arrived, counts = outcomes.arrived, plan.counts
    if any(got > want for got, want in zip(arrived, counts, strict=True)) and max(arrived) <= nominal:
        raise IntegrationError(
            f"verl sampled {max(arrived)} rollouts for every prompt of step {plan.step} and ignored the requested "
            "counts; this version of verl does not read them. Run `verl-vip doctor`."
        )
    differing = [row for row, want in enumerate(counts) if arrived[row] != want]
    if differing:
        first = differing[0]
        logger.warning(
            "step %d: %d of %d prompts returned another number of rollouts than requested, and %d returned none "
            "(first: %s %s wanted %d, got %d). Failed rollouts are left out of the statistics, and verl pads their "
            "rows; the agent-loop workers' errors are in the log.",
            plan.step,
            len(differing),
            len(arrived),
            arrived.count(0),
            plan.labels[first],
            plan.prompts.ids[first],
            counts[first],
            arrived[first],
        )
    if total := sum(outcomes.unscored):
        first = next(row for row, count in enumerate(outcomes.unscored) if count)
        logger.warning(
            "step %d: the rewards of %d rollouts of %d prompts are not finite numbers (first: %s %s). They are left "
            "out of the statistics and get no advantage; correct the reward function.",
            plan.step,
            total,
            sum(count > 0 for count in outcomes.unscored),
            plan.labels[first],
            plan.prompts.ids[first],
        )
