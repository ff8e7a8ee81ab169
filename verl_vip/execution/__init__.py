"""Jobs: named commands that run at most once at a time and can be found again and stopped. Imports nothing heavy."""

from verl_vip.execution.completion import is_complete, mark_complete
from verl_vip.execution.follow import follow
from verl_vip.execution.job import Executor, Job, JobState, JobStatus, fingerprint
from verl_vip.execution.local import LocalExecutor

__all__ = [
    "Executor",
    "Job",
    "JobState",
    "JobStatus",
    "LocalExecutor",
    "fingerprint",
    "follow",
    "is_complete",
    "mark_complete",
]
