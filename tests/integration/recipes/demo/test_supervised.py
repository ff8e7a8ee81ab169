from random import Random

import pytest

from verl_vip.recipes.demo.supervised import Example, TrainSettings, draw_tasks, tokenise
from verl_vip.recipes.demo.supervision import wrong_answers
from verl_vip.recipes.demo.tokenizer import build_tokenizer, instruction_words


@pytest.fixture(scope="module")
def tasks():
    return draw_tasks(TrainSettings(tasks_per_cell=3))


def test_examples_follow_the_chat_template(tasks):
    tokenizer = build_tokenizer(instruction_words(task.prompt for task in tasks))
    for task, example in zip(tasks, tokenise(tasks, tokenizer), strict=True):
        messages = [{"role": "user", "content": task.prompt}, {"role": "assistant", "content": task.answer}]
        whole = tokenizer.apply_chat_template(messages, return_dict=False)
        assert example.prompt + example.answers[0] == whole
        assert len(example.answers) == 1 + len(wrong_answers(task))


def test_wrong_answers_are_drawn_at_the_stated_rate():
    example = Example([1], [[10], [20], [30]], right_rate=0.3)
    rng = Random(0)
    drawn = [example.draw(rng, only_right=False)[1][0] for _ in range(4000)]
    assert drawn.count(10) / 4000 == pytest.approx(0.3, abs=0.03)
    assert drawn.count(20) / 4000 == pytest.approx(0.35, abs=0.03)


def test_only_right_answers_are_drawn_first():
    example = Example([1], [[10], [20], [30]], right_rate=0.0)
    rng = Random(0)
    assert {example.draw(rng, only_right=True)[1][0] for _ in range(50)} == {10}


def test_tasks_are_taught_in_equal_number(tasks):
    assert len(tasks) == 3 * 3 * len({task.family for task in tasks})
