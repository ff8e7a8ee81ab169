"""A finished run started again, in a folder whose name Hydra would take apart."""

import shutil

import pytest

from verl_vip.records.records import read_run
from verl_vip.records.settings import shown_settings

pytestmark = [pytest.mark.heavy, pytest.mark.slow, pytest.mark.timeout(2400)]


def test_a_finished_run_takes_further_steps_and_no_other_settings(launcher, tmp_path):
    settings = ["trainer.save_freq=2", "trainer.val_before_train=True"]
    finished = launcher.run("finished", *settings, "trainer.total_training_steps=2")
    odd = type(launcher)(tmp_path / "a = 'b', (ä) [#;{")
    for name in ("data", "model"):
        shutil.copytree(launcher.folder / name, odd.folder / name)
    shutil.copytree(finished.folder, odd.folder / "moved")

    longer = odd.run("moved", *settings, "trainer.total_training_steps=3", "actor_rollout_ref.actor.optim.lr=1e-4")
    records = longer.records
    assert [step.step for step in records.steps] == [1, 2, 3]
    assert [header.resumed_from for header in records.headers] == [None, 2]
    shown = shown_settings(records)
    assert shown["trainer.total_training_steps"] == "2 (steps 1 to 2); 3 (step 3)"
    assert shown["actor_rollout_ref.actor.optim.lr"] == "0.0003 (steps 1 to 2); 0.0001 (step 3)"

    kept, told = records.path.read_bytes(), longer.text
    again = odd.start(
        "moved",
        *settings,
        "trainer.total_training_steps=3",
        "actor_rollout_ref.actor.optim.lr=1e-4",
        "data.seed=7",
    )
    assert again.wait() != 0
    answer = again.text.removeprefix(told)
    why = answer.partition("is finished (step 3 of 3), with other settings: ")[2]
    assert why.startswith("data.seed was 1 and is 7 now. Start it with its own settings")
    assert "all initialize finished" not in answer
    assert records.path.read_bytes() == kept
    assert len(read_run(odd.folder / "moved").headers) == 2
