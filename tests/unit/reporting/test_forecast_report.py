"""The page of a forecast, and the part of it in the report of a run."""

import json
import shutil

import numpy as np
import pytest
from fixtures.outcomes import source_of
from fixtures.pages import laid_out

from verl_vip.errors import InvalidInputError
from verl_vip.forecast.forecast import make_forecast
from verl_vip.records.records import RecordWriter, read_run
from verl_vip.reporting.forecast_page import write_forecasts
from verl_vip.reporting.forecast_report import forecast_records
from verl_vip.reporting.run_pool import run_windows, teaching_pool


def dump(folder, probabilities, steps=2, rollouts=8, seed=0):
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for step in range(1, steps + 1):
        lines = [
            json.dumps({"input": f"user\n{row}", "output": "", "gts": None, "score": float(won), "step": step})
            for row, probability in enumerate(probabilities)
            for won in rng.random(rollouts) < probability
        ]
        (folder / f"{step}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def test_a_record_has_ten_lines_and_a_page(tmp_path):
    folder = dump(tmp_path / "rollouts", np.random.default_rng(0).beta(0.3, 0.3, 200))
    name, *lines, page = forecast_records([folder], tmp_path / "out" / "forecast.html").split("\n")
    assert (name, len(lines)) == (str(folder), 10)
    text = (tmp_path / "out" / "forecast.html").read_text()
    assert page == str(tmp_path / "out" / "forecast.html")
    assert "Is it worth it for this data?" in text
    assert text.count("<svg") == 3
    assert "<script" not in text
    assert len(list((tmp_path / "out" / "forecast_pictures").iterdir())) == 3


def test_records_are_forecast_one_by_one_and_the_rest_is_named(tmp_path):
    dump(tmp_path / "all" / "mixed", [0.0, 0.5, 1.0] * 40)
    dump(tmp_path / "all" / "hopeless", [0.0] * 60)
    (tmp_path / "all" / "bad").mkdir()
    (tmp_path / "all" / "bad" / "1.jsonl").write_text("{}\n")
    told = forecast_records([tmp_path / "all"], tmp_path / "page.html")
    assert told.count("prompts that can teach") == 2
    assert "left out: " in told
    page = (tmp_path / "page.html").read_text()
    assert "hardly any prompt can teach" in page
    assert "which verl" in page  # why the third folder was left out


def test_nothing_to_read_leaves_no_page(tmp_path):
    with pytest.raises(InvalidInputError, match="does not exist"):
        forecast_records([tmp_path / "nowhere"], tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [500, 1280])
def test_long_and_hostile_labels_stay_within_the_page(tmp_path, width):
    names = ["x" * 400, "</td><script>alert(1)</script>", "\u202e\x00"]
    labels = [names[row % 3] for row in range(300)]
    forecast = make_forecast(source_of([0.1, 0.5, 0.9] * 100, 4, labels=labels))
    page = write_forecasts([forecast, forecast], tmp_path / "page.html", ["y" * 500]).read_text(encoding="utf-8")
    inner, scrolled, scripts = laid_out(page, tmp_path, width)
    assert (inner, scripts) == (width, 1)
    assert scrolled <= inner


class TestRun:
    """The share of a run's prompts that can teach, in its report."""

    def write(self, folder, make_header, make_step, probability, steps=16, rollouts=8):
        rng = np.random.default_rng(0)
        writer = RecordWriter(folder)
        size = 16
        writer.append(make_header(prompts_per_step=size, budget=size * rollouts))
        for step in range(1, steps + 1):
            ids = [f"{step % 4}-{row}" for row in range(size)]
            won = rng.binomial(rollouts, [probability(row, step) for row in range(size)])
            columns = {"labels": ["a"] * size, "predicted": [0.5] * size, "predicted_variance": [0.0] * size}
            counts = {"requested": [rollouts] * size, "observed": [rollouts] * size}
            writer.append(make_step(step, ids=ids, successes=won.tolist(), budget=size * rollouts, **columns, **counts))
        return read_run(folder)

    def test_filtered_data_is_named(self, tmp_path, make_header, make_step):
        filtered = teaching_pool(self.write(tmp_path / "a", make_header, make_step, lambda row, step: 0.5))
        assert filtered.is_filtered
        assert filtered.teaches.low > 0.8
        mixed = teaching_pool(self.write(tmp_path / "b", make_header, make_step, lambda row, step: row % 2 / 2))
        assert not mixed.is_filtered
        assert mixed.teaches.low < 0.5 < mixed.teaches.high + 0.1

    def test_the_share_moves_as_prompts_are_learned(self, tmp_path, make_header, make_step):
        run = self.write(tmp_path, make_header, make_step, lambda row, step: 0.5 if step <= 8 else 1.0)
        windows = run_windows(run)
        assert windows[0].teaches.low > 0.5
        assert windows[-1].teaches.high < 0.5

    def test_one_rollout_of_each_prompt_tells_nothing(self, tmp_path, make_header, make_step):
        run = self.write(tmp_path, make_header, make_step, lambda row, step: 0.5, steps=4, rollouts=1)
        assert teaching_pool(run) is None
