"""What a cluster must have for the engines; real engines on Ray run in tests/end_to_end."""

from types import SimpleNamespace

import pytest

from verl_vip.errors import ConfigError
from verl_vip.workers.ray_sampler import RaySampler, gpus_per_engine


def cluster(**resources):
    return SimpleNamespace(cluster_resources=lambda: resources)


@pytest.mark.parametrize(
    ("resources", "options", "engines", "each"),
    [
        ({"CPU": 8.0}, {}, 4, 0),
        ({"CPU": 8.0, "GPU": 8.0}, {}, 8, 1),
        ({"CPU": 8.0, "GPU": 8.0}, {"tensor_parallel_size": 4}, 2, 4),
        ({"CPU": 8.0, "GPU": 8.0}, {"tensor_parallel_size": 2, "pipeline_parallel_size": 2}, 1, 4),
    ],
)
def test_an_engine_takes_the_gpus_that_its_options_ask_for(resources, options, engines, each):
    assert gpus_per_engine(cluster(**resources), options, engines) == each


def test_too_few_gpus_are_told_instead_of_waited_for():
    with pytest.raises(ConfigError, match="3 engines of 4 GPUs do not fit on a cluster of 8; lower --engines"):
        gpus_per_engine(cluster(GPU=8.0), {"tensor_parallel_size": 4}, 3)


def test_no_engine_is_refused():
    with pytest.raises(ConfigError, match="--engines must be at least 1"):
        RaySampler({}, 0, None)


@pytest.mark.parametrize("size", ["two", 0, -1, 1.5, None])
def test_a_size_that_is_no_number_of_gpus_is_named(size):
    with pytest.raises(ConfigError, match=f"--engine tensor_parallel_size={size} is no number of GPUs"):
        gpus_per_engine(cluster(GPU=8.0), {"tensor_parallel_size": size}, 1)
