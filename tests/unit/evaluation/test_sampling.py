import pytest

from verl_vip.errors import ConfigError
from verl_vip.evaluation.sampling import SamplingSettings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n": 0}, "--n must be at least 1"),
        ({"temperature": -1.0}, "--temperature must be 0 or more"),
        ({"temperature": float("nan")}, "--temperature must be 0 or more"),
        ({"temperature": float("inf")}, "--temperature must be 0 or more"),
        ({"top_p": 0.0}, "--top-p must be above 0 and at most 1"),
        ({"top_p": 1.1}, "--top-p must be above 0 and at most 1"),
        ({"top_k": 0}, "--top-k must be at least 1 and below"),
        ({"n": 10**9}, "--n must be at least 1 and at most a million"),
        ({"max_tokens": 2**31}, "--max-tokens must be at least 1 and below"),
        ({"max_tokens": 0}, "--max-tokens must be at least 1"),
        ({"temperature": 0.0}, "greedy decoding gives the same sample 16 times; set --n 1, or --temperature"),
    ],
)
def test_bad_settings_are_refused_by_the_option_that_sets_them(settings, message):
    with pytest.raises(ConfigError, match=message):
        SamplingSettings(**settings)


def test_one_greedy_sample_is_fine():
    assert SamplingSettings(n=1, temperature=0.0).n == 1
