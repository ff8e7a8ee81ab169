"""The `verl-vip` command. Each subcommand imports what it needs when it runs, and not before."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from verl_vip import __version__
from verl_vip.errors import VerlVipError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
    except VerlVipError as error:
        print(f"verl-vip: {error}", file=sys.stderr)
        return 2
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="verl-vip", description="Predicted rollout counts for stock verl, under a hard budget."
    )
    parser.add_argument("--version", action="version", version=f"verl-vip {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    doctor = commands.add_parser("doctor", help="say what is installed, which hooks are there, and what to do")
    doctor.set_defaults(run=_doctor)

    report = commands.add_parser("report", help="write a one-file HTML report of one or more runs")
    report.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run folder, which holds vip_records.jsonl")
    report.add_argument("--output", type=Path, default=None, help="where to write it (default: RUN/report.html)")
    report.set_defaults(run=_report)

    simulate = commands.add_parser("simulate", help="compare strategies on simulated prompts; needs no model")
    simulate.add_argument("--strategies", default="uniform,vip,oracle", help="comma-separated (default: %(default)s)")
    simulate.add_argument("--predictor", default="drifting_gp", help="of all strategies (default: %(default)s)")
    simulate.add_argument("--seeds", type=int, default=5, help="runs of each strategy (default: %(default)s)")
    simulate.add_argument("--output", type=Path, required=True, metavar="DIR", help="where table and plots go")
    simulate.set_defaults(run=_simulate)

    return parser


def _doctor(_: argparse.Namespace) -> int:
    try:
        from verl_vip.workers.doctor import examine, report
    except ImportError as error:
        print(
            f"verl-vip: doctor needs {error.name}; pip install 'verl-vip[cpu]' or 'verl-vip[gpu]'.",
            file=sys.stderr,
        )
        return 2
    findings = list(examine())
    for line in report(findings):
        print(line)
    return 1 if any(finding.state == "problem" for finding in findings) else 0


def _report(options: argparse.Namespace) -> int:
    from verl_vip.reporting.report import write_report

    output = options.output or options.runs[0] / "report.html"
    print(write_report(options.runs, output))
    return 0


def _simulate(options: argparse.Namespace) -> int:
    from verl_vip.simulation.comparison import compare, named_arms
    from verl_vip.simulation.report import write_comparison
    from verl_vip.simulation.run import RunSettings

    settings = RunSettings()
    arms = named_arms([name for name in options.strategies.split(",") if name], options.predictor)
    summaries = compare(arms, settings, options.seeds)
    table = write_comparison(summaries, settings, options.seeds, options.output)
    print(table.read_text())
    print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
