"""`verl-vip forecast`."""

import argparse
from pathlib import Path

from verl_vip.cli.command import Command


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="verl's rollout or validation dumps, a run's folder, an evaluation, or a Parquet file with counts; any "
        "number and mixture",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("forecast.html"),
        metavar="FILE",
        help="where to write the page (default: %(default)s)",
    )
    parser.add_argument(
        "--rollouts",
        type=int,
        metavar="N",
        help="rollouts of a prompt in training (default: as recorded, or 8 if the record is no training)",
    )
    parser.add_argument(
        "--label", default="data_source", metavar="FIELD", help="the field with the data source (default: %(default)s)"
    )
    parser.add_argument(
        "--reward-range",
        metavar="FAILED,SOLVED",
        help="the rewards of a failed and of a solved rollout: --reward-range=-1,1 (default: found out)",
    )
    parser.add_argument(
        "--successes", metavar="COLUMN", help="of a Parquet file: each prompt's successes (default: a usual name)"
    )
    parser.add_argument(
        "--trials", metavar="COLUMN", help="of a Parquet file: each prompt's rollouts, or their number for all prompts"
    )


def _run(options: argparse.Namespace) -> int:
    from verl_vip.reporting.forecast_report import forecast_records, read_settings

    settings = read_settings(options.label, options.reward_range, options.successes, options.trials)
    print(forecast_records(options.paths, options.output, rollouts=options.rollouts, settings=settings))
    return 0


FORECAST = Command(
    name="forecast",
    summary="say whether it is worth it for your data, and what to set",
    details="It reads rollouts that you already have, prints ten lines, and writes one HTML page.",
    examples=(
        "verl-vip forecast rollouts/ --output forecast.html",
        "verl-vip forecast pool.parquet --successes won --trials 16",
    ),
    add_arguments=_add_arguments,
    run=_run,
)
