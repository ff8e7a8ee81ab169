"""The table and the picture of a sweep, of those trials that can be read."""

import pytest

from verl_vip.errors import InvalidInputError
from verl_vip.flows.sweep_report import write_sweep_page, write_sweep_report
from verl_vip.flows.sweep_space import Design, Trial
from verl_vip.records.records import RECORDS_FILE


@pytest.fixture
def trials(tmp_path, write_run):
    """Two seeds of two designs."""
    found = {Trial(Design(strategy, 2), seed): None for strategy in ("uniform", "vip") for seed in (1, 2)}
    for trial in found:
        folder = tmp_path / "trials" / f"{trial.design.strategy}-seed{trial.seed}"
        found[trial] = write_run(folder, strategy=trial.design.strategy, seed=trial.seed, steps=4)
    return found


DAMAGE = {
    "cut": lambda file: file.write_bytes(file.read_bytes()[100:]),
    "no text": lambda file: file.write_bytes(b"\xff\xfe\n"),
    "empty": lambda file: file.write_bytes(b""),
    "gone": lambda file: file.unlink(),
    "a folder": lambda file: (file.unlink(), file.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_trial_is_named_and_the_others_are_shown(trials, tmp_path, damage):
    damaged = trials[Trial(Design("vip", 2), 1)]
    DAMAGE[damage](damaged / RECORDS_FILE)
    report = write_sweep_report(tmp_path, trials)
    assert {row["design"]: row["seeds"] for row in report.rows} == {"uniform (n=2)": 2, "vip (n=2)": 1}
    (sentence,) = report.left_out
    assert sentence.startswith("vip-seed1 is left out: ")
    assert "\n" not in sentence
    assert report.table.read_text().splitlines()[-1] == sentence
    assert report.picture.stat().st_size > 5_000
    assert "vip-seed1" in write_sweep_page(tmp_path, trials.values()).read_text()


def test_a_design_without_a_readable_trial_has_no_row(trials, tmp_path):
    for seed in (1, 2):
        (trials[Trial(Design("vip", 2), seed)] / RECORDS_FILE).unlink()
    report = write_sweep_report(tmp_path, trials)
    assert [row["design"] for row in report.rows] == ["uniform (n=2)"]
    assert len(report.left_out) == 2


def test_a_sweep_without_any_readable_trial_says_so(trials, tmp_path):
    for folder in trials.values():
        (folder / RECORDS_FILE).unlink()
    with pytest.raises(InvalidInputError, match=r"uniform-seed1 is left out: .* vip-seed2 is left out: "):
        write_sweep_report(tmp_path, trials)
