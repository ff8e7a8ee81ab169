"""Configs of training runs: those that are shipped, and wrong ones drawn from a seed."""

import copy
import dataclasses
import inspect
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf

import verl_vip.recipes
from verl_vip.advantages.compute import VERL_NAMES
from verl_vip.advantages.utility import UtilityName
from verl_vip.config import EstimatorName, VipConfig
from verl_vip.prediction.registry import PREDICTORS
from verl_vip.strategies.registry import STRATEGIES
from verl_vip.workers.settings.update_settings import LOSS_MODES

FOLDER = Path(verl_vip.recipes.__file__).parent
RECIPES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
PRESETS = sorted(path.stem for path in (FOLDER / "vip").glob("*.yaml"))
#: A batch that a test can sample in no time; the pool of `prioritized` is three times what it serves.
SMALL = ["data.train_batch_size=8", "actor_rollout_ref.actor.ppo_mini_batch_size=8", "actor_rollout_ref.rollout.n=4"]
POOL = [
    *("data.train_batch_size=12", "actor_rollout_ref.actor.ppo_mini_batch_size=4"),
    *("actor_rollout_ref.rollout.n=1", "vip.budget=4"),
]

NUMBERS = [0, 1, -1, 2, 3, 7, 8, 16, 64, 10**6, 2**31, 2**62, 10**30, 10**400, -(10**30)]
FRACTIONS = [0.0, 0.5, -0.5, 1.0, 1.5, 1e-9, 5e-324, 1e308, -1e308, float("nan"), float("inf"), float("-inf")]
PLAUSIBLE = [1, 2, 3, 4, 5, 6, 8, 12, 0.1, 0.25, 0.75, 0.9, 1.0, 2.5, 100, 1e-3, True, False]
TEXTS = ["", " ", "null", "nan", "1", "0.5", "true", "abc", "é\n\u2028", "\0", "\ud800", "x" * 500, "~", "~nobody/x"]
MISSING = ["???", "${no.such.key}", "${oc.env:NO_SUCH_VARIABLE}", "${data}"]
CONTAINERS: list[Any] = [[], {}, [1], [None], ["a"], [0, 1], [1, 0], [0, float("nan")], [-1e308, 1e308], [0, 5e-324]]
NESTED: list[Any] = [{"a": 1}, {1: 2}, {"a": {"b": [None, {"c": []}]}}, [[1, 2], [3]], {"gsm8k": [0, 1]}, {"": [0, 1]}]
ESTIMATORS = [
    *(*VERL_NAMES, "gae", "grpo", "rloo", "rloo_vectorized", "opo", "gpg", "reinforce_plus_plus", "grpo_vectorized"),
    *("reinforce_plus_plus_baseline", "remax", "gdpo", "grpo_passk", "optimal_token_baseline"),
    *("vip_rlo", "vip-rloo", "VIP_RLOO", "grop", "no_such.module:function", "string:digits", "fractions:Fraction"),
]
#: Keys and what is right there, at least beside some other settings.
NAMED: list[tuple[str, list[Any]]] = [
    ("vip.strategy", [*STRATEGIES, "fractions:Fraction", "os:_exit", "no_such.module:Class", "a:"]),
    ("vip.predictor", [*PREDICTORS, "builtins:print", "verl_vip.prediction.baselines.ridge:Ridge"]),
    ("vip.objective", [*get_args(EstimatorName), None]),
    ("vip.utility", [*get_args(UtilityName)]),
    ("vip.lower", [1, 2, 3, 4]),
    ("vip.upper", [2, 3, 4, 5, 8, 64]),
    ("vip.budget", [4, 8, 16, 24, 32, 64]),
    ("vip.reward_range", [[-1, 1], [0, 10.5], [10, 10.1], [-1e9, 1e9], [0, 1e-6]]),
    ("vip.reward_range_by_source", [{"gsm8k": [0, 1]}, {"add": [-1, 1], "é\n": [2, 3]}, {7: [0, 1e6]}]),
    ("algorithm.adv_estimator", ESTIMATORS),
    ("algorithm.use_kl_in_reward", [True]),
    ("actor_rollout_ref.actor.loss_agg_mode", [*LOSS_MODES]),
    ("actor_rollout_ref.rollout.n", [1, 2, 3, 5, 8]),
    ("critic.enable", [True, False, None]),
    ("data.train_batch_size", [1, 2, 3, 4, 16, 24]),
    ("trainer.v1.trainer_mode", ["sync", "colocate_async", "separate_async"]),
    ("trainer.resume_mode", ["auto", "disable", "resume_path"]),
]
NAMES = [
    *(name for _, choices in NAMED for name in choices if isinstance(name, str)),
    *("equal", "rows", "error", "fresh", "vipp", "median", "exact", "paper", "plug_in", "hard", "positive"),
    *("/dev/null", "/dev/null/x", "/proc/x", "/", "global_step_3", "a/b/c", "no-such-owner/no-such-model"),
]


@dataclass(frozen=True)
class Case:
    """A base with the values that are set in it, by dotted key."""

    base: str
    changes: dict[str, Any] = field(default_factory=dict)

    def config(self, bases: dict[str, DictConfig]) -> DictConfig:
        """Return the base with the changes."""
        config = copy.deepcopy(bases[self.base])
        for key, value in self.changes.items():
            OmegaConf.update(config, key, value, merge=False, force_add=True)
        return config

    def names(self, bases: dict[str, DictConfig]) -> set[str]:
        """Return the words of which a refusal has to say one: the last part of a key that is changed.

        Or that of a key whose value is made from one that is, or what a setting is of.
        """
        keys = set(self.changes)
        for key, value in _leaves("", OmegaConf.to_container(bases[self.base])):
            used = re.findall(r"[\w.]+", value) if isinstance(value, str) and "${" in value else []
            if any(f"{use}.".startswith(f"{change}.") for use in used for change in self.changes):
                keys.add(key)
        owners = {
            one for one in ("strategy", "predictor") if any(key.startswith(f"vip.{one}_settings") for key in keys)
        }
        return {key.rpartition(".")[2] for key in keys} | owners


def _leaves(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(f"{prefix}.{key}" if prefix else str(key), item)
    else:
        yield prefix, value


def bases(folder: Path) -> dict[str, DictConfig]:
    """Return every recipe, and every preset added to verl's own config, with small batches, in a folder."""
    found: dict[str, DictConfig] = {}
    places = [f"trainer.default_local_dir={folder}/run", f"vip.cache_dir={folder}/cache"]
    for name in RECIPES:
        with initialize_config_module("verl_vip.recipes", version_base=None):
            found[name] = compose(name, overrides=[*places, *SMALL])
    for name in PRESETS:
        added = ["hydra.searchpath=[pkg://verl_vip.recipes]", f"+vip={name}", *places]
        with initialize_config_module("verl.trainer.config", version_base=None):
            found[f"+{name}"] = compose(
                "ppo_trainer", overrides=[*added, *(POOL if name in ("prioritized", "balanced") else SMALL)]
            )
    for config in found.values():
        OmegaConf.set_struct(config, value=False)
    return found


def settings_of(registry: dict[str, str], name: str) -> list[str]:
    """Return the settings that the constructor of a strategy or predictor takes."""
    module, _, attribute = registry[name].partition(":")
    return [key for key in inspect.signature(getattr(import_module(module), attribute)).parameters if key != "args"]


class Draw:
    """Draws cases.

    Args:
        seed: Of all that is drawn.
        names: Of the bases.
        read: The keys of verl's config that verl-vip reads.
    """

    def __init__(self, seed: int, names: list[str], read: set[str]) -> None:
        self._random = random.Random(seed)
        self._names = names
        groups = {key.rpartition(".")[0] for key in read} | {"vip", "trainer", "actor_rollout_ref", "reward"}
        self._read, self._groups = sorted(read), sorted(groups - {""})
        self._vip = [f"vip.{entry.name}" for entry in dataclasses.fields(VipConfig)]

    def case(self) -> Case:
        """Return the next case, of one to three changes."""
        changes: dict[str, Any] = {}
        for _ in range(self._random.choice((1, 1, 1, 2, 2, 3))):
            changes.update(self._change())
        # A group that is replaced takes its keys with it.
        kept = {key: value for key, value in changes.items() if not any(key.startswith(f"{one}.") for one in changes)}
        return Case(self._random.choice(self._names), kept)

    def _change(self) -> dict[str, Any]:
        kind = self._random.random()
        if kind < 0.3:
            return {self._random.choice(self._read): self._value()}
        if kind < 0.36:
            return {self._random.choice(self._groups): self._value()}
        if kind < 0.54:
            return {self._random.choice(self._vip): self._value()}
        if kind < 0.70:
            key, choices = self._random.choice(NAMED)
            return {key: self._random.choice(choices)}
        if kind < 0.72:
            return {f"vip.{self._random.choice(TEXTS + NAMES)[:40].replace('.', '')}": self._value()}
        registry, owner = self._random.choice(((STRATEGIES, "strategy"), (PREDICTORS, "predictor")))
        name, other = self._random.choice(sorted(registry)), self._random.choice(sorted(registry))
        known = settings_of(registry, name if self._random.random() < 0.9 else other) or ["seed"]
        return {f"vip.{owner}": name, f"vip.{owner}_settings.{self._random.choice(known)}": self._value()}

    def _value(self) -> Any:
        if (kind := self._random.random()) < 0.3:
            return self._random.choice(PLAUSIBLE)
        if kind < 0.4:
            return None
        pool = self._random.choice((NUMBERS, NUMBERS, FRACTIONS, FRACTIONS, TEXTS, NAMES, NAMES, CONTAINERS, NESTED))
        pool = MISSING if self._random.random() < 0.04 else pool
        return copy.deepcopy(self._random.choice([*pool, True, False]))


@pytest.fixture(scope="module")
def configs(tmp_path_factory) -> Iterator[dict[str, DictConfig]]:
    """The bases, whose files lie in a folder of the tests' own; not to be changed."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VERL_VIP_DEMO_DIR", str(folder))
        patch.chdir(folder)  # where a folder lies that is named relatively
        yield bases(folder)


@pytest.fixture
def draw_cases():
    """Draws so many cases from a seed, given the names of the bases and the keys that are read."""

    def draw(seed: int, number: int, names: list[str], read: set[str]) -> list[Case]:
        source = Draw(seed, names, read)
        return [source.case() for _ in range(number)]

    return draw
