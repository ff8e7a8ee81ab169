import subprocess
import sys

import pytest

from verl_vip.recipes.demo.reward import compute_score


@pytest.mark.parametrize(
    ("response", "answer", "reward"),
    [
        ("abc", "abc", 1.0),
        (" abc\n", "abc", 1.0),
        ("a  b", "a b", 1.0),
        ("ab", "a b", 0.0),
        ("abcd", "abc", 0.0),
        ("ABC", "abc", 0.0),
        ("", "abc", 0.0),
        ("12", "012", 0.0),
    ],
)
def test_only_the_exact_answer_counts(response, answer, reward):
    assert compute_score("repeat", response, answer) == reward


def test_verl_may_pass_its_keywords():
    reward = compute_score(
        data_source="repeat",
        solution_str="x",
        ground_truth="x",
        extra_info={"index": 0, "num_turns": 2},
        reward_router_address="127.0.0.1:1",
        reward_model_tokenizer=None,
    )
    assert reward == 1.0


def test_the_module_loads_nothing_heavy():
    code = (
        "import sys, verl_vip.recipes.demo.reward;"
        "print(sorted({'torch', 'transformers', 'reasoning_gym', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
