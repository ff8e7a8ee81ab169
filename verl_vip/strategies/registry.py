"""Strategies by name."""

from collections.abc import Mapping
from typing import Any

from verl_vip.by_name import build, locate, require_contract
from verl_vip.strategies.contract import Strategy
from verl_vip.strategies.gradient_variance import GradientVariance

#: Where each strategy is defined; its module is imported on first use.
STRATEGIES: Mapping[str, str] = {
    "balanced": "verl_vip.strategies.policies.prioritized:Prioritized",
    "balanced_clusters": "verl_vip.strategies.policies.prioritized:Prioritized",
    "coba": "verl_vip.strategies.policies.coba:Coba",
    "cero": "verl_vip.strategies.policies.cero:Cero",
    "dapo": "verl_vip.strategies.policies.dapo:Dapo",
    "dars": "verl_vip.strategies.policies.dars:Dars",
    "dynamic_pruning": "verl_vip.strategies.policies.dynamic_pruning:DynamicPruning",
    "dynamo": "verl_vip.strategies.policies.dynamo:Dynamo",
    "greso": "verl_vip.strategies.policies.greso:Greso",
    "gvm": "verl_vip.strategies.policies.gvm:Gvm",
    "hora": "verl_vip.strategies.policies.hora:Hora",
    "knapsack": "verl_vip.strategies.policies.knapsack:Knapsack",
    "mopps": "verl_vip.strategies.policies.mopps:Mopps",
    "oracle": "verl_vip.strategies.policies.vip:Vip",
    "pilot_commit": "verl_vip.strategies.policies.pilot_commit:PilotCommit",
    "pods": "verl_vip.strategies.policies.pods:Pods",
    "prioritized": "verl_vip.strategies.policies.prioritized:Prioritized",
    "random_permutation": "verl_vip.strategies.policies.random_permutation:RandomPermutation",
    "reinforce_ada": "verl_vip.strategies.policies.reinforce_ada:ReinforceAda",
    "thompson": "verl_vip.strategies.policies.thompson:Thompson",
    "uniform": "verl_vip.strategies.policies.uniform:Uniform",
    "vigor": "verl_vip.strategies.policies.vigor:Vigor",
    "vip": "verl_vip.strategies.policies.vip:Vip",
    "vip_paper": "verl_vip.strategies.policies.vip:Vip",
    "vip_released_code": "verl_vip.strategies.policies.vip_released_code:VipReleasedCode",
}

#: Settings that a name fixes.
FIXED: Mapping[str, Mapping[str, Any]] = {
    "balanced": {"exponent": 0.0, "even_share": 0.0, "balance": "labels"},
    "balanced_clusters": {"exponent": 0.0, "even_share": 0.0, "balance": "clusters"},
    # VIP with the true probabilities, which predictor "oracle" gives without uncertainty. Only simulations know them.
    "oracle": {"uncertainty": "plug_in"},
    "vip_paper": {"rounding": "paper", "uncertainty": "plug_in"},
}


def build_strategy(name: str, objective: GradientVariance | str, /, **settings: Any) -> Strategy:
    """Build a strategy from its name.

    Args:
        name: A key of `STRATEGIES`, an entry point of the group "verl_vip.strategies", or "package.module:Class".
        objective: The variance that an allocating strategy minimises, or the name of its advantage estimator.
        settings: The strategy's own keyword arguments.

    Raises:
        ConfigError: If the name or a setting is unknown (the message names the nearest valid one), a setting has the
            wrong type or is out of range, or the name cannot be imported or is not a strategy.
    """
    constructor = locate("strategy", name, STRATEGIES)
    strategy: Strategy = build("strategy", name, constructor, {"objective": objective, **FIXED.get(name, {})}, settings)
    require_contract("strategy", name, strategy, Strategy)
    return strategy
