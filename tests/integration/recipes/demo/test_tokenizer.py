import unicodedata
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, Qwen2Config

from verl_vip.recipes.demo.families import FAMILIES
from verl_vip.recipes.demo.tokenizer import build_tokenizer, instruction_words

TASKS = [task for family in FAMILIES for difficulty in (1, 2, 3) for task in islice(family.stream(difficulty, 0), 40)]
TOKENIZER = build_tokenizer(instruction_words(task.prompt for task in TASKS))


@pytest.fixture(scope="module")
def reloaded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    TOKENIZER.save_pretrained(folder)
    Qwen2Config().save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def test_instruction_words_leave_out_quoted_operands():
    words = instruction_words(['Spell this word backward: "sun"', 'Does "b" occur in: "bob"'])
    assert words == [' "', " backward", " in", " occur", " this", " word", "Does", "Spell"]


def test_instruction_words_are_one_token_and_operands_are_characters():
    tokens = TOKENIZER.tokenize('Spell this three letter word backward: "the"')
    assert tokens == [
        "Spell", "Ġthis", "Ġthree", "Ġletter", "Ġword", "Ġbackward", ":", 'Ġ"', "t", "h", "e", '"',
    ]  # fmt: skip


@given(st.text())
def test_any_text_comes_back_without_unknown_tokens(text):
    ids = TOKENIZER(text, split_special_tokens=True)["input_ids"]
    assert None not in ids
    assert TOKENIZER.decode(ids) == unicodedata.normalize("NFC", text)


def test_a_line_break_is_one_token():
    assert len(TOKENIZER("\n")["input_ids"]) == 1


def test_every_answer_takes_one_token_a_character():
    for task in TASKS:
        assert len(TOKENIZER(task.answer)["input_ids"]) == len(task.answer)


def test_prompts_and_answers_are_short(reloaded):
    for task in TASKS:
        message = {"role": "user", "content": task.prompt}
        prompt = reloaded.apply_chat_template([message], add_generation_prompt=True, return_dict=False)
        assert len(prompt) <= 40
        assert len(reloaded(task.answer)["input_ids"]) <= 12


def test_the_tokenizer_that_transformers_loads_for_the_model_is_the_same(reloaded):
    texts = [task.prompt for task in TASKS] + ["é中🙂\n\n  x"]
    assert reloaded(texts)["input_ids"] == TOKENIZER(texts)["input_ids"]
    assert len(reloaded) == len(TOKENIZER)
    assert (reloaded.pad_token_id, reloaded.eos_token_id) == (TOKENIZER.pad_token_id, TOKENIZER.eos_token_id)
    assert reloaded.pad_token_id != reloaded.eos_token_id


def test_the_chat_template_marks_roles_and_ends_answers(reloaded):
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "ab"}]
    assert reloaded.apply_chat_template(messages, tokenize=False) == "<|user|>Hi<|assistant|>ab<|im_end|>"
    question = reloaded.apply_chat_template(messages[:1], tokenize=False, add_generation_prompt=True)
    assert question == "<|user|>Hi<|assistant|>"


def test_special_tokens_do_not_reach_the_reward(reloaded):
    ids = reloaded("ab<|im_end|><|pad|>")["input_ids"]
    assert len(ids) == 4
    assert reloaded.decode(ids, skip_special_tokens=True) == "ab"
