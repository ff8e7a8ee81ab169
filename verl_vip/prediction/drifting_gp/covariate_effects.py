"""The effects of covariates on the logit: which numbers there are, and how large the effect of each may be."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from verl_vip.errors import InvalidInputError
from verl_vip.prediction.contract import Prompts
from verl_vip.prediction.state import copied, require

#: Prior variance of all effects together, before any outcome. It is small, since outcomes soon widen or narrow it, and
#: until then a wide prior would only mistake unusual prompts for uncertain ones.
_TOTAL_VARIANCE = 0.5
#: The smallest variance of an effect. An effect that has shrunk to it can still be found later, if there is one.
_LEAST_VARIANCE = 1e-3


class CovariateEffects:
    """The prior of the weights `v` in `z . v`, the part of the logit that covariates `z` explain.

    Weights of one column have a common variance, `v_i ~ N(0, s_i)`, as the random effects of the categories of a column
    have in a mixed model. `refit` sets each variance to its expectation given the outcomes, which is a step of the EM
    algorithm for the marginal likelihood (Laird & Ware, "Random-effects models for longitudinal data", Biometrics
    1982). A column that tells nothing has a variance near zero soon, and then costs nothing.

    Args:
        columns: The column of each of the `c` numbers.

    Attributes:
        variance: A `c` float64 tensor of `s`.
    """

    def __init__(self, columns: tuple[str, ...] = ()) -> None:
        self.columns = columns
        self.variance = torch.full((len(columns),), _TOTAL_VARIANCE, dtype=torch.float64)
        self.variance /= max(1, len(set(columns)))

    def __len__(self) -> int:
        return len(self.columns)

    @classmethod
    def of(cls, prompts: Prompts) -> "CovariateEffects":
        """Return the prior for the covariates of these prompts."""
        return cls() if prompts.covariates is None else cls(prompts.covariates.columns)

    def values(self, prompts: Prompts) -> Tensor:
        """Return the `B x c` float64 covariates of prompts; zeros if they come without any.

        Raises:
            InvalidInputError: If they have other columns.
        """
        if prompts.covariates is None:
            return torch.zeros(len(prompts), len(self), dtype=torch.float64)
        if prompts.covariates.columns != self.columns:
            raise InvalidInputError(
                f"the covariates must be {list(self.columns)}, as those observed before; got "
                f"{list(prompts.covariates.columns)}: use the same covariates throughout a run."
            )
        return prompts.covariates.values.detach().to("cpu", torch.float64)

    def kernel(self, values: Tensor) -> Tensor:
        """Return the `N x N` prior covariance of the effects on `N` logits, from their `N x c` covariates."""
        return (values * self.variance) @ values.T

    def refit(self, mean: Tensor, covariance: Tensor) -> None:
        """Set the variances to their expectation, given the `c` posterior means and the `c x c` covariance of `v`."""
        expected = mean.square() + covariance.diagonal()
        for name in set(self.columns):
            members = torch.tensor([column == name for column in self.columns])
            self.variance[members] = expected[members].mean().clamp_min(_LEAST_VARIANCE)

    def sizes(self) -> dict[str, float]:
        """Return the prior standard deviation of the weights of each column, by name."""
        return {name: float(variance.sqrt()) for name, variance in zip(self.columns, self.variance, strict=True)}

    def state_dict(self) -> dict[str, Any]:
        """Return the columns and the variances."""
        return {"columns": list(self.columns), "variance": self.variance.clone()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "CovariateEffects":
        """Build the effects from their `state_dict`.

        Raises:
            StateError: If there is not one positive variance for each column.
        """
        columns = state["columns"]
        named = isinstance(columns, list) and all(isinstance(name, str) for name in columns)
        require(named, "covariates have columns without names")
        effects = cls(tuple(columns))
        effects.variance = copied(state["variance"], torch.float64, len(columns))
        require(effects.variance >= _LEAST_VARIANCE, "covariates have a variance that is too small")
        return effects
