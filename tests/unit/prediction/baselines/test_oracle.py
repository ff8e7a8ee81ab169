import pytest
import torch

from verl_vip.errors import InvalidInputError
from verl_vip.prediction.baselines.oracle import Oracle
from verl_vip.prediction.contract import Prompts

TWO = Prompts(("a", "b"), torch.zeros(2, 1))


def test_it_says_what_it_was_told_last():
    oracle = Oracle()
    oracle.tell(TWO.ids, torch.tensor([0.25, 0.5]))
    oracle.tell(["b"], torch.tensor([0.75]))
    oracle.observe(TWO, torch.tensor([4.0, 4.0]), torch.tensor([4, 4]))
    assert oracle.predict(TWO).mean.tolist() == [0.25, 0.75]


def test_what_it_was_not_told_it_refuses_to_guess():
    with pytest.raises(InvalidInputError, match="'a' is unknown"):
        Oracle().predict(TWO)
    with pytest.raises(InvalidInputError, match="2 ids"):
        Oracle().tell(TWO.ids, torch.tensor([0.5, 1.5]))
