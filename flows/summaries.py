"""Runs in words and tables, for Prefect's page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from verl_vip.records.records import RunRecords


def run_markdown(name: str, folder: Path, records: RunRecords) -> str:
    """Return what a run has done so far."""
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


def evaluation_rows(evaluations: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a table of evaluated checkpoints, one a row, from the metrics that `verl-vip evaluate` writes."""
    return [
        {
            "model": one["model"],
            "benchmark": one["benchmark"],
            "problems": one["problems"],
            f"mean@{one['n']}": _estimate(one["mean"]),
            f"pass@{one['n']}": _estimate(one["pass_at_k"][str(one["n"])]),
            f"maj@{one['n']}": _estimate(one["maj_at_k"][str(one["n"])]),
            "truncated": f"{one['truncated']:.1%}",
            "no answer": f"{one['unanswered']:.1%}",
            "tokens": round(one["tokens"]["mean"]),
        }
        for one in sorted(evaluations, key=lambda one: (one["benchmark"], one["step"] or 0))
    ]


def _estimate(estimate: Mapping[str, float]) -> str:
    return f"{estimate['value']:.3f} ({estimate['low']:.3f} to {estimate['high']:.3f})"
