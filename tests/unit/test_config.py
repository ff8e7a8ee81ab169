import json
from typing import get_args, get_type_hints

import pytest

from verl_vip.advantages.compute import VERL_NAMES
from verl_vip.advantages.prompt_weight import PromptWeight
from verl_vip.advantages.utility import UtilityName
from verl_vip.config import OBJECTIVES, EstimatorName, VipConfig, objective_of
from verl_vip.errors import ConfigError


def test_defaults_survive_a_round_trip():
    assert VipConfig.from_mapping(VipConfig().to_mapping()) == VipConfig()


def test_a_list_of_any_length_survives_a_round_trip():
    for fields in ([], ["reward_model.ground_truth"], ["data_source", "extra_info.part"]):
        config = VipConfig.from_mapping({"identity_fields": fields})
        assert config.identity_fields == tuple(fields)
        assert config.to_mapping()["identity_fields"] == fields


def test_values_are_kept_and_whole_numbers_may_stand_for_floats():
    config = VipConfig.from_mapping({"strategy": "uniform", "upper": 64, "reward_range": [-1, 1], "poll_seconds": 1})
    assert (config.strategy, config.upper, config.reward_range, config.poll_seconds) == (
        "uniform",
        64,
        (-1.0, 1.0),
        1.0,
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stratgy": "vip"}, "vip.stratgy is not a setting; did you mean vip.strategy?"),
        ({"zzz": 1}, "vip.zzz is not a setting; known: balance_by, budget, cache_dir, covariates"),
        ({"lower": "three"}, "vip.lower must be a whole number from 1 to 1e+06; got 'three'"),
        ({"lower": True}, "vip.lower must be a whole number from 1 to 1e+06; got True"),
        ({"lower": 2.5}, "vip.lower must be a whole number from 1 to 1e+06; got 2.5"),
        (
            {"objective": "grpo"},
            "vip.objective must be one of 'rloo', 'dr_grpo', 'predicted_baseline' or null; got 'grpo'",
        ),
        ({"reward_range": [0]}, "vip.reward_range must be a list of 2 finite numbers; got [0]"),
        ({"reward_range": [1, 0]}, "with the first smaller"),
        ({"reward_range": [0, float("inf")]}, "a list of 2 finite numbers"),
        ({"reward_range": [float("nan"), 1]}, "a list of 2 finite numbers"),
        ({"reward_range_by_source": [0, 1]}, "vip.reward_range_by_source must be a mapping; got [0, 1]"),
        (
            {"reward_range_by_source": {"gsm8k": 1}},
            "vip.reward_range_by_source['gsm8k'] must be a list of 2 finite numbers; got 1",
        ),
        ({"reward_range_by_source": {"gsm8k": [1, 1]}}, "vip.reward_range_by_source['gsm8k'] must be [reward of a"),
        ({"identity_fields": "extra_info.part"}, "vip.identity_fields must be a list of texts; got 'extra_info.part'"),
        ({"identity_fields": [1]}, "vip.identity_fields must be a list of texts; got [1]"),
        ({"covariates": "extra_info.level"}, "vip.covariates must be a list of texts; got 'extra_info.level'"),
        ({"covariates": ["a", "b", "a"]}, "vip.covariates names a twice; name it once."),
        ({"predictor_settings": 3}, "vip.predictor_settings must be a mapping"),
        ({"lower": 9, "upper": 8}, "1 <= lower <= upper; got 9 and 8"),
        ({"lower": 0}, "vip.lower must be a whole number from 1 to"),
        ({"lower": 1, "objective": "rloo"}, "needs at least 2 rollouts a prompt; set vip.lower=2"),
        ({"lower": 2, "objective": "dr_grpo"}, "needs at least 3 rollouts a prompt; set vip.lower=3"),
        ({"lower": 0, "objective": "predicted_baseline"}, "vip.lower must be a whole number from 1"),
        ({"utility": "log"}, "vip.utility must be one of 'success', 'log_success'"),
        ({"utility_floor": 0.5}, "vip.utility_floor must be a finite number of at least 1e-06 and below 0.5; got 0.5"),
        ({"prior_strength_cap": 0}, "vip.prior_strength_cap must be a finite number from 0.1 to 1e+09; got 0"),
        ({"score_coupling": -1}, "vip.score_coupling must be a finite number from 0 to 1; got -1"),
        ({"poll_seconds": 0}, "vip.poll_seconds must be a finite number from 0.001 to 3600; got 0"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(settings, message):
    with pytest.raises(ConfigError) as caught:
        VipConfig.from_mapping(settings)
    assert message in str(caught.value)


def test_one_rollout_a_prompt_is_enough_for_the_predicted_baseline():
    assert VipConfig.from_mapping({"lower": 1, "objective": "predicted_baseline"}).lower == 1


def test_choices_are_those_of_the_library():
    hints = get_type_hints(VipConfig)
    assert hints["objective"] == EstimatorName | None
    assert get_args(hints["utility"]) == get_args(UtilityName)
    assert get_args(hints["prompt_weight"]) == get_args(PromptWeight)


def test_a_source_has_its_own_rewards_or_those_of_all():
    settings = {"reward_range": [-1, 1], "reward_range_by_source": {"openai/gsm8k": [0, 1]}}
    config = VipConfig.from_mapping(settings)
    assert config.range_of("openai/gsm8k") == (0.0, 1.0)
    assert config.range_of("math_dapo") == (-1.0, 1.0)
    assert VipConfig.from_mapping(config.to_mapping()) == config
    assert json.loads(json.dumps(config.to_mapping()))["reward_range_by_source"] == {"openai/gsm8k": [0.0, 1.0]}


@pytest.mark.parametrize("estimator", [*VERL_NAMES, "grpo", "rloo", "my.package:estimator"])
def test_the_objective_follows_the_estimator_unless_it_is_set(estimator):
    followed = VipConfig().following(estimator)
    assert followed.objective == followed.minimised == objective_of(estimator)
    assert followed.following("vip_rloo") == followed
    for name in get_args(EstimatorName):
        assert VipConfig(objective=name).following(estimator).objective == name


def test_each_estimator_of_known_variance_has_its_own_objective():
    assert {objective_of(f"vip_{name}"): name for name in get_args(EstimatorName)} == {
        name: name for name in get_args(EstimatorName)
    }
    assert OBJECTIVES.keys() <= VERL_NAMES.keys()
    assert set(OBJECTIVES.values()) == set(get_args(EstimatorName))
    assert VipConfig().minimised == objective_of("any other") == "rloo"


def test_a_lower_bound_too_small_for_what_is_followed_names_the_estimator():
    with pytest.raises(
        ConfigError, match=r"vip.objective=dr_grpo, which follows algorithm.adv_estimator='vip_dr_grpo'"
    ):
        VipConfig(lower=2).following("vip_dr_grpo")
    assert VipConfig(lower=1).following("vip_reinforce").minimised == "predicted_baseline"
