import json

import pytest

from verl_vip.cli import main
from verl_vip.reporting.simulation_report import comparison_table, write_comparison
from verl_vip.simulation.comparison import compare, named_arms


@pytest.fixture(scope="module")
def summaries(small):
    return compare(named_arms(["uniform", "vip", "dapo"], "beta_table"), small, 2)


def test_table_has_a_row_an_arm_and_dashes_where_nothing_can_be_said(summaries, small):
    lines = comparison_table(summaries, small, 2).splitlines()
    rows = [line for line in lines if line.startswith("| ")][1:]
    assert [row.split(" | ")[0] for row in rows] == ["| uniform", "| vip", "| dapo"]
    assert len({row.count("|") for row in rows} | {lines[2].count("|"), lines[3].count("|")}) == 1
    assert " 0.0 ± 0.0 % " in rows[0]
    assert "–" in rows[2]
    assert "2 seeds" in lines[0]


def test_everything_is_written(summaries, small, tmp_path):
    table = write_comparison(summaries, small, 2, tmp_path / "out")
    assert {path.name for path in table.parent.iterdir()} == {
        "simulation.md",
        "simulation.json",
        "success.png",
        "attainable_share.png",
        "without_signal.png",
        "above_uniform.png",
    }
    data = json.loads((table.parent / "simulation.json").read_text())
    assert data["seeds"] == 2
    assert data["settings"]["prompts_per_step"] == small.prompts_per_step
    assert [arm["label"] for arm in data["arms"]] == ["uniform", "vip", "dapo"]
    assert data["arms"][2]["measures"]["attainable_share"] is None
    assert len(data["arms"][0]["rollouts"]) == len(data["arms"][0]["success"])
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in table.parent.glob("*.png"))


def test_command_line(tmp_path, capsys):
    folder = tmp_path / "out"
    arguments = ["simulate", "--strategies", "uniform", "--predictor", "beta_table", "--seeds", "1"]
    assert main([*arguments, "--output", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "| uniform | beta_table |" in printed
    assert "One seed" in printed
    assert "±" not in printed
    assert (folder / "success.png").exists()
    assert main(["simulate", "--strategies", "unifrm", "--output", str(folder)]) == 2
    assert "did you mean 'uniform'" in capsys.readouterr().err
