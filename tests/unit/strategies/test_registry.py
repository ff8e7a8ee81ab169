import pytest

from verl_vip.errors import ConfigError
from verl_vip.strategies.policies.vip import Vip
from verl_vip.strategies.registry import STRATEGIES, build_strategy


@pytest.mark.parametrize("name", sorted(STRATEGIES))
@pytest.mark.parametrize("objective", ["rloo", "dr_grpo"])
def test_every_name_builds(name, objective):
    strategy = build_strategy(name, objective)
    assert f"{type(strategy).__module__}:{type(strategy).__qualname__}" == STRATEGIES[name]


def test_settings_reach_the_strategy():
    assert isinstance(build_strategy("vip", "rloo", rounding="paper"), Vip)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("vipp", {}, "did you mean 'vip'"),
        ("nothing-like-it", {}, "known: balanced, "),
        ("dapo", {"group_sise": 4}, "did you mean 'group_size'"),
        ("uniform", {"seed": 1}, "known: none"),
        ("vip_paper", {"rounding": "exact"}, "no setting 'rounding'"),
        ("uniform", {"name": "vip", "objective": "rloo"}, "no setting 'name'"),
        ("vip", {"objective": "dr_grpo"}, "no setting 'objective'"),
        ("vip", {"rounding": "papr"}, "rounding must be one of 'exact', 'paper'; got 'papr'"),
        ("mopps", {"seed": "one"}, "'mopps': seed must be a whole number; got 'one'"),
        ("prioritized", {"even_share": True}, "even_share must be a finite number from 0 to 1; got True"),
        ("pods", {"kept": 1}, "kept must be a whole number of at least 2; got 1"),
        ("coba", {"kappa": 2}, "kappa must be a finite number above 2"),
        ("coba", {"window": 0}, "window must be a whole number of at least 1"),
        (
            "dynamic_pruning",
            {"prompt_pruning": 1.0},
            "prompt_pruning must be a finite number of at least 0 and below 1",
        ),
        (
            "pilot_commit",
            {"lowest": 0.8},
            "settings must satisfy lowest <= highest <= exclude_from; got 0.8, 0.75 and 1.0",
        ),
    ],
)
def test_unknown_names_and_settings_are_refused(name, settings, message):
    with pytest.raises(ConfigError, match=message):
        build_strategy(name, "rloo", **settings)
