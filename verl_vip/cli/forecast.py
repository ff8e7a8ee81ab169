"""`verl-vip forecast`."""

import argparse
import re
from pathlib import Path

from verl_vip.cli.command import Command
from verl_vip.errors import ConfigError


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
        help="rollouts of a prompt in training (default: as recorded, or 8 for a record of one step)",
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
        "--trials",
        type=_column_or_number,
        metavar="COLUMN",
        help="of a Parquet file: each prompt's rollouts, or their number for all prompts",
    )


def _run(options: argparse.Namespace) -> int:
    from verl_vip.records.outcome_sources import CountColumns, ReadSettings
    from verl_vip.reporting.forecast_report import forecast_records

    settings = ReadSettings(
        CountColumns(options.successes, options.trials), options.label, _reward_range(options.reward_range)
    )
    print(forecast_records(options.paths, options.output, rollouts=options.rollouts, settings=settings))
    return 0


def _reward_range(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        failed, solved = map(float, text.split(","))
    except ValueError as error:
        raise ConfigError(f"--reward-range takes two numbers such as -1,1; got {text!r}.") from error
    return failed, solved


def _column_or_number(text: str) -> str | int:
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else text


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
