"""Predictors by name."""

from collections.abc import Mapping
from typing import Any

from verl_vip.by_name import build, locate, require_contract
from verl_vip.prediction.contract import Predictor

#: Where each predictor is defined; its module is imported on first use.
PREDICTORS: Mapping[str, str] = {
    "beta_table": "verl_vip.prediction.baselines.beta_table:BetaTable",
    "drifting_gp": "verl_vip.prediction.drifting_gp.predictor:DriftingGaussianProcess",
    "gaussian_process": "verl_vip.prediction.baselines.gaussian_process:GaussianProcess",
    "last_seen": "verl_vip.prediction.baselines.last_seen:LastSeen",
    "moving_average": "verl_vip.prediction.baselines.moving_average:MovingAverage",
    "oracle": "verl_vip.prediction.baselines.oracle:Oracle",
    "ridge": "verl_vip.prediction.baselines.ridge:Ridge",
}


def build_predictor(name: str, /, **settings: Any) -> Predictor:
    """Build a predictor from its name.

    Args:
        name: A key of `PREDICTORS`, an entry point of the group "verl_vip.predictors", or "package.module:Class".
        settings: The predictor's own keyword arguments.

    Raises:
        ConfigError: If the name or a setting is unknown (the message names the nearest valid one), a setting has the
            wrong type or is out of range, or the name cannot be imported or is not a predictor.
    """
    predictor: Predictor = build("predictor", name, locate("predictor", name, PREDICTORS), {}, settings)
    require_contract("predictor", name, predictor, Predictor)
    return predictor
