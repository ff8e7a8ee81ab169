"""What no process can be given is refused when the job is described."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_vip.errors import InvalidInputError
from verl_vip.execution import Job, LocalExecutor, follow


def make(command=("true",), folder="/runs/a", environment=None) -> Job:
    return Job("a", tuple(command), Path(folder), "f", environment or {})


@pytest.mark.parametrize(
    "parts",
    [
        {"command": ("echo", "a\0b")},
        {"command": ("echo", "\ud800")},
        {"folder": "/runs/\0"},
        {"environment": {"A": "\0"}},
        {"environment": {"A\0": "x"}},
        {"environment": {"A": "\udfff"}},
        {"environment": {"": "x"}},
        {"environment": {"A=B": "x"}},
    ],
)
def test_refusals(parts):
    with pytest.raises(InvalidInputError, match=r"^(the command of )?a (must not contain|cannot have) .*\.$"):
        make(**parts)


@given(st.text(st.characters() | st.sampled_from("\0=\udc80")), st.text(st.characters() | st.sampled_from("\0=")))
def test_a_description_is_refused_if_and_only_if_no_process_can_have_it(word, name):
    possible = name and "=" not in name
    try:
        possible = possible and b"\0" not in os.fsencode(word + name)
    except UnicodeEncodeError:
        possible = False
    if possible:
        assert make((word,), environment={name: word}).command == (word,)
    else:
        with pytest.raises(InvalidInputError) as refused:
            make((word,), environment={name: word})
        assert "\0" not in str(refused.value)


def test_bytes_that_are_no_text_reach_the_process(tmp_path):
    word = b"\xff \xe9".decode("utf-8", "surrogateescape")  # as Python gives a file name of another encoding
    executor, lines = LocalExecutor(), []
    job = make(("sh", "-c", 'printf "%s" "$0$A" | od -An -tx1', word), tmp_path, {"A": word})
    executor.start(job)
    assert follow(executor, job, lines.append, poll_s=0.1).exit_code == 0
    assert "".join(lines).split() == ["ff", "20", "e9"] * 2
