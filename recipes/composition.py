"""Composes a recipe's config as verl's command does, within a second, because verl is not imported."""

import importlib.util
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from verl_vip.config import VipConfig
from verl_vip.errors import ConfigError
from verl_vip.recipes.overrides import override

_VERLS = "pkg://verl.trainer.config"
_SEARCH_PATH = "hydra.searchpath"
_NOISE = ("full_key:", "object_type=", "reference_type=")
#: The sections that every run reads settings from.
_GROUPS = ("vip", "data", "actor_rollout_ref", "algorithm", "trainer")


class UncheckedError(Exception):
    """The config cannot be composed here; the message says why."""


def compose_recipe(recipe: str, overrides: Sequence[str], elsewhere: bool = False) -> dict[str, Any]:
    """Return the config of verl's command, with its interpolations resolved.

    Args:
        recipe: A recipe of `verl_vip.recipes`.
        overrides: Hydra overrides of the recipe.
        elsewhere: Whether the job runs on other machines, whose environment variables and config packages are not
            known here.

    Raises:
        ConfigError: If Hydra refuses an override, or a group of settings is none.
        UncheckedError: If verl or Hydra is not installed here, or a value depends on the other machines.
    """
    try:
        from hydra import compose, initialize_config_module
        from hydra.core.override_parser.overrides_parser import OverridesParser
        from hydra.errors import HydraException, OverrideParseException
        from omegaconf import OmegaConf
        from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException
    except ImportError as error:
        raise UncheckedError(f"{error.name} is not installed") from error
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except OverrideParseException as error:
        raise ConfigError(_unparsed(error.override)) from error
    if nameless := [one.input_line for one in parsed if not one.key_or_group]:
        raise ConfigError(_unparsed(nameless[0]))
    search_paths = [one.value() for one in parsed if one.key_or_group == _SEARCH_PATH]
    search_path = override(_SEARCH_PATH, _without_import(search_paths[-1] if search_paths else [_VERLS]))
    others = [one.input_line for one in parsed if one.key_or_group != _SEARCH_PATH]
    try:
        with initialize_config_module("verl_vip.recipes", version_base=None):
            plain: dict[str, Any] = OmegaConf.to_container(compose(recipe, [search_path, *others]), resolve=True)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        if elsewhere and (search_paths or isinstance(error, InterpolationResolutionError)):
            raise UncheckedError(_sentence(error)) from error
        raise ConfigError(f"recipe {recipe} does not take the overrides: {_sentence(error)}") from error
    if isinstance(plain.get("vip"), str):
        VipConfig.from_mapping(plain["vip"])  # refuses it, and says what is missing
    for group in _GROUPS:
        if not isinstance(plain.get(group), dict):
            raise ConfigError(f"{group} is a group of settings, and the overrides make it {plain.get(group)!r}.")
    return plain


def _without_import(search_path: Any) -> list[str]:
    """Return the entries with verl's replaced by its folder: to find it, Hydra would import verl for half a minute."""
    if not isinstance(search_path, list) or not all(isinstance(entry, str) for entry in search_path):
        raise ConfigError(f"{_SEARCH_PATH} is a list of places such as [{_VERLS}]; got {search_path!r}.")
    spec = importlib.util.find_spec("verl")
    roots = [] if spec is None else list(spec.submodule_search_locations or ())
    folders = [folder for root in roots if (folder := Path(root) / "trainer" / "config").is_dir()]
    if not folders:
        raise UncheckedError("verl is not installed")
    return [f"file://{folders[0]}" if entry == _VERLS else entry for entry in search_path]


def _unparsed(text: str) -> str:
    key, equals, value = text.partition("=")
    if not equals or not key.strip("+~") or key.startswith("-"):
        return f"{text!r} is not a Hydra override; write KEY=VALUE, +KEY=VALUE or ~KEY."
    hint = shlex.quote(override(key, value))
    return f"Hydra cannot read the override {text!r}; if its value is text, quote it: {hint}."


def _sentence(error: Exception) -> str:
    """Return Hydra's message as one sentence, without the places and objects that it adds."""
    text = str(error).partition("Config search path:")[0]
    lines = [line.strip().rstrip(".;:") for line in text.splitlines()]
    return "; ".join(line for line in lines if line and not line.startswith(_NOISE)) + "."
