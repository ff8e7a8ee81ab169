"""The page of forecasts: one HTML file, with its pictures also as PNG files."""

from collections.abc import Sequence
from pathlib import Path

from verl_vip.annotations import require_paths
from verl_vip.forecast.advice import Verdict, advise
from verl_vip.forecast.forecast import VISITS, Forecast
from verl_vip.forecast.lines import forecast_lines
from verl_vip.forecast.pool import TEACHES
from verl_vip.reporting.forecast_plots import plot_distribution, plot_gains, plot_teaching
from verl_vip.reporting.markup import (
    Tone,
    card,
    cards,
    number,
    part,
    percent,
    section,
    sentences,
    table,
)
from verl_vip.reporting.page import Picture, gallery, write_page
from verl_vip.reporting.style import draw

_TONES: dict[Verdict, Tone] = {Verdict.WORTH_IT: "good", Verdict.NO_SIGNAL: "bad"}
_READING = (
    f"A prompt can teach if its success probability p lies between {TEACHES[0]:.0%} and {TEACHES[1]:.0%}. The share is "
    "estimated from the distribution of p that explains the counts, not from raw rates. All intervals are 95% "
    "intervals. Those of shares, variance and signal hold the values of all distributions of p that the counts leave "
    "possible (profile likelihood), so that few rollouts of each prompt give wide ones; that of labels is a bootstrap "
    "over prompts. All gains assume that prompts do not drift between their visits."
)


def write_forecasts(forecasts: Sequence[Forecast], output: Path, left_out: Sequence[str] = ()) -> Path:
    """Write the page.

    Args:
        forecasts: One for each record, at least one.
        output: The HTML file to write; its folder is created if it is missing.
        left_out: A sentence on each record that could not be read.

    Returns:
        The path of the HTML file.

    Raises:
        ConfigError: If the path is not valid.
        StateError: If the page cannot be written; an earlier one is kept.
    """
    require_paths(output=output)
    body = section("Left out", sentences(list(left_out)))
    pictures: list[Picture] = []
    for place, forecast in enumerate(forecasts):
        shown = _pictures(forecast, f"{place}_" if len(forecasts) > 1 else "")
        pictures.extend(shown)
        own = _body(forecast, shown)
        body += part(str(forecast.path), own) if len(forecasts) > 1 else own
    subtitle = str(forecasts[0].path) if len(forecasts) == 1 else f"{len(forecasts)} records, each by itself"
    return write_page(output, "Is it worth it for this data?", subtitle, body, pictures)


def _body(forecast: Forecast, pictures: Sequence[Picture]) -> str:
    lines = [f"{name}: {text}" for name, text in forecast_lines(forecast)]
    return "".join(
        [
            cards(_headlines(forecast)),
            section("In short", sentences(lines)),
            section("How to read it", gallery(pictures), note=_READING),
            section("Gains", _gains_table(forecast)),
            section("Clusters of the texts" if forecast.clustered else "Labels", _labels_table(forecast)),
            section("What could not be read", sentences(list(forecast.left_out))),
        ]
    )


def _headlines(forecast: Forecast) -> list[str]:
    advice = advise(forecast)
    known, usual = forecast.gain(None), forecast.gain(2)
    teaches = forecast.teaches
    found = [
        card("Verdict", advice.verdict.value, advice.text, _TONES.get(advice.verdict, ""), wide=True),
        card(
            "Prompts that can teach",
            percent(teaches.value, 0),
            f"between {percent(teaches.low, 0)} and {percent(teaches.high, 0)} of {forecast.prompts:,}",
        ),
        card(
            "Groups without signal",
            percent(forecast.wrong + forecast.right + forecast.alike, 0),
            f"all wrong {percent(forecast.wrong, 0)}, all right {percent(forecast.right, 0)}",
        ),
    ]
    if known is not None and usual is not None:
        found += [
            card(
                "Variance left by counts",
                percent(usual.variance_left.value, 0),
                f"once two groups are known; with p known {percent(known.variance_left.value, 0)}",
            ),
            card(
                "Signal of the best quarter",
                f"{usual.top_signal.value:.1f} times",
                f"the average, once two groups are known; with p known {known.top_signal.value:.1f} times",
            ),
        ]
    return found


def _pictures(forecast: Forecast, prefix: str) -> list[Picture]:
    found = [
        Picture(
            f"{prefix}distribution",
            "How hard are the prompts?",
            "Estimated distribution of success probabilities over prompts, at their latest groups.",
            draw(plot_distribution, forecast),
        )
    ]
    if forecast.gains:
        found.append(
            Picture(
                f"{prefix}gains",
                "What would counts by prediction leave?",
                "Gradient variance relative to equal counts; with 95% intervals.",
                draw(plot_gains, forecast),
            )
        )
    if forecast.windows:
        found.append(
            Picture(
                f"{prefix}teaching",
                "How did it move?",
                "Share of prompts that can teach, over the record, with 95% intervals.",
                draw(plot_teaching, forecast.windows),
            )
        )
    return found


def _gains_table(forecast: Forecast) -> str:
    if not forecast.gains:
        return ""
    head = [
        "known of each prompt",
        "variance left by counts",
        "95% interval",
        "signal of the best quarter",
        "95% interval",
    ]
    names = {None: "p itself", 0: "nothing", 1: "one group"}
    rows = []
    for visits in VISITS:
        gain = forecast.gain(visits)
        if gain is not None:
            left, signal = gain.variance_left, gain.top_signal
            rows.append(
                [
                    names.get(visits, f"{visits} groups"),
                    percent(left.value),
                    f"{percent(left.low)} to {percent(left.high)}",
                    number(signal.value),
                    f"{number(signal.low)} to {number(signal.high)}",
                ]
            )
    return table(head, rows)


def _labels_table(forecast: Forecast) -> str:
    if forecast.labels is None:
        return ""
    rows = [
        [row.label or "(no label)", f"{row.prompts:,}", percent(row.success), number(row.signal, 3)]
        for row in forecast.labels.rows
    ]
    return table(["cluster" if forecast.clustered else "label", "prompts", "mean success", "mean p(1-p)"], rows)
