"""The forecast of any mixture of records, as text and as a page."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from verl_vip.errors import ConfigError
from verl_vip.forecast.forecast import make_forecast
from verl_vip.forecast.lines import forecast_lines
from verl_vip.records.outcome_sources import CountColumns, ReadSettings, read_outcomes
from verl_vip.reporting.forecast_page import write_forecasts
from verl_vip.text import readable


def forecast_records(
    paths: Sequence[Path],
    output: Path,
    *,
    rollouts: int | None = None,
    settings: ReadSettings | None = None,
) -> str:
    """Write the page of forecasts, and return their lines and the path of the page.

    Every record is forecast by itself, because two records may be of different models.

    Args:
        paths: Records, or folders that contain records; see `read_outcomes`.
        output: The HTML file to write.
        rollouts: Rollouts of a prompt in training; None for those of the record.
        settings: How to read the records.

    Raises:
        ConfigError: If a path or a column is not valid.
        InvalidInputError: If nothing can be read, or `rollouts` is below 2.
        StateError: If the page cannot be written.
    """
    found = read_outcomes(paths, replace(settings or ReadSettings(), with_texts=True))
    forecasts = [make_forecast(source, rollouts) for source in found.sources]
    texts = []
    for forecast in forecasts:
        lines = forecast_lines(forecast)
        width = max(len(name) for name, _ in lines)
        texts.append("\n".join([str(forecast.path), *(f"  {name:{width}}  {text}" for name, text in lines)]))
    texts.extend(f"left out: {sentence}" for sentence in found.left_out)
    texts.append(str(write_forecasts(forecasts, output, found.left_out)))
    return readable("\n".join(texts))


def read_settings(
    label_field: str, reward_range: str | None, successes: str | None, trials: str | None
) -> ReadSettings:
    """Return the settings that the words of a command say.

    Args:
        label_field: The field of the data source.
        reward_range: Two numbers, such as "-1,1"; None to find them out.
        successes: The column of successes; None to look for usual names.
        trials: The column of rollouts, or their number; None to look for usual names.

    Raises:
        ConfigError: If the range is no pair of numbers.
        InvalidInputError: If the first number is not below the second.
    """
    columns = CountColumns(successes, int(trials) if trials is not None and trials.isdecimal() else trials)
    limits = None
    if reward_range is not None:
        try:
            low, high = map(float, reward_range.split(","))
        except ValueError as error:
            raise ConfigError(f"--reward-range takes two numbers such as -1,1; got {reward_range!r}.") from error
        limits = low, high
    return ReadSettings(columns, label_field, limits)
