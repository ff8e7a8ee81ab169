"""The `vip` group of a recipe: typed and documented settings, checked before anything starts."""

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

#: Bounds far beyond any use; outside them, counts, weights and rewards would not be exact or finite.
_LARGEST_REWARD = 1e9
_LEAST_WIDTH = 1e-6
_LEAST_RELATIVE_WIDTH = 1e-4
#: Advantage estimators whose variance is known.
EstimatorName = Literal["rloo", "dr_grpo", "predicted_baseline"]
#: The fewest rollouts of a prompt for which each estimator's gradient variance is defined.
_LEAST_ROLLOUTS: Mapping[EstimatorName, int] = {"rloo": 2, "dr_grpo": 3, "predicted_baseline": 1}
#: The default of `vip.objective` for each `algorithm.adv_estimator`; it is "rloo" for any other estimator. REINFORCE
#: learns from a group of one, as the predicted baseline does.
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
    """The estimator whose gradient variance is minimised; null follows `algorithm.adv_estimator`. `vip_rloo`,
    `vip_dr_grpo` and `vip_predicted_baseline` have their own variances, `vip_reinforce` uses the variance of the
    predicted baseline, and any other estimator uses the variance of RLOO. A run is refused if its estimator has a
    different variance from the one set here."""
    utility: Literal["success", "log_success", "sqrt_success", "arcsine"] = "success"
    """The function G of the success probability p that training maximises: p, log p, sqrt(p) or 2 arcsin sqrt(p). Its
    slope at the predicted p multiplies each prompt's gradient, and the square of the slope multiplies the minimised
    variance."""
    utility_floor: Annotated[float, Range(least=1e-6, below=0.5)] = 0.05
    """For the slope of the utility, p is clipped to [floor, 1 - floor]."""
    prior_strength_cap: Annotated[float, Range(least=0.1, most=1e9)] = 16.0
    """With the predicted baseline: the largest weight of a prediction in the baseline, in rollouts. A predictor that
    gives no variance always has this weight."""
    score_coupling: Share = 0.0
    """With the predicted baseline: how strongly the size of a rollout's score depends on its reward, from 0 to 1. With
    0 they are independent, as in the paper's analysis, and the baseline is p. 1 is for answers of a few tokens: there a
    right answer moves the policy less the likelier it was, and the minimum-variance baseline is p (1 - p) / (1 + p).
    With a value in between, a part of the answer is independent of the reward."""
    lower: _Rollouts = 3
    """Fewest rollouts of a prompt. The variance of Dr.GRPO is convex from 3 on, and the paper uses 3 for both
    estimators. 2 is enough for RLOO, and 1 for the predicted baseline."""
    upper: _Rollouts = 32
    """Most rollouts of a prompt."""
    budget: Annotated[int, Range(least=1, most=10**12)] | None = None
    """Rollouts of one step; null for `data.train_batch_size * rollout.n`. Strategies that choose from a pool of
    prompts need it: `data.train_batch_size` is then the size of the pool, and the budget covers only a part of it. It
    must be a multiple of `actor.ppo_mini_batch_size * rollout.n`, the rollouts of one optimiser step in verl. With one
    rollout of each prompt, set both `vip.budget` and `actor.ppo_mini_batch_size` to the number of prompts to serve,
    `rollout.n` to 1, and `data.train_batch_size` to several times as many."""
    predictor: str = "drifting_gp"
    """The predictor of success probabilities: the name of a predictor ("gaussian_process" is the paper's), of an entry
    point of the group `verl_vip.predictors`, or `package.module:Class`."""
    predictor_settings: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the predictor."""
    prompt_weight: Literal["equal", "rows"] = "equal"
    """"equal" gives every prompt the same weight in the update whatever its count, as the variance analysis
    assumes. "rows" keeps verl's weight, which is proportional to the count. With `vip_krpo` weights are not equal even
    with "equal": its advantages grow with a rollout's position in its group, and so a prompt's weight grows with about
    the square root of its count."""
    reward_range: tuple[float, float] = (0.0, 1.0)
    """The rewards of a failed and of a successful rollout; (-1, 1) for verl's `math_dapo` scorer."""
    reward_range_by_source: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Reward ranges of single data sources whose scorers differ: `{openai/gsm8k: [0, 1]}` with
    `reward_range: [-1, 1]`. A training reward outside its range ends the run; a validation reward never does."""
    embedding_model: str = EMBEDDING_MODEL
    """The model that embeds prompts: a sentence-transformers model, or a causal language model, whose last hidden state
    of the prompt is used. Give a name on the Hub or a folder. `${actor_rollout_ref.model.path}` is the policy before
    training; it is then loaded a second time, on the driver's CPU."""
    identity_fields: tuple[str, ...] = ()
    """Fields of the data set that distinguish tasks with the same wording, by dotted name, such as
    `[reward_model.ground_truth]` or `[extra_info.split]`. Without any, the predictor treats prompts with the same
    wording as one prompt. The embedding depends on the wording alone."""
    balance_by: str = "data_source"
    """The field of the data set, by dotted name, whose values the strategy `balanced` draws evenly over, such as
    `extra_info.level`. `prioritized` does the same with `balance: labels` in its settings."""
    covariates: tuple[str, ...] = ()
    """Fields of the data set that tell something about how hard a prompt is, by dotted name, such as
    `[extra_info.difficulty, data_source]`: another model's pass rate, a level, a source. The predictor learns what each
    one tells, so neither its sign nor its scale matters, and one that tells nothing does no harm. A field holds
    numbers, or up to 64 different texts, and may be empty for some prompts. `drifting_gp` and `ridge` use them."""
    warm_start: PathText | None = None
    """A record of the same or of overlapping data, made with another model or other settings: the folder of a run, an
    evaluation of `verl-vip evaluate`, the folder of verl's `trainer.rollout_data_dir`, or a Parquet file with counts.
    Its success rates become a covariate, so that the predictor learns how far they hold for this policy. A resumed run
    goes on with the rates it was started with."""
    cache_dir: PathText = "~/.cache/verl_vip"
    """The folder in which prompt embeddings are kept between runs."""
    embed_at_start: bool = True
    """Whether the prompts of the run are embedded before the first step; otherwise each batch is embedded as it
    arrives."""
    on_missing_state: Literal["error", "fresh"] = "error"
    """What to do if a checkpoint has no usable predictor state: stop, or continue with an untrained predictor."""
    poll_seconds: Annotated[float, Range(least=1e-3, most=3600)] = 0.1
    """Seconds between two checks for finished rollouts (2 in verl's own buffer)."""

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
        if len(set(self.covariates)) < len(self.covariates):
            twice = next(name for name in self.covariates if self.covariates.count(name) > 1)
            raise ConfigError(f"vip.covariates names {twice} twice; name it once.")
        if self.strategy == "oracle":
            raise ConfigError(
                "vip.strategy=oracle needs the true success probabilities, which are known only in a simulation; "
                "set vip.strategy=vip."
            )
        if self.predictor == "oracle":
            raise ConfigError(
                "vip.predictor=oracle needs the true success probabilities, which are known only in a simulation; "
                "set vip.predictor=drifting_gp."
            )

    def following(self, estimator: str) -> "VipConfig":
        """Return the settings with `objective` set; if it is unset, it becomes the default of an advantage estimator.

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
        """`objective`, or "rloo" if it is unset and no estimator is known."""
        return self.objective or "rloo"

    def range_of(self, source: str) -> tuple[float, float]:
        """Return the rewards of a failed and of a successful rollout of a data source."""
        return self.reward_range_by_source.get(source, self.reward_range)

    @property
    def label_field(self) -> str | None:
        """`balance_by` if the strategy draws evenly over labels; None if nothing needs labels."""
        by_labels = self.strategy == "balanced" or self.strategy_settings.get("balance") == "labels"
        return self.balance_by if by_labels else None

    @property
    def task_fields(self) -> tuple[str, ...]:
        """The fields of a data set row that planning needs, by dotted name."""
        label = () if self.label_field is None else (self.label_field,)
        return (*self.identity_fields, *label, *self.covariates)

    @property
    def cache_path(self) -> Path:
        """`cache_dir` with `~` expanded."""
        return Path(os.path.expanduser(self.cache_dir))  # unlike pathlib, it accepts unknown users' homes

    @classmethod
    def from_mapping(cls, settings: Mapping[str, Any] | str) -> "VipConfig":
        """Check a plain mapping and build the config.

        Args:
            settings: The `vip` group, already resolved to plain Python values. Hydra passes on the name of a preset
                that it did not find.

        Raises:
            ConfigError: If a key is unknown (the message gives the nearest valid name), a value has the wrong type, or
                the group is the name of a preset.
        """
        if isinstance(settings, str):
            raise ConfigError(
                f"vip={shortened(settings)} was not found among the presets, so `vip` is text and not a group of "
                "settings; add 'hydra.searchpath=[pkg://verl_vip.recipes]' to the command."
            )
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
        """Return the settings as plain values that `from_mapping` accepts."""
        plain = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        for key, value in plain.items():
            if isinstance(value, Mapping):
                plain[key] = {name: list(item) if isinstance(item, tuple) else item for name, item in value.items()}
            elif isinstance(value, tuple):
                plain[key] = list(value)
        return plain


def objective_of(estimator: str) -> EstimatorName:
    """Return the default of `vip.objective` for an `algorithm.adv_estimator`."""
    return OBJECTIVES.get(estimator, "rloo")


def _require_range(name: str, pair: tuple[float, float]) -> None:
    low, high = pair
    size = max(abs(low), abs(high))
    # verl holds rewards in single precision. There the two must differ, and their squares must be finite.
    if not (size <= _LARGEST_REWARD and high - low >= max(_LEAST_WIDTH, _LEAST_RELATIVE_WIDTH * size)):
        raise ConfigError(
            f"{name} must be [reward of a failure, reward of a success], two finite numbers with the first smaller, "
            f"neither beyond {_LARGEST_REWARD:g} nor too close to be told apart; got {list(pair)}."
        )
