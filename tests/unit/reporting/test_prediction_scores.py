import numpy as np
import pytest
import torch

from verl_vip.records.records import RecordWriter, read_run
from verl_vip.reporting.prediction_scores import score_predictions, scored_rows
from verl_vip.statistics.calibration import brier, ece, log_loss, spearman


@pytest.fixture
def run(tmp_path, make_header, make_step):
    """Two steps over four prompts; the last of the second step is new."""
    writer = RecordWriter(tmp_path)
    writer.append(make_header())
    writer.append(make_step(1))
    writer.append(make_step(2, ids=["b", "a", "c", "e"], successes=[1.0, 6.0, 3.0, 2.0]))
    return read_run(tmp_path)


def test_scores_are_those_of_forecasts_made_before_each_step(run):
    successes = torch.tensor([0.0, 3, 2, 2, 1, 6, 3, 2], dtype=torch.float64)
    trials = torch.tensor([2, 6, 6, 2] * 2)
    first_mean = (0 + 3 / 6 + 2 / 6 + 1) / 4
    forecasts = {
        "this run": [0.05, 0.4, 0.5, 0.95] * 2,
        "base rate": [0.5] * 4 + [first_mean] * 4,
        "last observation": [0.5] * 4 + [0.5, 0.0, 1 / 3, first_mean],
    }
    scores = {score.name: score for score in score_predictions(run)}
    assert list(scores) == list(forecasts)
    for name, values in forecasts.items():
        mean = torch.tensor(values, dtype=torch.float64)
        score = scores[name]
        assert score.brier == pytest.approx(brier(mean, successes, trials))
        assert score.log_loss == pytest.approx(log_loss(mean, successes, trials))
        assert score.ece == pytest.approx(ece(mean, successes, trials))
        assert score.spearman == pytest.approx(spearman(mean, successes, trials), nan_ok=True)


def test_rounding_errors_of_reward_sums_are_forgiven(tmp_path, make_header, make_step):
    writer = RecordWriter(tmp_path)
    writer.append(make_header())
    writer.append(make_step(1, successes=[-1e-9, 6.0 + 1e-9, 2.0, 2.0]))
    run = read_run(tmp_path)
    _, successes, trials = scored_rows(run)
    np.testing.assert_array_equal(successes, [0.0, 6.0, 2.0, 2.0])
    assert len(score_predictions(run)) == 3
    assert trials.tolist() == [2, 6, 6, 2]
