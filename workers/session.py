"""What the hooks of one training run share.

verl builds the checkpoint callback, the replay buffer, the rollout manager and the advantage estimator itself,
in one process, and gives them no way to meet. They meet here: this module holds the only process-wide state of
verl-vip, one `Session`.
"""

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor
from verl_vip.workers.run_settings import RunSettings

from verl_vip.errors import ConfigError, IntegrationError, InvalidInputError, StateError
from verl_vip.prediction.embedding import PromptEmbedder
from verl_vip.prediction.identity import prompt_id, prompt_text
from verl_vip.prediction.predictor import Prediction, Prompts
from verl_vip.prediction.registry import build_predictor
from verl_vip.reporting.progress import format_groups, format_step
from verl_vip.reporting.records import RecordWriter, RunHeader, StepRecord, ValidationRecord, read_run
from verl_vip.state_file import read_state, write_state
from verl_vip.strategies.registry import build_strategy
from verl_vip.strategies.strategy import Budget, Rounds

logger = logging.getLogger("verl_vip")

STATE_FILE = "vip_state.pt"
#: Most prompts whose counts are printed each step; the records hold all of them.
_PROMPTS_LOGGED = 64
_PACKAGES = (
    "verl-vip",
    "verl",
    "vllm",
    "torch",
    "transformers",
    "ray",
    "TransferQueue",
    "gpytorch",
    "sentence-transformers",
)


@dataclass
class _Plan:
    """One training batch between planning and observation."""

    step: int
    uids: list[str]
    labels: list[str]
    prompts: Prompts
    prediction: Prediction
    budget: int
    counts: list[int]
    rounds: Rounds
    seconds: dict[str, float]


class Session:
    """Predictor, strategy and records of one run.

    Args:
        settings: The checked settings of the run.
    """

    def __init__(self, settings: RunSettings) -> None:
        vip = settings.vip
        self.settings = settings
        self.predictor = build_predictor(vip.predictor, **vip.predictor_settings)
        self.strategy = build_strategy(vip.strategy, objective=vip.objective, **vip.strategy_settings)
        if self.strategy.pool_ratio > 1:
            raise ConfigError(
                f"vip.strategy={vip.strategy} chooses from more prompts than a batch holds, which verl's batch cannot "
                "do; choose a strategy that serves every prompt."
            )
        self.embedder = PromptEmbedder(vip.embedding_model, cache_dir=vip.cache_path)
        self.records = RecordWriter(settings.records_path)
        self.prompt_weights: dict[str, float] = {}
        self.rollouts_total = 0
        self._plan: _Plan | None = None
        self._saved_step: int | None = None
        self._validation_labels: dict[str, str] = {}

    # ------------------------------------------------------------------ start and state

    def start(self) -> None:
        """Restore the state that belongs to the checkpoint verl resumed from, and write the run's header.

        Raises:
            ConfigError: If that state is missing or unusable and `vip.on_missing_state` is "error".
        """
        settings = self.settings
        if settings.resume_dir is not None:
            self._restore(settings.resume_dir)
        self.records.rewind(settings.resume_step or 0)
        self.records.append(
            RunHeader(
                started_at=time.time(),
                settings=settings.plain,
                versions=_versions(),
                prompts_per_step=settings.prompts_per_step,
                budget=settings.budget.total,
                resumed_from=settings.resume_step,
            )
        )

    def _restore(self, folder: Path) -> None:
        path = folder / STATE_FILE
        try:
            state = read_state(path)
            if state.get("predictor_name") != self.settings.vip.predictor:
                raise StateError(
                    f"{path} holds the state of predictor {state.get('predictor_name')!r}, and vip.predictor is "
                    f"{self.settings.vip.predictor!r}."
                )
            self.predictor.load_state_dict(state["predictor"])
            if state.get("strategy_name") == self.settings.vip.strategy:
                self.strategy.load_state_dict(state["strategy"])
            else:
                logger.warning("strategy %s starts fresh; the checkpoint is of another", self.settings.vip.strategy)
        except StateError as error:
            if self.settings.vip.on_missing_state == "error":
                raise ConfigError(
                    f"the predictor cannot go on from {folder}: {error} Set vip.on_missing_state=fresh to continue "
                    "the training with an untrained predictor, or trainer.resume_mode=disable to start over."
                ) from error
            logger.warning("going on with an untrained predictor, as vip.on_missing_state=fresh asks: %s", error)
            self.rollouts_total = self._recorded_rollouts()
            return
        self.rollouts_total = int(state["rollouts_total"])
        self._saved_step = int(state["step"])
        logger.info(
            "resumed after step %d with the predictor's state from %s (%d rollouts so far)",
            self._saved_step,
            path,
            self.rollouts_total,
        )

    def _recorded_rollouts(self) -> int:
        if not self.settings.records_path.exists():
            return 0
        kept = [
            step for step in read_run(self.settings.records_path).steps if step.step <= (self.settings.resume_step or 0)
        ]
        return kept[-1].rollouts_total if kept else 0

    def save(self, folder: Path, step: int) -> None:
        """Write the state after `step` into verl's checkpoint folder; once a step is enough."""
        if self._saved_step == step:
            return
        write_state(
            folder / STATE_FILE,
            {
                "step": step,
                "rollouts_total": self.rollouts_total,
                "predictor_name": self.settings.vip.predictor,
                "predictor": self.predictor.state_dict(),
                "strategy_name": self.settings.vip.strategy,
                "strategy": self.strategy.state_dict(),
            },
        )
        self._saved_step = step

    # ------------------------------------------------------------------ one training step

    def plan(self, *, step: int, uids: Sequence[str], messages: Sequence[Any], labels: Sequence[str]) -> list[int]:
        """Decide how many rollouts each prompt of a batch gets, from what is known before sampling.

        Args:
            step: The training step.
            uids: `B` identifiers that verl drew for this batch.
            messages: `B` chat prompts, each a list of messages.
            labels: `B` data sources.

        Returns:
            `B` counts that sum to `B * rollout.n`.

        Raises:
            IntegrationError: If the strategy broke the budget.
        """
        watch = _Stopwatch()
        ids = tuple(prompt_id(message) for message in messages)
        prompts = Prompts(ids, self.embedder.embed(ids, [prompt_text(message) for message in messages]))
        watch.lap("embed")
        prediction = self.predictor.predict(prompts)
        watch.lap("predict")
        nominal = self.settings.budget
        per_prompt = nominal.total // self.settings.prompts_per_step
        budget = Budget(total=len(ids) * per_prompt, lower=nominal.lower, upper=nominal.upper)
        rounds = self.strategy.rounds(prompts, prediction, budget)
        counts = [int(count) for count in next(rounds)]
        watch.lap("allocate")
        if len(counts) != len(ids) or sum(counts) != budget.total:
            raise IntegrationError(
                f"strategy {self.settings.vip.strategy!r} asked for {sum(counts)} rollouts over {len(counts)} prompts "
                f"where the budget is {budget.total} over {len(ids)}; it must spend the budget exactly."
            )
        self._plan = _Plan(
            step, list(uids), list(labels), prompts, prediction, budget.total, counts, rounds, watch.seconds
        )
        return counts

    def observe(self, *, step: int, uids: Sequence[str], rewards: Sequence[float]) -> dict[str, float]:
        """Learn from a sampled batch.

        Args:
            step: The training step.
            uids: `N` identifiers, the prompt of each rollout.
            rewards: `N` rewards as the scorer gave them.

        Returns:
            The step's `vip/*` metrics.

        Raises:
            IntegrationError: If verl sampled other prompts, or the same number for each against the plan.
            InvalidInputError: If a reward is outside `vip.reward_range`.
        """
        plan = self._plan
        if plan is None or plan.step != step:
            raise IntegrationError(
                f"rollouts of step {step} arrived without a plan; is "
                "actor_rollout_ref.rollout.agent.agent_loop_manager_class set to verl_vip's RolloutManager?"
            )
        self._plan = None
        outcomes = self._outcomes(plan, uids, rewards)
        observed = [len(outcome) for outcome in outcomes]
        self._compare(plan, observed)
        self._finish(plan, outcomes)
        watch = _Stopwatch()
        successes = torch.stack([outcome.sum() for outcome in outcomes])
        self.predictor.observe(plan.prompts, successes, torch.tensor(observed))
        watch.lap("observe")
        self.rollouts_total += sum(observed)
        record = StepRecord(
            step=step,
            wall_time=time.time(),
            strategy=self.settings.vip.strategy,
            budget=plan.budget,
            ids=list(plan.prompts.ids),
            labels=plan.labels,
            requested=plan.counts,
            observed=observed,
            predicted=plan.prediction.mean.tolist(),
            predicted_variance=plan.prediction.variance.tolist(),
            successes=successes.tolist(),
            rollouts_total=self.rollouts_total,
            seconds={**plan.seconds, **watch.seconds},
        )
        self.records.append(record)
        logger.info("%s\n%s", format_step(record), format_groups(record, limit=_PROMPTS_LOGGED))
        if self.settings.save_freq > 0 and step % self.settings.save_freq == 0:
            # verl marks a checkpoint complete before it calls back. The state lies there by then, so that no
            # moment exists at which a complete checkpoint lacks it.
            self.save(self.settings.checkpoint_dir / f"global_step_{step}", step)
        return _metrics(record, self.predictor.metrics())

    def _outcomes(self, plan: _Plan, uids: Sequence[str], rewards: Sequence[float]) -> list[Tensor]:
        low, high = self.settings.vip.reward_range
        earned = defaultdict(list)
        for uid, reward in zip(uids, rewards, strict=True):
            share = (reward - low) / (high - low)
            if not -1e-6 <= share <= 1 + 1e-6:
                raise InvalidInputError(
                    f"a rollout of step {plan.step} earned {reward}, outside vip.reward_range=[{low}, {high}]; set "
                    "vip.reward_range to the scorer's rewards of a failed and of a solved rollout."
                )
            earned[uid].append(min(max(share, 0.0), 1.0))
        if strangers := set(earned) - set(plan.uids):
            raise IntegrationError(
                f"step {plan.step} holds rollouts of {len(strangers)} prompts that were not planned; another "
                "component submits prompts, and the budget no longer holds."
            )
        return [torch.tensor(earned[uid], dtype=torch.float64) for uid in plan.uids]

    def _compare(self, plan: _Plan, observed: list[int]) -> None:
        if observed == plan.counts:
            return
        if len(set(observed)) == 1 and len(set(plan.counts)) > 1:
            raise IntegrationError(
                f"verl sampled {observed[0]} rollouts for every prompt of step {plan.step} and ignored the requested "
                "counts; this version of verl does not read them. Run `verl-vip doctor`."
            )
        missing = [
            (uid, want, got) for uid, want, got in zip(plan.uids, plan.counts, observed, strict=True) if want != got
        ]
        logger.warning(
            "step %d: %d of %d prompts returned another number of rollouts than requested "
            "(first: %s wanted %d, got %d); failed rollouts are left out of the statistics and verl pads their rows",
            plan.step,
            len(missing),
            len(observed),
            *missing[0],
        )

    def _finish(self, plan: _Plan, outcomes: list[Tensor]) -> None:
        try:
            plan.rounds.send(tuple(outcomes))
        except StopIteration as stop:
            selection = stop.value
        else:
            raise ConfigError(
                f"vip.strategy={self.settings.vip.strategy} samples in several rounds, which verl's batch cannot do; "
                "choose a strategy that decides before sampling."
            )
        if selection.keep is not None:
            raise ConfigError(
                f"vip.strategy={self.settings.vip.strategy} trains on a part of what it sampled, which verl's batch "
                "cannot do; choose a strategy that uses every rollout."
            )
        weights = selection.prompt_weight
        self.prompt_weights = {} if weights is None else dict(zip(plan.uids, weights.tolist(), strict=True))

    # ------------------------------------------------------------------ validation

    def expect_validation(self, uids: Sequence[str], labels: Sequence[str]) -> None:
        """Note the data source of each validation prompt."""
        self._validation_labels.update(zip(uids, labels, strict=True))

    def observe_validation(self, *, step: int, uids: Sequence[str], rewards: Sequence[float]) -> None:
        """Record a validation batch; the predictor does not learn from it."""
        low, high = self.settings.vip.reward_range
        scores: dict[str, list[float]] = defaultdict(list)
        for uid, reward in zip(uids, rewards, strict=True):
            scores[uid].append((reward - low) / (high - low))
        correct: dict[str, float] = defaultdict(float)
        count: Counter[str] = Counter()
        for uid, shares in scores.items():
            label = self._validation_labels.get(uid, "")
            correct[label] += sum(shares) / len(shares)  # a problem counts once however often it was sampled
            count[label] += 1
        self._validation_labels.clear()
        self.records.append(
            ValidationRecord(
                step=step,
                wall_time=time.time(),
                rollouts_total=self.rollouts_total,
                correct=dict(correct),
                count=dict(count),
            )
        )


class _Stopwatch:
    """Seconds between laps, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = now - self._last
        self._last = now


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _metrics(record: StepRecord, predictor: Mapping[str, float]) -> dict[str, float]:
    trials = torch.tensor(record.observed, dtype=torch.float64)
    successes = torch.tensor(record.successes, dtype=torch.float64)
    silent = (successes == 0) | (successes == trials)
    predicted = torch.tensor(record.predicted, dtype=torch.float64)
    sampled = trials > 0
    brier = ((predicted - successes / trials) ** 2)[sampled].mean()
    return {
        "vip/budget": float(record.budget),
        "vip/rollouts/observed": float(sum(record.observed)),
        "vip/rollouts/cumulative": float(record.rollouts_total),
        "vip/count/min": float(min(record.requested)),
        "vip/count/max": float(max(record.requested)),
        "vip/groups/without_signal": float(silent.double().mean()),
        "vip/predictor/squared_error": float(brier),
        **{f"vip/predictor/{name}": value for name, value in predictor.items()},
        **{f"vip/seconds/{name}": value for name, value in record.seconds.items()},
    }


_session: Session | None = None


def open_session(config: DictConfig) -> Session:
    """Check verl's config and make the session of this process; replaces an earlier one."""
    global _session  # noqa: PLW0603  (see the module's docstring)
    _log_to_console()
    _session = Session(RunSettings.from_verl(config))
    return _session


def _log_to_console() -> None:
    # verl silences everything below WARNING in its driver; the run's progress is meant to be seen.
    logger.setLevel(logging.INFO)
    logger.propagate = False
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("verl-vip: %(message)s"))
        logger.addHandler(handler)


def current_session() -> Session:
    """Return the session of this process.

    Raises:
        ConfigError: If verl was not told to open one.
    """
    if _session is None:
        raise ConfigError(
            "verl-vip's hooks are only partly set: "
            "set trainer.checkpoint_callback_class=verl_vip.workers.checkpoint.PredictorCheckpoint, or add "
            "hydra.searchpath=[pkg://verl_vip.recipes] +vip=rloo, which sets all of them."
        )
    return _session
