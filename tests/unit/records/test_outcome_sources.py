"""Every record of outcomes is read into one table, and what cannot be read is said in a sentence."""

import json
import math
import os
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_vip.errors import ConfigError, InvalidInputError
from verl_vip.prediction.identity import prompt_id
from verl_vip.records.outcome_sources import CountColumns, ReadSettings, read_outcomes
from verl_vip.records.outcomes import KeyKind, OutcomeBuilder, SourceKind
from verl_vip.records.records import RecordWriter


def write_dump(folder, step, scores, torn="", **fields):
    """Write a step's dump as verl does: `scores` has each prompt's scores."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps({"input": text, "output": "so", "gts": None, "score": score, "step": step, **fields})
        for text, group in scores.items()
        for score in group
    ]
    (folder / f"{step}.jsonl").write_text("".join(line + "\n" for line in lines) + torn)
    return folder


def write_table(path, **columns):
    pq.write_table(pa.table(columns), path)
    return path


def read_one(path, **settings):
    (source,) = read_outcomes([path], ReadSettings(**settings)).sources
    return source


def groups(source):
    found = source.outcomes
    keys = [found.keys[row] for row in found.prompt]
    return list(zip(keys, found.step.tolist(), found.successes.tolist(), found.trials.tolist(), strict=True))


class TestDumps:
    def test_steps_are_read_in_their_order_and_prompts_by_their_text(self, tmp_path):
        write_dump(tmp_path, 10, {"a": [1.0, 1.0], "b": [0.0, 1.0]})
        write_dump(tmp_path, 9, {"b": [0.0, 0.0, 0.0]})
        source = read_one(tmp_path, with_texts=True)
        assert (source.kind, source.key_kind, source.graded) == (SourceKind.DUMPS, KeyKind.TEXT, False)
        assert sorted(groups(source)) == sorted(
            [(prompt_id("b"), 9, 0.0, 3), (prompt_id("b"), 10, 1.0, 2), (prompt_id("a"), 10, 2.0, 2)]
        )
        assert source.outcomes.texts == ("b", "a")
        assert source.outcomes.visits.tolist() == [2, 1]
        assert [total.tolist() for total in source.outcomes.totals()] == [[1.0, 2.0], [5, 2]]

    @pytest.mark.parametrize(
        ("scores", "limits", "successes", "graded"),
        [
            ([-1.0, 1.0, 1.0], (-1, 1), 2, False),
            ([0.0, 0.0], (0, 1), 0, False),
            ([-1.0, -1.0], (-1, 0), 0, False),
            ([1.0, 1.0], (0, 1), 2, False),
            ([0.0, 0.1, 1.0], (0, 1), 1.1, True),
            ([-2.0, 0.0, 1.0], (-2, 1), 5 / 3, True),
            ([0.0, 2.5], (0, 2.5), 1, False),
        ],
    )
    def test_the_range_of_rewards_is_found_out(self, tmp_path, scores, limits, successes, graded):
        source = read_one(write_dump(tmp_path, 1, {"a": scores}))
        assert source.rewards[""] == pytest.approx(limits)
        assert source.outcomes.successes.tolist() == pytest.approx([successes])
        assert source.graded == graded

    def test_a_given_range_wins_and_holds_all_rewards(self, tmp_path):
        write_dump(tmp_path, 1, {"a": [0.0, 0.5]})
        assert read_one(tmp_path, reward_range=(0.0, 1.0)).outcomes.successes.tolist() == [0.5]
        with pytest.raises(InvalidInputError, match=r"rewards from 0 to 0.5, outside the reward range \[0, 0.25\]"):
            read_one(tmp_path, reward_range=(0.0, 0.25))
        with pytest.raises(InvalidInputError, match="the higher one"):
            ReadSettings(reward_range=(1.0, 0.0))

    def test_sources_have_labels_and_ranges_of_their_own(self, tmp_path):
        write_dump(tmp_path, 1, {"a": [-1.0, 1.0]}, data_source="signed")
        write_dump(tmp_path, 2, {"b": [0.0, 1.0]}, data_source="plain", info={"kind": "x"})
        source = read_one(tmp_path)
        assert source.outcomes.labels == ("signed", "plain")
        assert source.outcomes.successes.tolist() == [1.0, 1.0]
        assert read_one(tmp_path, label_field="info.kind").outcomes.labels == ("", "x")

    def test_a_file_that_is_still_written_is_read_up_to_its_torn_line(self, tmp_path):
        write_dump(tmp_path, 1, {"a": [1.0, 0.0]}, torn='{"input": "a", "sco')
        source = read_one(tmp_path)
        assert groups(source) == [(prompt_id("a"), 1, 1.0, 2)]
        assert "1.jsonl: the last line is incomplete" in source.left_out[0]

    @pytest.mark.parametrize(
        ("line", "words"),
        [
            (b"nonsense\n", "line 1 is not valid JSON"),
            (b"[1]\n", "line 1 is not a JSON object"),
            (b'{"input": 1, "score": 1}\n', 'line 1 has no text "input"'),
            (b'{"input": "a", "score": "1"}\n', 'no number "score"'),
            (b'{"input": "a", "score": true}\n', 'no number "score"'),
            (b'{"input": "a"}\n', 'no number "score"'),
            (b"\xff\xfe\n", "line 1 is not valid JSON"),
        ],
    )
    def test_a_malformed_file_is_left_out_as_a_whole(self, tmp_path, line, words):
        write_dump(tmp_path, 1, {"a": [1.0]})
        (tmp_path / "2.jsonl").write_bytes(line + (tmp_path / "1.jsonl").read_bytes())
        source = read_one(tmp_path)
        assert groups(source) == [(prompt_id("a"), 1, 1.0, 1)]
        assert len(source.left_out) == 1
        assert words in source.left_out[0]
        assert "2.jsonl" in source.left_out[0]
        (tmp_path / "1.jsonl").unlink()
        with pytest.raises(InvalidInputError, match="holds no rollout with a reward"):
            read_one(tmp_path)

    def test_unscored_rollouts_are_left_out(self, tmp_path):
        write_dump(tmp_path, 1, {"a": [1.0, math.nan, math.inf], "b": [math.nan]})
        source = read_one(tmp_path)
        assert groups(source) == [(prompt_id("a"), 1, 1.0, 1)]
        assert "3 rollouts whose score is not a finite number" in source.left_out[0]

    def test_a_pipe_in_place_of_a_file_does_not_block(self, tmp_path):
        write_dump(tmp_path, 1, {"a": [1.0]})
        os.mkfifo(tmp_path / "2.jsonl")
        assert "2.jsonl is not a regular file" in read_one(tmp_path).left_out[0]

    def test_one_file_may_be_given(self, tmp_path):
        write_dump(write_dump(tmp_path, 1, {"a": [1.0]}), 2, {"a": [0.0]})
        assert groups(read_one(tmp_path / "2.jsonl")) == [(prompt_id("a"), 2, 0.0, 1)]

    def test_memory_does_not_grow_with_the_responses(self, tmp_path):
        folder = write_dump(tmp_path, 1, {"a": [1.0] * 400}, output="x" * 50_000)
        tracemalloc.start()
        read_one(folder)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 2_000_000 < (folder / "1.jsonl").stat().st_size


class TestRuns:
    def test_groups_are_those_of_the_records(self, tmp_path, make_header, make_step):
        writer = RecordWriter(tmp_path)
        for record in (make_header(), make_step(1), make_step(2, observed=[2, 0, 6, 2], successes=[0.0, 0.0, 6.0, 1])):
            writer.append(record)
        source = read_one(tmp_path)
        assert (source.kind, source.key_kind) == (SourceKind.RUN, KeyKind.PROMPT_ID)
        assert ("b", 1, 3.0, 6) in groups(source)
        assert len(groups(source)) == 7  # a prompt without rollouts is no group
        assert source.outcomes.labels == ("gcd", "gcd", "chain_sum", "chain_sum")
        assert dict(zip(groups(source), source.outcomes.varied.tolist(), strict=True))["c", 2, 6.0, 6] is False

    def test_a_run_without_a_step_is_said(self, tmp_path, make_header):
        RecordWriter(tmp_path).append(make_header())
        with pytest.raises(InvalidInputError, match="holds no rollout"):
            read_one(tmp_path)


def test_an_evaluation_has_the_problems_ids_and_sources(write_evaluations, tmp_path):
    output = write_evaluations(tmp_path / "evaluations", {"base": 1, "run-step20": 3})
    first, second = read_outcomes([output]).sources
    assert (first.kind, first.key_kind) == (SourceKind.EVALUATION, KeyKind.SHORT_ID)
    assert [won for _, _, won, _ in groups(first)] != [won for _, _, won, _ in groups(second)]
    assert first.outcomes.trials.tolist() == [4] * 3
    assert all(len(key) == 16 for key in first.outcomes.keys)
    assert all(first.outcomes.labels)
    assert set(second.outcomes.step.tolist()) == {20}


class TestCounts:
    def test_usual_names_are_recognised(self, tmp_path):
        path = write_table(
            tmp_path / "t.parquet", prompt=["a", "b", "a"], successes=[1, 2, 3], trials=[4, 4, 4], data_source=["x"] * 3
        )
        source = read_one(path, with_texts=True)
        assert (source.kind, source.key_kind) == (SourceKind.COUNTS, KeyKind.PROMPT_ID)
        assert groups(source) == [(prompt_id("a"), 0, 4.0, 8), (prompt_id("b"), 0, 2.0, 4)]
        assert (source.outcomes.labels, source.outcomes.texts) == (("x", "x"), ("a", "b"))
        assert source.outcomes.varied.tolist() == [True, True]

    def test_lists_of_rewards_and_lists_of_counts(self, tmp_path):
        path = write_table(tmp_path / "t.parquet", scores=[[1, 0, 1], [-1, -1, None], None], n=[3, 3, 3])
        source = read_one(path)
        assert (groups(source), source.key_kind) == ([("1", 0, 2.5, 3), ("2", 0, 0.0, 2)], KeyKind.ROW)
        assert source.outcomes.varied.tolist() == [True, False]
        assert "1 prompt without a count" in source.left_out[0]
        path = write_table(tmp_path / "u.parquet", extra_info=[{"won": [3, 5]}, {"won": [8]}])
        source = read_one(path, columns=CountColumns("extra_info.won", 8))
        assert groups(source) == [("1", 0, 8.0, 16), ("2", 0, 8.0, 8)]

    @pytest.mark.parametrize(
        ("columns", "given", "words"),
        [
            ({"a": [1]}, None, "has no column successes"),
            ({"successes": [1]}, None, "single number 1; name the column"),
            ({"successes": [5], "trials": [4]}, None, "row 1: successes must lie between 0 and its 4 rollouts; got 5"),
            ({"successes": [1.0], "trials": [1.5]}, None, "trials must be a number of rollouts; got 1.5"),
            ({"successes": ["x"], "trials": [4]}, None, "successes must hold finite numbers; got 'x'"),
            ({"successes": [math.nan], "trials": [4]}, None, "finite numbers"),
            ({"successes": [10**10], "trials": [10**10]}, None, "numbers up to 1,000,000,000; got 10000000000"),
            ({"successes": [0.5, 1.0], "trials": [8, 8]}, None, "between 0 and 1.*are they rates?"),
            ({"a": [1]}, CountColumns("b", 8), "has no column 'b'; its columns are a"),
            ({"successes": [None, None], "trials": [4, 4]}, None, "holds no rollout with a reward.*2 prompts without"),
        ],
    )
    def test_impossible_counts_are_one_sentence(self, tmp_path, columns, given, words):
        path = write_table(tmp_path / "t.parquet", **columns)
        with pytest.raises((ConfigError, InvalidInputError), match=words):
            read_one(path, columns=given)

    @pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + b"x" * 100 + b"PAR1", b"text"])
    def test_a_damaged_table_is_said(self, tmp_path, content):
        (tmp_path / "t.parquet").write_bytes(content)
        with pytest.raises(InvalidInputError, match="cannot be read as Parquet"):
            read_one(tmp_path / "t.parquet")


def test_mixed_inputs_are_all_found_and_the_rest_is_told(tmp_path, write_run, write_evaluations):
    run = write_run(tmp_path / "all" / "run", steps=2)
    write_dump(run / "rollouts", 1, {"a": [1.0, 0.0]})
    write_evaluations(tmp_path / "all" / "evaluations", {"base": 1})
    write_dump(tmp_path / "all" / "bad", 1, {}, torn="x\n")
    write_dump(tmp_path / "all" / ".hidden", 1, {"a": [1.0]})
    (tmp_path / "empty").mkdir()
    table = write_table(tmp_path / "t.parquet", successes=[1], trials=[4])
    found = read_outcomes([tmp_path / "all", table, tmp_path / "empty"])
    kinds = [source.kind for source in found.sources]
    assert sorted(kind.name for kind in kinds) == ["COUNTS", "DUMPS", "EVALUATION", "RUN"]
    for words, sentence in zip(["sums.jsonl", "bad", "empty holds no"], found.left_out, strict=True):
        assert words in sentence
    with pytest.raises(InvalidInputError, match="nowhere does not exist"):
        read_outcomes([table, tmp_path / "nowhere"])
    with pytest.raises(InvalidInputError, match="no record was given"):
        read_outcomes([])
    with pytest.raises(InvalidInputError, match="given twice"):
        read_outcomes([table, table])
    with pytest.raises(ConfigError):
        read_outcomes([tmp_path / "a\0b"])


def test_every_file_of_a_folder_is_read_or_named(tmp_path):
    write_dump(tmp_path, 1, {"a": [1.0, 0.0]})
    (tmp_path / "2.jsonl").touch()
    write_table(tmp_path / "counts.parquet", successes=[1], trials=[4])
    write_table(tmp_path / "data.parquet", prompt=["a"])
    for name in "abcde":
        (tmp_path / f"{name}.jsonl").write_text("{}\n")
    found = read_outcomes([tmp_path])
    assert [source.kind for source in found.sources] == [SourceKind.DUMPS, SourceKind.COUNTS]
    assert found.sources[0].left_out == (f"{tmp_path / '2.jsonl'} is empty.",)
    unknown, no_counts = sorted(found.left_out, key=lambda sentence: "data.parquet has no column" in sentence)
    assert unknown.endswith("a.jsonl, b.jsonl, c.jsonl and 2 more.")
    assert "data.parquet has no column" in no_counts


def test_many_faults_are_told_in_few_words(tmp_path):
    for step in range(300):
        (tmp_path / f"{step}.jsonl").write_text("x\n")
    with pytest.raises(InvalidInputError, match=r"And 297 more\.$") as caught:
        read_outcomes([tmp_path])
    assert str(caught.value).count("The step is left out.") == 3


def test_a_setting_that_does_not_apply_is_said(tmp_path, write_run):
    columns, dumps = CountColumns("won", 8), write_dump(tmp_path / "dumps", 1, {"a": [1.0, 0.0]})
    assert "no Parquet file; the columns" in read_one(dumps, columns=columns).left_out[0]
    assert read_one(dumps, label_field="nope").left_out == (f"{dumps} has no labels in the field 'nope'.",)
    run = write_run(tmp_path / "run", steps=2)
    left_out = read_one(run, label_field="nope", reward_range=(0.0, 1.0)).left_out
    assert ["reward range" in left_out[0], "its own labels" in left_out[1]] == [True, True]


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.lists(st.booleans(), min_size=1, max_size=6)),
        min_size=1,
        max_size=30,
    )
)
def test_nothing_is_lost_on_the_way(rows):
    """Whatever the order of groups, each prompt's totals are those of its rollouts."""
    builder = OutcomeBuilder(KeyKind.TEXT)
    for key, step, rollouts in rows:
        builder.add(key, step, sum(rollouts), len(rollouts), len(set(rollouts)) > 1)
    found = builder.source("p", SourceKind.DUMPS, ()).outcomes
    successes, trials = found.totals()
    for key, row in found.by_key.items():
        mine = [(step, rollouts) for other, step, rollouts in rows if other == key]
        assert successes[row] == sum(sum(rollouts) for _, rollouts in mine)
        assert trials[row] == sum(len(rollouts) for _, rollouts in mine)
        assert found.step[found.prompt == row].tolist() == sorted(step for step, _ in mine)
    early = found.select(found.step < 3)
    assert set(early.keys) == {key for key, step, _ in rows if step < 3}
    assert np.array_equal(np.unique(early.prompt), np.arange(len(early.keys)))
