"""The words of `verl-vip forecast` become settings, and its faults one sentence."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from verl_vip.cli.command_line import main


def dump(folder, rewards):
    folder.mkdir()
    lines = [json.dumps({"input": str(row // 8), "score": float(reward)}) for row, reward in enumerate(rewards)]
    (folder / "1.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def test_dumps_are_forecast(tmp_path, capsys):
    rewards = np.random.default_rng(0).choice([-1.0, 1.0], 800)
    page = tmp_path / "page.html"
    words = ["forecast", str(dump(tmp_path / "dumps", rewards)), "--output", str(page), "--reward-range=-1,1"]
    assert main([*words, "--rollouts", "16"]) == 0
    told = capsys.readouterr().out
    assert "100 prompts, 100 groups with 8 rollouts on average; mean success 5" in told
    assert "of 16 rollouts each" in told or "filtered data" in told
    assert told.endswith(f"{page}\n")
    assert page.stat().st_size > 10_000


def test_columns_of_a_table_are_named(tmp_path, capsys):
    path = tmp_path / "pool.parquet"
    pq.write_table(pa.table({"kind": ["a", "b"] * 60, "won": [1, 7] * 60, "tried": [8, 8] * 60}), path)
    for trials in ("tried", "8"):
        words = ["--successes", "won", "--trials", trials, "--label", "kind", "--output", str(tmp_path / "page.html")]
        assert main(["forecast", str(path), *words]) == 0
        assert "2 labels explain" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["1", "a,b", "1,2,3", "", "nan,1", "1,0", "0,inf"])
def test_a_reward_range_is_two_numbers(tmp_path, capsys, text):
    assert main(["forecast", str(dump(tmp_path / "dumps", [0.0, 1.0])), f"--reward-range={text}"]) == 2
    assert capsys.readouterr().err.startswith("verl-vip: ")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["{}/nowhere"], "nowhere does not exist"),
        (["{}"], "holds no outcomes"),
        (["{}/dumps", "{}/dumps"], "given twice"),
        (["{}/dumps", "--rollouts", "1"], "at least 2 rollouts"),
    ],
)
def test_faults_are_one_sentence_and_leave_no_page(tmp_path, capsys, monkeypatch, words, told):
    monkeypatch.chdir(tmp_path)
    if "{}" not in words:
        dump(tmp_path / "dumps", [0.0, 1.0])
    assert main(["forecast", *(word.format(tmp_path) for word in words)]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not (tmp_path / "forecast.html").exists()
