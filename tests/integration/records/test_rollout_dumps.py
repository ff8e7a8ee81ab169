"""Dumps written by verl's own function are read."""

import numpy as np
import pytest

from verl_vip.prediction.identity import prompt_id
from verl_vip.records.outcome_sources import read_outcomes
from verl_vip.records.outcomes import KeyKind, SourceKind

pytest.importorskip("verl")


def test_what_verl_dumps_is_read(tmp_path):
    from verl.trainer.ppo.ray_trainer import RayPPOTrainer

    for step, scores in ((3, [1.0, 0.0, 0.0, 0.0]), (12, [1.0, 1.0, 1.0, 0.0])):
        inputs = ["user\n1 + 1?", "user\n1 + 1?", "user\n\u2028é?", "user\n\u2028é?"]
        RayPPOTrainer._write_generations(
            inputs, ["2\n"] * 4, ["2"] * 4, scores, {"acc": [bool(one) for one in scores]}, str(tmp_path / "d"), step
        )
    (source,) = read_outcomes([tmp_path / "d"]).sources
    assert (source.kind, source.key_kind, source.left_out) == (SourceKind.DUMPS, KeyKind.TEXT, ())
    assert source.outcomes.keys == (prompt_id("user\n1 + 1?"), prompt_id("user\n\u2028é?"))
    assert source.outcomes.step.tolist() == [3, 12, 3, 12]
    assert source.outcomes.successes.tolist() == [1, 2, 0, 1]
    assert source.outcomes.varied.tolist() == [True, False, False, True]


def test_what_the_newer_trainer_of_verl_dumps_is_read(tmp_path):
    from verl.trainer.ppo.v1.trainer_base import PPOTrainer

    keys = ["p_0_0", "p_0_1", "p_1_0"]  # the first rollout has two outputs
    PPOTrainer._write_generations(
        ["first", "first, and more", "first"],
        ["a", "b", "c"],
        [None] * 3,
        [np.float32(0), np.float32(1), np.float32(0)],
        {"uid": keys},
        str(tmp_path / "d"),
        1,
    )
    (source,) = read_outcomes([tmp_path / "d"]).sources
    assert source.outcomes.keys == (prompt_id("first"),)
    assert (source.outcomes.successes.tolist(), source.outcomes.trials.tolist()) == ([1], [2])
