"""A comparison of several arms on the same simulated data sets."""

import logging
from collections.abc import Sequence

from verl_vip.errors import ConfigError, InvalidInputError
from verl_vip.prediction.registry import build_predictor
from verl_vip.simulation.recorded_world import RecordedWorld
from verl_vip.simulation.run import Arm, RunResult, SimulationSettings, simulate
from verl_vip.simulation.summary import ArmSummary, summarize
from verl_vip.strategies.registry import build_strategy

logger = logging.getLogger(__name__)


def named_arms(strategies: Sequence[str], predictor: str) -> list[Arm]:
    """Return one arm for each strategy, all with one predictor; strategy "oracle" has the true probabilities.

    Args:
        strategies: Names of `verl_vip.strategies.registry`.
        predictor: A name of `verl_vip.prediction.registry`.

    Raises:
        ConfigError: If there is no strategy, or one occurs twice.
    """
    if not strategies or len(set(strategies)) < len(strategies):
        raise ConfigError(f"give at least one strategy, and each once; got {', '.join(strategies) or 'none'}.")
    return [Arm(name, "oracle" if name == "oracle" else predictor) for name in strategies]


def compare(
    arms: Sequence[Arm], settings: SimulationSettings, num_seeds: int, record: RecordedWorld | None = None
) -> list[ArmSummary]:
    """Train every arm with seeds 0 to `num_seeds - 1`.

    Args:
        arms: The arms; their names must differ.
        settings: The settings that they share.
        num_seeds: Number of seeds of each arm.
        record: Recorded success rates to follow, see `simulate`.

    Returns:
        A summary for each arm, in their order.

    Raises:
        InvalidInputError: If there is no seed, or two arms have the same name.
        ConfigError: If a strategy, a predictor or a setting is unknown.
    """
    if num_seeds < 1:
        raise InvalidInputError(f"a comparison needs at least one seed; got {num_seeds}.")
    names = [arm.name for arm in arms]
    if len(set(names)) < len(names):
        raise InvalidInputError(f"arms need different names; got {', '.join(names)}.")
    for arm in arms:  # a wrong arm fails now, and not after the others have run for minutes
        build_strategy(arm.strategy, settings.objective, **arm.strategy_settings)
        build_predictor(arm.predictor, **arm.predictor_settings)
    runs: dict[str, list[RunResult]] = {}
    logger.info("simulating %s, with %d seeds each", ", ".join(names), num_seeds)
    for arm in arms:
        runs[arm.name] = []
        for seed in range(num_seeds):
            runs[arm.name].append(simulate(arm, settings, seed, record))
            logger.info("simulated %s, seed %d of %d", arm.name, seed + 1, num_seeds)
    uniform = next((runs[arm.name] for arm in arms if arm.strategy == "uniform"), None)
    return [summarize(arm, runs[arm.name], settings, uniform) for arm in arms]
