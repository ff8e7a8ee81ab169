"""A data set with prompts that say nothing and texts that are asked with two answers, through verl itself."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytestmark = [pytest.mark.heavy, pytest.mark.slow, pytest.mark.timeout(2400)]


def test_prompts_without_text_and_texts_of_two_answers_are_trained_on_by_one_process_at_a_time(launcher):
    rows = pq.read_table(launcher.folder / "data" / "train.parquet").to_pylist()[:8]
    for row in rows[:2]:
        row["prompt"] = [{**message, "content": " " * (1 + row["extra_info"]["index"])} for message in row["prompt"]]
    for number, row in enumerate(rows[2:6]):
        row["prompt"] = rows[2]["prompt"]
        row["reward_model"] = {**row["reward_model"], "ground_truth": str(number % 2)}
    file = launcher.folder / "odd.parquet"
    pq.write_table(pa.Table.from_pylist(rows), file)
    settings = ["trainer.total_training_steps=4", "trainer.save_freq=-1", "trainer.val_before_train=False"]
    run = launcher.start(
        "odd", f"data.train_files=[{file}]", "vip.identity_fields=[reward_model.ground_truth]", *settings
    )
    try:
        run.wait_for((run.folder / ".vip.lock").exists)
        second = launcher.start("odd_again", *settings, f"trainer.default_local_dir={run.folder}")
        assert second.wait() != 0
        assert f"another process is working on the training in {run.folder}; wait for it or stop it" in second.text
        assert "all initialize finished" not in second.text
        assert run.wait() == 0, run.text[-3000:]
    finally:
        run.kill()
    assert "2 training prompts have no text to embed" in run.text
    assert "4 training prompts share their text with a prompt of another ground truth; vip.identity_fields" in run.text
    steps = run.records.steps
    assert [step.step for step in steps] == [1, 2, 3, 4]
    assert all(len(step.ids) == 8 and len(set(step.ids)) == 6 for step in steps)
    assert all(sum(step.observed) == step.budget for step in steps)
