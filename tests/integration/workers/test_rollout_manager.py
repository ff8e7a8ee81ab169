"""What the manager reads from verl's own batches."""

import numpy as np
import pytest
from verl.utils import tensordict_utils

from verl_vip.errors import ConfigError
from verl_vip.prediction.identity import fields_of
from verl_vip.workers.rollout_manager import _columns


def batch(rows):
    columns = {name: np.array([row[name] for row in rows], dtype=object) for name in rows[0]}
    return tensordict_utils.get_tensordict(columns)


ROWS = [
    {"reward_model": {"ground_truth": ["a", "b"]}, "extra_info": {"part": {"of": 1}}, "data_source": "x"},
    {"reward_model": {"ground_truth": "3"}, "extra_info": {"part": None}, "data_source": "y"},
]


def test_fields_of_the_identity_come_through_verls_batches_as_they_are():
    names = ["reward_model.ground_truth", "extra_info.part.of", "data_source"]
    prompts = tensordict_utils.concat_tensordict([batch(ROWS), batch(ROWS)])
    assert [fields_of(task, names) for task in _columns(prompts, names)] == 2 * [fields_of(row, names) for row in ROWS]
    assert fields_of(ROWS[0], names)["extra_info.part.of"] == 1
    assert _columns(prompts, []) == []


def test_a_column_that_is_not_there_is_named():
    with pytest.raises(
        ConfigError, match=r"vip\.covariates name columns that are not in the training data: \['extras'\]"
    ):
        _columns(batch(ROWS), ["data_source", "extras.part"])
