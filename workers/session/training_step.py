"""One training step: the rollouts of its rounds, what the update uses of them, and what the predictor learns."""

import time
from collections.abc import Callable
from typing import Literal

import torch

from verl_vip.advantages.selection import SelectedRollouts
from verl_vip.errors import IntegrationError
from verl_vip.records.records import StepRecord
from verl_vip.strategies.gradient_variance import GradientVariance
from verl_vip.strategies.outcomes import group_sizes, has_signal
from verl_vip.workers.session.learned_ranges import LearnedRanges
from verl_vip.workers.session.outcomes import Plan, Rollouts, Stopwatch, group_by_prompt, require_requested
from verl_vip.workers.session.run_state import RunState
from verl_vip.workers.session.update_terms import UpdateTerms, kept_rollouts, with_rows
from verl_vip.workers.settings.run_settings import RunSettings

_CULPRIT = "another component calls verl-vip's session, or this version of verl is not supported."

#: Writes a step's record, and the checkpoint's state if one is due; returns the step's metrics.
Finish = Callable[[StepRecord], dict[str, float]]


class TrainingStep:
    """A training step whose batch of `B` prompts has been planned.

    The calls have one order: `receive` once for each round, until no further rollouts are requested; then `select`;
    then `observe`. `update_terms` can be read from `select` on. Any other order raises `IntegrationError`.

    Args:
        plan: The batch that the step takes.
        settings: The checked settings of the run.
        state: The run's state. Its predictor learns from the step.
        variance: The gradient variance that the strategy minimises.
        learned: The reward ranges seen so far; updated with the step's rewards.
        finish: Called with the step's record once the predictor has learned.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        settings: RunSettings,
        state: RunState,
        variance: GradientVariance,
        learned: LearnedRanges,
        finish: Finish,
    ) -> None:
        self._plan = plan
        self._settings, self._state, self._variance = settings, state, variance
        self._learned, self._finish = learned, finish
        self._ranges = [settings.vip.range_of(label) for label in plan.labels]
        self._terms: UpdateTerms | None = None
        self._due: Literal["receive", "select", "observe"] | None = "receive"

    @property
    def number(self) -> int:
        """The training step, counted from 1."""
        return self._plan.step

    @property
    def uids(self) -> list[str]:
        """The `B` uids whose rollouts the step takes."""
        return self._plan.uids

    @property
    def is_over(self) -> bool:
        """Whether the step has been observed."""
        return self._due is None

    @property
    def update_terms(self) -> UpdateTerms:
        """What the advantage estimator needs to know of the `B` prompts.

        Raises:
            IntegrationError: If the step's rollouts have not been selected yet.
        """
        if self._terms is None:
            raise IntegrationError(
                f"advantages of training step {self.number} were requested before its rollouts were selected; "
                f"{_CULPRIT}"
            )
        return self._terms

    def receive(self, rollouts: Rollouts, collect_seconds: float = 0.0) -> dict[str, int]:
        """Take in the rollouts of one round.

        Args:
            rollouts: What verl collected, the rollouts of each prompt in the order sampled.
            collect_seconds: Seconds spent reading them.

        Returns:
            The further rollouts that each prompt gets, by uid; empty after the last round.

        Raises:
            IntegrationError: If no rollouts are due, verl sampled other prompts, or it sampled the same number for
                each prompt against the plan.
            InvalidInputError: If a reward is outside the range of its data source.
        """
        self._require_due("receive")
        plan, watch = self._plan, Stopwatch()
        outcomes = group_by_prompt(plan, rollouts, self._ranges)
        label_of = dict(zip(plan.uids, plan.labels, strict=True))
        self._learned.see_training([label_of[uid] for uid in rollouts.uids], rollouts.rewards)
        require_requested(plan, outcomes, nominal=self._settings.rollout_n)
        watch.lap("collect")
        plan.rounds.receive(tuple(outcomes.rewards))
        plan.outcomes.append(outcomes)
        watch.lap("allocate")
        for part, seconds in {**watch.seconds, "collect": watch.seconds["collect"] + collect_seconds}.items():
            plan.seconds[part] = plan.seconds.get(part, 0.0) + seconds
        further = {uid: count for uid, count in zip(plan.uids, plan.counts, strict=True) if count}
        if not further:
            self._due = "select"
        return further

    def select(self) -> dict[str, list[int]] | None:
        """Apply the strategy's selection: which scored rollouts the update uses, and with which weights.

        Returns:
            Positions in the order received, by uid; None if every rollout is used.

        Raises:
            IntegrationError: If rollouts are still due, or they have been selected already.
        """
        self._require_due("select")
        plan = self._plan
        outcomes = plan.rounds.outcomes
        selection = with_rows(plan.rounds.selection, outcomes)
        selected = SelectedRollouts.of(selection, outcomes)
        self._terms = UpdateTerms.of_batch(plan.uids, plan.prediction, self._variance, self._ranges, selected)
        kept = kept_rollouts(selection)
        self._due = "observe"
        return None if kept is None else dict(zip(plan.uids, kept, strict=True))

    def observe(self) -> dict[str, float]:
        """Update the predictor with the step's outcomes, and record the step.

        Returns:
            The step's `vip/*` metrics.

        Raises:
            IntegrationError: If the rollouts have not been selected, or the step has been observed already.
        """
        self._require_due("observe")
        self._due = None
        plan, state, watch = self._plan, self._state, Stopwatch()
        outcomes = plan.rounds.outcomes
        observed = group_sizes(outcomes)
        successes = torch.stack([rewards.sum() for rewards in outcomes])
        squares = torch.stack([rewards.square().sum() for rewards in outcomes])
        state.predictor.observe(plan.prompts, successes, observed, squares)
        watch.lap("observe")
        state.rollouts_total += plan.arrived
        kept = kept_rollouts(with_rows(plan.rounds.selection, outcomes))
        return self._finish(
            StepRecord(
                step=plan.step,
                wall_time=time.time(),
                strategy=plan.strategy,
                budget=plan.budget.total,
                ids=list(plan.prompts.ids),
                labels=plan.labels,
                requested=plan.rounds.requested.tolist(),
                observed=observed.tolist(),
                predicted=plan.prediction.mean.tolist(),
                predicted_variance=plan.prediction.variance.tolist(),
                successes=successes.tolist(),
                rollouts_total=state.rollouts_total,
                seconds={**plan.seconds, **watch.seconds},
                tokens=plan.tokens,
                kept=None if kept is None else [len(positions) for positions in kept],
                rounds=plan.rounds.num_rounds,
                spends_all=state.strategy.decides_beforehand,
                varied=has_signal(outcomes).tolist(),
            )
        )

    def _require_due(self, call: Literal["receive", "select", "observe"]) -> None:
        if call == self._due:
            return
        due = "it is over" if self._due is None else f"{self._due}() is due"
        raise IntegrationError(f"training step {self.number}: {call}() was called, and {due}; {_CULPRIT}")
