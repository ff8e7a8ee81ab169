"""Benchmarks: named, from files, and our own problems with their answers checked by brute force."""

import json
import math
import subprocess
import sys
from fractions import Fraction
from functools import lru_cache
from itertools import combinations, permutations, product
from math import factorial, gcd, isqrt

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from verl_vip.errors import ConfigError, InvalidInputError
from verl_vip.evaluation.benchmarks import (
    HUB_FILES,
    INSTRUCTION,
    Benchmark,
    benchmark_name,
    load_benchmark,
    require_benchmark,
)
from verl_vip.evaluation.grading import IntegerGrader


def write(path, rows):
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def verl_row(question, answer, index=0):
    return {
        "data_source": "family",
        "prompt": [{"role": "user", "content": question}],
        "ability": "reasoning",
        "reward_model": {"style": "rule", "ground_truth": answer},
        "extra_info": {"index": index},
    }


def competition(count=30, answer=7):
    return [{"ID": k, "Problem": f"Invented problem {k}.", "Answer": answer} for k in range(count)]


def test_verl_parquet_keeps_prompt_source_and_extra_info(tmp_path):
    rows = [verl_row("reverse: a b", "b a"), verl_row("reverse: c d", "d c", 1)]
    loaded = load_benchmark(write(tmp_path / "validation.parquet", rows))
    assert loaded.name == "validation"
    first, second = loaded.problems
    assert first.prompt == ({"role": "user", "content": "reverse: a b"},)
    assert (first.answer, first.source, second.extra_info) == ("b a", "family", {"index": 1})
    assert len(first.id) == 16
    assert first.id != second.id


def test_rows_repeated_for_repeated_sampling_are_one_problem(tmp_path):
    rows = [verl_row(f"question {k}", str(k), index) for index, k in enumerate([1, 2, 3] * 32)]
    loaded = load_benchmark(write(tmp_path / "repeated.parquet", rows))
    assert len(loaded.problems) == 3
    assert loaded.origin["rows"] == 96


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@pytest.mark.parametrize(("column", "answer"), [("problem", "answer"), ("Problem", "Answer"), ("question", "answer")])
def test_bare_problems_get_the_instruction(tmp_path, suffix, column, answer):
    place = write(tmp_path / f"own{suffix}", [{column: "What is 1 + 1? ", answer: 2}])
    (problem,) = load_benchmark(f"sums={place}").problems
    assert problem.prompt[0]["content"] == f"What is 1 + 1?\n\n{INSTRUCTION}"
    (problem,) = load_benchmark(place, instruction="").problems
    assert problem.prompt[0]["content"] == "What is 1 + 1?"


def test_the_hash_follows_all_that_grades_depend_on(tmp_path):
    rows = [verl_row("question", "1")]
    first = load_benchmark(write(tmp_path / "a.parquet", rows))
    same = load_benchmark(write(tmp_path / "b.parquet", rows * 2))
    others = [
        verl_row("another question", "1"),
        verl_row("question", "2"),
        verl_row("question", "1", index=1),
        {**verl_row("question", "1"), "data_source": "other"},
    ]
    hashes = {load_benchmark(write(tmp_path / "c.parquet", [row])).sha256 for row in others}
    assert first.sha256 == same.sha256
    assert len(hashes | {first.sha256}) == 5


@pytest.mark.parametrize("answers", [[r"336^\circ"], [70.0], ["70.0", "$12$"], ["070"]])
def test_a_competitions_answers_may_be_written_in_any_way(tmp_path, answers):
    rows = [{**row, "Answer": str(row["Answer"])} for row in competition()]
    for row, answer in zip(rows, answers, strict=False):
        row["Answer"] = answer
    place = write(tmp_path / "copy.jsonl", rows)
    loaded = load_benchmark(f"aime25={place}")
    for problem in loaded.problems:
        IntegerGrader().check(problem)
    rows[3]["Answer"] = "7.5"
    with pytest.raises(InvalidInputError, match="answers from 0 to 999"):
        load_benchmark(f"aime25={write(tmp_path / 'copy.jsonl', rows)}")


def test_a_column_with_a_missing_answer_is_refused_by_row(tmp_path):
    table = pa.table({"problem": ["a", "b", "b"], "answer": pa.array([70.0, float("nan"), float("nan")])})
    pq.write_table(table, tmp_path / "own.parquet")
    with pytest.raises(InvalidInputError, match=r"own, row 2: its answer is nan;"):
        load_benchmark(str(tmp_path / "own.parquet"))


def test_problems_know_their_row(tmp_path):
    rows = [{"problem": text, "answer": 1} for text in ("a", "b", "a", "c")]
    loaded = load_benchmark(write(tmp_path / "own.jsonl", rows))
    assert [problem.row for problem in loaded.problems] == [1, 2, 4]


def test_a_local_copy_of_a_competition_is_checked(tmp_path):
    place = write(tmp_path / "copy.parquet", competition())
    loaded = load_benchmark(f"aime24={place}")
    assert (loaded.name, len(loaded.problems)) == ("aime24", 30)
    for rows in (competition(29), competition(30, 1000), competition(30, -1)):
        write(tmp_path / "copy.parquet", rows)
        with pytest.raises(InvalidInputError, match="aime24 must be 30 different problems"):
            load_benchmark(f"aime24={place}")


def test_named_benchmarks_come_from_the_hub_at_their_revision(tmp_path):
    for source in HUB_FILES.values():
        folder = tmp_path / f"datasets--{source.repository.replace('/', '--')}" / "snapshots" / source.revision
        path = folder / source.path
        path.parent.mkdir(parents=True)
        write(path, competition())
    code = (
        "import shutil, sys\n"
        "from verl_vip.evaluation.benchmarks import load_benchmark\n"
        "for _ in range(2):\n"
        f"    for name in {sorted(HUB_FILES)!r}:\n"
        "        try:\n"
        "            loaded = load_benchmark(name)\n"
        "            print(loaded.name, len(loaded.problems), loaded.origin['revision'], len(loaded.sha256))\n"
        "        except ValueError as error:\n"
        "            print(error)\n"
        "    shutil.rmtree(sys.argv[1], ignore_errors=True)\n"  # the second time, the cache is empty
    )
    # The Hub's client reads its settings as it is imported, hence the process.
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env={"PATH": "", "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    found, missed = lines[: len(HUB_FILES)], lines[len(HUB_FILES) :]
    for name, line in zip(sorted(HUB_FILES), found, strict=True):
        assert line.split() == [name, "30", HUB_FILES[name].revision, "64"]
    for name, line in zip(sorted(HUB_FILES), missed, strict=True):
        assert f"at revision {HUB_FILES[name].revision} elsewhere and give --benchmark {name}=FILE." in line


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "contains no problems"),
        ([{"text": "?", "answer": 1}], "row 1: it needs a prompt and a reward_model"),
        ([{"problem": "?", "answer": None}], "row 1: its answer is missing"),
        ([{"problem": "?", "answer": math.nan}], "row 1: its answer is nan"),
        ([verl_row("!", "1"), verl_row("?", math.nan)], "row 2: its answer is nan"),
        ([{"problem": "?", "answer": 1}, {"problem": "?", "answer": 2}], "row 2 repeats the problem of an earlier row"),
        ([{**verl_row("?", "1"), "prompt": ["text"]}], "row 1: its prompt is not a list of chat messages"),
        ([verl_row("?", "1"), {**verl_row("??", "1"), "images": ["a.png"]}], "row 2: it has images, but evaluation"),
        ([{**verl_row("?", "1"), "videos": [{"bytes": "x"}]}], "row 1: it has videos"),
        ([{"problem": "?", "answer": 1, "image": "a.png"}], "row 1: it has image"),
        ([{"problem": "\ud800", "answer": 1}], "row 1: its text contains a lone surrogate"),
        ([verl_row("?", "\udfff")], "row 1: its text contains a lone surrogate"),
        ([{"problem": "?", "answer": 1, "extra_info": "x"}], "row 1: its extra_info must be a mapping; got 'x'"),
        ([[1]], "line 1 is not a JSON object"),
    ],
)
def test_malformed_files_are_refused_with_the_row(tmp_path, rows, message):
    with pytest.raises(InvalidInputError, match=message):
        load_benchmark(write(tmp_path / "bad.jsonl", rows))


def test_text_parts_from_parquet_are_text_although_other_rows_filled_its_columns(tmp_path):
    """A column of one row's images makes nulls in all others."""
    rows = [verl_row("x", "1"), verl_row("y", "2")]
    rows[0]["prompt"] = [
        {"role": "user", "content": [{"type": "text", "text": "What "}, {"type": "text", "text": "is?"}]}
    ]
    rows[1]["prompt"] = [{"role": "user", "content": [{"type": "image", "image": "a.png"}]}]
    path = tmp_path / "parts.parquet"
    write(path, rows)
    (part, _) = pq.read_table(path).to_pylist()[0]["prompt"][0]["content"]
    assert part == {"type": "text", "text": "What ", "image": None}
    with pytest.raises(InvalidInputError, match="row 2: its prompt shows an image"):
        load_benchmark(str(path))
    pq.write_table(pq.read_table(path).slice(0, 1), path)
    (problem,) = load_benchmark(str(path)).problems
    assert problem.prompt == ({"role": "user", "content": "What is?"},)


def test_columns_of_media_without_anything_in_them_are_no_hindrance(tmp_path):
    rows = [{**verl_row("?", "1"), "images": None, "videos": []}, verl_row("??", "1")]
    assert len(load_benchmark(write(tmp_path / "text.parquet", rows)).problems) == 2


def test_lines_of_other_tools(tmp_path):
    path = tmp_path / "own.jsonl"
    rows = [{"problem": "one\u2028two\x85three", "answer": 1}, {"problem": "four", "answer": 2}]
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8-sig")
    first, _ = load_benchmark(str(path), instruction="").problems
    assert first.prompt[0]["content"] == "one\u2028two\x85three"


@pytest.mark.parametrize("folder", ["split=test", "a,b(c)", "x=y=z", "ü 数"])
def test_a_path_may_hold_anything(tmp_path, folder):
    (tmp_path / folder).mkdir()
    place = write(tmp_path / folder / "x.jsonl", [{"problem": "?", "answer": 1}])
    assert [load_benchmark(spec).name for spec in (place, f"own={place}")] == ["x", "own"]
    with pytest.raises(ConfigError, match="there is no benchmark"):
        load_benchmark(str(tmp_path / folder / "y.jsonl"))


@pytest.mark.parametrize(
    "name", ["a/b", "../../x", "/abs", "", "..", "model", "Model", "merge.log", "a" * 101, "a b", "\0"]
)
def test_a_name_that_cannot_be_a_folder_of_the_results_is_refused(tmp_path, name):
    place = write(tmp_path / "x.jsonl", [{"problem": "?", "answer": 1}])
    for refuse in (load_benchmark, require_benchmark, benchmark_name):
        with pytest.raises(InvalidInputError, match="cannot name a benchmark"):
            refuse(f"{name}={place}")
    with pytest.raises(InvalidInputError, match="cannot name a benchmark"):
        Benchmark(name, (), {}, "")


def test_a_file_whose_own_name_is_no_name(tmp_path):
    rows = [{"problem": "?", "answer": 1}]
    assert load_benchmark(write(tmp_path / "my set (v2).jsonl", rows)).name == "my-set-v2"
    for stem, message in (
        ("题", "no valid name; put a name in front"),
        ("b" * 200, "no valid name"),
        ("model", "choose"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            load_benchmark(write(tmp_path / f"{stem}.jsonl", rows))


def test_files_that_are_none_are_refused(tmp_path):
    (tmp_path / "bad.parquet").write_text("not a parquet file")
    (tmp_path / "bad.jsonl").write_text("not json")
    with pytest.raises(InvalidInputError, match="is not a readable Parquet file"):
        load_benchmark(str(tmp_path / "bad.parquet"))
    with pytest.raises(InvalidInputError, match="is not a JSON-lines file"):
        load_benchmark(str(tmp_path / "bad.jsonl"))
    for spec in ("aime99", "name=absent.parquet", str(tmp_path)):
        with pytest.raises(ConfigError, match="there is no benchmark"):
            load_benchmark(spec)


@lru_cache
def walks(x, y):
    if (x, y) == (2, 2) or x > 5 or y > 4:
        return 0
    return 1 if (x, y) == (5, 4) else walks(x + 1, y) + walks(x, y + 1)


def recurrence():
    terms = [2, 5]
    while len(terms) < 20:
        terms.append(3 * terms[-1] + terms[-2])
    return terms[19] % 997


def die():
    chance = Fraction(sum(list(rolls) == sorted(rolls) for rolls in product(range(6), repeat=4)), 6**4)
    return chance.numerator + chance.denominator


#: Every answer of our own problems, found without insight.
BRUTE_FORCE = {
    "divisors": lambda: sum(3600 % d == 0 and isqrt(d) ** 2 == d for d in range(1, 3601)),
    "digit-sum": lambda: sum(sum(map(int, str(k))) == 10 for k in range(1, 501)),
    "remainder": lambda: 7**222 % 1000,
    "lattice": lambda: walks(0, 0),
    "coins": lambda: sum(5 * a + 10 * b + 25 * c == 60 for a in range(13) for b in range(7) for c in range(3)),
    "seats": lambda: sum(
        abs(row.index(0) - row.index(1)) > 1 and row.index(2) in (0, 6) for row in permutations(range(7))
    ),
    "gcd-pairs": lambda: sum(gcd(a, b) == 6 for a in range(1, 31) for b in range(1, 31)),
    "recurrence": recurrence,
    "triangle": lambda: sum(a + b > 40 - a - b >= b for a in range(1, 40) for b in range(a, 40)),
    "palindromes": lambda: sum(str(k) == str(k)[::-1] and k % 11 == 0 for k in range(10000, 100000)),
    "tiling": lambda: sum(sum(pieces) == 12 for count in range(7) for pieces in product((2, 3), repeat=count)),
    "handshakes": lambda: sum((a - b) % 5 == 0 for a in range(1, 25) for b in range(1, a)),
    "last-nonzero": lambda: int(str(factorial(30)).rstrip("0")[-3:]),
    "die": die,
    "circle": lambda: sum(x * x + y * y <= 50 for x in range(-8, 9) for y in range(-8, 9)),
    "binary": lambda: sum("11" not in bin(k) for k in range(1, 1024)),
    "quadratic": lambda: max(k for k in range(1000) if isqrt(k * k + 24 * k + 12) ** 2 == k * k + 24 * k + 12),
    # The minute hand gains 330 degrees an hour, so that the angle is right after odd multiples of 90/330 hours.
    "clock": lambda: sum(Fraction(90 * turns, 330) <= 12 for turns in range(1, 200, 2)),
    "ladder": lambda: sum(k for k in range(1, 41) if (k * k + k + 1) % 7 == 0),
    "split": lambda: sum(sum(c) == 39 for k in range(13) for c in combinations(range(1, 13), k)) // 2,
}


def test_answers_of_our_own_problems_are_right():
    loaded = load_benchmark("offline")
    assert len(loaded.problems) == len(BRUTE_FORCE) == 20
    for problem, (name, solve) in zip(loaded.problems, BRUTE_FORCE.items(), strict=True):
        IntegerGrader().check(problem)
        assert problem.answer == solve(), name
        assert 0 <= problem.answer <= 999


def test_a_path_that_begins_as_a_competition_is_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "aime24=mine.jsonl", [{"problem": "?", "answer": 1}])
    assert load_benchmark("aime24=mine.jsonl").name == "aime24-mine"
