"""The answers that the base model is taught: the right one at a fixed rate, and a plausible wrong one otherwise.

Reinforcement cannot improve a small model that is trained to its limit: it lacks the skills for the answers that it
gets wrong. A model that is taught right and wrong answers has skills that it does not always use, like a pretrained
language model. Reinforcement then raises their success rates.
"""

from verl_vip.recipes.demo.tasks import Task

#: The rate at which the right answer is taught, by family and difficulty. The model's success rate ends up lower, most
#: of all for low rates, because wrong answers are alike in all families and are learnt first.
RIGHT_RATE: dict[str, tuple[float, float, float]] = {
    "spell_backward": (0.90, 0.78, 0.65),
    "number_sorting": (0.88, 0.75, 0.65),
    "number_filtering": (0.85, 0.72, 0.65),
    "letter_counting": (0.95, 0.82, 0.65),
    "count_bits": (0.85, 0.72, 0.60),
    "chain_sum": (0.98, 0.85, 0.70),
    "gcd": (0.90, 0.75, 0.60),
    "leg_counting": (0.93, 0.80, 0.65),
    "repeat": (0.99, 0.95, 0.85),
    "ends": (0.90, 0.78, 0.65),
    "double": (0.85, 0.72, 0.60),
    "rotate": (0.75, 0.65, 0.58),
    "every_second": (0.80, 0.68, 0.58),
    "next_letter": (0.75, 0.62, 0.55),
}


def wrong_answers(task: Task) -> list[str]:
    """Return the answers of two simpler tasks on the same operand: copying it, reversing it, or its first character.

    Two are enough. With more, the model mixes their beginnings and ends, and loses its skill.
    """
    candidates = dict.fromkeys((task.operand, task.operand[::-1], task.operand[0]))
    return [candidate for candidate in candidates if candidate != task.answer][:2]
