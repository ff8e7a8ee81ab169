"""A comparison small enough for tests."""

import pytest

from verl_vip.simulation.run import RunSettings
from verl_vip.simulation.world import WorldSettings


@pytest.fixture(scope="session")
def small():
    return RunSettings(world=WorldSettings(num_prompts=96, num_families=6), prompts_per_step=16, steps=18)
