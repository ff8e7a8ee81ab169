"""Which damage each file's parser names; `tests/unit/reporting/test_damaged_inputs.py` damages them at random."""

import json

import pytest
from fixtures.evaluations import metrics_of
from hypothesis import given
from hypothesis import strategies as st

from verl_vip.errors import InvalidInputError, StateError
from verl_vip.evaluation.grading import make_grader
from verl_vip.evaluation.result_files import (
    manifest_json,
    metrics_json,
    parse_manifest,
    parse_metrics,
    parse_summary,
    read_result,
    summary_json,
)
from verl_vip.evaluation.results import (
    EvaluationSummary,
    ModelComparison,
    PairedDifference,
    SummarizedEvaluation,
    TableComparison,
)
from verl_vip.evaluation.run import Evaluator, GradedBenchmark
from verl_vip.evaluation.sampling import SamplingSettings
from verl_vip.statistics.intervals import Estimate


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


def test_what_an_evaluation_writes_is_read(files):
    metrics = parse_metrics(files["metrics.json"])
    assert metrics_json(metrics) == json.loads(files["metrics.json"])
    assert list(metrics_json(metrics)) == list(json.loads(files["metrics.json"]))
    manifest = json.loads(files["manifest.json"])
    assert manifest_json(parse_manifest(files["manifest.json"])) | {"started_at": manifest["started_at"]} == manifest


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"format": 2}, "format is 2, but this version reads 1"),
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


def test_what_a_later_version_adds_is_passed_over(files):
    for name, parse in (("metrics.json", parse_metrics), ("manifest.json", parse_manifest)):
        more = changed(files[name], later={"k": [1]})
        assert parse(more) == parse(files[name])
    nested = changed(files["metrics.json"], tokens__later=1, second_opinion__later=1)
    assert parse_metrics(nested) == parse_metrics(files["metrics.json"])


def test_earlier_metrics_do_not_say_by_which_answers_they_were_graded(files):
    data = json.loads(files["metrics.json"])
    del data["benchmark_sha256"]
    assert parse_metrics(json.dumps(data)).benchmark_sha256 is None


differences = st.builds(
    PairedDifference,
    st.builds(Estimate, *[st.floats(allow_nan=False)] * 3),
    *[st.integers(0, 1000)] * 3,
)
comparisons = st.builds(
    ModelComparison,
    st.text(),
    st.text(),
    st.none() | st.text(),
    st.builds(TableComparison, differences, differences, st.none() | differences),
)


@given(st.lists(comparisons, max_size=3), st.lists(st.text(), max_size=3), st.integers(1, 5), st.floats(0, 1))
def test_a_summary_comes_back(compared, left_out, n, value):
    found = tuple(SummarizedEvaluation(f"a/{step}", metrics_of("a", step, value, n)) for step in (None, 6))
    summary = EvaluationSummary("a", found, tuple(compared), tuple(left_out))
    assert parse_summary(json.dumps(summary_json(summary))) == summary


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"format": 2}, "format is 2, but this version reads 1"),
        ({"evaluations": {}}, "evaluations must be a list"),
        ({"evaluations": [3]}, "an evaluation or a comparison must be a dict"),
        ({"evaluations": [{"folder": 3}]}, "folder must be text"),
        ({"evaluations": [{"folder": "a"}]}, "format is missing"),
        ({"comparisons": [{"baseline": "a"}]}, "candidate is missing"),
        ({"left_out": [None]}, "a sentence of left_out must be text"),
    ],
)
def test_a_damaged_summary_is_named(changes, why):
    whole = json.dumps(summary_json(EvaluationSummary("a", (), (), ())))
    with pytest.raises(InvalidInputError, match=why):
        parse_summary(changed(whole, **changes))


@pytest.mark.parametrize("limit", [None, "0", True, float("nan"), 10**400, {}])
def test_limits_of_a_difference_that_are_no_numbers_are_named(limit):
    paired = PairedDifference(Estimate(0.0, 0.0, 0.0), 0, 0, 1)
    one = ModelComparison("a", "b", None, TableComparison(paired, paired, None))
    data = summary_json(EvaluationSummary("a", (), (one,), ()))
    data["comparisons"][0]["maj"]["difference"]["low"] = limit
    with pytest.raises(InvalidInputError, match="the difference of maj must be a finite Python number"):
        parse_summary(json.dumps(data))


@pytest.mark.parametrize(("content", "why"), [(b"\xff", "it is not UTF-8 text"), (b"{}", "format is missing")])
def test_a_file_that_cannot_be_used_is_named_with_what_to_do(tmp_path, content, why):
    path = tmp_path / "metrics.json"
    path.write_bytes(content)
    with pytest.raises(StateError, match=rf"{path} cannot be used: {why}.*\. Remove it and evaluate again"):
        read_result(path, parse_metrics)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "[" * 100_000, "9" * 5000, "NaN"])
def test_what_is_no_object_is_named(text):
    for parse in (parse_metrics, parse_manifest, parse_summary):
        with pytest.raises(InvalidInputError, match=r"it is not valid JSON|must be a dict"):
            parse(text)
