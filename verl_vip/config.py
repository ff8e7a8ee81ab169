"""The `vip` group of a recipe: typed, documented, and checked before anything is started."""

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from reprlib import repr as shortened
from typing import Annotated, Any, Literal

from verl_vip.annotations import PathText, Range, Share, check, check_fields
from verl_vip.errors import ConfigError

EMBEDDING_MODEL = "sentence-transformers/all-MiniLM-L6-v2"

#: Bounds far from any use; beyond them counts, weights and rewards are not exact, or not finite.
_LARGEST_REWARD = 1e9
_LEAST_WIDTH = 1e-6
_LEAST_RELATIVE_WIDTH = 1e-4
#: Advantage estimators whose variance is known.
EstimatorName = Literal["rloo", "dr_grpo", "predicted_baseline"]
#: The estimators whose gradient variance is known, and the least rollouts of a prompt that it is defined for.
_LEAST_ROLLOUTS: Mapping[EstimatorName, int] = {"rloo": 2, "dr_grpo": 3, "predicted_baseline": 1}
#: What `vip.objective` is where it is not set, by `algorithm.adv_estimator`; "rloo" beside any other. REINFORCE learns
#: from a group of one, as the predicted baseline does.
OBJECTIVES: Mapping[str, EstimatorName] = {
    "vip_rloo": "rloo",
    "vip_dr_grpo": "dr_grpo",
    "vip_predicted_baseline": "predicted_baseline",
    "vip_reinforce": "predicted_baseline",
}
_Rollouts = Annotated[int, Range(least=1, most=10**6)]


@dataclass(frozen=True)
class VipConfig:
    """Settings of one run. Each is a key of the recipe's `vip` group, so `vip.upper=64` overrides it."""

    strategy: str = "vip"
    """How the budget is spent: the name of a strategy ("uniform" is stock verl's fixed n), of an entry point of the
    group `verl_vip.strategies`, or `package.module:Class`."""
    strategy_settings: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the strategy."""
    objective: EstimatorName | None = None
    """Whose gradient variance is minimised; null follows `algorithm.adv_estimator`: `vip_rloo`, `vip_dr_grpo` and
    `vip_predicted_baseline` have a variance of their own, `vip_reinforce` takes that of the predicted baseline, and any
    other estimator that of RLOO. An estimator with another variance than the one set here is refused."""
    utility: Literal["success", "log_success", "sqrt_success", "arcsine"] = "success"
    """Which function G of the success probabilities p is ascended: p, log p, sqrt(p) or 2 arcsin sqrt(p). Its slope
    at the predicted p multiplies each prompt's gradient, and enters the minimised variance squared."""
    utility_floor: Annotated[float, Range(least=1e-6, below=0.5)] = 0.05
    """For that slope, p is taken to lie in [floor, 1 - floor]."""
    prior_strength_cap: Annotated[float, Range(least=0.1, most=1e9)] = 16.0
    """With the predicted baseline: the most rollouts that a prediction may count for against the group's own. A
    predictor that gives no variance always counts for that many."""
    score_coupling: Share = 0.0
    """With the predicted baseline: how far the size of a rollout's score goes with its reward, from 0 to 1. 0 takes
    them for unrelated, as the paper's analysis does, and the baseline is p; 1 is for answers of a few tokens, where a
    right one moves the policy the less the likelier it was, and the baseline of least variance is
    p (1 - p) / (1 + p). Between them a part of the answer has nothing to do with the reward."""
    lower: _Rollouts = 3
    """Least rollouts of a prompt. Dr.GRPO needs 3 for its variance to be convex, and the paper uses 3 for both
    estimators; RLOO can do with 2, the predicted baseline with 1."""
    upper: _Rollouts = 32
    """Most rollouts of a prompt."""
    budget: Annotated[int, Range(least=1, most=10**12)] | None = None
    """Rollouts of one step; null for `data.train_batch_size * rollout.n`. Strategies that choose from a pool of
    prompts need it: `data.train_batch_size` is the pool then, and the budget serves a part of it. It has to be a
    multiple of `actor.ppo_mini_batch_size * rollout.n`, verl's optimiser step."""
    predictor: str = "drifting_gp"
    """What predicts success probabilities: the name of a predictor ("gaussian_process" is the paper's), of an entry
    point of the group `verl_vip.predictors`, or `package.module:Class`."""
    predictor_settings: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the predictor."""
    prompt_weight: Literal["equal", "rows"] = "equal"
    """"equal" gives every prompt the same weight in the update whatever its count, as the variance analysis
    assumes; "rows" leaves verl's weight, which is proportional to the count."""
    reward_range: tuple[float, float] = (0.0, 1.0)
    """The rewards of a failed and of a solved rollout; (-1, 1) for verl's `math_dapo` scorer."""
    reward_range_by_source: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """The same for single data sources, where scorers differ: `{openai/gsm8k: [0, 1]}` beside `reward_range: [-1, 1]`.
    A training reward outside its range ends the run, a validation reward never does."""
    embedding_model: str = EMBEDDING_MODEL
    """A sentence-transformers model, or a causal language model, of which the last hidden state of the prompt is taken:
    a name on the Hub or a folder. `${actor_rollout_ref.model.path}` is the policy as it is before training; it is then
    loaded a second time, on the driver's CPU."""
    identity_fields: tuple[str, ...] = ()
    """What tells tasks of one wording apart, besides the wording: fields of the data set by dotted name, such as
    `[reward_model.ground_truth]` or `[extra_info.split]`. Without any, prompts of one wording are one prompt to the
    predictor. The embedding is that of the wording."""
    balance_by: str = "data_source"
    """The field of the data set whose values the strategy `balanced` draws evenly over, by dotted name, such as
    `extra_info.level`; `prioritized` does so with `balance: labels` among its settings."""
    cache_dir: PathText = "~/.cache/verl_vip"
    """Where prompt embeddings are kept between runs."""
    embed_at_start: bool = True
    """Whether the prompts that the run will serve are embedded before the first step, or each batch as it arrives."""
    on_missing_state: Literal["error", "fresh"] = "error"
    """What to do when a checkpoint has no usable predictor state: stop, or go on with an untrained predictor."""
    poll_seconds: Annotated[float, Range(least=1e-3, most=3600)] = 0.1
    """How often finished rollouts are looked for (verl's own buffer: 2 s)."""

    def __post_init__(self) -> None:
        check_fields(self, "vip.")
        if self.lower > self.upper:
            raise ConfigError(
                f"vip.lower and vip.upper must satisfy 1 <= lower <= upper; got {self.lower} and {self.upper}."
            )
        if self.objective is not None:
            self._require_lower(self.objective)
        _require_range("vip.reward_range", self.reward_range)
        for source, pair in self.reward_range_by_source.items():
            _require_range(f"vip.reward_range_by_source[{source!r}]", pair)
        if self.predictor == "oracle":
            raise ConfigError(
                "vip.predictor=oracle tells what nobody knows of real prompts, and is for simulations; set "
                "vip.predictor=drifting_gp."
            )

    def following(self, estimator: str) -> "VipConfig":
        """Return the settings with `objective` set: where it is not, to what goes with an advantage estimator.

        Args:
            estimator: `algorithm.adv_estimator`.

        Raises:
            ConfigError: If `lower` is too small for that objective.
        """
        if self.objective is not None:
            return self
        objective = objective_of(estimator)
        self._require_lower(objective, f"follows algorithm.adv_estimator={shortened(estimator)} and ")
        return replace(self, objective=objective)

    def _require_lower(self, objective: EstimatorName, reason: str = "") -> None:
        least = _LEAST_ROLLOUTS[objective]
        if self.lower < least:
            raise ConfigError(
                f"vip.lower={self.lower} is too small for vip.objective={objective}, which {reason}needs at least "
                f"{least} rollouts a prompt; set vip.lower={least}."
            )

    @property
    def minimised(self) -> EstimatorName:
        """`objective`; where it is not set and no estimator is known, "rloo"."""
        return self.objective or "rloo"

    def range_of(self, source: str) -> tuple[float, float]:
        """Return the rewards of a failed and of a solved rollout of a data source."""
        return self.reward_range_by_source.get(source, self.reward_range)

    @property
    def label_field(self) -> str | None:
        """`balance_by` where the strategy draws evenly over labels, and None where nothing needs them."""
        by_labels = self.strategy == "balanced" or self.strategy_settings.get("balance") == "labels"
        return self.balance_by if by_labels else None

    @property
    def task_fields(self) -> tuple[str, ...]:
        """The fields of a row of the data set that planning needs, by dotted name."""
        return self.identity_fields if self.label_field is None else (*self.identity_fields, self.label_field)

    @property
    def cache_path(self) -> Path:
        """`cache_dir` with `~` resolved."""
        return Path(os.path.expanduser(self.cache_dir))  # unlike pathlib, it leaves unknown users' homes as they are

    @classmethod
    def from_mapping(cls, settings: Mapping[str, Any]) -> "VipConfig":
        """Check a plain mapping and build the config.

        Args:
            settings: The `vip` group, already resolved to plain Python values.

        Raises:
            ConfigError: If a key is unknown (the nearest valid name is given), or a value of the wrong type.
        """
        known = [entry.name for entry in fields(cls)]
        values = check("vip", settings, Mapping[str, Any])
        for key in values:
            if key not in known:
                nearest = difflib.get_close_matches(key, known, n=1)
                hint = f"did you mean vip.{nearest[0]}?" if nearest else f"known: {', '.join(sorted(known))}."
                name = f"vip.{key}" if key.isprintable() else f"vip[{shortened(key)}]"
                raise ConfigError(f"{name} is not a setting; {hint}")
        return cls(**values)

    def to_mapping(self) -> dict[str, Any]:
        """Return plain values that `from_mapping` accepts."""
        plain = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        for key, value in plain.items():
            if isinstance(value, Mapping):
                plain[key] = {name: list(item) if isinstance(item, tuple) else item for name, item in value.items()}
            elif isinstance(value, tuple):
                plain[key] = list(value)
        return plain


def objective_of(estimator: str) -> EstimatorName:
    """Return the `vip.objective` that goes with an `algorithm.adv_estimator`."""
    return OBJECTIVES.get(estimator, "rloo")


def _require_range(name: str, pair: tuple[float, float]) -> None:
    low, high = pair
    size = max(abs(low), abs(high))
    # verl holds rewards in single precision, in which the two have to differ and their squares to be finite.
    if not (size <= _LARGEST_REWARD and high - low >= max(_LEAST_WIDTH, _LEAST_RELATIVE_WIDTH * size)):
        raise ConfigError(
            f"{name} must be [reward of a failure, reward of a success], two finite numbers with the first smaller, "
            f"neither beyond {_LARGEST_REWARD:g} nor too close to be told apart; got {list(pair)}."
        )
