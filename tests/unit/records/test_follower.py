"""Lines for what is new in a run's records."""

import dataclasses

from verl_vip.records.follower import RunNews
from verl_vip.records.records import RecordWriter, RunHeader, StepRecord, ValidationRecord

HEADER = RunHeader(started_at=0.0, settings={}, versions={}, prompts_per_step=1, budget=4)
STEP = StepRecord(
    step=1,
    wall_time=1.0,
    strategy="vip",
    budget=4,
    ids=["a"],
    labels=["sum"],
    requested=[4],
    observed=[4],
    predicted=[0.5],
    predicted_variance=[0.0],
    successes=[2.0],
    rollouts_total=4,
    seconds={},
)


def test_only_what_is_new_is_told(tmp_path):
    writer, news = RecordWriter(tmp_path), RunNews(tmp_path)
    assert news.poll() == []
    assert news.records is None
    writer.append(HEADER)
    writer.append(STEP)
    assert news.poll()[0] == "training: 1 prompts and 4 rollouts a step"
    assert news.poll() == []
    writer.append(ValidationRecord(1, 2.0, 4, {"sum": 1.0}, {"sum": 2}))
    assert news.poll() == ["validation after step 1: accuracy 0.500"]
    assert RunNews(tmp_path).poll() == []


def test_a_resumed_run_tells_its_repeated_steps_again(tmp_path):
    writer, news = RecordWriter(tmp_path), RunNews(tmp_path)
    writer.append(HEADER)
    writer.append(STEP)
    writer.append(dataclasses.replace(STEP, step=2, rollouts_total=8))
    assert len(news.poll()) == 3
    writer.rewind(1)
    writer.append(dataclasses.replace(HEADER, resumed_from=1))
    writer.append(dataclasses.replace(STEP, step=2, rollouts_total=8))
    told = news.poll()
    assert told[0] == "resumed after step 1 with the predictor's state"
    assert told[2].startswith("step 2 | reward 0.500")


def test_news_come_in_the_order_written_whatever_the_clock_says(tmp_path):
    writer, news = RecordWriter(tmp_path), RunNews(tmp_path)
    writer.append(HEADER)
    writer.append(dataclasses.replace(STEP, wall_time=9000.0))
    writer.append(ValidationRecord(1, 5400.0, 4, {"sum": 1.0}, {"sum": 2}))
    writer.append(dataclasses.replace(STEP, step=2, rollouts_total=8, wall_time=5500.0))
    assert [line[:17] for line in news.poll()] == [
        "training: 1 promp",
        "step 1 | reward 0",
        "validation after ",
        "step 2 | reward 0",
    ]
