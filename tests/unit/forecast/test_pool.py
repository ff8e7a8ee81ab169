"""The latest groups of each prompt count, and the share that can teach is followed over training."""

import numpy as np
import pytest
from fixtures.outcomes import source_of
from hypothesis import given, settings
from hypothesis import strategies as st

from verl_vip.forecast.pool import estimate_pool, recent, teaching_windows, without_signal
from verl_vip.records.outcomes import KeyKind, OutcomeBuilder, SourceKind


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9), st.integers(1, 20)), min_size=1, max_size=40))
def test_the_latest_groups_are_kept_until_there_are_enough_rollouts(groups):
    builder = OutcomeBuilder(KeyKind.TEXT)
    for prompt, step, trials in groups:
        builder.add(str(prompt), step, 0, trials, False)
    found = builder.source("p", SourceKind.DUMPS, ()).outcomes
    kept = recent(found, 16)
    assert kept.keys == found.keys
    for row in range(len(found.keys)):
        mine = found.trials[found.prompt == row].tolist()
        left = kept.trials[kept.prompt == row].tolist()
        assert mine[len(mine) - len(left) :] == left  # the last ones
        assert sum(left) >= min(16, sum(mine))
        assert sum(left[1:]) < 16


def test_a_pool_that_is_learned_moves():
    """In the first half of the steps all prompts can teach, and in the second all are solved."""
    builder = OutcomeBuilder(KeyKind.TEXT)
    rng = np.random.default_rng(0)
    for step in range(1, 41):
        for prompt in range(32):
            won = int(rng.binomial(8, 0.5 if step <= 20 else 1.0))
            builder.add(str(prompt), step, won, 8, 0 < won < 8)
    found = builder.source("p", SourceKind.DUMPS, ()).outcomes
    first, second, third, fourth = teaching_windows(found, 4)
    assert (first.first, fourth.last) == (1, 40)
    assert first.teaches.low > 0.9
    assert second.teaches.low > 0.9
    assert third.teaches.high < 0.2
    assert fourth.teaches.high < 0.2
    assert estimate_pool(found).share(0.05, 0.95).high < 0.2


@pytest.mark.parametrize(("visits", "prompts"), [(1, 300), (2, 20)])
def test_a_short_record_has_no_windows(visits, prompts):
    assert teaching_windows(source_of([0.5] * prompts, visits).outcomes, 4) == []


def test_groups_without_signal_are_of_three_kinds():
    builder = OutcomeBuilder(KeyKind.TEXT)
    for key, total, varied in (("a", 0, False), ("b", 4, False), ("c", 2, False), ("d", 2, True)):
        builder.add(key, 1, total, 4, varied)
    assert without_signal(builder.source("p", SourceKind.DUMPS, ()).outcomes) == (0.25, 0.25, 0.25)
