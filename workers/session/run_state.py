"""The state of a run in verl's checkpoint folders, written before verl marks a checkpoint and restored with it."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from verl_vip.config import VipConfig
from verl_vip.errors import ConfigError, StateError
from verl_vip.prediction.contract import Predictor
from verl_vip.prediction.covariates import PoolCovariates
from verl_vip.prediction.registry import build_predictor
from verl_vip.state_file import read_state, restoring, write_state
from verl_vip.strategies.contract import Strategy
from verl_vip.strategies.gradient_variance import GradientVariance
from verl_vip.strategies.registry import build_strategy
from verl_vip.workers.session.plan_queue import PlanQueue
from verl_vip.workers.settings.run_settings import RunSettings

logger = logging.getLogger("verl_vip")

STATE_FILE = "vip_state.pt"
_KEYS = {
    "step",
    "rollouts_total",
    "basis",
    "predictor_name",
    "predictor",
    "strategy_name",
    "strategy",
    "plans",
    "covariates",
}


@dataclass
class RunState:
    """What a resumed run needs from the checkpoint.

    Attributes:
        basis: The settings that define ids, embeddings and successes, by name.
        predictor_name: `vip.predictor`.
        predictor: The predictor.
        strategy_name: `vip.strategy`.
        strategy: The strategy.
        covariates: How the columns of `vip.covariates` become numbers; None if there are none, or before the training
            set was read.
        plans: The planned batches that were not trained on yet.
        rollouts_total: Rollouts of the run so far, including earlier starts.
        saved_step: The step whose state was last written or restored.
    """

    basis: Mapping[str, Any]
    predictor_name: str
    predictor: Predictor
    strategy_name: str
    strategy: Strategy
    covariates: PoolCovariates | None = None
    plans: PlanQueue = field(default_factory=PlanQueue)
    rollouts_total: int = 0
    saved_step: int | None = None

    @classmethod
    def fresh(cls, vip: VipConfig, objective: GradientVariance, embedding_model: str) -> "RunState":
        """Build the predictor and the strategy of a new run.

        Args:
            vip: The settings of the run.
            objective: The gradient variance that the strategy minimises.
            embedding_model: Identifies the embedding model; see `EmbeddingModel.key`.

        Raises:
            ConfigError: If a name or a setting is unknown.
        """
        return cls(
            basis={
                "vip.embedding_model": embedding_model,
                "vip.reward_range": list(vip.reward_range),
                "vip.reward_range_by_source": {name: list(pair) for name, pair in vip.reward_range_by_source.items()},
                "vip.identity_fields": list(vip.identity_fields),
                "vip.covariates": list(vip.covariates),
            },
            predictor_name=vip.predictor,
            predictor=build_predictor(vip.predictor, **vip.predictor_settings),
            strategy_name=vip.strategy,
            strategy=build_strategy(vip.strategy, objective, **vip.strategy_settings),
        )

    @classmethod
    def of_checkpoint(
        cls, folder: Path, vip: VipConfig, objective: GradientVariance, embedding_model: str
    ) -> "RunState":
        """Read the state from a checkpoint folder.

        The strategy may change between two starts; a new one starts without state. The predictor and the settings it
        learned under may not change: embeddings of another model and another reward range have another meaning.

        Args:
            folder: verl's `global_step_N`.
            vip: The settings of the resumed run.
            objective: As for `fresh`.
            embedding_model: As for `fresh`.

        Raises:
            ConfigError: If a name or a setting is unknown.
            StateError: If the state is missing or damaged, or belongs to another step, predictor or basis.
        """
        found = cls.fresh(vip, objective, embedding_model)
        path = folder / STATE_FILE
        state = read_state(path)
        if lacking := _KEYS - state.keys():
            raise StateError(f"{path} is not the state of a run: it lacks {', '.join(sorted(lacking))}.")
        if folder.name != f"global_step_{state['step']}":
            raise StateError(f"{path} is the state after step {state['step']}, which belongs in another folder.")
        if state["predictor_name"] != found.predictor_name:
            raise StateError(
                f"{path} contains the state of predictor {state['predictor_name']!r}, but vip.predictor is "
                f"{found.predictor_name!r}."
            )
        with restoring(f"the run in {path}"):
            found._load(path, state)
        logger.info(
            "resumed after step %d with the predictor's state from %s (%d rollouts so far)",
            found.saved_step,
            path,
            found.rollouts_total,
        )
        return found

    def _load(self, path: Path, state: Mapping[str, Any]) -> None:
        step, total = state["step"], state["rollouts_total"]
        if type(step) is not int or type(total) is not int or total < 0:
            raise StateError(f"{path} is damaged: step {step!r} or the number of rollouts {total!r} is not a count.")
        for setting, now in self.basis.items():
            saved = state["basis"][setting]
            # The range of another data source may be added: rewards outside the other ranges were refused before.
            same = {**now, **saved} == now if isinstance(now, dict) else saved == now
            if not same:
                raise StateError(
                    f"{path} was learned with {setting}={saved}, and it is now {now}; the learned state has no meaning "
                    "with that."
                )
        saved = state["covariates"]
        self.covariates = None if saved is None else PoolCovariates.from_state(saved)
        self.predictor.load_state_dict(state["predictor"])
        if state["strategy_name"] == self.strategy_name:
            self.strategy.load_state_dict(state["strategy"])
        else:
            logger.warning("strategy %s starts without state; the checkpoint has that of another", self.strategy_name)
        self.plans.load_state_dict(state["plans"], after=step)
        for plan in self.plans:
            self.predictor.predict(plan.prompts)  # raises if it could not learn from the embeddings
        self.rollouts_total, self.saved_step = total, step

    def save(self, folder: Path, step: int) -> None:
        """Write the state after `step` into verl's checkpoint folder; at most once a step."""
        if self.saved_step == step:
            return
        write_state(
            folder / STATE_FILE,
            {
                "step": step,
                "rollouts_total": self.rollouts_total,
                "basis": dict(self.basis),
                "predictor_name": self.predictor_name,
                "predictor": self.predictor.state_dict(),
                "strategy_name": self.strategy_name,
                "strategy": self.strategy.state_dict(),
                "plans": self.plans.state_dict(),
                "covariates": None if self.covariates is None else self.covariates.state_dict(),
            },
        )
        self.saved_step = step

    def take_covariates(self, pool: PoolCovariates) -> None:
        """Use the covariates of the training set, in the way that a restored run has learned from.

        Raises:
            StateError: If the training set has other values than those that the restored run has learned from.
        """
        known = self.covariates
        if changes := {} if known is None else known.changed(pool):
            told = ", ".join(f"{name} in {count} of {total}" for name, (count, total) in changes.items())
            raise StateError(
                "the columns of vip.covariates have other values than those that it was learned with "
                f"({told} prompts that were compared); give the run its earlier training data."
            )
        if known is None:
            self.covariates = pool

    def require_counts(self, in_flight: Collection[str], settings: RunSettings) -> None:
        """Compare the restored plans with the prompts in flight that verl restored from the same checkpoint.

        verl's asynchronous trainers write these prompts, with their finished rollouts, to the folder `transfer_queue`
        of a checkpoint; unfinished rollouts are sampled again. If verl restored none of them, their plans are dropped
        with a warning.

        Args:
            in_flight: The uids of the restored training prompts.
            settings: The settings of the resumed run.

        Raises:
            ConfigError: If the plans are for other prompts, or for batches of another size.
        """
        folder, planned = settings.resume_dir, self.plans.counts.keys()
        if planned and not in_flight:
            logger.warning(
                "verl did not restore the %d prompts that were in flight at the checkpoint %s; training continues "
                "with the prompts that follow.",
                len(planned),
                folder,
            )
            self.plans.clear()
            return
        drop = f"delete {folder}/transfer_queue, which skips these prompts"
        if planned != set(in_flight):
            raise ConfigError(
                f"{folder} has {len(in_flight)} prompts in flight, and the predictor's state has counts for "
                f"{len(planned & set(in_flight))} of them; {drop}."
            )
        due = (settings.prompts_per_step, settings.budget.total)
        if self.plans.sizes - {due} or len(self.plans) > settings.batches_ahead:
            found = " and ".join(
                f"{prompts} prompts for {total} rollouts" for prompts, total in sorted(self.plans.sizes)
            )
            raise ConfigError(
                f"{folder} has batches in flight ({len(self.plans)}, of {found}), and the run has "
                f"{settings.batches_ahead} of {due[0]} prompts for {due[1]}; set data.train_batch_size, the budget and "
                f"trainer.v1.colocate_async.num_warmup_batches as they were, or {drop}."
            )
