"""`verl-vip report`."""

import argparse
from pathlib import Path

from verl_vip.cli.command import Command


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="a run folder, a folder of runs (such as a sweep's), or an evaluation's output; give as many as you like",
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="where to write the report (default: report.html in the first PATH)"
    )


def _run(options: argparse.Namespace) -> int:
    from verl_vip.reporting.report import write_report

    first = options.paths[0]
    output = options.output or (first.parent if first.is_file() else first) / "report.html"
    print(write_report(options.paths, output))
    return 0


REPORT = Command(
    name="report",
    summary="write a one-file HTML report of runs, sweeps and evaluations",
    examples=("verl-vip report runs/demo", "verl-vip report runs/uniform runs/vip --output comparison.html"),
    add_arguments=_add_arguments,
    run=_run,
)
