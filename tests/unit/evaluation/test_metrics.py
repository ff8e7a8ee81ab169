import pytest

from verl_vip.errors import InvalidInputError
from verl_vip.evaluation.grading import make_grader
from verl_vip.evaluation.metrics import grade_samples, powers, problem_rows, summarize
from verl_vip.evaluation.results import EvaluatedModel, Sample, SourceScore

MODEL = EvaluatedModel("tiny", "somewhere", "fsdp", 6, "m")


def samples(benchmark, texts):
    """`texts[problem][sample]`; one that ends in "..." was cut off."""
    return [
        Sample(problem.id, k, text, "length" if text.endswith("...") else "stop", len(text), 5)
        for problem, group in zip(benchmark.problems, texts, strict=True)
        for k, text in enumerate(group)
    ]


@pytest.fixture
def graded(sums):
    texts = [
        [r"\boxed{2}", r"\boxed{2}", r"\boxed{3}", "hm..."],
        [r"\boxed{5}", r"\boxed{5}", r"\boxed{4}", r"The answer is 4"],
        ["...", "...", "...", "..."],
        [r"\boxed{8}", r"\boxed{8.0}", r"\boxed{008}", r"\boxed{\frac{16}{2}}"],
    ]
    return grade_samples(sums, samples(sums, texts), make_grader("integer"))


def test_metrics_by_hand(sums, graded):
    found = summarize(sums, graded, MODEL, {"name": "integer"})
    assert (found.model, found.step, found.benchmark, found.problems, found.n) == ("tiny", 6, "sums", 4, 4)
    assert found.mean.value == pytest.approx((2 + 1 + 0 + 4) / 16)
    # pass@2: 1 - C(2,2)/C(4,2), 1 - C(3,2)/C(4,2), 0 and 1.
    assert found.pass_at_k[2].value == pytest.approx((5 / 6 + 1 / 2 + 0 + 1) / 4)
    assert found.pass_at_k[4].value == found.pass_at_n.value == pytest.approx(3 / 4)
    assert list(found.pass_at_k) == [1, 2, 3, 4]
    # Of all four: 2 against 1, 1 against 2, silence, and one answer in four spellings.
    assert found.maj_at_k[4].value == found.maj_at_n.value == pytest.approx(2 / 4)
    assert found.maj_at_k[1].value == pytest.approx(found.mean.value)
    assert found.unanswered == pytest.approx(6 / 16)
    assert found.truncated == pytest.approx(5 / 16)
    assert found.tokens.total == sum(one.sample.tokens for group in graded.values() for one in group)
    assert found.second_opinion.disagreements == 1
    assert found.sources == {"sums": SourceScore(4, found.mean)}


def test_rows_by_hand(sums, graded):
    rows = problem_rows(sums, graded)
    assert [list(row.pass_at_k) for row in rows] == [[1, 2, 4]] * 4
    assert [(row.correct, row.majority, row.disagreements) for row in rows] == [
        (2, "2", 0),
        (1, "5", 1),
        (0, "", 0),
        (4, "8", 0),
    ]


def test_no_second_opinion_is_not_agreement(sums):
    graded = grade_samples(sums, samples(sums, [["2"], ["4"], ["6"], ["7"]]), _Exact())
    assert summarize(sums, graded, MODEL, {}).second_opinion is None


class _Exact:
    def grade(self, response, problem):
        return make_grader("exact").grade(response, type(problem)("", (), str(problem.answer), ""))


def test_unequal_numbers_of_samples_are_refused(sums):
    uneven = samples(sums, [[r"\boxed{2}"], ["a", "b"], ["c"], ["d"]])
    with pytest.raises(InvalidInputError, match=r"sums: the problems have \[1, 2\] samples"):
        grade_samples(sums, uneven, make_grader("integer"))
    with pytest.raises(InvalidInputError, match=r"\[0\] samples"):
        grade_samples(sums, [], make_grader("integer"))


@pytest.mark.parametrize(
    ("n", "expected"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (16, [1, 2, 4, 8, 16]), (17, [1, 2, 4, 8, 16, 17])]
)
def test_powers(n, expected):
    assert powers(n) == expected
