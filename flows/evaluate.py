"""The `evaluate` flow: evaluates every complete checkpoint of a run once, during the training or after it."""

import time
from collections.abc import Sequence
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import Flow
from prefect.logging.loggers import flow_run_logger

from verl_vip.errors import JobError, VerlVipError
from verl_vip.evaluation.summary import read_summary
from verl_vip.flows.artifacts import show_picture, show_table, slug
from verl_vip.flows.evaluation_run import EvaluationRun
from verl_vip.flows.parameters import FollowingParameters, described_by, from_parameters
from verl_vip.flows.summaries import evaluation_rows
from verl_vip.flows.supervision import supervise
from verl_vip.flows.tasks import another_may_help, stopping_if_torn_down

_LOOK_S = 10.0
_PICTURES = 6


def stop_evaluation(flow: "Flow[Any, Any]", flow_run: FlowRun, state: State) -> None:
    """Stop the evaluation's live job when its flow is cancelled or crashes (a Prefect hook)."""
    logger = flow_run_logger(flow_run, flow)
    try:
        run = from_parameters(EvaluationRun, flow_run.parameters)
        executor = run.executor()
        for step in run.pending():
            executor.stop(run.job(step))
    except VerlVipError as error:
        logger.error("the flow is %s, but its job may still be running: %s", state.name, error)


@flow(
    name="verl-vip-evaluate",
    flow_run_name="evaluate {name}",
    on_cancellation=[stop_evaluation],
    on_crashed=[stop_evaluation],
)
@described_by(FollowingParameters)
def evaluate(
    name: str,
    root: str,
    benchmarks: list[str],
    n: int = FollowingParameters.n,
    options: list[str] | None = None,
    follow: bool = FollowingParameters.follow,
    patience_s: float = FollowingParameters.patience_s,
    cluster: str | None = None,
    environment: dict[str, str] | None = None,
    python: str | None = None,
) -> str:
    """Evaluate the checkpoints of a run that are complete and not evaluated yet.

    Paths must be absolute, because other processes read them.

    Returns:
        The folder of the results.

    Raises:
        ConfigError: If there is no such run.
        JobError: If there is no complete checkpoint, or, after all others are evaluated, if one evaluation failed.
    """
    run = EvaluationRun(
        name=name,
        root=root,
        benchmarks=benchmarks,
        n=n,
        options=options or (),
        follow=follow,
        patience_s=patience_s,
        cluster=cluster,
        environment=environment or {},
        python=python,
    )
    logger = get_run_logger()
    run.check()
    failed: dict[int, str] = {}
    last_seen = time.monotonic()
    while True:
        live = follow and run.training_is_live()  # first: the last checkpoint precedes the end
        last_seen = time.monotonic() if live else last_seen
        pending = [step for step in run.pending() if step not in failed]
        for step in pending:
            state = evaluate_checkpoint(run, step, return_state=True)
            if state.is_failed():
                failed[step] = state.message or "failed"
                logger.error("step %d could not be evaluated: %s", step, failed[step])
            else:
                show_results(run)
        if not pending:
            if not follow or (not live and time.monotonic() - last_seen > run.patience_s):
                break
            time.sleep(min(_LOOK_S, run.patience_s / 4))
    if failed:
        raise JobError(
            f"{name}: {len(failed)} checkpoint(s) could not be evaluated, of steps {_listed(failed)}; the log says why."
        )
    passed_over = run.passed_over().describe_unusable()
    if not run.has_checkpoints():
        why = passed_over or "trainer.save_freq says when verl saves"
        raise JobError(f"{run.run_folder} has no complete checkpoint to evaluate: {why}.")
    if passed_over:
        logger.warning("%s: skipped %s.", name, passed_over)
    logger.info("evaluated: %s", run.output)
    return str(run.output)


@task(
    name="evaluate checkpoint",
    task_run_name="step {step}",
    retries=1,
    retry_delay_seconds=5,
    retry_condition_fn=another_may_help,
)
def evaluate_checkpoint(run: EvaluationRun, step: int) -> None:
    """Evaluate one checkpoint, unless verl has removed it in the meantime.

    Raises:
        JobError: If the evaluation fails.
    """
    logger = get_run_logger()
    executor, job = run.executor(), run.job(step)
    with stopping_if_torn_down(executor, job):
        try:
            supervise(executor, job, logger.info, progress=run.sampled_bytes)
        except JobError:
            if step in run.checkpoints().models:
                raise
            logger.warning("the checkpoint of step %d was removed while it was being evaluated.", step)


def show_results(run: EvaluationRun) -> None:
    """Show the table and the pictures of all evaluated checkpoints."""
    summary = read_summary(run.output)
    if summary is None:
        return
    key = slug(run.name)
    rows = evaluation_rows([one.metrics for one in summary.evaluations])
    show_table(f"evaluation-{key}", rows, f"Checkpoints of {run.name}; intervals are 95 % over problems")
    for picture in sorted((run.output / "report_pictures").glob("*.png"))[:_PICTURES]:
        show_picture(f"evaluation-{key}-{slug(picture.stem)}", picture, f"{run.name}: {picture.stem}")


def _listed(steps: Sequence[int] | dict[int, str]) -> str:
    return ", ".join(map(str, sorted(steps)))
