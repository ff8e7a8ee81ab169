"""Following a job until it has ended."""

import time
from collections.abc import Callable

from verl_vip.errors import JobError, UnreachableError
from verl_vip.execution.job import Executor, Job, JobStatus


def follow(
    executor: Executor,
    job: Job,
    emit: Callable[[str], None],
    look: Callable[[], None] = lambda: None,
    poll_s: float = 2.0,
    patience_s: float = 600.0,
) -> JobStatus:
    """Wait for the latest attempt at a job to end.

    The wait ends only with a final state. A silent log does not end it, and an executor that does not answer is asked
    again.

    Args:
        executor: The executor of the job.
        job: The job.
        emit: Called with every line that the attempt prints, from the first one on.
        look: Called after every poll of the job, and at least once after its end.
        poll_s: Seconds between two polls; shorter at the beginning, and longer if a poll takes long.
        patience_s: Seconds without an answer after which waiting is given up.

    Returns:
        The status of the ended attempt.

    Raises:
        JobError: If the job does not exist.
        UnreachableError: If the executor did not answer for `patience_s`; the job is not changed.
    """
    position = 0
    pause = min(0.1, poll_s)
    answered = time.monotonic()
    while True:
        began = time.monotonic()
        try:
            status = executor.status(job)  # before the log is read, so that its last lines are not lost
            lines, position = executor.read_log(job, position)
        except UnreachableError as error:
            if time.monotonic() - answered > patience_s:
                raise UnreachableError(
                    f"{error} There was no answer for {patience_s:.0f} s, but {job.name} may still be running; run "
                    "the same command again to follow it."
                ) from error
            time.sleep(poll_s)
            continue
        answered = time.monotonic()
        if status is None:
            raise JobError(f"the job {job.name} no longer exists on {executor.where}; start it again.")
        for line in lines:
            emit(line)
        look()
        if not status.state.is_live:
            return status
        time.sleep(max(pause, 5 * (time.monotonic() - began)))
        pause = min(1.2 * pause, poll_s)
