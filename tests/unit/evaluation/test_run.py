"""Evaluations go on where they stopped, and run once."""

import csv
import fcntl
import json
import re
import sys
from dataclasses import replace

import pytest

from verl_vip.durable_files import replace_json
from verl_vip.errors import ConfigError, IntegrationError, StateError
from verl_vip.evaluation.benchmarks import load_benchmark
from verl_vip.evaluation.folder import ResultFolder
from verl_vip.evaluation.grading import IntegerGrader, make_grader
from verl_vip.evaluation.models import ModelSource
from verl_vip.evaluation.result_files import manifest_json, metrics_json
from verl_vip.evaluation.run import Evaluator, GradedBenchmark
from verl_vip.evaluation.sampling import SamplingSettings, sample_seed
from verl_vip.evaluation.summary import find_evaluations, make_summary


def answer(prompt, seed):
    """Right for even seeds; problems differ in how they go wrong."""
    number = int(re.search(r"What is (\d+)", prompt)[1])
    return rf"It is \boxed{{{2 * number}}}." if seed % 2 == 0 else f"No idea {seed % 4}."


def fail(*_):
    raise AssertionError("nothing to convert")


def evaluator(output, sampler, convert=fail, **settings):
    return Evaluator(output, SamplingSettings(**{"n": 8, **settings}), sampler, convert)


def tasks(*benchmarks):
    return [GradedBenchmark(benchmark, make_grader("integer")) for benchmark in benchmarks]


def tables(folder):
    return [(folder.path / name).read_bytes() for name in ("problems.csv", "grades.jsonl")]


def test_a_run_gives_every_sample_its_own_seed_and_grades_all(tmp_path, model, sums, recite):
    sampler = recite(answer)
    (folder,) = evaluator(tmp_path / "out", sampler).run([model], tasks(sums))
    assert folder.path == tmp_path / "out" / "tiny" / "sums"
    assert len(sampler.asked) == len({request.seed for request in sampler.asked}) == 32
    right = sum(request.seed % 2 == 0 for request in sampler.asked)
    metrics = folder.metrics()
    assert metrics.mean.value == pytest.approx(right / 32)
    assert metrics.pass_at_k[1].value == pytest.approx(right / 32)
    assert metrics.unanswered == pytest.approx(1 - right / 32)
    assert list(metrics.maj_at_k) == [1, 2, 4, 8]
    with (folder.path / "problems.csv").open(newline="") as file:
        assert sum(int(row["correct"]) for row in csv.DictReader(file)) == right


def test_a_killed_run_goes_on_and_ends_as_if_it_had_not_been_killed(tmp_path, model, sums, recite):
    whole = recite(answer)
    (expected,) = evaluator(tmp_path / "whole", whole).run([model], tasks(sums))
    for kills in (1, 13, 0, 10):
        with pytest.raises(KeyboardInterrupt):
            evaluator(tmp_path / "killed", recite(answer, dies_after=kills)).run([model], tasks(sums))
    path = tmp_path / "killed" / "tiny" / "sums" / "samples.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    last = recite(answer)
    (folder,) = evaluator(tmp_path / "killed", last).run([model], tasks(sums))
    assert len(last.asked) == 32 - 24 + 1
    assert folder.metrics() == expected.metrics()
    assert tables(folder) == tables(expected)


def test_a_finished_run_is_not_run_again(tmp_path, model, sums, recite):
    evaluator(tmp_path, recite(answer)).run([model], tasks(sums))
    before = (tmp_path / "tiny" / "sums" / "metrics.json").stat().st_mtime_ns
    again = recite(answer)
    evaluator(tmp_path, again).run([model], tasks(sums))
    assert again.asked == []
    assert (tmp_path / "tiny" / "sums" / "metrics.json").stat().st_mtime_ns == before


def test_another_grader_grades_the_same_samples_anew(tmp_path, model, sums, recite):
    evaluator(tmp_path, recite(answer)).run([model], tasks(sums))
    reward = tmp_path / "reward.py"
    reward.write_text("def score(**_):\n    return 1.0\n")
    again = recite(answer)
    (folder,) = evaluator(tmp_path, again).run([model], [GradedBenchmark(sums, make_grader(f"{reward}:score"))])
    assert again.asked == []
    assert folder.metrics().mean.value == 1.0
    assert folder.metrics().grader["name"] == f"{reward}:score"


def test_a_larger_n_samples_only_what_is_missing(tmp_path, model, sums, recite):
    (expected,) = evaluator(tmp_path / "at once", recite(answer), n=12).run([model], tasks(sums))
    output = tmp_path / "out"
    evaluator(output, recite(answer), n=5).run([model], tasks(sums))
    kept = (output / "tiny" / "sums" / "samples.jsonl").read_bytes()
    with pytest.raises(KeyboardInterrupt):
        evaluator(output, recite(answer, dies_after=3), n=12).run([model], tasks(sums))
    assert ResultFolder(output / "tiny" / "sums").metrics().n == 5  # until the others are there
    more = recite(answer)
    (folder,) = evaluator(output, more, n=12).run([model], tasks(sums))
    assert len(more.asked) == 4 * 7 - 3
    assert (folder.path / "samples.jsonl").read_bytes().startswith(kept)
    assert folder.metrics() == expected.metrics()
    assert tables(folder) == tables(expected)


def test_a_smaller_n_uses_the_first_samples_and_loses_none(tmp_path, model, sums, recite):
    (expected,) = evaluator(tmp_path / "few", recite(answer), n=3).run([model], tasks(sums))
    for n in (8, 3, 8, 3):
        sampler = recite(answer)
        (folder,) = evaluator(tmp_path / "out", sampler, n=n).run([model], tasks(sums))
        assert len(sampler.asked) in (0, 32)
        assert folder.metrics().n == n
        assert len(folder.samples()) == 32
    assert folder.metrics() == expected.metrics()
    assert tables(folder) == tables(expected)


REWARD = "def score(data_source, solution_str, ground_truth, extra_info):\n    return {}\n"


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("str(ground_truth) == '1'", lambda row: {"reward_model": {"style": "rule", "ground_truth": "1"}}),
        ("data_source == 'new'", lambda row: {"data_source": "new"}),
        ("extra_info['index'] == 5", lambda row: {"extra_info": {"index": 5}}),
    ],
)
def test_corrected_answers_are_graded_anew_and_nothing_is_sampled(tmp_path, model, recite, code, change):
    reward = tmp_path / "reward.py"
    reward.write_text(REWARD.format(code))
    grader = make_grader(f"{reward}:score")
    rows = [
        {
            "data_source": "old",
            "prompt": [{"role": "user", "content": f"What is {k} + {k}?"}],
            "reward_model": {"style": "rule", "ground_truth": "0"},
            "extra_info": {"index": 0},
        }
        for k in (1, 2)
    ]

    def run(sampler):
        path = tmp_path / "sums.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        (folder,) = evaluator(tmp_path / "out", sampler).run(
            [model], [GradedBenchmark(load_benchmark(str(path)), grader)]
        )
        return folder

    first = recite(answer)
    before = run(first).metrics()
    assert (len(first.asked), before.mean.value) == (16, 0)
    rows[1].update(change(rows[1]))
    again = recite(answer)
    after = run(again).metrics()
    assert again.asked == []
    assert after.mean.value == 0.5
    assert after.benchmark_sha256 != before.benchmark_sha256
    rows[1]["prompt"][0]["content"] = "What is 3 + 3?"
    with pytest.raises(StateError, match="1 of the problems sampled there are not in the benchmark"):
        run(again)
    assert again.asked == []


def test_a_changed_grader_file_grades_anew(tmp_path, model, sums, recite, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)  # a cache of a file of the same size and second is stale
    reward = tmp_path / "reward.py"
    for code, mean in (("1.0", 1.0), ("0.0", 0.0), ("1.0 ", 1.0)):
        reward.write_text(REWARD.format(code))
        (folder,) = evaluator(tmp_path / "out", recite(answer)).run(
            [model], [GradedBenchmark(sums, make_grader(f"{reward}:score"))]
        )
        assert folder.metrics().mean.value == mean


def test_a_kill_while_grading_anew_leaves_no_old_grades(tmp_path, model, sums, recite):
    evaluator(tmp_path, recite(answer)).run([model], tasks(sums))

    class Dying(IntegerGrader):
        def describe(self):
            return {**super().describe(), "sha256": "new"}

        def grade(self, response, problem):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluator(tmp_path, recite(answer)).run([model], [GradedBenchmark(sums, Dying())])
    (folder,) = evaluator(tmp_path, recite(answer)).run([model], tasks(sums))
    assert folder.metrics().grader == dict(IntegerGrader().describe())


def test_a_folder_of_an_earlier_version_goes_on_and_is_graded_anew(tmp_path, model, sums, recite):
    """Its manifest has a hash of prompts and answers, and its metrics none."""
    (folder,) = evaluator(tmp_path, recite(answer)).run([model], tasks(sums))
    expected = folder.metrics()
    manifest = folder.manifest()
    older = replace(manifest, benchmark=replace(manifest.benchmark, sha256="of prompts and answers"))
    replace_json(folder.path / "manifest.json", manifest_json(older))
    old = {key: value for key, value in metrics_json(expected).items() if key != "benchmark_sha256"}
    replace_json(folder.path / "metrics.json", {**old, "unanswered": 0.123})
    assert make_summary(tmp_path, find_evaluations(tmp_path)[0]).evaluations[0].metrics.unanswered == 0.123  # readable
    again = recite(answer)
    evaluator(tmp_path, again).run([model], tasks(sums))
    assert again.asked == []
    assert folder.metrics() == expected
    assert folder.manifest().benchmark.sha256 == sums.sha256


def test_an_answer_that_no_grader_can_take_is_refused_by_row_before_anything_is_sampled(tmp_path, model, recite):
    path = tmp_path / "own.jsonl"
    rows = [{"problem": "a", "answer": 1}, {"problem": "a", "answer": 1}, {"problem": "b", "answer": "3.5"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sampler = recite(answer)
    with pytest.raises(ConfigError, match=r"own, row 3: the answer '3.5' is not an integer; choose --grader exact"):
        evaluator(tmp_path / "out", sampler).run([model], tasks(load_benchmark(str(path))))
    assert sampler.asked == []


def test_models_graded_by_other_answers_are_not_compared(tmp_path, model, sums, recite, caplog):
    evaluator(tmp_path, recite(answer)).run([model], tasks(sums))
    better = ModelSource("better", model.path, "huggingface", None, "")
    (tmp_path / "sums.jsonl").write_text(
        "".join(json.dumps({"problem": f"What is {k} + {k}?", "answer": 3 * k}) + "\n" for k in range(1, 5))
    )
    corrected = load_benchmark(str(tmp_path / "sums.jsonl"))
    evaluator(tmp_path, recite(answer)).run([better], tasks(corrected))
    assert make_summary(tmp_path, find_evaluations(tmp_path, ["tiny"])[0]).comparisons == ()
    assert "tiny and better are not compared on sums: they were graded on different problems or answers" in caplog.text
    evaluator(tmp_path, recite(answer)).run([model], tasks(corrected))
    assert len(make_summary(tmp_path, find_evaluations(tmp_path, ["tiny"])[0]).comparisons) == 1


def test_other_settings_are_refused_before_anything_is_sampled(tmp_path, model, sums, recite):
    evaluator(tmp_path, recite(answer)).run([model], tasks(sums))
    again = recite(answer)
    with pytest.raises(StateError, match=r"sampling.max_tokens is 8192 there, but 5 here"):
        evaluator(tmp_path, again, max_tokens=5).run([model], tasks(sums))
    assert again.asked == []


def test_another_model_of_the_same_name_is_refused(tmp_path, model, sums, recite):
    evaluator(tmp_path, recite(answer)).run([model], tasks(sums))
    (model.path / "model.safetensors").write_bytes(b"other weights")
    other = ModelSource(model.label, model.path, model.kind, model.step, model.origin)
    with pytest.raises(StateError, match="the content of the model differs"):
        evaluator(tmp_path, recite(answer)).run([other], tasks(sums))


def test_a_checkpoint_is_converted_only_if_something_is_to_be_sampled(tmp_path, sums, recite):
    actor = tmp_path / "run" / "global_step_6" / "actor"
    (actor / "huggingface").mkdir(parents=True)
    (actor / "model_world_size_1_rank_0.pt").write_bytes(b"shard")
    (actor / "fsdp_config.json").write_text('{"world_size": 1}')
    source = ModelSource("run-step6", actor, "fsdp", 6, str(actor))
    converted = []

    def convert(model, target):
        converted.append((model.label, target))
        return target

    (folder,) = evaluator(tmp_path / "out", recite(answer), convert).run([source], tasks(sums))
    evaluator(tmp_path / "out", recite(answer), convert).run([source], tasks(sums))
    assert converted == [("run-step6", tmp_path / "out" / "run-step6" / "model")]
    assert folder.metrics().step == 6


def test_two_runs_into_one_folder_are_refused(tmp_path, model, sums, recite):
    with (tmp_path / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="another process is working on the evaluation in"):
            evaluator(tmp_path, recite(answer)).run([model], tasks(sums))


def test_two_benchmarks_of_one_name_are_refused(tmp_path, model, sums, recite):
    with pytest.raises(ConfigError, match="two benchmarks have the same name"):
        evaluator(tmp_path, recite(answer)).run([model], tasks(sums, sums))


def test_a_sampler_that_leaves_out_a_response_is_found_out(tmp_path, model, sums, recite):
    class Lazy(type(recite(answer))):
        def sample(self, model, requests, settings):
            yield from list(super().sample(model, requests, settings))[:-1]

    with pytest.raises(IntegrationError, match="left out 1 of 32 responses"):
        evaluator(tmp_path, Lazy(answer)).run([model], tasks(sums))


def test_seeds_depend_on_seed_problem_and_sample_alone():
    seeds = {sample_seed(s, p, k) for s in range(3) for p in ("a", "b") for k in range(50)}
    assert len(seeds) == 300
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert sample_seed(0, "a", 0) == sample_seed(0, "a", 0) == 1688159948


def test_models_are_compared_by_problem_on_each_benchmark_and_on_all(tmp_path, model, sums, recite):
    more = tmp_path / "more.jsonl"
    more.write_text(json.dumps({"problem": "What is 7 + 7?", "answer": 14}))
    both = tasks(sums, load_benchmark(str(more)))
    better = ModelSource("better", model.path, "huggingface", None, "")
    evaluator(tmp_path, recite(answer)).run([model], both)
    evaluator(tmp_path, recite(lambda prompt, seed: answer(prompt, 0))).run([better], both)
    found, left_out = find_evaluations(tmp_path, ["tiny"])
    assert left_out == []
    assert list(found) == ["tiny", "better"]
    data = make_summary(tmp_path, found)
    assert data.baseline == "tiny"
    assert [one.folder for one in data.evaluations] == ["tiny/more", "tiny/sums", "better/more", "better/sums"]
    by_name = {comparison.benchmark: comparison.scores.mean for comparison in data.comparisons}
    assert list(by_name) == ["more", "sums", None]
    assert by_name["sums"].problems == 4
    assert by_name[None].problems == 5
    tiny = data.evaluations[1].metrics.mean.value
    assert by_name["sums"].difference.value == pytest.approx(1 - tiny)
    assert by_name["sums"].worse == 0
