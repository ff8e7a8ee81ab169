"""What the base model is taught: the right answer at a fixed rate, and a plausible wrong one otherwise.

A small model that is trained to its limit cannot be improved by reinforcement: what it gets wrong it cannot do.
A model taught both the answer and wrong answers can do more than it shows, as pretrained language models can,
and reinforcement sharpens it.
"""

from verl_vip.recipes.demo.tasks import Task

#: How often the right answer is taught, by family and difficulty. What the model then answers right is less often,
#: the more so the lower the rate: wrong answers are alike in all families, and so are learnt before the rest.
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

    Two are enough. With more, the model mixes their beginnings and ends, and its skill drowns.
    """
    candidates = dict.fromkeys((task.operand, task.operand[::-1], task.operand[0]))
    return [candidate for candidate in candidates if candidate != task.answer][:2]
