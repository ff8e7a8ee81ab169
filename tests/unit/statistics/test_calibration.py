import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss
from sklearn.metrics import log_loss as sklearn_log_loss

from verl_vip.errors import InvalidInputError
from verl_vip.statistics.calibration import brier, ece, log_loss, reliability, spearman

MEAN = torch.tensor([0.05, 0.2, 0.5, 0.95, 1.0], dtype=torch.float64)
SUCCESSES = torch.tensor([0.0, 2.0, 1.0, 4.0, 3.0])
TRIALS = torch.tensor([4, 4, 4, 4, 4])


def rollouts() -> tuple[list[float], list[int]]:
    """The same as single rollouts with the prediction of their prompt."""
    predicted, rewards = [], []
    for mean, won in zip(MEAN.tolist(), SUCCESSES.tolist(), strict=True):
        predicted += [mean] * 4
        rewards += [1] * int(won) + [0] * (4 - int(won))
    return predicted, rewards


def test_scores_of_equal_counts_are_those_of_single_rollouts():
    predicted, rewards = rollouts()
    assert brier(MEAN, SUCCESSES, TRIALS) == pytest.approx(brier_score_loss(rewards, predicted))
    clipped = [min(max(p, 1e-3), 1 - 1e-3) for p in predicted]
    expected = sklearn_log_loss(rewards, clipped)
    assert log_loss(MEAN, SUCCESSES, TRIALS, eps=1e-3) == pytest.approx(expected)


def test_prompts_count_once_whatever_their_rollouts_and_not_without():
    mean, trials = torch.tensor([0.5, 0.0, 0.3]), torch.tensor([2, 200, 0])
    assert brier(mean, torch.tensor([2.0, 0.0, 0.0]), trials) == pytest.approx(0.125)


def test_the_reliability_table_and_its_summary():
    table = reliability(MEAN, SUCCESSES, TRIALS, bins=4)
    assert table.edges.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert table.prompts.tolist() == [2, 0, 1, 2]
    assert table.predicted[[0, 2, 3]].tolist() == pytest.approx([0.125, 0.5, 0.975])
    assert table.observed[[0, 2, 3]].tolist() == pytest.approx([0.25, 0.25, 0.875])
    assert math.isnan(table.predicted[1])
    assert math.isnan(table.observed[1])
    assert ece(MEAN, SUCCESSES, TRIALS, bins=4) == pytest.approx((2 * 0.125 + 0.25 + 2 * 0.1) / 5)


def test_rank_correlation():
    rates = SUCCESSES / TRIALS
    assert spearman(rates, SUCCESSES, TRIALS) == pytest.approx(1)
    assert spearman(1 - rates, SUCCESSES, TRIALS) == pytest.approx(-1)
    assert math.isnan(spearman(torch.full((5,), 0.5), SUCCESSES, TRIALS))


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 9)), min_size=1, max_size=8), st.floats(-0.5, 0.5))
def test_scores_are_proper(rows, shift):
    rate = torch.tensor([rate for rate, _ in rows], dtype=torch.float64)
    trials = torch.tensor([count for _, count in rows])
    other = (rate + shift).clamp(0, 1)
    for score in (brier, log_loss):
        assert score(rate, rate * trials, trials) <= score(other, rate * trials, trials) + 1e-9
    assert ece(rate, rate * trials, trials) == pytest.approx(0, abs=1e-9)


def test_malformed_input_is_refused():
    with pytest.raises(InvalidInputError, match="one length"):
        brier(MEAN[:2], SUCCESSES, TRIALS)
    with pytest.raises(InvalidInputError, match="no prompt has a rollout"):
        brier(MEAN, SUCCESSES, torch.zeros(5))
    with pytest.raises(InvalidInputError, match=r"mean must lie in \[0, 1\]"):
        brier(MEAN + 1, SUCCESSES, TRIALS)
    with pytest.raises(InvalidInputError, match="bins"):
        reliability(MEAN, SUCCESSES, TRIALS, bins=0)
