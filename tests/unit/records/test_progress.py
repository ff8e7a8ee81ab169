import hypothesis
import pytest
from fixtures import ROOT
from hypothesis import strategies as st

from verl_vip.records.progress import format_groups, format_step
from verl_vip.records.records import read_run


def test_step_line_of_a_hand_sized_step(make_step):
    assert format_step(make_step(3)) == (
        "step 3 | reward 0.438 | 16 rollouts = budget, 2-6 per prompt | signal in 2 of 4 groups (equal counts ~2) | "
        "predictions good (±0.00) | total 48"
    )


def test_the_line_that_the_documentation_explains_is_this_one(make_step):
    page = ROOT / "docs" / "report.md"
    assert f"\n{format_step(make_step(3, predicted=[0.4, 0.5, 0.4, 0.6]))}\n" in page.read_text()


def test_step_line_of_equal_counts_compares_with_nothing(make_step):
    record = make_step(requested=[4] * 4, observed=[4] * 4, successes=[0.0, 3.0, 2.0, 4.0], predicted=[0.5] * 4)
    assert format_step(record) == (
        "step 1 | reward 0.562 | 16 rollouts = budget, 4 per prompt | signal in 2 of 4 groups | predictions useless "
        "(±0.32) | total 16"
    )


def test_step_line_of_several_rounds(make_step):
    line = format_step(make_step(spends_all=False, rounds=3, kept=[0, 6, 6, 0], budget=20))
    assert "| 16 rollouts of at most 20 in 3 rounds, 12 kept, 2-6 per prompt | signal in 2 of 4 groups |" in line


def test_step_line_shouts_when_counts_were_not_followed(make_step):
    line = format_step(make_step(observed=[2, 6, 4, 2]))
    assert "| 14 ROLLOUTS, 16 REQUESTED (1 prompts differ), 2-6 per prompt |" in line


def test_step_line_shouts_when_the_budget_was_not_kept(make_step):
    assert "| 16 ROLLOUTS REQUESTED, BUDGET 20, 2-6 per prompt |" in format_step(make_step(budget=20))


def test_step_line_of_an_empty_step(make_step):
    columns = ("ids", "labels", "requested", "observed", "predicted", "predicted_variance", "successes")
    line = format_step(make_step(budget=0, **{name: [] for name in columns}))
    assert line == (
        "step 1 | reward 0.000 | 0 rollouts = budget, 0 per prompt | no prompt has rollouts | predictions not rated | "
        "total 16"
    )


def test_prompts_that_are_alike_are_said_to_be(make_step):
    counts = [16] * 4
    record = make_step(budget=64, requested=counts, observed=counts, successes=[8.0] * 4, predicted=[0.75] * 4)
    assert "| prompts alike, predictions ±0.21 |" in format_step(record)


@pytest.mark.parametrize(
    ("predicted", "word"),
    [
        ([0.0, 0.5, 0.3, 1.0], "good"),
        ([0.4, 0.5, 0.4, 0.6], "fair"),
        ([0.5, 0.5, 0.5, 0.6], "weak"),
        ([0.5] * 4, "useless"),
    ],
)
def test_words_follow_how_much_the_predictions_explain(make_step, predicted, word):
    assert f"| predictions {word} (±" in format_step(make_step(predicted=predicted))


@hypothesis.given(st.sampled_from([1, 4, 33, 512]), st.data())
def test_step_lines_stay_on_one_console_line(make_step, size, data):
    groups = st.integers(1, 64).flatmap(lambda count: st.tuples(st.just(count), st.integers(0, count)))
    rows = (data.draw(st.lists(groups, min_size=1, max_size=4)) * size)[:size]
    counts, won = [count for count, _ in rows], [float(won) for _, won in rows]
    columns = {"requested": counts, "observed": counts, "successes": won, "predicted_variance": [0.02] * size}
    columns |= {"ids": ["x"] * size, "labels": [""] * size, "predicted": ([0.1, 0.4, 0.9] * size)[:size]}
    line = format_step(make_step(9_999, budget=sum(counts), **columns, rollouts_total=9_999_999))
    assert len(line) <= 175
    assert line.isprintable()


def test_step_lines_of_a_run_stay_on_one_console_line(run_folder):
    for record in read_run(run_folder).steps:
        assert len(format_step(record)) <= 160


def test_groups_table_lists_every_prompt_of_a_small_step(make_step):
    heading, *rows = format_groups(make_step()).splitlines()
    assert heading.split() == ["prompt", "p̂", "requested", "observed", "successes"]
    assert [row.split() for row in rows] == [
        ["gcd", "0.40", "6", "6", "3"],
        ["chain_sum", "0.50", "6", "6", "2"],
        ["gcd", "0.05", "2", "2", "0"],
        ["chain_sum", "0.95", "2", "2", "2"],
    ]


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_groups_table_is_thinned_from_most_to_fewest(make_step, limit):
    lines = format_groups(make_step(), limit=limit).splitlines()
    assert len(lines) == limit + 2
    assert lines[1].split()[2] == "6"
    assert lines[-1] == f"({limit} of 4 prompts, from most to fewest rollouts)"
    if limit > 1:
        assert lines[-2].split()[2] == "2"


def test_groups_table_clips_long_labels(make_step):
    table = format_groups(make_step(labels=["a very long name of a data source"] * 4))
    assert len({len(line) for line in table.splitlines()[1:]}) == 1
    assert "a very long name of…" in table
