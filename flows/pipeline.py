"""`pipeline`: train, evaluate every checkpoint, report."""

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import Flow

from verl_vip.errors import VerlVipError
from verl_vip.flows.artifacts import show_markdown, slug
from verl_vip.flows.evaluate import evaluate, stop_evaluation
from verl_vip.flows.evaluation_run import EvaluationRun
from verl_vip.flows.train import stop_training, train
from verl_vip.flows.training_run import TrainingRun
from verl_vip.reporting.report import write_report


def stop_both(flow: "Flow[Any, Any]", flow_run: FlowRun, state: State) -> None:
    """Stop whatever job the pipeline is at (a hook of Prefect's)."""
    stop_training(flow, flow_run, state)
    stop_evaluation(flow, flow_run, state)


@flow(
    name="verl-vip-pipeline",
    flow_run_name="pipeline {name}",
    on_cancellation=[stop_both],
    on_crashed=[stop_both],
)
def pipeline(
    recipe: str,
    name: str,
    root: str,
    benchmarks: list[str],
    overrides: list[str] | None = None,
    n: int = EvaluationRun.n,
    options: list[str] | None = None,
    cluster: str | None = None,
    environment: dict[str, str] | None = None,
    python: str | None = None,
    retries: int = TrainingRun.retries,
) -> str:
    """Train a recipe, evaluate the checkpoints that it leaves, and write the report; what is done is not done again.

    Args:
        recipe: As of `train`.
        name: As of `train`.
        root: As of `train`.
        benchmarks: As of `evaluate`.
        overrides: As of `train`.
        n: As of `evaluate`.
        options: As of `evaluate`.
        cluster: Of both.
        environment: Of both.
        python: Of both.
        retries: As of `train`.

    Returns:
        The path of the run's report; that of the evaluation lies in `evaluation/` beside it.
    """
    folder = Path(train(recipe, name, root, overrides, cluster, environment, python, retries))
    try:
        results = evaluate(name, root, benchmarks, n, options, cluster=cluster, environment=environment, python=python)
    except VerlVipError:
        write_report([folder], folder / "report.html")  # of the training at least
        raise
    report = write_report([folder], folder / "report.html")
    show_markdown(
        f"report-{slug(name)}",
        f"# {name}\n\n- training: `{report}`\n- evaluation: `{Path(results) / 'report.html'}`\n",
        f"{name}: where the reports are",
    )
    return str(report)
