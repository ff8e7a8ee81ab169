import io
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from verl_vip.errors import InvalidInputError, StateError
from verl_vip.prediction.covariates import MOST_CATEGORIES, Column, PoolCovariates, as_value, values_of

NUMBERS = st.floats(-1e12, 1e12, allow_nan=False).map(lambda value: float(f"{value:.6g}"))
SEVERAL = st.lists(NUMBERS, min_size=2, max_size=60).filter(lambda values: len(set(values)) > 1)


def pool_of(**columns):
    size = len(next(iter(columns.values())))
    return PoolCovariates.fit(columns, [f"{number:04d}" for number in range(size)])


def encoded(known, **columns):
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return known([f"{number:04d}" for number in range(len(rows))], rows)


@given(values=SEVERAL)
def test_numbers_become_standardised_scores_in_their_order(values):
    scores = encoded(pool_of(x=values), x=values).values[:, 0]
    order = np.argsort(values, kind="stable")
    assert (scores[order].diff() >= 0).all()
    assert (scores.abs() < 10).all()
    assert abs(float(scores.mean())) < 1e-6
    assert abs(float(scores.std(correction=0)) - 1) < 1e-6


@given(
    numbers=st.lists(st.integers(-(10**6), 10**6), min_size=2, max_size=60).filter(lambda drawn: len(set(drawn)) > 1),
    scale=st.sampled_from([-3.0, 0.5, 1e3]),
    shift=st.sampled_from([0.0, -7.0, 1e4]),
)
def test_neither_scale_nor_shift_matters_and_a_reversal_only_turns_the_sign(numbers, scale, shift):
    values = [float(number + 10**8) for number in numbers]  # no rates
    moved = [scale * value + shift for value in values]
    one, other = encoded(pool_of(x=values), x=values).values, encoded(pool_of(x=moved), x=moved).values
    torch.testing.assert_close(other, math.copysign(1, scale) * one, rtol=0, atol=1e-6)


def test_one_outlier_does_not_squeeze_the_others():
    values = [float(number) for number in range(100)]
    calm = encoded(pool_of(x=values), x=values).values[:99]
    wild = [*values[:99], 1e15]
    torch.testing.assert_close(encoded(pool_of(x=wild), x=wild).values[:99], calm)


def test_rates_become_logits_and_the_ends_are_kept_near():
    rates = torch.arange(9, dtype=torch.float64) / 8
    scores = encoded(pool_of(x=rates.tolist()), x=rates.tolist()).values[:, 0]
    logits = ((rates + 1 / 16) / (1 + 1 / 8)).logit()
    torch.testing.assert_close(scores, logits / logits.std(correction=0))


def test_numbers_below_1_that_are_no_rates_are_told_apart():
    values = [1e-9 * number for number in range(1, 9)]
    assert encoded(pool_of(x=values), x=values).values[:, 0].diff().min() > 0.1


def test_values_between_and_beyond_those_of_the_pool():
    known = pool_of(x=[10.0, 20.0, 30.0])
    low, between, high, beyond = encoded(known, x=[10.0, 15.0, 30.0, 1e9]).values[:, 0].tolist()
    assert low < between < high == beyond


def test_many_values_keep_few_knots_and_lose_little():
    values = torch.randn(5000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    known = pool_of(x=values.tolist())
    assert len(known.columns[0].knots) <= 128
    scores = encoded(known, x=values.tolist()).values[:, 0]
    assert float(torch.corrcoef(torch.stack([scores, values]))[0, 1]) > 0.99


def test_gaps_are_as_the_average_and_have_a_weight_of_their_own():
    known = pool_of(x=[1.0, None, 3.0, None])
    covariates = encoded(known, x=[None, 3.0])
    assert covariates.columns == ("x", "x (missing)")
    assert covariates.values[0].tolist() == [0, 1]
    assert covariates.values[1, 1] == 0
    without = pool_of(x=[1.0, 2.0])
    assert encoded(without, x=[None]).values.tolist() == [[0]]


def test_texts_are_groups_with_a_weight_each():
    known = pool_of(source=["b", "a", None, "b"])
    covariates = encoded(known, source=["a", "b", None, "never seen"])
    assert covariates.columns == ("source",) * 3
    assert covariates.values.tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([3.0, 3.0], "every training prompt has the value 3.0 in x, which tells nothing; leave it out"),
        (["a", "a"], "every training prompt has the value 'a' in x"),
        ([None, None], "every training prompt has no value in x"),
        ([1.0, "a", "b"], "x has numbers and texts, such as 1.0 and 'a'; make all"),
        ([str(number) for number in range(MOST_CATEGORIES + 1)], "x has 65 different texts, such as '0', and a text"),
    ],
)
def test_what_cannot_be_a_covariate_is_said_in_one_sentence(values, message):
    with pytest.raises(InvalidInputError) as caught:
        Column.fit("x", values)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("value", "found"),
    [(None, None), (float("nan"), None), (np.float32(0.5), 0.5), (np.int64(3), 3.0), (True, 1.0), ("a", "a")],
)
def test_values_are_numbers_or_texts(value, found):
    assert as_value("x", value) == found


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("inf"), "x is infinite"),
        (np.float64("-inf"), "x is infinite"),
        ([1.0], "x is a list, and a covariate must be"),
        ({"a": 1}, "x is a dict"),
        (np.array([1.0]), "x is a ndarray"),
    ],
)
def test_other_values_are_refused(value, message):
    with pytest.raises(InvalidInputError, match=message):
        as_value("x", value)


def test_values_are_found_by_dotted_name():
    row = {"extra_info": {"difficulty": 0.25}, "data_source": "math"}
    assert values_of(row, ["data_source", "extra_info.difficulty", "extra_info.level"]) == {
        "data_source": "math",
        "extra_info.difficulty": 0.25,
        "extra_info.level": None,
    }


def test_a_change_of_the_pool_is_noticed_by_column():
    texts = ["a", "b", "c"] * 200
    numbers = [float(number % 7) for number in range(600)]
    known = pool_of(x=numbers, source=texts)
    assert known.changed(pool_of(x=numbers, source=texts)) == {}
    doubled = pool_of(x=[2 * value for value in numbers], source=texts)
    (count, total) = known.changed(doubled)["x"]
    assert total == 256
    assert count == sum(value != 0 for value in numbers[:256])
    assert known.changed(doubled).keys() == {"x"}
    # Prompts that were added are not compared.
    assert known.changed(pool_of(x=numbers + [9.0] * 50, source=texts + ["a"] * 50)) == {}


def test_prompts_that_occur_with_several_values_are_not_compared():
    one = PoolCovariates.fit({"x": [1.0, 2.0, 3.0]}, ["p", "p", "q"])
    other = PoolCovariates.fit({"x": [2.0, 1.0, 3.0]}, ["p", "p", "q"])
    assert one.changed(other) == {}


def test_a_restored_pool_gives_the_same_numbers():
    known = pool_of(x=[1.0, None, 3.0], source=["a", "b", None])
    buffer = io.BytesIO()
    torch.save(known.state_dict(), buffer)
    buffer.seek(0)
    restored = PoolCovariates.from_state(torch.load(buffer, weights_only=True))
    assert restored.columns == known.columns
    assert restored.changed(pool_of(x=[1.0, 2.0, 3.0], source=["a", "b", None])) == {"x": (1, 3)}


def test_earlier_rates_are_a_column_that_some_prompts_lack():
    known = PoolCovariates.fit({}, ["a", "b", "c"], earlier={"a": 0.2, "b": 0.9})
    assert known.names == ["vip.warm_start"]
    covariates = known(["b", "c", "never seen", "a"], [{}] * 4)
    assert covariates.columns == ("vip.warm_start", "vip.warm_start (missing)")
    assert covariates.values[:, 0].argsort().tolist()[0::3] == [3, 0]
    assert covariates.values[:, 1].tolist() == [0, 1, 1, 0]
    restored = PoolCovariates.from_state(known.state_dict())
    assert torch.equal(restored(["b", "c"], [{}] * 2).values, known(["b", "c"], [{}] * 2).values)


@pytest.mark.parametrize(
    "damage",
    [
        lambda state: state.pop("sample"),
        lambda state: state["columns"][0].update(knots=[3.0, 1.0]),
        lambda state: state["columns"][0].update(scores=[1.0]),
        lambda state: state["columns"][0].update(scores=[1.0, float("nan")]),
        lambda state: state["sample"].update({"0000": [1.0, 2.0]}),
        lambda state: state.update(columns=3),
        lambda state: state.update(earlier={"0000": 2.0}),
    ],
)
def test_a_damaged_state_is_refused(damage):
    state = pool_of(x=[1.0, 3.0]).state_dict()
    damage(state)
    with pytest.raises(StateError):
        PoolCovariates.from_state(state)
