"""Planned batches that verl has not trained on yet."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

import torch
from torch import Tensor

from verl_vip.advantages.selection import Selection
from verl_vip.errors import IntegrationError
from verl_vip.prediction.contract import Covariates, Prediction, Prompts
from verl_vip.state_file import restoring
from verl_vip.strategies.contract import Budget, Rounds, Stateless
from verl_vip.strategies.step import Step
from verl_vip.workers.session.outcomes import Plan

_T = TypeVar("_T")


class PlanQueue:
    """Plans of consecutive training steps, the next one first.

    verl's synchronous trainer plans one batch and trains on it before it plans the next. `colocate_async` samples
    batches ahead. Each batch is planned as a whole when it is submitted, and a training step takes exactly one, in the
    order planned. So every step spends its budget exactly, in whatever order the prompts finish.
    """

    def __init__(self) -> None:
        self._plans: deque[Plan] = deque()

    def __len__(self) -> int:
        return len(self._plans)

    def __iter__(self) -> Iterator[Plan]:
        return iter(self._plans)

    def append(self, plan: Plan) -> None:
        """Add the plan of the step after the last one planned."""
        self._plans.append(plan)

    def step_to_plan(self, step: int) -> int:
        """Return the training step that will take the next planned batch.

        Args:
            step: The current training step.
        """
        return self._plans[-1].step + 1 if self._plans else step

    def head(self, step: int) -> Plan:
        """Return the plan of a training step, which must be the next one.

        Raises:
            IntegrationError: If there is none.
        """
        if not self._plans or self._plans[0].step != step:
            raise IntegrationError(
                f"step {step} has no plan; check that actor_rollout_ref.rollout.agent.agent_loop_manager_class is set "
                "to verl_vip's RolloutManager."
            )
        return self._plans[0]

    def pop(self, step: int) -> Plan:
        """Remove and return the plan of a training step; raises as `head` does."""
        plan = self.head(step)
        self._plans.popleft()
        return plan

    def clear(self) -> None:
        """Remove all plans."""
        self._plans.clear()

    @property
    def counts(self) -> dict[str, int]:
        """The requested rollouts of all plans, by uid."""
        return {uid: count for plan in self._plans for uid, count in zip(plan.uids, plan.counts, strict=True)}

    @property
    def sizes(self) -> set[tuple[int, int]]:
        """The numbers of prompts and the budgets of the plans."""
        return {(len(plan.uids), plan.budget.total) for plan in self._plans}

    def state_dict(self) -> list[dict[str, Any]]:
        """Return the plans, without rollouts; loadable with `torch.load(weights_only=True)`."""
        return [_packed(plan) for plan in self._plans]

    def load_state_dict(self, state: Sequence[Mapping[str, Any]], after: int) -> None:
        """Restore `state_dict`'s value.

        Args:
            state: The saved value.
            after: The last step before it was saved.

        Raises:
            StateError: If the plans are not those of the following steps, counts break their budget, or two plans
                share a prompt.
        """
        with restoring("the prompts in flight"):
            plans = [_unpacked(plan) for plan in _list_of(dict, state)]
            if [plan.step for plan in plans] != list(range(after + 1, after + 1 + len(plans))):
                raise ValueError(f"plans of steps {[plan.step for plan in plans]} do not follow step {after}")
            if len({uid for plan in plans for uid in plan.uids}) < sum(len(plan.uids) for plan in plans):
                raise ValueError("a prompt occurs twice")
        self._plans = deque(plans)


class _Decided(Stateless):
    """Counts that were decided before the run was interrupted."""

    decides_beforehand = True

    def __init__(self, counts: Tensor) -> None:
        self._counts = counts

    def rounds(self, prompts: Prompts, prediction: Prediction, budget: Budget) -> Rounds:  # noqa: ARG002
        yield self._counts
        return Selection()


def _packed(plan: Plan) -> dict[str, Any]:
    return {
        "step": plan.step,
        "strategy": plan.strategy,
        "uids": plan.uids,
        "labels": plan.labels,
        "ids": list(plan.prompts.ids),
        "embeddings": plan.prompts.embeddings,
        "covariates": None if (known := plan.prompts.covariates) is None else {**vars(known)},
        "prediction": {
            "mean": plan.prediction.mean,
            "variance": plan.prediction.variance,
            "variance_ratio": plan.prediction.variance_ratio,
        },
        "budget": asdict(plan.budget),
        "counts": plan.counts,
        "seconds": plan.seconds,
    }


def _unpacked(state: Mapping[str, Any]) -> Plan:
    known = state["covariates"]
    covariates = None if known is None else Covariates(known["values"], tuple(known["columns"]))
    prompts = Prompts(tuple(_list_of(str, state["ids"])), state["embeddings"], covariates=covariates)
    prediction = Prediction(*(state["prediction"][name] for name in ("mean", "variance", "variance_ratio")))
    budget = Budget(**state["budget"])
    if prediction.variance_ratio is not None and (
        prediction.variance_ratio.shape != prediction.mean.shape
        or not bool(((prediction.variance_ratio >= 0) & (prediction.variance_ratio <= 1)).all())
    ):
        raise ValueError("a variance ratio is not between 0 and 1")
    decided = _Decided(torch.tensor(_list_of(int, state["counts"]), dtype=torch.int64))
    uids, labels = _list_of(str, state["uids"]), _list_of(str, state["labels"])
    if not len(uids) == len(labels) == len(prompts):
        raise ValueError(f"there are {len(uids)} uids and {len(labels)} labels for {len(prompts)} prompts")
    (step,), (strategy,) = _list_of(int, [state["step"]]), _list_of(str, [state["strategy"]])
    return Plan(
        step=step,
        strategy=strategy,
        uids=uids,
        labels=labels,
        prompts=prompts,
        prediction=prediction,
        budget=budget,
        rounds=Step(decided, prompts, prediction, budget, name=strategy),
        seconds={str(part): float(seconds) for part, seconds in state["seconds"].items()},
    )


def _list_of(kind: type[_T], values: Any) -> list[_T]:
    if not isinstance(values, list) or not all(type(value) is kind for value in values):
        raise TypeError(f"a list of {kind.__name__} was expected")
    return list(values)
