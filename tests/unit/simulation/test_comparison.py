import pytest

from verl_vip.errors import ConfigError, InvalidInputError
from verl_vip.simulation.comparison import compare, named_arms
from verl_vip.simulation.run import Arm


def test_the_oracle_alone_is_told_the_truth():
    arms = named_arms(["uniform", "oracle"], "ridge")
    assert [(arm.name, arm.predictor) for arm in arms] == [("uniform", "ridge"), ("oracle", "oracle")]


@pytest.mark.parametrize("names", [[], ["vip", "vip"]])
def test_strategies_are_named_once(names):
    with pytest.raises(ConfigError, match="each once"):
        named_arms(names, "ridge")


def test_summaries_come_in_order_and_the_oracle_learns_at_least_variance(small):
    uniform, oracle = compare(named_arms(["uniform", "oracle"], "beta_table"), small, 3)
    assert uniform.measures["attainable_share"].value == pytest.approx(0, abs=1e-12)
    assert oracle.measures["attainable_share"].value == pytest.approx(1)
    assert oracle.measures["variance"].value < uniform.measures["variance"].value == pytest.approx(1)
    assert uniform.measures["above_uniform"].value == 0


def test_impossible_comparisons_are_refused(small):
    with pytest.raises(InvalidInputError, match="at least one seed"):
        compare([Arm("vip", "ridge")], small, 0)
    with pytest.raises(InvalidInputError, match="different names"):
        compare([Arm("vip", "ridge"), Arm("vip", "beta_table")], small, 1)


def test_progress_is_logged_at_the_start_and_after_each_seed(small, caplog):
    caplog.set_level("INFO", "verl_vip")
    compare(named_arms(["uniform", "oracle"], "beta_table"), small, 2)
    assert caplog.messages == [
        "simulating uniform, oracle, with 2 seeds each",
        "simulated uniform, seed 1 of 2",
        "simulated uniform, seed 2 of 2",
        "simulated oracle, seed 1 of 2",
        "simulated oracle, seed 2 of 2",
    ]
