"""Which damage each table's parser names; `tests/unit/reporting/test_damaged_inputs.py` damages them at random."""

import json
from dataclasses import replace

import pytest

from verl_vip.errors import InvalidInputError
from verl_vip.evaluation.grading import make_grader
from verl_vip.evaluation.result_files import parse_metrics
from verl_vip.evaluation.result_rows import parse_endings, parse_problems
from verl_vip.evaluation.run import Evaluator, GradedBenchmark
from verl_vip.evaluation.sampling import SamplingSettings


@pytest.fixture
def files(tmp_path, model, sums, recite):
    """The contents of a finished evaluation's files, by name."""
    sampler = recite(lambda prompt, seed: f"\\boxed{{{seed % 9}}}")
    task = GradedBenchmark(sums, make_grader("integer"))
    (folder,) = Evaluator(tmp_path, SamplingSettings(n=4), sampler, lambda source, path: path).run([model], [task])
    return {path.name: path.read_text() for path in folder.path.iterdir()}


def test_what_an_evaluation_writes_is_read(files, sums):
    metrics = parse_metrics(files["metrics.json"])
    rows = parse_problems(files["problems.csv"], metrics)
    assert {row.problem for row in rows} == {problem.id for problem in sums.problems}
    assert {row.n for row in rows} == {4}
    assert sum(row.mean for row in rows) / 4 == pytest.approx(metrics.mean.value)


def test_a_table_of_other_problems_than_the_metrics_sum_up_is_named(files):
    metrics = parse_metrics(files["metrics.json"])
    head, first, *others = files["problems.csv"].splitlines(keepends=True)
    for rows, why in (
        ([head, *others], "4 problems, each once"),
        ([head, first, first, *others[:-1]], "4 problems, each once"),
        ([head, first.replace(",4,", ",8,", 1), *others], "has 8 samples instead of 4"),
        ([head.replace("mean", "meen"), first, *others], "a row lacks a number or a column"),
    ):
        with pytest.raises(InvalidInputError, match=why):
            parse_problems("".join(rows), metrics)
    other = replace(metrics, mean=replace(metrics.mean, value=metrics.mean.value + 0.01))
    with pytest.raises(InvalidInputError, match=r"its mean differs from the one in metrics\.json"):
        parse_problems(files["problems.csv"], other)


def test_a_long_answer_is_no_damage(files):
    metrics = parse_metrics(files["metrics.json"])
    head, first, *others = files["problems.csv"].splitlines(keepends=True)
    names = head.strip().split(",")
    cells = first.strip().split(",")
    cells[names.index("majority")] = "x" * 200_000
    assert len(parse_problems("".join([head, ",".join(cells) + "\n", *others]), metrics)) == 4


def test_only_a_line_feed_ends_a_line():
    line = json.dumps({"problem": "p", "sample": 0, "text": "a\u2028b\x85c"}, ensure_ascii=False)
    assert parse_endings(f"\ufeff{line}\n", {("p", 0)}) == {("p", 0): "a\u2028b\x85c"}
