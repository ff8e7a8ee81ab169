"""No secret goes to a cluster, and what is no secret does."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_vip.errors import ConfigError
from verl_vip.execution import Job, JobState, LocalExecutor, follow
from verl_vip.execution.ray_variables import PRIVATE_RAY, refuse_secrets, secrets_among

words = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", max_size=8)
secret_words = st.sampled_from(
    [
        *("TOKEN", "KEY", "SECRET", "PASSWORD", "APIKEY", "CREDENTIALS", "PASSWD", "AUTH", "JWT", "BEARER", "PAT"),
        *("PASS", "CREDS", "COOKIE", "SIGNATURE"),
    ]
)
numbers = st.sampled_from(["", "2", "17", "_1"])
letters = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", min_size=20, max_size=40)


@st.composite
def secret_names(draw):
    """Draw names that end in a secret's word, in one case or the other."""
    name = "_".join([*draw(st.lists(words, max_size=3)), draw(secret_words)]) + draw(numbers)
    return name.lower() if draw(st.booleans()) else name


def assert_refused(name, value):
    with pytest.raises(ConfigError) as told:
        refuse_secrets({"HARMLESS": "1", name: value}, "http://head:8265")
    assert str(told.value).startswith(f"{name} would be readable in logs")
    assert "http://head:8265" in str(told.value)
    assert value not in str(told.value)
    assert "file on the nodes" in str(told.value)


@given(secret_names())
def test_a_variable_named_after_a_secret_is_refused_by_name(name):
    assert_refused(name, "canary")


@pytest.mark.parametrize(
    "name",
    [
        *("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY", "OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY"),
        *("AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN", "GITHUB_TOKEN", "VLLM_API_KEY", "MLFLOW_TRACKING_PASSWORD"),
        *("PREFECT_API_AUTH_STRING", "CLEARML_API_SECRET_KEY", "SWANLAB_API_KEY", "RAY_AUTH_TOKEN", "PGPASSWORD"),
        *("GITHUB_PAT", "DB_PASS", "SMTPPASS", "HF_TOKEN2", "HF_TOKEN_2_NEW", "TOKENS", "API_TOKENS", "JWT", "BEARER"),
        *("MYSQL_PWD", "MAX_TOKENS_API_KEY", "NEW_TOKEN", "github_pat", "PASS"),
    ],
)
def test_secrets_of_the_tools_that_verl_logs_to_are_known(name):
    assert secrets_among({name: "x"}) == [name]


@given(secret_names(), st.sampled_from(["https://host/path?{}=", "https://host/?a=1&{}=", "host=db {}=", "a=1;{}="]))
def test_a_secret_in_an_assignment_within_a_value_is_refused(name, form):
    assert_refused("ENDPOINT", form.format(name) + "canary")


@pytest.mark.parametrize(
    "value",
    [
        *("http://me:secret@proxy:8080", "redis://:secret@head:6379", "https://u:p@host/path", "https://ghp_x@host"),
        *("git+https://anything@github.com/me/it", "HTTPS://key@sentry.io/1", "https://token:@host"),
    ],
)
def test_a_user_or_password_in_a_url_is_a_secret_whatever_its_name(value):
    assert secrets_among({"HTTPS_PROXY": value, "HTTP_PROXY": "http://proxy:8080"}) == ["HTTPS_PROXY"]


ISSUED = st.sampled_from(["hf_", "sk-", "sk-proj-", "sk-ant-api03-", "ghp_", "gho_", "ghs_", "github_pat_", "glpat-"])
AROUND = st.sampled_from(["{}", " {} ", "--api-key {}", '{{"k": "{}"}}', "https://host/{}/x", "a,{}", "Bearer {}"])


@given(ISSUED, letters, AROUND)
def test_a_value_as_a_service_issues_it_is_refused_whatever_its_name(prefix, rest, around):
    assert_refused("ENDPOINT", around.format(prefix + rest))


@pytest.mark.parametrize(
    "value",
    [
        *("Bearer abc", "Authorization=Basic abc", "AKIA" + "A1" * 8, "eyJhbGciOi.eyJzdWIi.x", "hf_" + "x" * 34),
        "-----BEGIN OPENSSH PRIVATE KEY-----\nabc",
    ],
)
def test_other_forms_of_secrets(value):
    assert_refused("ENDPOINT", value)


@pytest.mark.parametrize(
    "name",
    [
        *("TOKENIZERS_PARALLELISM", "VLLM_MAX_TOKENS", "HF_TOKEN_PATH", "AWS_SHARED_CREDENTIALS_FILE", "HF_HOME"),
        *("RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE", "KEYBOARD", "MONKEYPATCH", "AUTHOR", "VERL_PLATFORM"),
        *("GOOGLE_APPLICATION_CREDENTIALS_FILE", "PYTHONUNBUFFERED", "NCCL_DEBUG", "TOKENIZER", "VLLM_USE_V1"),
        *("MAX_TOKENS", "max_num_batched_tokens", "MAX_TOKENS_PER_STEP", "PATH", "PYTHONPATH", "PWD", "OLDPWD"),
        *("COMPATIBLE", "PATTERN", "PASS_AT_K", "BYPASS", "COMPASS", "DESIGN", "SIGNAL", "PASSES", "PATIENCE"),
    ],
)
def test_settings_that_hold_no_secret_pass(name):
    refuse_secrets({name: "/home/me/file"}, "http://head:8265")


@pytest.mark.parametrize(
    "value",
    [
        *("", "1", "true", "hf_transfer", "hf_xet", "sk-learn", "sk-SK", "/data/hf_cache_2024/sk-learn-models-2024"),
        *("http://proxy:8080", "https://host/a@b?x=1&y=2", "s3://bucket/key/a", "ssh://git@github.com/me/it"),
        *("expandable_segments:True,max_split_size_mb=512", "max_tokens=100 temperature=1.0", "a=b", "me@host"),
        *("/runs/lr=1e-5/model", "token", "Bearer", "https://host/?tokenizer=x&max_tokens=5", "https://host/?token="),
        *("Qwen/Qwen2.5-Math-1.5B-Instruct", "127.0.0.1,localhost", "model=hf_llama key_path=/x", "eyJ", "npm_ci"),
    ],
)
def test_values_that_are_no_secret_pass(value):
    refuse_secrets({"ENDPOINT": value}, "http://head:8265")


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
