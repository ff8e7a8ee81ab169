"""Retries and teardown of the tasks that watch a job."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect import get_run_logger
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task

from verl_vip.execution import Executor, Job
from verl_vip.flows.supervision import AttemptLostError


def another_may_help(_task: "Task[Any, Any]", _run: TaskRun, state: State) -> bool:
    """Retry an attempt that was lost, but not one that failed by itself or was stopped."""
    return isinstance(state.result(raise_on_failure=False), AttemptLostError)


@contextmanager
def stopping_if_torn_down(executor: Executor, job: Job) -> Iterator[None]:
    """Stop the job when this process is asked to end; Prefect does not call its hooks in all such cases."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception):
            executor.stop(job)
            get_run_logger().info("stopped %s", job.name)
        raise
