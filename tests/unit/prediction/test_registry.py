import subprocess
import sys

import pytest

from verl_vip.errors import ConfigError
from verl_vip.prediction.registry import build_predictor


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("gaussian_proces", {}, "did you mean 'gaussian_process'"),
        ("zzz", {}, "known: beta_table, "),
        ("gaussian_process", {"lengthscal": 1}, "did you mean 'lengthscale'"),
        ("last_seen", {"window": 1}, "known: none"),
        ("beta_table", {"name": 1}, "no setting 'name'"),
        ("ridge", {"alpha": "much"}, "'ridge': alpha must be a finite number from 1e-08 to 1e\\+12; got 'much'"),
        ("drifting_gp", {"features": 1.5}, "features must be a whole number of at least 1; got 1.5"),
        ("gaussian_process", {"lengthscale": "mean"}, "lengthscale must be .* or 'median'; got 'mean'"),
    ],
)
def test_wrong_names_are_answered_with_the_nearest(name, settings, message):
    with pytest.raises(ConfigError, match=message):
        build_predictor(name, **settings)


def test_choosing_a_predictor_does_not_load_what_others_need():
    code = (
        "import sys; from verl_vip.prediction.registry import build_predictor; build_predictor('beta_table');"
        "print([m for m in ('gpytorch', 'sentence_transformers', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
