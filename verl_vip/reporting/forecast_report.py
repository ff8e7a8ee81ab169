"""The forecast of any mixture of records, as text and as a page."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from verl_vip.forecast.forecast import make_forecast
from verl_vip.forecast.lines import forecast_lines
from verl_vip.records.outcome_sources import ReadSettings, read_outcomes
from verl_vip.reporting.forecast_page import write_forecasts
from verl_vip.reporting.page import require_page
from verl_vip.text import few, readable


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
        ConfigError: If a path or a column is not valid, or the output cannot be a file.
        InvalidInputError: If nothing can be read, or `rollouts` is below 2.
        StateError: If the page cannot be written.
    """
    require_page(output)
    found = read_outcomes(paths, replace(settings or ReadSettings(), with_texts=True))
    forecasts = [make_forecast(source, rollouts) for source in found.sources]
    texts = []
    for forecast in forecasts:
        lines = forecast_lines(forecast)
        width = max(len(name) for name, _ in lines)
        texts.append("\n".join([str(forecast.path), *(f"  {name:{width}}  {text}" for name, text in lines)]))
    if found.left_out:
        texts.append(f"left out: {few(found.left_out, more=' (all are on the page)')}")
    texts.append(str(write_forecasts(forecasts, output, found.left_out)))
    return readable("\n".join(texts))
