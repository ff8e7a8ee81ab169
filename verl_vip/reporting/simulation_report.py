"""The report on a simulated comparison: a table, its data and pictures."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from verl_vip.durable_files import replace_json
from verl_vip.reporting.simulation_plots import plot_measure, plot_success
from verl_vip.reporting.style import draw, save_png
from verl_vip.simulation.run import SimulationSettings
from verl_vip.simulation.summary import MEASURES, ArmSummary, mean_and_half_width
from verl_vip.statistics.intervals import Estimate

_COUNTED = "rollouts_per_step"
#: The measures that have a picture, with the title and the lower limit of the axis.
_PICTURES: dict[str, tuple[str, float | None]] = {
    "attainable_share": ("Share of the attainable variance reduction", -1.0),
    "without_signal": ("Rollouts in groups whose rewards are all equal", None),
    "above_uniform": ("Mean success over the run, above that of even counts", None),
}
_NOTE = (
    "{seeds}, {steps} steps of {prompts} prompts with {rollouts} rollouts on "
    "average, {lower} to {upper} each, estimator {objective}. Every arm runs until it has sampled as many rollouts. "
    "A dash marks a measure without meaning for the arm: shares and regrets compare variances of one gradient, so "
    "they need an arm that sets counts before sampling and updates on all rollouts of each prompt of the batch."
)


def write_comparison(
    summaries: Sequence[ArmSummary], settings: SimulationSettings, num_seeds: int, folder: Path
) -> Path:
    """Write `simulation.md`, `simulation.json` and one PNG for each picture.

    Args:
        summaries: The arms.
        settings: The settings that all arms share.
        num_seeds: The number of seeds of each arm.
        folder: The output folder, which is created if it is missing.

    Returns:
        The path of the table.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = comparison_data(summaries, settings, num_seeds)
    replace_json(folder / "simulation.json", data)
    save_png(draw(plot_success, summaries, height=3.6), folder / "success.png", "Success against rollouts")
    for measure, (title, least) in _PICTURES.items():
        shown = [summary for summary in summaries if summary.measures[measure] is not None]
        if shown:
            figure = draw(plot_measure, shown, measure, MEASURES[measure], height=1.2 + 0.2 * len(shown), least=least)
            save_png(figure, folder / f"{measure}.png", title)
    table = folder / "simulation.md"
    table.write_text(comparison_table(summaries, settings, num_seeds))
    return table


def comparison_table(summaries: Sequence[ArmSummary], settings: SimulationSettings, num_seeds: int) -> str:
    """Return a Markdown table with one row per arm, and a sentence on how to read it."""
    note = _NOTE.format(
        seeds="One seed, so no intervals" if num_seeds == 1 else f"Means over {num_seeds} seeds with 95% intervals",
        steps=settings.steps,
        prompts=settings.prompts_per_step,
        rollouts=settings.rollouts_per_prompt,
        lower=settings.lower,
        upper=settings.upper,
        objective=settings.objective,
    )
    lines = [
        note,
        "",
        "| strategy | predictor | " + " | ".join(MEASURES.values()) + " |",
        "|---|---|" + "---:|" * len(MEASURES),
    ]
    for summary in summaries:
        cells = [_cell(name, summary.measures[name]) for name in MEASURES]
        lines.append(f"| {summary.arm.strategy} | {summary.arm.predictor} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def comparison_data(summaries: Sequence[ArmSummary], settings: SimulationSettings, num_seeds: int) -> dict[str, Any]:
    """Return the settings, measures and curves as plain values."""
    return {
        "seeds": num_seeds,
        "settings": asdict(settings),
        "arms": [
            {
                **asdict(summary.arm),
                "label": summary.arm.name,
                "measures": {
                    name: None if value is None else mean_and_half_width(value)
                    for name, value in summary.measures.items()
                },
                "rollouts": summary.rollouts.round(1).tolist(),
                "success": summary.success.round(5).tolist(),
                "success_half_width": summary.success_half_width.round(5).tolist(),
            }
            for summary in summaries
        ],
    }


def _cell(name: str, value: Estimate | None) -> str:
    if value is None:
        return "–"
    if name == _COUNTED:
        return f"{value.value:.0f}"
    interval = f" ± {100 * value.half_width:.1f}" if value.is_bounded else ""
    return f"{100 * value.value:.1f}{interval} %"
