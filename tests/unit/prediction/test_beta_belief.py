import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from verl_vip.errors import InvalidInputError
from verl_vip.prediction.beta_belief import BetaBelief
from verl_vip.prediction.contract import Prediction


@settings(deadline=None, derandomize=True)
@given(a=st.floats(0.05, 8), b=st.floats(0.05, 8))
def test_a_beta_distribution_is_recovered_from_its_moments(a, b):
    beta = torch.distributions.Beta(torch.tensor([a]).double(), torch.tensor([b]).double())
    belief = BetaBelief.from_prediction(Prediction(beta.mean, beta.variance), strongest=100)
    assert (belief.mean * belief.strength).item() == pytest.approx(a, rel=1e-6)
    assert ((1 - belief.mean) * belief.strength).item() == pytest.approx(b, rel=1e-6)


def test_points_and_impossible_variances_are_capped():
    prediction = Prediction(torch.tensor([0.5, 0.0, 0.5, 0.5]), torch.tensor([0.0, 0.0, 0.25, 1e-9]))
    belief = BetaBelief.from_prediction(prediction, strongest=16)
    assert belief.strength.tolist() == [16, 16, 0.1, 16]


def test_wrong_beliefs_are_refused():
    with pytest.raises(InvalidInputError, match=r"at least 0.1; got 0"):
        BetaBelief.from_prediction(Prediction(torch.ones(1), torch.ones(1)), strongest=0)
    with pytest.raises(InvalidInputError, match="positive strengths"):
        BetaBelief(torch.ones(1), torch.zeros(1))
    with pytest.raises(InvalidInputError, match="of one length"):
        BetaBelief(torch.ones(1), torch.ones(2))
