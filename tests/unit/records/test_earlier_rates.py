"""Outcomes of an earlier run become rates of the prompts of a pool, wherever they were recorded."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_vip.errors import InvalidInputError
from verl_vip.prediction.identity import prompt_id
from verl_vip.records.earlier_rates import PoolPrompts, _shrunk, earlier_rates

TEXTS = ["Add 1 and 2", "Add 1 and 23", "Add", "What is 3 + 4?", "A question\nof two lines"]
TEMPLATES = [
    "system\nYou are a helpful assistant.\nuser\n{}\nassistant\n",
    "[INST] {} [/INST]",
    "user: {}",
    "{}",
]


def messages(text):
    return [{"role": "user", "content": text}]


def pool_of(texts, part=None):
    wordings = [prompt_id(messages(text)) for text in texts]
    ids = wordings if part is None else [prompt_id(messages(text), {"part": part}) for text in texts]
    return PoolPrompts(ids, wordings, texts)


def dump(folder, scores, step=1):
    folder.mkdir(exist_ok=True)
    lines = [{"input": text, "output": "so", "score": score, "step": step} for text, all_ in scores for score in all_]
    (folder / f"{step}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.mark.parametrize("template", TEMPLATES)
def test_dumps_are_matched_by_the_text_within_any_chat_template(tmp_path, template):
    scores = [(template.format(text), [float(k < row) for k in range(8)]) for row, text in enumerate(TEXTS)]
    pool = pool_of(TEXTS)
    rates = earlier_rates(dump(tmp_path / "dumps", scores), pool)
    assert [*rates] == list(pool.ids)
    assert [*rates.values()] == sorted(rates.values())
    assert len(set(rates.values())) == len(TEXTS)


def test_a_text_within_another_word_is_no_match(tmp_path):
    folder = dump(tmp_path / "dumps", [("user\nAddition is hard\nassistant\n", [1.0, 0.0])])
    with pytest.raises(InvalidInputError, match=r"outcomes of 1 prompts, and none of them is among the 5 training pr"):
        earlier_rates(folder, pool_of(TEXTS))


def test_tables_are_matched_by_identity_and_wording(tmp_path):
    table = {"prompt": [messages(text) for text in TEXTS[:3]], "successes": [0, 4, 8], "trials": [8, 8, 8]}
    pq.write_table(pa.table(table), tmp_path / "counts.parquet")
    for pool in (pool_of(TEXTS), pool_of(TEXTS, part="of the identity")):
        rates = earlier_rates(tmp_path / "counts.parquet", pool)
        assert [*rates] == list(pool.ids[:3])
        assert rates[pool.ids[0]] < 0.2 < rates[pool.ids[1]] < 0.8 < rates[pool.ids[2]]


def test_steps_add_up(tmp_path):
    dump(tmp_path / "dumps", [("user\nAdd\nassistant", [1.0]), ("user\nWhat is 3 + 4?", [0.0])], step=1)
    few = earlier_rates(tmp_path / "dumps", pool_of(TEXTS))
    for step in range(2, 9):
        dump(tmp_path / "dumps", [("user\nAdd\nassistant", [1.0]), ("user\nWhat is 3 + 4?", [0.0])], step=step)
    many = earlier_rates(tmp_path / "dumps", pool_of(TEXTS))
    add, what = (prompt_id(messages(text)) for text in ("Add", "What is 3 + 4?"))
    assert few[what] > many[what]
    assert few[add] < many[add]


@given(
    counts=st.lists(
        st.integers(1, 64).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=1, max_size=40
    )
)
def test_rates_lie_between_the_observed_ones_and_the_mean(counts):
    won = {str(row): float(k) for row, (k, _) in enumerate(counts)}
    tried = {str(row): n for row, (_, n) in enumerate(counts)}
    mean = (sum(won.values()) + 0.5) / (sum(tried.values()) + 1)
    for name, rate in _shrunk(won, tried).items():
        assert 0 < rate < 1
        low, high = sorted((won[name] / tried[name], mean))
        assert low - 1e-9 <= rate <= high + 1e-9


def test_a_rate_of_few_rollouts_is_drawn_further_to_the_mean():
    won = {"few": 1.0, "many": 64.0} | {f"other {row}": 32.0 * (row % 2) for row in range(20)}
    tried = {"few": 1, "many": 64} | {f"other {row}": 64 for row in range(20)}
    rates = _shrunk(won, tried)
    assert 0.4 < rates["few"] < 0.9 < rates["many"]
