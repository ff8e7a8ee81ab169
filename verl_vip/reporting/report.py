"""The report: one self-contained HTML file, with its pictures also as PNG files."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from verl_vip.evaluation.summary import make_summary
from verl_vip.records.records import RunRecords
from verl_vip.reporting.comparison_page import comparison_page
from verl_vip.reporting.evaluation_page import evaluation_part, evaluation_title, left_out_section
from verl_vip.reporting.grouping import group_runs, strategy_of
from verl_vip.reporting.markup import part
from verl_vip.reporting.page import Picture, require_page, write_page
from verl_vip.reporting.paired import BASELINE
from verl_vip.reporting.pareto import outcomes
from verl_vip.reporting.pictures import comparison_pictures, run_pictures
from verl_vip.reporting.run_page import run_page
from verl_vip.reporting.sources import find_sources

_logger = logging.getLogger(__name__)


def write_report(paths: Sequence[Path], output: Path) -> Path:
    """Write the report on one or several runs, a sweep, evaluations, or any mixture of these.

    The file contains all drawings and styles and loads nothing. Its pictures are also written as PNG files to the
    folder `<output without its suffix>_pictures`. Inputs that cannot be read are named on the page and in a warning.

    Args:
        paths: Run folders, record files, evaluation folders, or folders that contain such folders, as that of a sweep.
        output: The HTML file to write; its folder is created if it is missing.

    Returns:
        The path of the HTML file.

    Raises:
        ConfigError: If a path is not valid, or the output cannot be a file.
        InvalidInputError: If no path is given, one is given twice, or nothing can be read.
        StateError: If the report cannot be written; an earlier one is kept.
    """
    require_page(output)
    sources = find_sources(paths)
    reasons = sources.left_out
    title, subtitle, body, pictures = _runs_part(sources.runs)
    if sources.evaluations:
        folders = [one.path for found in sources.evaluations.values() for one in found.values()]
        summary = make_summary(Path(os.path.commonpath(folders)), sources.evaluations, reasons)
        reasons = list(summary.left_out)
        evaluated, more = evaluation_part(sources.evaluations, summary)
        if not sources.runs:
            title, subtitle = evaluation_title(sources.evaluations)
        body += part("Evaluations", evaluated) if sources.runs else evaluated
        pictures = [*pictures, *more]
    for sentence in reasons:
        _logger.warning("left out of the report: %s", sentence)
    return write_page(output, title, subtitle, left_out_section(reasons) + body, pictures)


def _about_one(strategy: str) -> str:
    if strategy == BASELINE:
        return f"Strategy {strategy}"
    return f"Strategy {strategy}; a report of it and of a run with vip.strategy={BASELINE} says what that gained"


def _runs_part(runs: Mapping[str, RunRecords]) -> tuple[str, str, str, list[Picture]]:
    """Return the title, subtitle, body and pictures for the runs; all are empty without runs."""
    if not runs:
        return "", "", "", []
    if len(runs) == 1:
        ((title, run),) = runs.items()
        pictures = run_pictures(run)
        subtitle = _about_one(strategy_of(run)) if run.steps else "No step recorded yet"
        body = run_page(run, pictures)
    else:
        groups = group_runs(runs)
        members = {name: list(group.values()) for name, group in groups.items()}
        ends = outcomes(members)
        pictures = comparison_pictures(members, ends)
        strategies = dict.fromkeys(map(strategy_of, runs.values()))
        title, subtitle = f"{len(runs)} runs compared", ", ".join(groups if len(groups) < 6 else strategies)
        body = comparison_page(groups, ends, pictures)
    return title, subtitle, body, [picture for shown in pictures.values() for picture in shown]
