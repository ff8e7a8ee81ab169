"""One simulated training run: one strategy, one predictor, one seed."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from verl_vip.allocation.allocate import ObjectiveName
from verl_vip.errors import InvalidInputError
from verl_vip.prediction.baselines.oracle import Oracle
from verl_vip.prediction.contract import Predictor, Prompts
from verl_vip.prediction.registry import build_predictor
from verl_vip.simulation.learner import Learner, LearnerSettings
from verl_vip.simulation.measures import StepMeasures, measure_step
from verl_vip.simulation.prompt_stream import PromptStream
from verl_vip.simulation.recorded_world import RecordedPolicy, RecordedWorld
from verl_vip.simulation.update import compute_update
from verl_vip.simulation.world import WorldSettings, make_world
from verl_vip.strategies.contract import Budget, Strategy
from verl_vip.strategies.outcomes import group_sizes, reward_means
from verl_vip.strategies.registry import build_strategy
from verl_vip.strategies.step import Step


@dataclass(frozen=True)
class SimulationSettings:
    """The settings that all arms of a comparison share.

    Attributes:
        world: The data set.
        learner: How the policy learns.
        objective: The advantage estimator.
        prompts_per_step: Prompts `B` of the nominal batch.
        rollouts_per_prompt: Mean rollouts of a prompt; times `B`, the hard budget of a step.
        lower: Least number of rollouts of a prompt that gets any.
        upper: Largest number of rollouts of a prompt.
        steps: Steps of an arm that spends its whole budget. An arm that spends less takes more steps, up to four times
            as many, until it has sampled as many rollouts.
    """

    world: WorldSettings = field(default_factory=WorldSettings)
    learner: LearnerSettings = field(default_factory=LearnerSettings)
    objective: ObjectiveName = "rloo"
    prompts_per_step: int = 64
    rollouts_per_prompt: int = 8
    lower: int = 3
    upper: int = 32
    steps: int = 96

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InvalidInputError(f"steps must be at least 1; got {self.steps}.")
        self.budget.require_feasible(self.prompts_per_step)
        if self.prompts_per_step > self.world.num_prompts:
            raise InvalidInputError(
                f"a batch of {self.prompts_per_step} prompts does not fit a data set of {self.world.num_prompts}; "
                "make the data set larger or the batch smaller."
            )

    @property
    def budget(self) -> Budget:
        """The hard budget of a step."""
        return Budget(self.prompts_per_step * self.rollouts_per_prompt, self.lower, self.upper)


@dataclass(frozen=True)
class Arm:
    """One way to train: a strategy and a predictor, with a name."""

    strategy: str
    predictor: str
    strategy_settings: dict[str, Any] = field(default_factory=dict)
    predictor_settings: dict[str, Any] = field(default_factory=dict)
    label: str = ""

    @property
    def name(self) -> str:
        """The label, or the strategy's name if there is none."""
        return self.label or self.strategy


@dataclass(frozen=True)
class RunResult:
    """A run's steps, and the mean success of all prompts before the first and after each of them."""

    steps: list[StepMeasures]
    success: list[float]


def simulate(arm: Arm, settings: SimulationSettings, seed: int, record: RecordedWorld | None = None) -> RunResult:
    """Train once. Equal arguments give equal results; arms with equal seeds have the same data set and order.

    Args:
        arm: Strategy and predictor. The predictor "oracle" gets the true probabilities before each step.
        settings: The settings that all arms share.
        seed: Seed of the data set, its order, the rewards and the noise.
        record: Recorded success rates, which the run follows in place of the world and the learner of the settings.

    Raises:
        InvalidInputError: If the record has fewer prompts than a batch.
    """
    learner: Learner | RecordedPolicy
    if record is None:
        world = make_world(settings.world, seed)
        everything, learner = world.prompts, Learner(world, settings.learner, seed)
    else:
        everything, learner = record.prompts, RecordedPolicy(record, settings.steps, seed)
        if len(everything) < settings.prompts_per_step:
            raise InvalidInputError(
                f"a batch of {settings.prompts_per_step} prompts does not fit a record of {len(everything)}; "
                "make the batch smaller."
            )
    stream = PromptStream(len(everything), seed)
    strategy = build_strategy(arm.strategy, settings.objective, **arm.strategy_settings)
    predictor = build_predictor(arm.predictor, **arm.predictor_settings)
    budget, nominal = settings.budget, settings.prompts_per_step
    success = learner.success()
    steps: list[StepMeasures] = []
    curve, spent = [float(success.mean())], 0
    while spent < settings.steps * budget.total and len(steps) < 4 * settings.steps:
        rows = stream.take(round(strategy.pool_ratio * nominal))
        prompts, p = everything.select(rows), success[rows]
        step = _play(strategy, predictor, learner, prompts, p, budget)
        outcomes, selection = step.outcomes, step.selection
        update = compute_update(outcomes, selection, p, settings.objective)
        steps.append(
            measure_step(
                outcomes,
                selection,
                update,
                p,
                budget=budget,
                nominal=nominal,
                num_rounds=step.num_rounds,
                objective=settings.objective,
            )
        )
        trials = group_sizes(outcomes)
        successes = reward_means(outcomes) * trials
        sampled = trials.nonzero()[:, 0]
        predictor.observe(prompts.select(sampled), successes[sampled], trials[sampled])
        learner.learn(rows, update)
        success = learner.success()
        curve.append(float(success.mean()))
        spent += steps[-1].rollouts
    return RunResult(steps, curve)


def _play(
    strategy: Strategy,
    predictor: Predictor,
    learner: Learner | RecordedPolicy,
    prompts: Prompts,
    success: Tensor,
    budget: Budget,
) -> Step:
    """Run all rounds of one step."""
    if isinstance(predictor, Oracle):
        predictor.tell(prompts.ids, success)
    step = Step(strategy, prompts, predictor.predict(prompts), budget, name=type(strategy).__name__)
    while step.counts is not None:
        step.receive(learner.sample(success, step.counts))
    return step
