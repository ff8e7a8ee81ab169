"""No secret goes to a cluster, and what is no secret does."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_vip.errors import ConfigError
from verl_vip.execution import Job, JobState, LocalExecutor, follow
from verl_vip.execution.ray_variables import PRIVATE_RAY, refuse_secrets, secrets_among

words = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", max_size=8)
secret_words = st.sampled_from(["TOKEN", "KEY", "SECRET", "PASSWORD", "APIKEY", "CREDENTIALS", "PASSWD", "AUTH"])


@given(before=st.lists(words, max_size=3), word=secret_words, small=st.booleans())
def test_a_variable_named_after_a_secret_is_refused_by_name(before, word, small):
    name = "_".join([*before, word])
    name = name.lower() if small else name
    with pytest.raises(ConfigError) as told:
        refuse_secrets({"HARMLESS": "1", name: "canary"}, "http://head:8265")
    assert str(told.value).startswith(f"{name} would stand in logs")
    assert "http://head:8265" in str(told.value)
    assert "canary" not in str(told.value)
    assert "file on the nodes" in str(told.value)


@pytest.mark.parametrize(
    "name",
    [
        *("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY", "OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY"),
        *("AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN", "GITHUB_TOKEN", "VLLM_API_KEY", "MLFLOW_TRACKING_PASSWORD"),
        *("PREFECT_API_AUTH_STRING", "CLEARML_API_SECRET_KEY", "SWANLAB_API_KEY", "RAY_AUTH_TOKEN", "PGPASSWORD"),
    ],
)
def test_secrets_of_the_tools_that_verl_logs_to_are_known(name):
    assert secrets_among({name: "x"}) == [name]


@pytest.mark.parametrize("value", ["http://me:secret@proxy:8080", "redis://:secret@head:6379", "https://u:p@host/path"])
def test_a_password_in_a_url_is_a_secret_whatever_its_name(value):
    assert secrets_among({"HTTPS_PROXY": value, "HTTP_PROXY": "http://proxy:8080"}) == ["HTTPS_PROXY"]


@pytest.mark.parametrize(
    "name",
    [
        *("TOKENIZERS_PARALLELISM", "VLLM_MAX_TOKENS", "HF_TOKEN_PATH", "AWS_SHARED_CREDENTIALS_FILE", "HF_HOME"),
        *("RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE", "KEYBOARD", "MONKEYPATCH", "AUTHOR", "VERL_PLATFORM"),
        *("GOOGLE_APPLICATION_CREDENTIALS_FILE", "PYTHONUNBUFFERED", "NCCL_DEBUG", "TOKENIZER"),
    ],
)
def test_settings_that_hold_no_secret_pass(name):
    refuse_secrets({name: "/home/me/file"}, "http://head:8265")


@pytest.mark.parametrize("chosen", [{}, {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"}])
def test_a_ray_that_a_job_here_starts_keeps_to_the_loopback_address_unless_told_otherwise(
    tmp_path, monkeypatch, chosen
):
    for name in PRIVATE_RAY:
        monkeypatch.delenv(name, raising=False)
    code = f"import os; print(*(os.environ[name] for name in {list(PRIVATE_RAY)}))"
    job = Job("job", (sys.executable, "-c", code), tmp_path / "job", "a", chosen)
    executor, lines = LocalExecutor(), []
    executor.start(job)
    assert follow(executor, job, lines.append, poll_s=0.05).state is JobState.SUCCEEDED
    assert lines == [" ".join({**PRIVATE_RAY, **chosen}.values())]
