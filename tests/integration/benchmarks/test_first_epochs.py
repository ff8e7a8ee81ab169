"""The comparison of a forecast with the rest of a run: on a record without drift, the rest is as forecast."""

import pandas as pd
import pytest
import torch

from benchmarks.real_records.first_epochs import SEEN, first_visits, measure
from benchmarks.real_records.record import RATED, ROLLOUTS, RecordedRun
from verl_vip.prediction.contract import Prompts


@pytest.fixture(scope="module")
def record():
    generator = torch.Generator().manual_seed(0)
    rates = torch.rand(400, generator=generator) ** 3
    drawn = torch.rand(400, 8, ROLLOUTS, generator=generator) < rates[:, None, None]
    prompts = Prompts(tuple(map(str, range(400))), torch.zeros(400, 2))
    return RecordedRun(prompts, tuple(drawn.sum(2)))


def test_only_the_first_visits_are_shown(record):
    seen = first_visits(record, SEEN).outcomes
    assert seen.visits.tolist() == [SEEN] * 400
    assert seen.successes[seen.step == 2].tolist() == [float(visits[1]) for visits in record.successes]


def test_without_drift_the_rest_is_as_forecast(record, tmp_path):
    counts = [[int(won)] for won in torch.linspace(0, RATED, 200).round()]
    pd.DataFrame({"prompt": [str(row) for row in range(200)], "successes": counts}).to_parquet(
        tmp_path / "deepscaler_counts.parquet"
    )
    result = measure(record, tmp_path)
    low, high = result["forecast"]["teaches"]["interval"]
    assert low <= result["teaches"]["value"] <= high
    (gain,) = [gain for gain in result["forecast"]["gains"] if gain["visits"] == SEEN]
    for name, tolerance in (("variance_left", 0.04), ("top_signal", 0.2)):
        assert result["previous_two"]["rest"][name]["value"] == pytest.approx(gain[name]["value"], abs=tolerance)
    few = result["few_of_many"]
    assert few["prompts"] == 200
    assert few["2"]["interval"][0] <= few["all"]["value"] <= few["2"]["interval"][1]
    assert few["all"]["value"] == pytest.approx(0.9, abs=0.05)
