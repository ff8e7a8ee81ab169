import numpy as np
import pytest

from verl_vip.records.progress import bands_of, format_groups, format_step
from verl_vip.records.records import read_run


def test_step_line_of_a_hand_sized_step(make_step):
    assert format_step(make_step(3)) == (
        "step 3 | reward 0.438 | 16 rollouts over 4 prompts (requested = observed, no padding) | n 2/4/6 | "
        "n by fifth of p̂ 2.0 - 6.0 - 2.0 | total 48"
    )


def test_step_line_shouts_when_counts_were_not_followed(make_step):
    line = format_step(make_step(observed=[2, 6, 4, 2]))
    assert "14 rollouts over 4 prompts (REQUESTED 16, 1 prompts differ)" in line


def test_step_line_shouts_when_the_budget_was_not_kept(make_step):
    assert "(BUDGET 20 NOT KEPT)" in format_step(make_step(budget=20))


def test_step_line_of_an_empty_step(make_step):
    columns = ("ids", "labels", "requested", "observed", "predicted", "predicted_variance", "successes")
    line = format_step(make_step(budget=0, **{name: [] for name in columns}))
    assert "reward 0.000 | 0 rollouts over 0 prompts" in line


def test_step_lines_stay_on_one_console_line(run_folder):
    for record in read_run(run_folder).steps:
        assert len(format_step(record)) <= 160
        assert "\n" not in format_step(record)


def test_bands_cover_the_unit_interval():
    assert bands_of(np.array([0.0, 0.19, 0.2, 0.5, 0.8, 1.0])).tolist() == [0, 0, 1, 2, 4, 4]


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
