"""What a cluster must have for the engines; real engines on Ray run in tests/end_to_end."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_vip.errors import ConfigError
from verl_vip.execution.ray_variables import secrets_among
from verl_vip.workers.sampling.ray_sampler import PASSED_ON, RaySampler, engine_environment, gpus_per_engine


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
    with pytest.raises(ConfigError, match="3 engines of 4 GPUs do not fit on a cluster with 8; lower --engines"):
        gpus_per_engine(cluster(GPU=8.0), {"tensor_parallel_size": 4}, 3)


def test_no_engine_is_refused():
    with pytest.raises(ConfigError, match="--engines must be at least 1"):
        RaySampler({}, 0, None)


HEAD = "head:6379"
prefixes = st.sampled_from(["HF_", "VLLM_", "VERL_", "OMP_", "RAY_", ""])
names = st.builds(str.__add__, prefixes, st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ_", min_size=1, max_size=12))
shells = st.dictionaries(names | st.sampled_from(PASSED_ON), st.text(max_size=8))


@given(shell=shells)
def test_a_cluster_is_sent_no_variable_that_nobody_named(shell):
    sent = engine_environment(HEAD, (), {**shell, "HF_TOKEN": "canary"})
    assert set(sent) <= {*PASSED_ON}
    assert sent == {"VLLM_CPU_OMP_THREADS_BIND": "nobind"} | {name: shell[name] for name in PASSED_ON if name in shell}


@given(shell=shells)
def test_a_private_ray_is_told_nothing_of_the_shell(shell):
    sent = engine_environment(None, (), shell)
    assert sent == ({} if "VLLM_CPU_OMP_THREADS_BIND" in shell else {"VLLM_CPU_OMP_THREADS_BIND": "nobind"})


def test_what_is_sent_unasked_holds_no_secret():
    assert secrets_among(dict.fromkeys(PASSED_ON, "x")) == []


def test_named_variables_are_sent_with_their_value_or_the_shells():
    sent = engine_environment(HEAD, ["HF_TOKEN_PATH=/home/me/a=b", "NCCL_DEBUG", "EMPTY="], {"NCCL_DEBUG": "INFO"})
    assert {**sent, "HF_TOKEN_PATH": "/home/me/a=b", "NCCL_DEBUG": "INFO", "EMPTY": ""} == sent


@pytest.mark.parametrize("word", ["HF_TOKEN", "HF_TOKEN=canary", "HTTPS_PROXY=http://me:canary@proxy"])
def test_a_secret_is_not_sent_even_where_it_is_named(word):
    with pytest.raises(ConfigError, match=r"would be readable in logs.*cluster at head:6379") as told:
        RaySampler({}, 1, HEAD, [word]) if "=" in word else engine_environment(HEAD, [word], {"HF_TOKEN": "canary"})
    assert "canary" not in str(told.value)


@pytest.mark.parametrize("word", ["", "=x", "NOT THERE", "ABSENT", "A-B=1", "1A=1"])
def test_what_is_no_variable_is_refused(word):
    with pytest.raises(ConfigError, match=f"--env {word}: give NAME=VALUE"):
        engine_environment(HEAD, [word], {})


def test_variables_without_a_cluster_are_refused_since_nothing_would_be_gained():
    with pytest.raises(ConfigError, match="engines inherit every variable"):
        RaySampler({}, 1, None, ["HF_TOKEN=canary"])


@pytest.mark.parametrize("size", ["two", 0, -1, 1.5, None])
def test_a_size_that_is_no_number_of_gpus_is_named(size):
    with pytest.raises(ConfigError, match=f"--engine tensor_parallel_size={size} is not a number of GPUs"):
        gpus_per_engine(cluster(GPU=8.0), {"tensor_parallel_size": size}, 1)
