"""Summaries of runs as text and tables, for Prefect's page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from verl_vip.evaluation.results import EvaluationMetrics
from verl_vip.records.records import RunRecords


def run_markdown(name: str, folder: Path, records: RunRecords) -> str:
    """Return a summary of a run so far, as Markdown."""
    lines = [f"# {name}", "", f"Folder: `{folder}`", ""]
    if records.steps:
        last = records.steps[-1]
        lines += [
            f"Step {last.step}, {last.rollouts_total:,} rollouts, {last.budget:,} a step, strategy {last.strategy}. "
            f"Started {len(records.headers)} time{'s' if len(records.headers) > 1 else ''}.",
            "",
        ]
    if records.validations:
        lines += ["| step | rollouts | validation accuracy | problems |", "|--:|--:|--:|--:|"]
        lines += [
            f"| {check.step} | {check.rollouts_total:,} | {check.accuracy:.3f} | {check.num_problems} |"
            for check in records.validations
        ]
    return "\n".join(lines)


def evaluation_rows(evaluations: Sequence[EvaluationMetrics]) -> list[dict[str, Any]]:
    """Return a table with one row for each evaluated checkpoint."""
    return [
        {
            "model": one.model,
            "benchmark": one.benchmark,
            "problems": one.problems,
            f"mean@{one.n}": f"{one.mean:.3f}",
            f"pass@{one.n}": f"{one.pass_at_n:.3f}",
            f"maj@{one.n}": f"{one.maj_at_n:.3f}",
            "truncated": f"{one.truncated:.1%}",
            "no answer": f"{one.unanswered:.1%}",
            "tokens": round(one.tokens.mean),
        }
        for one in sorted(evaluations, key=lambda one: (one.benchmark, one.step or 0))
    ]
