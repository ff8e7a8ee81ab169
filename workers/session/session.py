"""The life of a training run: its start, its state and records, its training steps and its validation."""

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from verl_vip.errors import ConfigError, IntegrationError, StateError
from verl_vip.execution.exclusive import hold
from verl_vip.prediction.covariates import PoolCovariates
from verl_vip.records.progress import format_groups, format_step
from verl_vip.records.records import RecordWriter, RunHeader, StepRecord, ValidationRecord, read_run
from verl_vip.records.schema import SCHEMA_VERSION
from verl_vip.records.settings import decisive_config, require_same_settings
from verl_vip.strategies.gradient_variance import GradientVariance
from verl_vip.workers.session.learned_ranges import LearnedRanges
from verl_vip.workers.session.metrics import step_metrics
from verl_vip.workers.session.outcomes import Rollouts, Stopwatch
from verl_vip.workers.session.planner import Planner
from verl_vip.workers.session.run_state import RunState
from verl_vip.workers.session.training_step import TrainingStep
from verl_vip.workers.session.update_terms import UpdateTerms
from verl_vip.workers.session.validation import ValidationTally
from verl_vip.workers.settings.run_settings import RunSettings, usable_folder
from verl_vip.workers.settings.strategy_settings import pool_warnings, require_usable_strategy, strategy_notes

logger = logging.getLogger("verl_vip")

#: Locked while a process trains in a checkpoint folder.
LOCK_FILE = ".vip.lock"
#: The most prompts whose counts are logged each step; the records hold all of them.
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

#: Takes the counts of a further round by uid, and the round's number; see `RolloutManager.sample_further`.
RoundSampler = Callable[[Mapping[str, int], int], dict[str, str]]


class Session:
    """Predictor, strategy and records of one run.

    `restore` and `start` come first. Then each training step is planned with `plan`, and taken with the object that
    `training_step` returns. A session locks its checkpoint folder until the process ends.

    Args:
        settings: The checked settings of the run.

    Raises:
        ConfigError: If a predictor, a strategy or an embedding model cannot be built, the strategy does not suit the
            other settings, the run's folder cannot be written to, or another process trains in it.
        InfeasibleBudgetError: If the bounds cannot hold the budget.
        StateError: If the embedding cache is damaged.
    """

    def __init__(self, settings: RunSettings) -> None:
        vip = settings.vip
        self.settings = settings
        self._variance = GradientVariance(vip.minimised, vip.utility, vip.utility_floor, vip.prior_strength_cap)
        self.planner = Planner(settings)
        self._embedding_model = self.planner.embedder.model_key
        self.state = RunState.fresh(vip, self._variance, self._embedding_model)
        require_usable_strategy(settings, self.state.strategy)
        usable_folder("trainer.default_local_dir", settings.checkpoint_dir)
        self.records = RecordWriter(settings.records_path)
        hold(settings.checkpoint_dir / LOCK_FILE, f"the training in {settings.checkpoint_dir}")
        self.sample_further: RoundSampler = _no_sampler
        self._last_step: int | None = None
        self._step: TrainingStep | None = None
        self._validation = ValidationTally()
        self._learned = LearnedRanges(vip)

    def restore(self) -> None:
        """Restore the state of the checkpoint that verl will resume from, if there is one.

        Raises:
            ConfigError: If that state is missing or unusable and `vip.on_missing_state` is "error", or if the run is
                finished and was trained with other settings.
        """
        folder = self.settings.resume_dir
        if folder is None:
            return
        self._require_same_settings(self.settings.last_step)
        try:
            self.state = RunState.of_checkpoint(folder, self.settings.vip, self._variance, self._embedding_model)
        except StateError as error:
            self._start_afresh(error)

    def _start_afresh(self, reason: StateError) -> None:
        """Replace the state by that of a new run, or raise `ConfigError` if `vip.on_missing_state` is "error"."""
        vip = self.settings.vip
        if vip.on_missing_state == "error":
            raise ConfigError(
                f"the predictor cannot resume from {self.settings.resume_dir}: {reason} Set vip.on_missing_state=fresh "
                "to continue the training with an untrained predictor, or trainer.resume_mode=disable to start over."
            ) from reason
        logger.warning("continuing with an untrained predictor, because vip.on_missing_state=fresh: %s", reason)
        self.state = RunState.fresh(vip, self._variance, self._embedding_model)
        self.state.rollouts_total = self._recorded_rollouts()

    def use_covariates(self, pool: PoolCovariates) -> None:
        """Take the covariates of the training set; a resumed run goes on with the numbers that it has learned from.

        Raises:
            ConfigError: If the training set has other values than those that a resumed run has learned from, and
                `vip.on_missing_state` is "error".
        """
        if not getattr(self.state.predictor, "uses_covariates", False):
            name = self.state.predictor_name
            logger.warning("vip.predictor=%s does not use vip.covariates; drifting_gp and ridge do.", name)
        try:
            self.state.take_covariates(pool)
        except StateError as error:
            self._start_afresh(error)
            self.state.take_covariates(pool)

    def start(
        self, last_step: int | None = None, sampler: RoundSampler | None = None, in_flight: Collection[str] = ()
    ) -> None:
        """Write the header of a run that verl has set up, and set aside the records of steps that will be repeated.

        Args:
            last_step: The last training step; None if unknown.
            sampler: Starts a further round of sampling.
            in_flight: Uids of the training prompts that verl restored with its checkpoint.

        Raises:
            ConfigError: If the restored counts are for other prompts, or if the run is finished and was trained with
                other settings.
        """
        settings = self.settings
        self._require_same_settings(last_step)
        self.state.require_counts(in_flight, settings)
        self._last_step = last_step
        for note in (*settings.notes, *strategy_notes(settings.vip, self.state.strategy)):
            logger.info("%s", note)
        for warning in pool_warnings(settings, self.state.strategy):
            logger.warning("%s", warning)
        if sampler is not None:
            self.sample_further = sampler
        if settings.resume_step is None:
            if aside := self.records.set_aside():
                logger.warning("the records of the earlier run in %s were moved to %s", settings.checkpoint_dir, aside)
        elif aside := self.records.rewind(settings.resume_step):
            logger.info("the records of the steps after %d were moved to %s", settings.resume_step, aside)
        self.records.append(
            RunHeader(
                started_at=time.time(),
                settings=settings.plain,
                versions=_versions(),
                prompts_per_step=settings.prompts_per_step,
                budget=settings.budget.total,
                resumed_from=settings.resume_step,
                schema=SCHEMA_VERSION,
                config=decisive_config(settings.config),
            )
        )

    def _require_same_settings(self, last_step: int | None) -> None:
        settings = self.settings
        require_same_settings(settings.records_path, settings.config, settings.resume_step, last_step)

    def _recorded_rollouts(self) -> int:
        if not self.settings.records_path.exists():
            return 0
        kept = [
            step for step in read_run(self.settings.records_path).steps if step.step <= (self.settings.resume_step or 0)
        ]
        return kept[-1].rollouts_total if kept else 0

    def save(self, folder: Path, step: int) -> None:
        """Write the state after `step` into verl's checkpoint folder and sync the records; at most once a step."""
        if self.state.saved_step != step:
            self.records.sync()
            self.state.save(folder, step)

    def plan(
        self,
        *,
        step: int,
        uids: Sequence[str],
        messages: Sequence[Any],
        labels: Sequence[str],
        tasks: Sequence[Mapping[str, Any]] = (),
    ) -> list[int]:
        """Decide how many rollouts each prompt gets, before any is sampled.

        Prompts that already have counts keep them: after a resume, verl submits the prompts in flight again.

        Args:
            step: The current training step.
            uids: The uids of one batch of `B` prompts, or of all batches that verl samples ahead.
            messages: The chat prompt of each uid, a list of messages.
            labels: The data source of each uid.
            tasks: The data set's row of each uid, with the columns that `vip.task_fields` names.

        Returns:
            The count of each uid in the first round.

        Raises:
            IntegrationError: If there is no prompt, or the strategy broke the budget.
        """
        if not uids:
            raise IntegrationError(
                f"verl submitted an empty batch at step {step}; check data.train_files, and whether "
                "data.filter_overlong_prompts left any prompt."
            )
        plans, size = self.state.plans, self.settings.prompts_per_step
        counted = plans.counts
        new = [row for row, uid in enumerate(uids) if uid not in counted]
        for first in range(0, len(new), size):
            rows = new[first : first + size]
            plan = self.planner.plan(
                self.state,
                step=plans.step_to_plan(step),
                uids=[uids[row] for row in rows],
                messages=[messages[row] for row in rows],
                labels=[labels[row] for row in rows],
                tasks=[tasks[row] for row in rows] if tasks else (),
            )
            plans.append(plan)
            counted |= zip(plan.uids, plan.counts, strict=True)
        return [counted[uid] for uid in uids]

    def training_step(self, step: int) -> TrainingStep:
        """Return the training step that verl takes now, with the batch that was planned for it.

        As long as the step is under way, every call returns the same object.

        Raises:
            IntegrationError: If no batch was planned for the step, or the step before it was not observed.
        """
        if self._step is None or self._step.is_over:
            self._step = TrainingStep(
                self.state.plans.head(step),
                settings=self.settings,
                state=self.state,
                variance=self._variance,
                learned=self._learned,
                finish=self._finish,
            )
        elif self._step.number != step:
            raise IntegrationError(
                f"training step {step} was started before step {self._step.number} was observed; another component "
                "calls verl-vip's session, or this version of verl is not supported."
            )
        return self._step

    @property
    def update_terms(self) -> UpdateTerms:
        """What the advantage estimators need to know of the latest training step.

        Raises:
            IntegrationError: If there was no step yet, or its rollouts have not been selected.
        """
        if self._step is None:
            raise IntegrationError(
                "advantages were requested before any batch was observed; check that "
                "trainer.v1.sampler.custom_sampler is set to verl_vip's Observer."
            )
        return self._step.update_terms

    def _finish(self, record: StepRecord) -> dict[str, float]:
        """Write and log a step's record, save the state if a checkpoint is due, and return the step's metrics."""
        watch = Stopwatch()
        self.state.plans.pop(record.step)
        metrics = step_metrics(record, self.state.predictor)
        self.records.append(record)
        logger.info("%s\n%s", format_step(record), format_groups(record, limit=_PROMPTS_LOGGED))
        watch.lap("record")
        if self._is_saved_after(record.step):
            # verl marks a checkpoint complete before it calls back. The state is in the folder by then, so a
            # complete checkpoint never lacks it.
            self.save(self.settings.checkpoint_dir / f"global_step_{record.step}", record.step)
        watch.lap("save")
        return {**metrics, **{f"vip/seconds/{part}": seconds for part, seconds in watch.seconds.items()}}

    def _is_saved_after(self, step: int) -> bool:
        frequency = self.settings.save_freq
        return frequency > 0 and (step % frequency == 0 or step == self._last_step)

    def expect_validation(self, uids: Sequence[str], labels: Sequence[str], samples: Sequence[int]) -> None:
        """Note the data source and the number of samples of each validation prompt."""
        self._validation.expect(uids, labels, samples)

    def observe_validation(self, *, step: int, rollouts: Rollouts) -> None:
        """Record a validation batch, with any rewards; the predictor does not learn from it."""
        correct, count = self._validation.count(rollouts, self._learned)
        self.records.append(
            ValidationRecord(
                step=step,
                wall_time=time.time(),
                rollouts_total=self.state.rollouts_total,
                correct=correct,
                count=count,
            )
        )


def _no_sampler(counts: Mapping[str, int], round_number: int) -> dict[str, str]:
    raise IntegrationError(
        f"round {round_number} of a step needs {sum(counts.values())} rollouts, and nothing samples them; check that "
        "actor_rollout_ref.rollout.agent.agent_loop_manager_class is set to verl_vip's RolloutManager."
    )


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
