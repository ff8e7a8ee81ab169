"""One training run in this process, with the library's strategy, predictor and advantages, and a small policy.

Every step is one on-policy AdamW step, as in verl with one mini-batch per step: gradients are clipped at 1, and weight
decay is 0.01. Accuracy is exact: each held-out prompt has one right answer, and the policy gives its probability. The
only evaluation noise is the choice of prompts.
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.learning.arms import TrainingArm
from benchmarks.learning.policy import Policy
from benchmarks.learning.rollouts import PromptTokens, SampledAnswers, log_probability, sample, success
from benchmarks.learning.update import coefficients
from benchmarks.learning.world import TaskWorld
from verl_vip.prediction.baselines.oracle import Oracle
from verl_vip.prediction.contract import Predictor
from verl_vip.prediction.registry import build_predictor
from verl_vip.simulation.prompt_stream import PromptStream
from verl_vip.strategies.contract import Strategy
from verl_vip.strategies.registry import build_strategy
from verl_vip.strategies.step import Step

#: Draws of free letters for each prompt when its success probability is computed (`rollouts.success`). With one draw,
#: accuracy has a standard deviation of only .002.
DRAWS = 1


@dataclass(frozen=True)
class RunPlan:
    """The plan of one run.

    Attributes:
        arm: The arm.
        task_set: The name of the task set.
        learning_rate: AdamW's learning rate.
        seed: Seed of prompt order and sampling; the base model is the same for all seeds.
        max_rollouts: Length of the run.
        evaluate_every: Rollouts between two points of the curve.
        stop_at: The run ends earlier once two consecutive points have this accuracy.
    """

    arm: TrainingArm
    task_set: str
    learning_rate: float
    seed: int
    max_rollouts: int
    evaluate_every: int
    stop_at: float

    def key(self) -> dict[str, Any]:
        """Return everything that the result depends on, in a form that JSON can represent.

        Settings that were added after the first results are left out at their defaults, so that earlier results keep
        their keys.
        """
        key = asdict(self)
        if not self.arm.labels:
            del key["arm"]["labels"]
        if self.arm.estimator.prompt_weight == "equal":
            del key["arm"]["estimator"]["prompt_weight"]
        return key


def accuracy(policy: Policy, world: TaskWorld) -> float:
    """Return the mean success probability on a world's held-out prompts."""
    return float(success(policy, world.held_out, DRAWS).mean())


def accuracies(policy: Policy, world: TaskWorld) -> tuple[float, float]:
    """Return a point's `accuracy` and `pool_accuracy`; see `CurvePoint`."""
    own = success(policy, world.held_out, DRAWS)
    everything = own if world.beyond is None else torch.cat([own, success(policy, world.beyond, DRAWS)])
    pool = everything.mean() if world.shares is None else everything.double() @ world.shares
    return float(own.mean()), float(pool)


def identity(key: Mapping[str, Any]) -> str:
    """Return a job's key, before or after JSON, as text for comparison."""
    return json.dumps(key, sort_keys=True)


@dataclass(frozen=True)
class CurvePoint:
    """A point of a run: the amounts spent so far, and mean success probabilities on held-out prompts.

    Attributes:
        steps: Optimiser steps.
        rollouts: All sampled rollouts.
        prompt_tokens: Tokens of prompts, each prompt once a step.
        answer_tokens: Sampled tokens.
        seconds: Processor seconds without evaluation.
        accuracy: On held-out prompts of the families that can be learned, all equally often.
        pool_accuracy: On held-out prompts in the proportions of the training pool.
    """

    steps: int
    rollouts: int
    prompt_tokens: int
    answer_tokens: int
    seconds: float
    accuracy: float
    pool_accuracy: float


@dataclass
class Clock:
    """Seconds spent on each part of training."""

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("predict", "sample", "update"), 0.0))

    @contextmanager
    def measure(self, part: str) -> Iterator[None]:
        """Add the time of the block to `part`."""
        began = time.thread_time()
        yield
        self.seconds[part] += time.thread_time() - began


class Run:
    """A run in progress.

    Args:
        job: The plan of the run.
        world: The prompts and base model of the plan's task set.

    Attributes:
        policy: The current policy.
        rewards: The mean reward of each step's rollouts.
    """

    def __init__(self, job: RunPlan, world: TaskWorld) -> None:
        arm = job.arm
        self._job, self._world, self._arm = job, world, arm
        self.policy = world.policy()
        self.rewards: list[float] = []
        self._optimizer = torch.optim.AdamW(
            self.policy.parameters(), lr=job.learning_rate, weight_decay=0.01, foreach=True
        )
        labels = world.labels[arm.labels] if arm.labels else None
        self._prompts = replace(world.prompts, labels=labels)
        self._stream = PromptStream(len(world.prompts), job.seed)
        self._generator = torch.Generator().manual_seed(job.seed)
        self._strategy: Strategy = build_strategy(arm.strategy, arm.objective, **arm.strategy_settings)
        self._predictor: Predictor = build_predictor(arm.predictor, **arm.predictor_settings)
        self._clock = Clock()
        self._spent = {"steps": 0, "rollouts": 0, "prompt_tokens": 0, "answer_tokens": 0}

    def train(self) -> list[CurvePoint]:
        """Train to the end and return the learning curve; its first point is before training."""
        curve = [self._point()]
        while self._spent["rollouts"] < self._job.max_rollouts and not self._has_arrived(curve):
            before = self._spent["rollouts"] // self._job.evaluate_every
            self._step()
            if self._spent["rollouts"] // self._job.evaluate_every > before:
                curve.append(self._point())
        return curve

    @property
    def seconds(self) -> dict[str, float]:
        """Processor seconds of each part, without evaluation."""
        return self._clock.seconds

    def _has_arrived(self, curve: list[CurvePoint]) -> bool:
        last = [point.accuracy for point in curve[-2:]]
        return len(last) == 2 and min(last) >= self._job.stop_at

    def _point(self) -> CurvePoint:
        seconds = sum(self.seconds.values())
        own, pool = accuracies(self.policy, self._world)
        return CurvePoint(**self._spent, seconds=seconds, accuracy=own, pool_accuracy=pool)

    def _step(self) -> None:
        rows = self._stream.take(round(self._strategy.pool_ratio * self._arm.prompts))
        prompts, tokens = self._prompts.select(rows), self._world.train.select(rows)
        if isinstance(self._predictor, Oracle):
            self._predictor.tell(prompts.ids, success(self.policy, tokens, DRAWS, self._spent["steps"]))
        with self._clock.measure("predict"):
            prediction = self._predictor.predict(prompts)
            step = Step(self._strategy, prompts, prediction, self._arm.budget, name=self._arm.strategy)
        rollouts = self._play(step, tokens)
        with self._clock.measure("update"):
            coefficient = coefficients(step.outcomes, prediction, step.selection, self._arm.estimator)
            self._update(tokens, rollouts, coefficient)
        trials = torch.bincount(rollouts.prompt, minlength=len(rows))
        wins = torch.zeros(len(rows), dtype=torch.float64).index_add(0, rollouts.prompt, rollouts.rewards)
        seen = trials.nonzero()[:, 0]
        with self._clock.measure("predict"):
            self._predictor.observe(prompts.select(seen), wins[seen], trials[seen])
        self.rewards.append(float(rollouts.rewards.mean()))
        self._spent["steps"] += 1
        self._spent["rollouts"] += len(rollouts.rewards)
        self._spent["prompt_tokens"] += int(tokens.lengths[seen].sum())
        self._spent["answer_tokens"] += int(rollouts.lengths.sum())

    def _play(self, step: Step, tokens: PromptTokens) -> SampledAnswers:
        """Sample the rollouts that the strategy requests, and return them prompt by prompt."""
        parts = []
        while (counts := step.counts) is not None:
            with self._clock.measure("sample"):
                parts.append(sample(self.policy, tokens, counts, self._generator))
            with self._clock.measure("predict"):
                step.receive(torch.split(parts[-1].rewards, counts.tolist()))
        return SampledAnswers.join(parts)

    def _update(self, tokens: PromptTokens, rollouts: SampledAnswers, coefficient: Tensor) -> None:
        used = coefficient.nonzero()[:, 0]  # rollouts with weight zero are not computed
        if not len(used):
            return
        log_p = log_probability(
            self.policy, tokens, rollouts.prompt[used], rollouts.tokens[used], rollouts.lengths[used]
        )
        self._optimizer.zero_grad()
        (-(coefficient[used].float() * log_p).sum()).backward()
        torch.nn.utils.clip_grad_norm_(self.policy.parameters(), 1.0)
        self._optimizer.step()
