"""What the base model is taught: the right answer at a fixed rate, and a plausible wrong one otherwise.

A small model that is trained to its limit cannot be improved by reinforcement: what it gets wrong it cannot do.
A model taught both the answer and wrong answers can do more than it shows, as pretrained language models can,
and reinforcement sharpens it.
"""

from random import Random

from verl_vip.recipes.demo.tasks import Task

#: How often the right answer is taught, by family and difficulty.
RIGHT_RATE: dict[str, tuple[float, float, float]] = {
    "spell_backward": (0.80, 0.45, 0.15),
    "number_sorting": (0.70, 0.35, 0.10),
    "number_filtering": (0.60, 0.30, 0.08),
    "letter_counting": (0.90, 0.60, 0.30),
    "count_bits": (0.60, 0.40, 0.20),
    "chain_sum": (0.95, 0.60, 0.30),
    "gcd": (0.70, 0.40, 0.10),
    "leg_counting": (0.85, 0.50, 0.20),
    "repeat": (0.99, 0.90, 0.70),
    "ends": (0.75, 0.50, 0.25),
    "double": (0.65, 0.35, 0.12),
    "rotate": (0.45, 0.20, 0.05),
    "every_second": (0.50, 0.25, 0.04),
    "next_letter": (0.40, 0.15, 0.03),
}


def wrong_answers(task: Task) -> list[str]:
    """Return the answers of simpler tasks on the same operand, without the right one."""
    operand = task.operand
    candidates = {
        operand,
        operand[::-1],
        "".join(sorted(operand)),
        operand[0] + operand[-1],
        operand[0],
        operand[-1],
        operand[::2],
    }
    return sorted(candidates - {task.answer})


def taught_answer(task: Task, right_rate: float, rng: Random) -> str:
    """Return the right answer with probability `right_rate`, else one of the wrong ones."""
    wrong = wrong_answers(task)
    if not wrong or rng.random() < right_rate:
        return task.answer
    return rng.choice(wrong)
