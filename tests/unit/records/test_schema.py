import numpy as np
import pytest

from verl_vip.errors import InvalidInputError


def test_validation_accuracy_pools_the_problems_of_all_labels(make_validation):
    assert make_validation().accuracy == pytest.approx(5.5 / 15)
    assert make_validation().num_problems == 15


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"requested": [1, 2]}, "requested must be a list with one entry for each of the 4 prompts"),
        ({"requested": np.array([1, 2, 3, 4])}, "tolist"),
        ({"observed": [2, 6, 6, -2]}, "observed must be a Python int of at least 0"),
        ({"observed": [2, 6, 6, np.int64(2)]}, "observed must be a Python int"),
        ({"predicted": [0.1, 0.2, 0.3, 1.5]}, r"predicted must lie in \[0, 1\]"),
        ({"predicted": [0.1, 0.2, 0.3, float("nan")]}, "predicted must be a finite"),
        (
            {"successes": [3.0, 3.0, 2.0, 2.0]},
            "successes must lie between 0 and the observed count; prompt 'a'",
        ),
        ({"strategy": None}, "strategy must be text"),
        ({"varied": [True, False]}, "varied must be a list with one entry for each of the 4 prompts"),
        ({"varied": [True, False, 1, True]}, "varied must be a Python bool; got 1"),
        ({"step": True}, "step must be a Python int"),
        ({"seconds": {"embed": "fast"}}, "seconds"),
        ({"seconds": {"embed": -1.0}}, r"seconds\['embed'\] must be a number of seconds of at least 0"),
        ({"seconds": {"embed": 1e300}}, r"seconds\['embed'\] must be a number of seconds"),
        ({"ids": [1, 2, 3, 4]}, "ids must be text"),
        ({"ids": None}, "ids must be a list; got NoneType"),
        ({"budget": 10**400}, "budget must be a Python int"),
        ({"tokens": [1, 2, 3, 10**13]}, "tokens must be a Python int"),
        ({"successes": [10**400, 3.0, 2.0, 2.0]}, "successes must be a finite Python number"),
        ({"wall_time": 1e18}, "wall_time must be a Unix time"),
        ({"spends_all": 1}, "spends_all must be a Python bool"),
    ],
)
def test_step_record_refuses_malformed_values(changes, message, make_step):
    with pytest.raises(InvalidInputError, match=message):
        make_step(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"correct": {"gcd": 1.0}}, "same labels"),
        ({"correct": {}, "count": {}}, "at least one"),
        ({"correct": {"gcd": 11.0, "chain_sum": 1.0}}, "label 'gcd' has 11.0 of 10"),
        ({"count": {"gcd": 0, "chain_sum": 5}, "correct": {"gcd": 0, "chain_sum": 1}}, "label 'gcd'"),
    ],
)
def test_validation_record_refuses_malformed_values(changes, message, make_validation):
    with pytest.raises(InvalidInputError, match=message):
        make_validation(**changes)


def test_header_refuses_malformed_values(make_header):
    with pytest.raises(InvalidInputError, match="settings must be a dict"):
        make_header(settings=[1])
    with pytest.raises(InvalidInputError, match="resumed_from"):
        make_header(resumed_from=-1)
    with pytest.raises(InvalidInputError, match="started_at must be a Unix time"):
        make_header(started_at=-1)
    deep: dict = {}
    for _ in range(2000):
        deep = {"deeper": [deep]}
    for name in ("settings", "versions"):
        with pytest.raises(InvalidInputError, match=f"{name} is nested more than 50 levels deep"):
            make_header(**{name: deep})


def test_rewards_may_miss_their_count_by_a_rounding_error(make_step):
    assert make_step(successes=[0.0, 6.0 + 1e-9, 2.0, 2.0]).successes[1] > 6
