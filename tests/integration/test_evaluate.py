"""The command from its words to the report, and a sentence for each bad word."""

import csv
import json
import re
from pathlib import Path

import pytest

from verl_vip.cli import main
from verl_vip.errors import ConfigError, StateError, VerlVipError
from verl_vip.evaluate import evaluate, parse_engine_options, parse_steps
from verl_vip.evaluation.folder import ResultFolder
from verl_vip.evaluation.sampling import SamplingSettings
from verl_vip.statistics.intervals import Estimate


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
        assert f"{Estimate(**one['mean']):.1%}" in page
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


def test_models_compared_on_one_problem_have_strict_json_and_no_limits(tmp_path, inputs, recite):
    run, path = inputs
    path.write_text(path.read_text().splitlines()[0] + "\n")

    def second_is_right(prompt, seed):
        return answer(prompt, seed=1 if len(sampler.asked) > 4 else 0)

    sampler = recite(second_is_right)
    evaluate([str(run)], [str(path)], tmp_path / "out", SamplingSettings(n=4), sampler, lambda *_: None)
    files = list((tmp_path / "out").rglob("*.json"))
    assert len(files) == 5

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    read = {file.relative_to(tmp_path): json.loads(file.read_text(), parse_constant=refuse) for file in files}
    (comparison,) = read[Path("out/metrics.json")]["comparisons"]
    difference = comparison["mean"]["difference"]
    assert difference == {"value": 1.0, "low": None, "high": None}


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
    with pytest.raises(
        StateError, match=r"no space is left for .*; free some space and run the same command again to continue"
    ):
        run_all(inputs, tmp_path, recite(answer))
    samples.unlink()
    again = recite(answer)
    run_all(inputs, tmp_path, again)
    assert len(again.asked) == 4 * 6


@pytest.mark.parametrize("name", ["a/b", "../../x", "/{}/x", "..", "model", "merge.log", "a" * 300])
def test_no_name_leads_out_of_the_output_or_costs_a_sample(tmp_path, inputs, recite, name):
    run, path = inputs
    before = sorted(tmp_path.rglob("*"))
    sampler = recite(answer)
    for models, benchmarks in (([str(run)], [f"{name}={path}"]), ([f"{name}={run / 'global_step_6'}"], [str(path)])):
        if name in ("model", "merge.log") and models != [str(run)]:
            continue  # reserved beside benchmarks alone
        with pytest.raises(VerlVipError, match="cannot name a"):
            evaluate(models, benchmarks, tmp_path / "out", SamplingSettings(n=4), sampler, lambda *_: None)
    assert sampler.asked == []
    assert sorted(tmp_path.rglob("*")) == before


def test_options_that_the_engine_refuses_leave_nothing_behind_that_refuses_the_right_ones(tmp_path, inputs, recite):
    class Picky(type(recite(answer))):
        def sample(self, model, requests, settings):
            if self.release == "mistyped":
                raise ConfigError("vLLM does not know an option of --engine")
            yield from super().sample(model, requests, settings)

    with pytest.raises(ConfigError, match="does not know an option"):
        run_all(inputs, tmp_path, Picky(answer, release="mistyped"))
    run_all(inputs, tmp_path, Picky(answer, release="right"))
    manifest = json.loads((tmp_path / "vip-step6" / "sums" / "manifest.json").read_text())
    assert manifest["versions"] == {"recited": "right"}


@pytest.mark.parametrize("returned", ["1.0", "{'score': 1.0, 'pred': '\\ud800' + solution_str}"])
def test_a_response_of_any_length_and_any_characters_is_graded_and_reported(tmp_path, inputs, recite, returned):
    """What a reward function gives no answer for votes as a whole."""
    run, path = inputs
    reward = tmp_path / "reward.py"
    reward.write_text(f"def score(solution_str, **_):\n    return {returned}\n")
    said = '\u2028\x85\x1c\ud800\udc00\ud83d, "\r\n\0\ufeff=1+1<script>' + 140_000 * "数"
    report = evaluate(
        [str(run)],
        [str(path)],
        tmp_path / "out",
        SamplingSettings(n=2),
        recite(lambda prompt, seed: said),
        lambda *_: None,
        grader=f"{reward}:score",
    )
    assert "vip-step12" in report.read_text(encoding="utf-8")
    folder = ResultFolder(tmp_path / "out" / "vip-step6" / "sums")
    assert {sample.text for sample in folder.samples()} == {
        said.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    }
    with (folder.path / "problems.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert (folder.path / "grades.jsonl").read_bytes().count(b"\n") == 2 * len(rows) == 12
    assert all(len(row["majority"]) <= 1000 and row["majority_correct"] == "1.0" for row in rows)


def test_steps_and_engine_options():
    assert parse_steps(None) is None
    assert parse_steps("all") is None
    assert parse_steps("6, 12, 6") == [6, 12]
    for word in ("six", "²", "6,,7", "-6", "9" * 5000):
        with pytest.raises(ConfigError, match=f"--steps {word}: give step numbers"):
            parse_steps(word)
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


def test_an_output_that_can_be_no_path_is_refused_before_anything_is_sampled(inputs, recite):
    sampler = recite(answer)
    with pytest.raises(ConfigError, match=r"^output must be text that can be a path; got "):
        run_all(inputs, Path("/out\0put"), sampler)
    assert not sampler.asked


@pytest.mark.parametrize(
    ("models", "benchmarks", "message"),
    [
        (["nomodel"], ["aime24"], "there is no model nomodel"),
        (["OWNER/NAME", "nomodel"], ["aime24"], "there is no model nomodel"),
        (["OWNER/NAME"], ["aime24", "aime99"], "there is no benchmark 'aime99'"),
    ],
)
def test_every_word_is_read_before_anything_is_downloaded(tmp_path, monkeypatch, recite, models, benchmarks, message):
    def download(*_):
        pytest.fail("asked the Hub")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("verl_vip.evaluation.models._from_hub", download)
    monkeypatch.setattr("verl_vip.evaluation.benchmarks._download", download)
    with pytest.raises(ConfigError, match=message):
        evaluate(models, benchmarks, tmp_path / "out", SamplingSettings(n=4), recite(answer), lambda *_: None)
    assert not (tmp_path / "out").exists()
