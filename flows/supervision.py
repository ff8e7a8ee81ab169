"""Watches one attempt at a job to its end, without Prefect."""

from collections.abc import Callable

from verl_vip.errors import JobError
from verl_vip.execution import Executor, Job, JobState, JobStatus, follow, is_complete, mark_complete


class AttemptLostError(JobError):
    """An attempt failed, and another may succeed: it was killed, or got further than the attempt before."""


def supervise(
    executor: Executor,
    job: Job,
    emit: Callable[[str], None],
    look: Callable[[], None] = lambda: None,
    progress: Callable[[], int] = lambda: 0,
    poll_s: float = 2.0,
) -> None:
    """Run a job to its end: attach to its live attempt or start one, and wait. A finished job is left alone.

    Args:
        executor: The executor that runs the job.
        job: The job.
        emit: Called with each line of the job's log, and with each change of its state.
        look: Called at every poll.
        progress: Returns the progress of the job over all attempts.
        poll_s: Seconds between two polls.

    Raises:
        AttemptLostError: If another attempt may succeed.
        JobError: If the job failed by itself, was stopped, or cannot be started.
        ConfigError: If a job of this name runs with other settings.
        UnreachableError: If the executor does not answer; the job is left as it is.
    """
    if is_complete(job.folder, job.fingerprint):
        emit(f"{job.name} is complete; remove {job.folder} to run it again")
        return
    latest = executor.status(job)
    if latest is not None and _had_its_run(latest, job):
        emit(f"{job.name} has already succeeded")
        mark_complete(job.folder, job.fingerprint)
        return
    found = latest is not None and latest.state.is_live
    reached = -1 if found else progress()
    status = executor.start(job)
    emit(f"{'found' if found else 'started'} attempt {status.attempt} at {job.name} on {executor.where}")
    status = follow(executor, job, emit, look, poll_s)
    if status.state is JobState.SUCCEEDED:
        mark_complete(job.folder, job.fingerprint)
        return
    if status.state is JobState.STOPPED:
        raise JobError(f"{job.name} was stopped; start it again to continue from its last checkpoint.")
    message = f"attempt {status.attempt} at {job.name} failed: {status.message or status.state}"
    if status.was_killed or progress() > reached:
        raise AttemptLostError(f"{message}.")
    raise JobError(f"{message}. It made no progress, so it is not tried again; the end of its log says why.")


def _had_its_run(status: JobStatus, job: Job) -> bool:
    # A cluster remembers jobs whose folder has been removed; those run again.
    there = job.folder.is_dir() and any(job.folder.iterdir())
    return status.state is JobState.SUCCEEDED and status.fingerprint == job.fingerprint and there
