"""Following a job through silence."""

from pathlib import Path

import pytest

from verl_vip.errors import JobError, UnreachableError
from verl_vip.execution import Job, JobState, JobStatus, follow

JOB = Job("run", ("true",), Path("/tmp/run"), "a")


class Scripted:
    """Answers as written down; an exception is raised."""

    where = "nowhere"

    def __init__(self, *answers):
        self.answers = list(answers)
        self.lines = ["one", "two", "three"]

    def status(self, job):
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def read_log(self, job, position):
        return self.lines[position : position + 1], position + 1


def status(state: JobState) -> JobStatus:
    return JobStatus(1, state, "a")


def test_a_break_delays_the_log_and_loses_nothing():
    executor = Scripted(
        status(JobState.RUNNING), UnreachableError("gone"), UnreachableError("gone"), status(JobState.SUCCEEDED)
    )
    lines, looks = [], []
    ended = follow(executor, JOB, lines.append, lambda: looks.append(1), poll_s=0.001)
    assert ended.state is JobState.SUCCEEDED
    assert lines == ["one", "two"]
    assert len(looks) == 2


def test_patience_ends_and_says_that_the_job_may_go_on():
    executor = Scripted(*[UnreachableError("gone.")] * 1000)
    with pytest.raises(UnreachableError, match="run may still be running; run the same command again"):
        follow(executor, JOB, print, poll_s=0.01, patience_s=0.05)


def test_a_job_that_is_not_there():
    with pytest.raises(JobError, match="the job run no longer exists on nowhere; start it again"):
        follow(Scripted(None), JOB, print)
