"""The table, picture and report page of a sweep; `verl_vip.reporting.pareto` defines the front."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verl_vip.durable_files import replace_file
from verl_vip.errors import InvalidInputError, VerlVipError
from verl_vip.flows.sweep_space import Trial
from verl_vip.records.records import RunRecords, read_run
from verl_vip.reporting.pareto import Outcome, outcomes, plot_pareto
from verl_vip.reporting.report import write_report
from verl_vip.reporting.style import draw, save_png


@dataclass(frozen=True)
class SweepReport:
    """The paths of a sweep's results, the rows of its table, and a sentence on each unreadable trial."""

    table: Path
    picture: Path
    rows: list[dict[str, Any]]
    left_out: list[str]


def write_sweep_report(folder: Path, trials: Mapping[Trial, Path]) -> SweepReport:
    """Write `pareto.md` and `pareto.png` into a folder. Unreadable trials are left out and named.

    Args:
        folder: The sweep's folder.
        trials: Run folders of finished trials, at least one.

    Raises:
        InvalidInputError: If no trial can be read.
        OSError: If the files cannot be written.
    """
    groups: dict[str, list[RunRecords]] = {}
    left_out: list[str] = []
    for trial in sorted(trials):
        name = f"{trial.design.strategy} (n={trial.design.budget})"
        try:
            groups.setdefault(name, []).append(read_run(trials[trial]))
        except VerlVipError as error:
            left_out.append(f"{trials[trial].name} is left out: {error}")
    results = outcomes({name: runs for name, runs in groups.items() if runs})
    if not results:
        raise InvalidInputError(" ".join(left_out) or "no trial was validated.")
    rows = [_row(result) for result in results]
    report = SweepReport(folder / "pareto.md", folder / "pareto.png", rows, left_out)
    notes = "".join(f"\n{sentence}\n" for sentence in left_out)
    replace_file(report.table, (_markdown(rows) + notes).encode(errors="backslashreplace"))
    save_png(draw(plot_pareto, results), report.picture, "Accuracy against rollouts")
    return report


def write_sweep_page(folder: Path, trials: Iterable[Path]) -> Path:
    """Write the full report that compares all trials, and return its path."""
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
