"""Which damage each file's parser names; `tests/reporting/test_damaged_inputs.py` damages them at random."""

import json

import pytest

from verl_vip.errors import InvalidInputError
from verl_vip.evaluation.grading import make_grader
from verl_vip.evaluation.result_files import parse_endings, parse_manifest, parse_metrics, parse_problems
from verl_vip.evaluation.run import Evaluator, GradedBenchmark
from verl_vip.evaluation.sampling import SamplingSettings


@pytest.fixture
def files(tmp_path, model, sums, recite):
    """The contents of a finished evaluation's files, by name."""
    sampler = recite(lambda prompt, seed: f"\\boxed{{{seed % 9}}}")
    task = GradedBenchmark(sums, make_grader("integer"))
    (folder,) = Evaluator(tmp_path, SamplingSettings(n=4), sampler, lambda source, path: path).run([model], [task])
    return {path.name: path.read_text() for path in folder.path.iterdir()}


def changed(text, **changes):
    data = json.loads(text)
    for dotted, value in changes.items():
        *folders, name = dotted.split("__")
        place = data
        for folder in folders:
            place = place[folder]
        place[name] = value
    return json.dumps(data)


def test_what_an_evaluation_writes_is_read(files, sums):
    metrics = parse_metrics(files["metrics.json"])
    assert metrics == json.loads(files["metrics.json"])
    assert parse_manifest(files["manifest.json"]) == json.loads(files["manifest.json"])
    rows = parse_problems(files["problems.csv"], metrics)
    assert {row.problem for row in rows} == {problem.id for problem in sums.problems}
    assert {row.n for row in rows} == {4}
    assert sum(row.mean for row in rows) / 4 == pytest.approx(metrics["mean"]["value"])


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"format": 2}, "format is 2, and this version reads 1"),
        ({"n": 0}, "n must be at least 1"),
        ({"n": 10**400}, "n must be a Python int"),
        ({"n": 5}, "pass_at_k must have 5 values of k"),
        ({"step": "six"}, "step must be a Python int"),
        ({"mean__value": float("nan")}, "mean must be a finite Python number"),
        ({"mean__low": 0.9}, "mean must lie in its interval"),
        ({"tokens": None}, "tokens.mean is missing"),
        ({"maj_at_k__2": 0.5}, "low is missing"),
        ({"second_opinion": {}}, "second_opinion.correct is missing"),
        ({"sources__sums__problems": -1}, "the problems of source 'sums' must be"),
    ],
)
def test_damaged_metrics_are_named(files, changes, why):
    with pytest.raises(InvalidInputError, match=why):
        parse_metrics(changed(files["metrics.json"], **changes))


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "[" * 100_000, "9" * 5000, "NaN"])
def test_what_is_no_object_is_named(text):
    for parse in (parse_metrics, parse_manifest):
        with pytest.raises(InvalidInputError, match=r"it is no JSON|must be a dict"):
            parse(text)


def test_a_table_of_other_problems_than_the_metrics_sum_up_is_named(files):
    metrics = parse_metrics(files["metrics.json"])
    head, first, *others = files["problems.csv"].splitlines(keepends=True)
    for rows, why in (
        ([head, *others], "4 problems, each once"),
        ([head, first, first, *others[:-1]], "4 problems, each once"),
        ([head, first.replace(",4,", ",8,", 1), *others], "has 8 samples and not 4"),
        ([head.replace("mean", "meen"), first, *others], "a row lacks a number or a column"),
    ):
        with pytest.raises(InvalidInputError, match=why):
            parse_problems("".join(rows), metrics)
    with pytest.raises(InvalidInputError, match=r"its mean is not that of metrics\.json"):
        parse_problems(files["problems.csv"], {**metrics, "mean": {"value": metrics["mean"]["value"] + 0.01}})


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
