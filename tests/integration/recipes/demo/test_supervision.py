from verl_vip.recipes.demo.supervision import wrong_answers
from verl_vip.recipes.demo.tasks import Task


def test_wrong_answers_copy_and_reverse_the_operand():
    assert wrong_answers(Task("ends", 1, "?", answer="ac", operand="abc")) == ["abc", "cba"]


def test_the_right_answer_is_never_taught_as_wrong():
    assert wrong_answers(Task("repeat", 1, "?", answer="abc", operand="abc")) == ["cba", "a"]
