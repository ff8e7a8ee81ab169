"""The command from its words to the report, and a sentence for each bad word."""

import json
import re

import pytest

from verl_vip.cli import main
from verl_vip.errors import ConfigError, StateError
from verl_vip.evaluation.command import evaluate, parse_engine_options, parse_steps
from verl_vip.evaluation.report import interval_text
from verl_vip.evaluation.sampling import SamplingSettings


def answer(prompt, seed):
    number = int(re.search(r"What is (\d+)", prompt)[1])
    return rf"It is \boxed{{{2 * number}}}." if seed % 3 else f"The answer is {2 * number} <b>"


@pytest.fixture
def inputs(tmp_path):
    path = tmp_path / "sums.jsonl"
    rows = [{"problem": f"What is {k} + {k}?", "answer": 2 * k, "data_source": f"kind {k % 2}"} for k in range(1, 7)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = tmp_path / "vip"
    for step in (6, 12):
        folder = run / f"global_step_{step}" / "actor" / "huggingface"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_text(str(step))
        (folder.parent / "fsdp_config.json").write_text('{"world_size": 1}')
    (run / "latest_checkpointed_iteration.txt").write_text("12")
    return run, path


def run_all(inputs, output, sampler):
    run, path = inputs
    return evaluate([str(run)], [str(path)], output, SamplingSettings(n=4), sampler, lambda *_: None)


def test_a_run_is_evaluated_compared_and_reported(tmp_path, inputs, recite):
    report = run_all(inputs, tmp_path / "out", recite(answer))
    page = report.read_text()
    data = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert [one["step"] for one in data["evaluations"]] == [6, 12]
    for one in data["evaluations"]:
        assert interval_text(one["mean"]) in page
        assert (tmp_path / "out" / one["folder"] / "manifest.json").is_file()
    assert data["comparisons"][0]["candidate"] == "vip-step12"
    for heading in ("Results", "Compared with vip-step6", "Sources of sums", "Where the second opinion differs"):
        assert f"<h2>{heading}</h2>" in page
    pictures = {path.stem for path in (tmp_path / "out" / "report_pictures").iterdir()}
    assert pictures == {"steps_0", "pass_at_k_sums", "problems_sums", "differences"}
    assert page.count("<figure>") == len(pictures)
    # What a model said is shown, not run.
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
    assert "http://" not in page.replace("http://www.w3.org/", "")


def test_later_evaluations_join_the_same_report(tmp_path, inputs, recite):
    run, path = inputs
    settings = SamplingSettings(n=4)
    for step in (6, 12):
        evaluate([str(run)], [str(path)], tmp_path, settings, recite(answer), lambda *_: None, steps=[step])
    data = json.loads((tmp_path / "metrics.json").read_text())
    assert [one["model"] for one in data["evaluations"]] == ["vip-step6", "vip-step12"]
    assert data["baseline"] == "vip-step6"


def test_a_full_disk_is_told_and_what_was_sampled_stays(tmp_path, inputs, recite):
    samples = tmp_path / "vip-step12" / "sums" / "samples.jsonl"
    samples.parent.mkdir(parents=True)
    samples.symlink_to("/dev/full")
    with pytest.raises(StateError, match=r"no space is left for .*; make some, and the same command goes on"):
        run_all(inputs, tmp_path, recite(answer))
    samples.unlink()
    again = recite(answer)
    run_all(inputs, tmp_path, again)
    assert len(again.asked) == 4 * 6


def test_steps_and_engine_options():
    assert parse_steps(None) is None
    assert parse_steps("all") is None
    assert parse_steps("6, 12, 6") == [6, 12]
    with pytest.raises(ConfigError, match="--steps six: give step numbers"):
        parse_steps("six")
    assert parse_engine_options(["dtype=float32", "tensor_parallel_size=4", "enforce_eager=true"]) == {
        "dtype": "float32",
        "tensor_parallel_size": 4,
        "enforce_eager": True,
    }
    with pytest.raises(ConfigError, match="--engine eager: give KEY=VALUE"):
        parse_engine_options(["eager"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["no/such/model", "--benchmark", "offline"], "there is no model no/such/model"),
        (["MODEL", "--benchmark", "aime99"], "there is no benchmark 'aime99'; give aime24, aime25, offline"),
        (["MODEL", "--benchmark", "offline", "--n", "0"], "--n must be at least 1"),
        (["MODEL", "--benchmark", "offline", "--grader", "fuzzy"], "there is no grader 'fuzzy'"),
        (["MODEL", "--benchmark", "offline", "--engine", "eager"], "give KEY=VALUE"),
        (["MODEL", "--benchmark", "offline", "--engines", "0"], "--engines must be at least 1"),
        (["MODEL", "--benchmark", "offline", "--steps", "six"], "give step numbers"),
        (["MODEL", "--benchmark", "offline", "offline"], "two benchmarks have the same name"),
    ],
)
def test_bad_words_get_one_sentence(tmp_path, capsys, model, words, message):
    words = [str(model.path) if word == "MODEL" else word for word in words]
    assert main(["evaluate", *words, "--output", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("verl-vip: ")
    assert message in error
    assert error.count("\n") == 1
