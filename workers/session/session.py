"""What the hooks of one training run share.

verl builds the checkpoint callback, the replay buffer, the rollout manager and the advantage estimator itself,
in one process, and gives them no way to meet. They meet here: this module holds the only process-wide state of
verl-vip, one `Session`.
"""

import logging
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from verl_vip.advantages.selection import SelectedRollouts
from verl_vip.errors import ConfigError, InfeasibleBudgetError, IntegrationError, StateError
from verl_vip.execution.exclusive import hold
from verl_vip.records.progress import format_groups, format_step
from verl_vip.records.records import RecordWriter, RunHeader, StepRecord, ValidationRecord, read_run
from verl_vip.records.schema import SCHEMA_VERSION
from verl_vip.records.settings import decisive_config, require_same_settings
from verl_vip.strategies.gradient_variance import GradientVariance
from verl_vip.strategies.outcomes import group_sizes, has_signal
from verl_vip.workers.session.learned_ranges import LearnedRanges
from verl_vip.workers.session.metrics import step_metrics
from verl_vip.workers.session.outcomes import Plan, Rollouts, group_by_prompt, require_requested
from verl_vip.workers.session.planner import Planner
from verl_vip.workers.session.run_state import RunState
from verl_vip.workers.session.stopwatch import Stopwatch
from verl_vip.workers.session.update_terms import UpdateTerms, kept_rollouts, with_rows
from verl_vip.workers.session.validation import ValidationTally
from verl_vip.workers.settings.run_settings import RunSettings, usable_folder
from verl_vip.workers.settings.update_settings import selection_refusals

logger = logging.getLogger("verl_vip")

#: Held as long as a process trains in a checkpoint folder.
LOCK_FILE = ".vip.lock"
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


#: Takes further counts by uid and the number of their round; returns the uid of the prompt by that of its new group.
Sampler = Callable[[Mapping[str, int], int], dict[str, str]]


class Session:
    """Predictor, strategy and records of one run.

    The checkpoint folder is this process's own from here on, until the process ends.

    Args:
        settings: The checked settings of the run.

    Raises:
        ConfigError: If a predictor, a strategy or an embedding model cannot be built, the strategy does not go with
            the rest, the run's folder cannot be written to, or another process trains in it.
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
        self._require_budget()
        self._require_update()
        usable_folder("trainer.default_local_dir", settings.checkpoint_dir)
        self.records = RecordWriter(settings.records_path)
        hold(settings.checkpoint_dir / LOCK_FILE, f"the training in {settings.checkpoint_dir}")
        self.sample_further: Sampler = _no_sampler
        self._last_step: int | None = None
        self.update_terms: UpdateTerms | None = None
        self._validation = ValidationTally()
        self._learned = LearnedRanges(vip)

    def _require_budget(self) -> None:
        settings, strategy = self.settings, self.state.strategy
        if strategy.decides_beforehand or settings.vip.budget is None:
            try:
                settings.budget.require_feasible(settings.prompts_per_step)
            except InfeasibleBudgetError as error:
                raise InfeasibleBudgetError(
                    "vip.lower and vip.upper cannot hold the budget (vip.budget, or data.train_batch_size * "
                    f"actor_rollout_ref.rollout.n): {error}"
                ) from error
        if strategy.pool_ratio > 1 and settings.vip.budget is None:
            pool = settings.prompts_per_step * math.ceil(strategy.pool_ratio)
            raise ConfigError(
                f"vip.strategy={settings.vip.strategy} chooses from about {strategy.pool_ratio:g} candidates for each "
                f"prompt it serves, and the batch has none to spare; set data.train_batch_size={pool}, "
                f"vip.budget={settings.budget.total} and actor.ppo_mini_batch_size={settings.prompts_per_step}, which "
                "leaves what is sampled and trained on in a step as it is."
            )
        if settings.batches_ahead and not strategy.decides_beforehand:
            raise ConfigError(
                f"vip.strategy={settings.vip.strategy} chooses among prompts or goes by rewards, which is not kept for "
                "batches that trainer.v1.trainer_mode=colocate_async samples ahead; set trainer.v1.trainer_mode=sync, "
                "or vip.strategy=vip."
            )

    def _require_update(self) -> None:
        settings = self.settings
        for message in selection_refusals(
            settings.vip, self.state.strategy.weighs, ours=settings.weighs_rows, kl_in_reward=settings.kl_in_reward
        ):
            raise ConfigError(message)

    # ------------------------------------------------------------------ start and state

    def restore(self) -> None:
        """Restore the state that belongs to the checkpoint verl is going to resume from, if there is one.

        Raises:
            ConfigError: If that state is missing or unusable and `vip.on_missing_state` is "error", or if the run is
                finished and was trained with other settings.
        """
        folder = self.settings.resume_dir
        if folder is None:
            return
        self._require_same_settings(self.settings.last_step)
        vip = self.settings.vip
        try:
            self.state = RunState.of_checkpoint(folder, vip, self._variance, self._embedding_model)
        except StateError as error:
            if vip.on_missing_state == "error":
                raise ConfigError(
                    f"the predictor cannot go on from {folder}: {error} Set vip.on_missing_state=fresh to continue "
                    "the training with an untrained predictor, or trainer.resume_mode=disable to start over."
                ) from error
            logger.warning("going on with an untrained predictor, as vip.on_missing_state=fresh asks: %s", error)
            self.state.rollouts_total = self._recorded_rollouts()

    def start(
        self, last_step: int | None = None, sampler: Sampler | None = None, in_flight: Collection[str] = ()
    ) -> None:
        """Write the header of a run that verl has set up, after putting the records of steps it takes again aside.

        Args:
            last_step: The training step that verl ends with, where it is known.
            sampler: Starts a further round; see `RolloutManager.sample_further`.
            in_flight: Uids of the training prompts that verl restored with its checkpoint.

        Raises:
            ConfigError: If these are not the prompts that the restored counts are for, or if the run is finished and
                was trained with other settings.
        """
        settings = self.settings
        self._require_same_settings(last_step)
        self.state.require_counts(in_flight, settings)
        self._last_step = last_step
        for note in settings.notes:
            logger.info("%s", note)
        if sampler is not None:
            self.sample_further = sampler
        if settings.resume_step is None:
            if aside := self.records.set_aside():
                logger.warning("the records of the run that was in %s are in %s now", settings.checkpoint_dir, aside)
        elif aside := self.records.rewind(settings.resume_step):
            logger.info("the records of steps after %d, which are taken again, are in %s", settings.resume_step, aside)
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
        """Write the state after `step` into verl's checkpoint folder, with the records; once a step is enough."""
        if self.state.saved_step != step:
            self.records.sync()
            self.state.save(folder, step)

    # ------------------------------------------------------------------ one training step

    def plan(
        self,
        *,
        step: int,
        uids: Sequence[str],
        messages: Sequence[Any],
        labels: Sequence[str],
        tasks: Sequence[Mapping[str, Any]] = (),
    ) -> list[int]:
        """Decide how many rollouts each prompt gets, from what is known before sampling.

        Prompts that have counts keep them: a resumed trainer submits those again that were in flight.

        Args:
            step: The training step under way.
            uids: Identifiers that verl drew: those of `B` prompts, or of as many batches of `B` as verl samples ahead.
            messages: A chat prompt for each uid, a list of messages.
            labels: A data source for each uid.
            tasks: A row of the data set for each uid, with the columns of `vip.identity_fields`.

        Returns:
            A count of the first round for each uid.

        Raises:
            IntegrationError: If there is no prompt, or the strategy broke the budget.
        """
        if not uids:
            raise IntegrationError(
                f"verl handed over an empty batch at step {step}; check data.train_files, and whether "
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

    def planned_uids(self, step: int) -> list[str]:
        """Return the prompts that a training step takes, as many as its batch has; raises as `receive` does."""
        return self.state.plans.head(step).uids

    def receive(self, *, step: int, rollouts: Rollouts, collect_seconds: float = 0.0) -> dict[str, int]:
        """Take in what a round sampled.

        Args:
            step: The training step.
            rollouts: What verl collected, a prompt's in the order sampled.
            collect_seconds: What it took to read them.

        Returns:
            How many further rollouts each prompt gets, by uid; empty when the step is over.

        Raises:
            IntegrationError: If verl sampled other prompts, or the same number for each against the plan.
            InvalidInputError: If a reward is outside the range of its data source.
        """
        plan = self.state.plans.head(step)
        watch = Stopwatch()
        outcomes = group_by_prompt(plan, rollouts, self._ranges(plan))
        label_of = dict(zip(plan.uids, plan.labels, strict=True))
        self._learned.see_training([label_of[uid] for uid in rollouts.uids], rollouts.rewards)
        require_requested(plan, outcomes, nominal=self.settings.rollout_n)
        plan.outcomes.append(outcomes)
        watch.lap("collect")
        plan.rounds.receive(tuple(outcomes.rewards))
        watch.lap("allocate")
        for part, seconds in {**watch.seconds, "collect": watch.seconds["collect"] + collect_seconds}.items():
            plan.seconds[part] = plan.seconds.get(part, 0.0) + seconds
        return {uid: count for uid, count in zip(plan.uids, plan.counts, strict=True) if count}

    def select(self, step: int) -> dict[str, list[int]] | None:
        """Say, of a step that is over, which of a prompt's scored rollouts the update uses, and note their weights.

        Returns:
            Positions in the order received, by uid; None where everything is used.
        """
        plan = self.state.plans.head(step)
        rounds = plan.rounds
        selection = with_rows(rounds.selection, rounds.outcomes)
        selected = SelectedRollouts.of(selection, rounds.outcomes)
        ranges = self._ranges(plan)
        self.update_terms = UpdateTerms.of_batch(plan.uids, plan.prediction, self._variance, ranges, selected)
        kept = kept_rollouts(selection)
        return None if kept is None else dict(zip(plan.uids, kept, strict=True))

    def _ranges(self, plan: Plan) -> list[tuple[float, float]]:
        return [self.settings.vip.range_of(label) for label in plan.labels]

    def observe(self, step: int) -> dict[str, float]:
        """Learn from a step that is over.

        Returns:
            The step's `vip/*` metrics.
        """
        plan = self.state.plans.pop(step)
        watch = Stopwatch()
        outcomes = plan.rounds.outcomes
        observed = group_sizes(outcomes)
        successes = torch.stack([rewards.sum() for rewards in outcomes])
        squares = torch.stack([rewards.square().sum() for rewards in outcomes])
        self.state.predictor.observe(plan.prompts, successes, observed, squares)
        watch.lap("observe")
        self.state.rollouts_total += plan.arrived
        kept = kept_rollouts(with_rows(plan.rounds.selection, outcomes))
        record = StepRecord(
            step=step,
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
            rollouts_total=self.state.rollouts_total,
            seconds={**plan.seconds, **watch.seconds},
            tokens=plan.tokens,
            kept=None if kept is None else [len(positions) for positions in kept],
            rounds=plan.rounds.num_rounds,
            spends_all=self.state.strategy.decides_beforehand,
            varied=has_signal(outcomes).tolist(),
        )
        metrics = step_metrics(record, self.state.predictor)
        self.records.append(record)
        logger.info("%s\n%s", format_step(record), format_groups(record, limit=_PROMPTS_LOGGED))
        watch.lap("record")
        if self._is_saved_after(step):
            # verl marks a checkpoint complete before it calls back. The state lies there by then, so that no
            # moment exists at which a complete checkpoint lacks it.
            self.save(self.settings.checkpoint_dir / f"global_step_{step}", step)
        watch.lap("save")
        return {**metrics, "vip/seconds/record": watch.seconds["record"], "vip/seconds/save": watch.seconds["save"]}

    def _is_saved_after(self, step: int) -> bool:
        frequency = self.settings.save_freq
        return frequency > 0 and (step % frequency == 0 or step == self._last_step)

    # ------------------------------------------------------------------ validation

    def expect_validation(self, uids: Sequence[str], labels: Sequence[str], samples: Sequence[int]) -> None:
        """Note the data source of each validation prompt, and how often it is sampled."""
        self._validation.expect(uids, labels, samples)

    def observe_validation(self, *, step: int, rollouts: Rollouts) -> None:
        """Record a validation batch, whatever it earned; the predictor does not learn from it."""
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
        f"round {round_number} of a step wants {sum(counts.values())} rollouts and nothing samples them; is "
        "actor_rollout_ref.rollout.agent.agent_loop_manager_class set to verl_vip's RolloutManager?"
    )


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


_session: Session | None = None


def open_session(config: DictConfig) -> Session:
    """Check verl's config, and make, restore and return the session of this process; replaces an earlier one.

    Raises:
        ConfigError: If a setting is wrong, or the state to go on from is unusable.
    """
    global _session  # noqa: PLW0603  (see the module's docstring)
    _log_to_console()
    session = Session(RunSettings.from_verl(config))
    session.restore()
    _session = session
    return session


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
