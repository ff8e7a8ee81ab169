import pytest

from verl_vip.errors import ConfigError
from verl_vip.strategies.policies.vip import Vip
from verl_vip.strategies.registry import STRATEGIES, build_strategy


@pytest.mark.parametrize("name", sorted(STRATEGIES))
@pytest.mark.parametrize("objective", ["rloo", "dr_grpo"])
def test_every_name_builds(name, objective):
    strategy = build_strategy(name, objective=objective)
    assert f"{type(strategy).__module__}:{type(strategy).__qualname__}" == STRATEGIES[name]


def test_settings_reach_the_strategy():
    assert isinstance(build_strategy("vip", objective="rloo", rounding="paper"), Vip)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("vipp", {}, "did you mean 'vip'"),
        ("nothing-like-it", {}, "known: cero"),
        ("dapo", {"group_sise": 4}, "did you mean 'group_size'"),
        ("uniform", {"seed": 1}, "known: none"),
        ("vip_paper", {"rounding": "exact"}, "no setting 'rounding'"),
        ("mopps", {"seed": "one"}, "takes a whole number as seed; got 'one'"),
        ("prioritized", {"even_share": True}, "takes a number as even_share; got True"),
        ("pods", {"kept": 1}, "kept must be at least 2"),
        ("coba", {"kappa": 2}, "kappa must be above 2"),
        ("coba", {"window": 0}, "window must be at least 1"),
        ("dynamic_pruning", {"prompt_pruning": 1.0}, "prompt_pruning must lie in"),
    ],
)
def test_unknown_names_and_settings_are_refused(name, settings, message):
    with pytest.raises(ConfigError, match=message):
        build_strategy(name, objective="rloo", **settings)
