"""One training run in process: the library's strategy, predictor and advantages around a small policy.

Every step is one on-policy AdamW step, as verl makes it with one mini-batch a step: gradients clipped at 1, weight
decay 0.01. Accuracy is exact: each held-out prompt has one right answer, and the policy gives its probability, so
the curve has no evaluation noise but the choice of prompts.
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
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

#: How often free letters are drawn for each prompt when its success is computed (`rollouts.success`). What they are
#: matters so little that one draw leaves accuracy with a standard deviation of .002.
DRAWS = 1


@dataclass(frozen=True)
class RunPlan:
    """One run to make.

    Attributes:
        arm: What is compared.
        task_set: "tuning" or "report".
        learning_rate: AdamW's.
        seed: Of prompt order and sampling; the base model is the same for all.
        max_rollouts: Where the run ends.
        evaluate_every: SampledAnswers between two points of the curve.
        stop_at: The run ends earlier once two points in a row have this accuracy.
    """

    arm: TrainingArm
    task_set: str
    learning_rate: float
    seed: int
    max_rollouts: int
    evaluate_every: int
    stop_at: float

    def key(self) -> dict[str, Any]:
        """Return all that the result depends on, as JSON can hold it."""
        return asdict(self)


def accuracy(policy: Policy, world: TaskWorld) -> float:
    """Return the mean success probability on a world's held-out prompts."""
    return float(success(policy, world.held_out, DRAWS).mean())


def identity(key: Mapping[str, Any]) -> str:
    """Return a job's key, or what JSON made of it, as text to compare by."""
    return json.dumps(key, sort_keys=True)


@dataclass(frozen=True)
class CurvePoint:
    """Where a run stands: what it has spent so far, and the mean success probability on held-out prompts."""

    steps: int
    rollouts: int
    prompt_tokens: int
    answer_tokens: int
    seconds: float
    accuracy: float


@dataclass
class Clock:
    """Seconds spent on each part of training."""

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("predict", "sample", "update"), 0.0))

    @contextmanager
    def measure(self, part: str) -> Iterator[None]:
        """Add what the block takes to `part`."""
        began = time.thread_time()
        yield
        self.seconds[part] += time.thread_time() - began


class Run:
    """A run under way.

    Args:
        job: What to run.
        world: The prompts and base model of the job's task set.

    Attributes:
        policy: As trained so far.
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
        self._stream = PromptStream(len(world.prompts), job.seed)
        self._generator = torch.Generator().manual_seed(job.seed)
        self._strategy: Strategy = build_strategy(arm.strategy, arm.objective, **arm.strategy_settings)
        self._predictor: Predictor = build_predictor(arm.predictor, **arm.predictor_settings)
        self._clock = Clock()
        self._spent = {"steps": 0, "rollouts": 0, "prompt_tokens": 0, "answer_tokens": 0}

    def train(self) -> list[CurvePoint]:
        """Train to the end and return the learning curve, its first point before training."""
        curve = [self._point()]
        while self._spent["rollouts"] < self._job.max_rollouts and not self._has_arrived(curve):
            before = self._spent["rollouts"] // self._job.evaluate_every
            self._step()
            if self._spent["rollouts"] // self._job.evaluate_every > before:
                curve.append(self._point())
        return curve

    @property
    def seconds(self) -> dict[str, float]:
        """Processor seconds of each part, evaluation left out."""
        return self._clock.seconds

    def _has_arrived(self, curve: list[CurvePoint]) -> bool:
        last = [point.accuracy for point in curve[-2:]]
        return len(last) == 2 and min(last) >= self._job.stop_at

    def _point(self) -> CurvePoint:
        seconds = sum(self.seconds.values())
        return CurvePoint(**self._spent, seconds=seconds, accuracy=accuracy(self.policy, self._world))

    def _step(self) -> None:
        rows = self._stream.take(round(self._strategy.pool_ratio * self._arm.prompts))
        prompts, tokens = self._world.prompts.select(rows), self._world.train.select(rows)
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
        """Sample what the strategy asks for; return all rollouts, prompt by prompt."""
        parts = []
        while (counts := step.counts) is not None:
            with self._clock.measure("sample"):
                parts.append(sample(self.policy, tokens, counts, self._generator))
            with self._clock.measure("predict"):
                step.receive(torch.split(parts[-1].rewards, counts.tolist()))
        return SampledAnswers.join(parts)

    def _update(self, tokens: PromptTokens, rollouts: SampledAnswers, coefficient: Tensor) -> None:
        used = coefficient.nonzero()[:, 0]  # what counts for nothing need not be computed
        if not len(used):
            return
        log_p = log_probability(
            self.policy, tokens, rollouts.prompt[used], rollouts.tokens[used], rollouts.lengths[used]
        )
        self._optimizer.zero_grad()
        (-(coefficient[used].float() * log_p).sum()).backward()
        torch.nn.utils.clip_grad_norm_(self.policy.parameters(), 1.0)
        self._optimizer.step()
