"""The `pipeline` flow: trains, evaluates every checkpoint, and writes the report."""

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import Flow

from verl_vip.errors import VerlVipError
from verl_vip.flows.artifacts import show_markdown, slug
from verl_vip.flows.evaluate import evaluate, stop_evaluation
from verl_vip.flows.parameters import EvaluationParameters, TrainingParameters, described_by
from verl_vip.flows.train import stop_training, train
from verl_vip.reporting.report import write_report


def stop_both(flow: "Flow[Any, Any]", flow_run: FlowRun, state: State) -> None:
    """Stop the pipeline's live job (a Prefect hook)."""
    stop_training(flow, flow_run, state)
    stop_evaluation(flow, flow_run, state)


@flow(
    name="verl-vip-pipeline",
    flow_run_name="pipeline {name}",
    on_cancellation=[stop_both],
    on_crashed=[stop_both],
)
@described_by(TrainingParameters, EvaluationParameters)
def pipeline(
    recipe: str,
    name: str,
    root: str,
    benchmarks: list[str],
    overrides: list[str] | None = None,
    n: int = EvaluationParameters.n,
    options: list[str] | None = None,
    cluster: str | None = None,
    environment: dict[str, str] | None = None,
    python: str | None = None,
    retries: int = TrainingParameters.retries,
) -> str:
    """Train a recipe, evaluate its checkpoints, and write the report; finished parts are skipped.

    Paths must be absolute, because other processes read them.

    Returns:
        The path of the run's report; the report of the evaluation is in `evaluation/` beside it.
    """
    folder = Path(train(recipe, name, root, overrides, cluster, environment, python, retries))
    try:
        results = evaluate(name, root, benchmarks, n, options, cluster=cluster, environment=environment, python=python)
    except VerlVipError:
        write_report([folder], folder / "report.html")  # the report of the training at least
        raise
    report = write_report([folder], folder / "report.html")
    show_markdown(
        f"report-{slug(name)}",
        f"# {name}\n\n- training: `{report}`\n- evaluation: `{Path(results) / 'report.html'}`\n",
        f"{name}: where the reports are",
    )
    return str(report)
