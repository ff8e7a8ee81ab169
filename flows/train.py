"""The `train` flow: runs a recipe as a job, shows its progress, retries it, and stops it with the flow."""

from functools import cached_property
from typing import Any
from uuid import UUID

from prefect import flow, get_run_logger, task
from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import Flow
from prefect.logging.loggers import flow_run_logger

from verl_vip.errors import VerlVipError
from verl_vip.flows.artifacts import show_markdown, show_progress, slug
from verl_vip.flows.parameters import TrainingParameters, described_by, from_parameters
from verl_vip.flows.summaries import run_markdown
from verl_vip.flows.supervision import supervise
from verl_vip.flows.tasks import another_may_help, stopping_if_torn_down
from verl_vip.flows.training_run import TrainingRun
from verl_vip.records.follower import RunNews
from verl_vip.records.records import RunRecords

RETRY_DELAY_S = 10.0


def stop_training(flow: "Flow[Any, Any]", flow_run: FlowRun, state: State) -> None:
    """Stop the run's job when its flow is cancelled or crashes (a Prefect hook)."""
    logger = flow_run_logger(flow_run, flow)
    try:
        run = from_parameters(TrainingRun, flow_run.parameters)
        run.executor().stop(run.job())
    except VerlVipError as error:
        logger.error("the flow is %s, but its job may still be running: %s", state.name, error)
    else:
        logger.info("stopped the job of %s", run.name)


@flow(
    name="verl-vip-train",
    flow_run_name="train {name}",
    on_cancellation=[stop_training],
    on_crashed=[stop_training],
    validate_parameters=True,
)
@described_by(TrainingParameters)
def train(
    recipe: str,
    name: str,
    root: str,
    overrides: list[str] | None = None,
    cluster: str | None = None,
    environment: dict[str, str] | None = None,
    python: str | None = None,
    retries: int = TrainingParameters.retries,
) -> str:
    """Train a recipe to its end: start the run, watch it if it is live, or resume it from its last checkpoint.

    Paths must be absolute, because other processes read them.

    Returns:
        The run's folder.

    Raises:
        ConfigError: If a setting is wrong, or the run is finished and was trained with other settings.
    """
    run = TrainingRun(
        recipe=recipe,
        name=name,
        root=root,
        overrides=overrides or (),
        cluster=cluster,
        environment=environment or {},
        python=python,
        retries=retries,
    )
    if unchecked := run.check():
        get_run_logger().info("%s", unchecked)
    attempt_training.with_options(retries=run.retries)(run)
    return str(run.folder)


@task(
    name="attempt", task_run_name="{run.name}", retry_condition_fn=another_may_help, retry_delay_seconds=RETRY_DELAY_S
)
def attempt_training(run: TrainingRun, shown: bool = True) -> None:
    """Watch one attempt to its end; `supervision.supervise` lists the errors.

    Args:
        run: The run.
        shown: Whether the run has artifacts of its own.
    """
    view = TrainingView(run)
    executor, job = run.executor(), run.job()
    with stopping_if_torn_down(executor, job):
        supervise(executor, job, get_run_logger().info, view.look if shown else lambda: None, view.progress)


class TrainingView:
    """Shows a run's records as artifacts while they grow.

    Args:
        run: The run.
    """

    def __init__(self, run: TrainingRun) -> None:
        self._run = run
        self._bar: UUID | None = None
        self._shown_step = -1
        self._shown_checks = -1

    def progress(self) -> int:
        """Return the last recorded step."""
        records = self._records()
        return records.steps[-1].step if records is not None and records.steps else 0

    def look(self) -> None:
        """Update the artifacts if there are new records."""
        records = self._records()
        if records is None:
            return
        done, total = (records.steps[-1].step if records.steps else 0), planned_steps(records)
        key = slug(self._run.name)
        if total and done != self._shown_step:
            text = f"{self._run.name}: step {done} of {total}"
            self._bar = show_progress(self._bar, f"progress-{key}", 100 * done / total, text)
        if len(records.validations) != self._shown_checks or (done == total and done != self._shown_step):
            page = run_markdown(self._run.name, self._run.folder, records)
            show_markdown(f"run-{key}", page, f"{self._run.name}: validations so far")
        self._shown_step, self._shown_checks = done, len(records.validations)

    @cached_property
    def _news(self) -> RunNews:
        return RunNews(self._run.folder)

    def _records(self) -> RunRecords | None:
        try:
            self._news.poll()
        except VerlVipError as error:
            # If the artifacts fail, the job must still be watched.
            get_run_logger().warning("the records cannot be shown: %s", error)
            return None
        return self._news.records


def planned_steps(records: RunRecords) -> int | None:
    """Return the number of steps that the run is set to take, or None if its length is given in epochs."""
    steps = records.headers[-1].settings.get("trainer.total_training_steps")
    return steps if isinstance(steps, int) else None
