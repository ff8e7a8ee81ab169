"""Checks the config of a future job within seconds: it is composed, and refused as the job would refuse it.

    python -m verl_vip.workers.settings.preflight < REQUEST

It runs with the interpreter and the environment variables of the job, because its verl is the one that counts. Neither
verl nor Ray is started. The request is a JSON object with the arguments of `check_recipe`. The answer has one of three
keys: `config`, the composed config; `refused`, a sentence that says what is wrong; `unchecked`, the reason why it
cannot be checked.
"""

import json
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any

from verl_vip.errors import VerlVipError
from verl_vip.recipes.composition import UncheckedError, compose_recipe


def check_recipe(recipe: str, overrides: Sequence[str], elsewhere: bool = False) -> dict[str, Any]:
    """Compose the config of a recipe, and check everything in it that needs neither verl's modules nor the machine.

    Args:
        recipe: A recipe of `verl_vip.recipes`.
        overrides: Hydra overrides of the recipe.
        elsewhere: Whether the job runs on other machines; see `compose_recipe`.

    Returns:
        The config with its interpolations resolved.

    Raises:
        VerlVipError: If the job would refuse the config.
        UncheckedError: If the config cannot be composed here.
    """
    plain = compose_recipe(recipe, overrides, elsewhere)
    require_trainable(plain)
    return plain


def require_trainable(plain: dict[str, Any]) -> None:
    """Refuse verl's resolved config as a session would, before anything is started.

    Raises:
        ConfigError: If a setting is wrong or does not work with another.
        InfeasibleBudgetError: If the bounds cannot hold the budget.
    """
    from omegaconf import OmegaConf

    from verl_vip.prediction.registry import build_predictor
    from verl_vip.strategies.registry import build_strategy
    from verl_vip.workers.settings.run_settings import RunSettings
    from verl_vip.workers.settings.strategy_settings import require_usable_strategy

    settings = RunSettings.from_verl(OmegaConf.create(plain), in_job=False)
    vip = settings.vip
    strategy = build_strategy(vip.strategy, vip.minimised, **vip.strategy_settings)
    build_predictor(vip.predictor, **vip.predictor_settings)
    require_usable_strategy(settings, strategy)


def main() -> None:
    """Answer one request."""
    request = json.load(sys.stdin)
    try:
        with redirect_stdout(sys.stderr):  # what a module prints on import is no part of the answer
            answer: dict[str, Any] = {"config": check_recipe(**request)}
    except VerlVipError as error:
        answer = {"refused": str(error)}
    except UncheckedError as error:
        answer = {"unchecked": str(error)}
    sys.stdout.write(json.dumps(answer, default=str) + "\n")


if __name__ == "__main__":
    main()
