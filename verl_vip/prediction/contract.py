"""The interface of all success-probability predictors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from verl_vip.errors import InvalidInputError

#: Squared distances between longer embeddings overflow single precision.
_LONGEST = 1e15


def require_tensors(**values: Any) -> None:
    """Raise `InvalidInputError` unless all values, given by name, are tensors of real numbers."""
    for name, value in values.items():
        if not isinstance(value, Tensor):
            raise InvalidInputError(f"{name} must be a tensor; got {type(value).__name__}: use torch.as_tensor.")
        if value.is_complex():
            raise InvalidInputError(f"{name} must be a tensor of real numbers; got {value.dtype}.")


def require_width(embeddings: Tensor, width: int) -> None:
    """Raise `InvalidInputError` unless `B x d` embeddings have the width of those observed before."""
    if embeddings.shape[1] != width:
        raise InvalidInputError(
            f"embeddings must be {width} wide, as those observed before; got width {embeddings.shape[1]}: "
            "use the same embedding model throughout a run."
        )


@dataclass(frozen=True)
class Covariates:
    """What is known of `B` prompts beforehand besides their text, as numbers whose meaning predictors learn.

    Attributes:
        values: A `B x c` float64 tensor, standardised over the pool. Zero stands for "as on average".
        columns: `c` names, that of the source of each number. Numbers with the same name belong together, such as those
            of the categories of one column of the data.

    Raises:
        InvalidInputError: If there is not one name for each number, or a number is not finite.
    """

    values: Tensor
    columns: tuple[str, ...]

    def __post_init__(self) -> None:
        require_tensors(covariates=self.values)
        if self.values.ndim != 2 or self.values.shape[1] != len(self.columns):
            raise InvalidInputError(
                f"covariates must be a (B, c) tensor with c = {len(self.columns)} columns, one for each name; "
                f"got shape {tuple(self.values.shape)}."
            )
        if not self.values.isfinite().all():
            column = int((~self.values.isfinite()).any(0).nonzero()[0])
            raise InvalidInputError(f"covariates must be finite; those of {self.columns[column]!r} are not.")

    def select(self, rows: Tensor) -> "Covariates":
        """Return the covariates of the prompts in the given rows."""
        return Covariates(self.values[rows], self.columns)


@dataclass(frozen=True)
class Prompts:
    """A batch of prompts as predictors see them.

    Attributes:
        ids: `B` content hashes (see `verl_vip.prediction.identity`). Equal prompts have equal ids.
        embeddings: A `B x d` float tensor, one sentence embedding a prompt.
        labels: `B` names of what the prompts belong to, such as their data sources, for strategies that balance;
            None if there are none.
        covariates: What is known of the `B` prompts beforehand, for predictors that use it; None if there is nothing.

    Raises:
        InvalidInputError: If the embeddings are not a real tensor with one row for each id, a row is not finite or too
            long, or there is not one label, or one row of covariates, for each id.
    """

    ids: tuple[str, ...]
    embeddings: Tensor
    labels: tuple[str, ...] | None = None
    covariates: Covariates | None = None

    def __post_init__(self) -> None:
        require_tensors(embeddings=self.embeddings)
        if self.embeddings.ndim != 2 or self.embeddings.shape[0] != len(self.ids):
            raise InvalidInputError(
                f"embeddings must be a (B, d) tensor with B = {len(self.ids)} rows, one for each id; "
                f"got shape {tuple(self.embeddings.shape)}."
            )
        if self.labels is not None and len(self.labels) != len(self.ids):
            raise InvalidInputError(f"{len(self.ids)} prompts need one label each; got {len(self.labels)} labels.")
        if self.covariates is not None and len(self.covariates.values) != len(self.ids):
            raise InvalidInputError(
                f"{len(self.ids)} prompts need one row of covariates each; got {len(self.covariates.values)} rows."
            )
        lengths = torch.linalg.vector_norm(self.embeddings.detach().float(), dim=1)
        if not (lengths < _LONGEST).all():
            row = int((~(lengths < _LONGEST)).nonzero()[0])
            raise InvalidInputError(
                f"embeddings must be finite and shorter than {_LONGEST:g}; the one of prompt {self.ids[row]!r} has "
                f"length {lengths[row].item()}."
            )

    def __len__(self) -> int:
        return len(self.ids)

    def looks_like(self, other: "Prompts") -> bool:
        """Return whether both have the same embeddings and covariates, row by row."""
        one, two = self.covariates, other.covariates
        if one is None or two is None:
            known = one is two
        else:
            known = one.columns == two.columns and torch.equal(one.values, two.values)
        return known and torch.equal(self.embeddings, other.embeddings)

    def select(self, rows: Sequence[int] | Tensor) -> "Prompts":
        """Return the prompts of the given rows, in that order."""
        index = torch.as_tensor(rows, dtype=torch.long)
        labels = None if self.labels is None else tuple(self.labels[row] for row in index.tolist())
        covariates = None if self.covariates is None else self.covariates.select(index)
        return Prompts(tuple(self.ids[row] for row in index.tolist()), self.embeddings[index], labels, covariates)


@dataclass(frozen=True)
class LogitFactors:
    """Gaussian logits of `B` prompts that share a part of their uncertainty.

    The logits are `mean + loadings z + e`, with one `z ~ N(0, I)` for all prompts, and `e ~ N(0, own_variance)`
    independent between prompts. A draw of `z` is a joint draw of what the predictor believes about all prompts.

    Attributes:
        mean: A `B` float64 tensor.
        loadings: A `B x m` float64 tensor.
        own_variance: A `B` float64 tensor.

    Raises:
        InvalidInputError: If shapes do not match.
    """

    mean: Tensor
    loadings: Tensor
    own_variance: Tensor

    def __post_init__(self) -> None:
        shapes = tuple(self.mean.shape), tuple(self.loadings.shape), tuple(self.own_variance.shape)
        if self.loadings.ndim != 2 or not shapes[0] == shapes[2] == shapes[1][:1]:
            raise InvalidInputError(
                f"mean, loadings and own_variance must be (B,), (B, m) and (B,) tensors; got {shapes[0]}, {shapes[1]} "
                f"and {shapes[2]}."
            )


@dataclass(frozen=True)
class Prediction:
    """The distribution of each prompt's success probability p before sampling.

    Attributes:
        mean: A `B` tensor of E[p], in [0, 1].
        variance: A `B` tensor of Var[p]; zero for predictors that give a point estimate only.
        variance_ratio: A `B` tensor in [0, 1]: the variance of one reward relative to that of a 0/1 reward with the
            same mean. None means 1 everywhere, as for 0/1 rewards.
        reward_scale: A `B` tensor: the difference between the rewards of a solved and of a failed rollout. It is known
            beforehand, not predicted, and differs between scorers. None means that it is the same for all prompts.
        logits: The joint distribution of the `B` logits whose moments `mean` and `variance` are of; None for predictors
            that judge each prompt by itself.
    """

    mean: Tensor
    variance: Tensor
    variance_ratio: Tensor | None = None
    reward_scale: Tensor | None = None
    logits: LogitFactors | None = None

    def __post_init__(self) -> None:
        if self.mean.ndim != 1 or self.mean.shape != self.variance.shape:
            raise InvalidInputError(
                f"mean and variance must be (B,) tensors of one length; "
                f"got {tuple(self.mean.shape)} and {tuple(self.variance.shape)}."
            )
        if self.logits is not None and self.logits.mean.shape != self.mean.shape:
            raise InvalidInputError(
                f"logits must be those of the {len(self.mean)} prompts; got those of {len(self.logits.mean)}."
            )

    @property
    def reward_variance(self) -> Tensor:
        """A `B` tensor, the expected variance of one reward in [0, 1]: the ratio times E[p(1-p)] = m(1-m) - Var[p].

        On the rewards' own scale the variance is larger by the square of `reward_scale`; see `rescale`.
        """
        binary = (self.mean * (1 - self.mean) - self.variance).clamp_min(0)
        return binary if self.variance_ratio is None else self.variance_ratio * binary

    def rescale(self, variance: Tensor) -> Tensor:
        """Convert a `B` tensor of variances of rewards in [0, 1] to the rewards' own scale."""
        return variance if self.reward_scale is None else self.reward_scale.square() * variance


@runtime_checkable
class Predictor(Protocol):
    """Predicts success probabilities, and learns from sampled rollouts.

    `predict` never changes the state. `observe` is called once per training step, with that step's prompts.
    `state_dict` holds everything that `predict` depends on, so that a restored predictor continues exactly.

    A predictor that learns from `Prompts.covariates` has an attribute `uses_covariates`, which is true. A user who
    names covariates for another one is told that they have no effect.
    """

    def predict(self, prompts: Prompts) -> Prediction:
        """Return the prediction for `B` prompts, whether observed before or not."""
        ...

    def observe(self, prompts: Prompts, successes: Tensor, trials: Tensor, squares: Tensor | None = None) -> None:
        """Learn from one step.

        Args:
            prompts: The `B` prompts that were sampled. Repeated ids are allowed and pooled.
            successes: A `B` tensor, the sum of rewards in [0, 1] of each prompt's rollouts.
            trials: A `B` integer tensor, the numbers of scored rollouts. Rows with zero trials are ignored.
            squares: A `B` tensor, the sum of squared rewards, from which a predictor can learn the
                `Prediction.variance_ratio`. None means that rewards were 0 or 1, so that squares equal successes.

        Raises:
            InvalidInputError: If successes are outside [0, trials], squares are impossible for such rewards, shapes or
                types are not as above, or embeddings have another width than before. Nothing is learned then.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return tensors, numbers, strings and containers of them; loadable with `torch.load(weights_only=True)`."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`'s value.

        Raises:
            StateError: If the state belongs to another predictor, version or setting, or is damaged. The predictor is
                then unchanged. Embeddings of another width are refused later, by `predict` and `observe`.
        """
        ...

    def metrics(self) -> dict[str, float]:
        """Return numbers of the last step for the log, such as the seconds of a fit or the number of known prompts."""
        ...
