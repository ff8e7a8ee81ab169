"""One step of a strategy, round by round, within its budget."""

import torch
from torch import Tensor

from verl_vip.advantages.selection import Selection
from verl_vip.errors import IntegrationError, InvalidInputError
from verl_vip.prediction.contract import Prediction, Prompts
from verl_vip.strategies.contract import Budget, Strategy
from verl_vip.strategies.outcomes import Outcomes, group_sizes, join


class Step:
    """Runs a strategy's generator, and refuses counts that break the budget before they are sampled.

    Args:
        strategy: The strategy; its state advances with the step.
        prompts: The `B` candidates.
        prediction: The predictions for them, made before sampling.
        budget: The step's budget.
        name: The strategy's name in error messages.

    Attributes:
        requested: A `B` int64 tensor: rollouts requested so far, over all rounds.
        num_rounds: Rounds so far.

    Raises:
        InvalidInputError: If there is no prompt, the prediction does not consist of probabilities for these prompts, or
            the budget is infeasible for them.
        IntegrationError: If the strategy breaks the budget.
    """

    def __init__(
        self, strategy: Strategy, prompts: Prompts, prediction: Prediction, budget: Budget, *, name: str
    ) -> None:
        self._name, self._budget = name, budget
        self._sampled: list[Outcomes] = []
        self._selection: Selection | None = None
        self._counts: Tensor | None = None
        self._must_spend_all, self._weighs = strategy.decides_beforehand, strategy.weighs
        self.requested = torch.zeros(len(prompts), dtype=torch.int64)
        self.num_rounds = 0
        _require_probabilities(prediction, len(prompts))
        self._rounds = strategy.rounds(prompts, prediction, budget)
        self._accept(next(self._rounds))

    @property
    def counts(self) -> Tensor | None:
        """The rollouts to sample now, a `B` int64 tensor; None once the step is over."""
        return self._counts

    @property
    def outcomes(self) -> Outcomes:
        """All rewards so far, `B` tensors in the order sampled."""
        return join(self._sampled)

    @property
    def selection(self) -> Selection:
        """The rollouts that the update uses, and their weights.

        Raises:
            IntegrationError: If the step is not over.
        """
        if self._selection is None:
            raise IntegrationError(f"strategy {self._name!r} still waits for the rollouts of round {self.num_rounds}.")
        return self._selection

    def receive(self, outcomes: Outcomes) -> None:
        """Pass the rewards of this round's rollouts to the strategy; `counts` is then that of the next round.

        Args:
            outcomes: `B` reward tensors, with fewer rewards than requested where rollouts failed.

        Raises:
            InvalidInputError: If there are more rewards than requested, or one is not finite.
            IntegrationError: If the step is over, the strategy breaks the budget, or it selects rollouts that were not
                sampled.
        """
        if self._counts is None:
            raise IntegrationError(f"strategy {self._name!r} has ended its step, and received more rollouts.")
        sizes = group_sizes(outcomes)
        if sizes.shape != self._counts.shape or bool((sizes > self._counts).any()):
            raise InvalidInputError(
                f"strategy {self._name!r} requested {self._counts.tolist()} rollouts and received {sizes.tolist()} "
                "rewards; pass the rewards of this round, for each prompt at most as many as requested."
            )
        if not all(bool(rewards.isfinite().all()) for rewards in outcomes):
            raise InvalidInputError("a reward is not finite; leave out rollouts that could not be scored.")
        self._sampled.append(outcomes)
        try:
            further = self._rounds.send(outcomes)
        except StopIteration as stop:
            self._counts = None
            self._selection = self._checked(stop.value)
        else:
            self._accept(further)

    def _accept(self, counts: Tensor) -> None:
        size, budget = len(self.requested), self._budget
        if counts.shape != (size,) or counts.is_floating_point() or bool((counts < 0).any()):
            raise IntegrationError(
                f"strategy {self._name!r} requested counts of shape {tuple(counts.shape)} and type {counts.dtype}, "
                f"with minimum {counts.min().item()}; it must request {size} integers that are not negative."
            )
        self.requested = self.requested + counts.to(torch.int64)
        self.num_rounds += 1
        total, most = int(self.requested.sum()), int(self.requested.max())
        short = self._must_spend_all and total < budget.total
        if total > budget.total or most > budget.upper or short:
            raise IntegrationError(
                f"strategy {self._name!r} requested {total} rollouts over {size} prompts, at most {most} for one, "
                f"but the budget is {budget.total} and {budget.upper} for one"
                + ("; it must spend the budget exactly." if short else ".")
            )
        if total == 0:
            raise IntegrationError(
                f"strategy {self._name!r} requested no rollout, and a training step needs at least one; "
                "give it more candidate prompts, or choose another strategy."
            )
        self._counts = counts

    def _checked(self, selection: Selection) -> Selection:
        try:
            selection.require_fit(self.outcomes)
        except InvalidInputError as error:
            raise IntegrationError(f"strategy {self._name!r}: {error}") from error
        if undeclared := selection.weighs - self._weighs:
            raise IntegrationError(
                f"strategy {self._name!r} returned {', '.join(sorted(undeclared))} in its selection; it must declare "
                "that in its attribute `weighs`, so that an update that cannot apply it is refused at the start."
            )
        return selection


def _require_probabilities(prediction: Prediction, size: int) -> None:
    mean, variance = prediction.mean, prediction.variance
    if size == 0 or len(mean) != size:
        raise InvalidInputError(
            f"a step needs at least one prompt and one prediction for each; got {size} and {len(mean)} of them."
        )
    if not bool(((mean >= 0) & (mean <= 1) & (variance >= 0)).all()):
        raise InvalidInputError("predicted success probabilities must lie in [0, 1], with variances not below zero.")
