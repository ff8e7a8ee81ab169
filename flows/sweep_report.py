"""The table, the picture and the page of a sweep; what counts as better is `verl_vip.reporting.pareto`'s to say."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verl_vip.flows.sweep_space import Trial
from verl_vip.records.records import RunRecords, read_run
from verl_vip.reporting.pareto import Outcome, outcomes, plot_pareto
from verl_vip.reporting.report import write_report
from verl_vip.reporting.style import draw, save_png


@dataclass(frozen=True)
class SweepReport:
    """Where a sweep's results were written, and the table's rows."""

    table: Path
    picture: Path
    rows: list[dict[str, Any]]


def write_sweep_report(folder: Path, trials: Mapping[Trial, Path]) -> SweepReport:
    """Write `pareto.md` and `pareto.png` into a folder.

    Args:
        folder: The sweep's.
        trials: Run folders of finished trials, at least one.

    Raises:
        OSError: If they cannot be written.
    """
    groups: dict[str, list[RunRecords]] = {}
    for trial in sorted(trials):
        name = f"{trial.design.strategy} (n={trial.design.budget})"
        groups.setdefault(name, []).append(read_run(trials[trial]))
    results = outcomes(groups)
    report = SweepReport(folder / "pareto.md", folder / "pareto.png", [_row(result) for result in results])
    report.table.write_text(_markdown(report.rows), encoding="utf-8")
    save_png(draw(plot_pareto, results), report.picture, "Accuracy against rollouts")
    return report


def write_sweep_page(folder: Path, trials: Iterable[Path]) -> Path:
    """Write the full report of all trials beside each other; returns its path."""
    return write_report(sorted(trials), folder / "report.html")


def _row(result: Outcome) -> dict[str, Any]:
    return {
        "design": result.group,
        "rollouts": round(result.rollouts),
        "accuracy": f"{result.accuracy:.3f}",
        "seeds": result.runs,
        "on the Pareto front": "yes" if result.on_front else "",
    }


def _markdown(rows: list[dict[str, Any]]) -> str:
    columns = list(rows[0])
    lines = ["| " + " | ".join(columns) + " |", "|" + "--|" * len(columns)]
    lines += ["| " + " | ".join(str(row[column]) for column in columns) + " |" for row in rows]
    return "\n".join(lines) + "\n"
