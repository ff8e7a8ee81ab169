"""The pictures of a page on evaluations, with their titles and notes for the reader."""

from collections.abc import Sequence

from verl_vip.evaluation.results import EvaluationMetrics, ModelComparison
from verl_vip.evaluation.summary import Evaluations
from verl_vip.reporting.axes import legend_height
from verl_vip.reporting.evaluation_plots import (
    MOST_BANDS,
    MOST_LINES,
    plot_differences,
    plot_pass_at_k,
    plot_problem_accuracy,
    plot_steps,
    spread,
)
from verl_vip.reporting.page import Picture
from verl_vip.reporting.style import draw
from verl_vip.text import file_stem

_MOST_DIFFERENCES = 9


def step_pictures(metrics: Sequence[EvaluationMetrics]) -> list[Picture]:
    """Return one picture for each run with several evaluated steps."""
    runs: dict[str, dict[str, list[EvaluationMetrics]]] = {}
    for one in metrics:
        if one.step is not None:
            run = one.model.removesuffix(f"-step{one.step}")
            runs.setdefault(run, {}).setdefault(one.benchmark, []).append(one)
    return [
        Picture(
            f"steps_{index}",
            f"{run} over training",
            "mean@n of its checkpoints, with 95% intervals over problems.",
            draw(
                plot_steps,
                {name: sorted(found, key=lambda one: one.step or 0) for name, found in benchmarks.items()},
                height=3.2 + legend_height([*benchmarks]),
            ),
        )
        for index, (run, benchmarks) in enumerate(runs.items())
        if any(len(found) > 1 for found in benchmarks.values())
    ]


def benchmark_pictures(name: str, evaluations: Evaluations, metrics: Sequence[EvaluationMetrics]) -> list[Picture]:
    """Return the pictures of one benchmark: pass@k, and the accuracy on each problem."""
    mine = [one for one in metrics if one.benchmark == name]
    tables = {label: found[name].problems for label, found in evaluations.items() if name in found}
    height = 3.2 + legend_height(spread([*tables]))
    bands = " with 95% bands" if len(mine) <= MOST_BANDS else "; the table has intervals"
    rest = f" Of {len(mine)} models {MOST_LINES} are drawn; the table has all." if len(mine) > MOST_LINES else ""
    return [
        Picture(
            file_stem(f"pass_at_k_{name}"),
            f"pass@k on {name}",
            f"Unbiased estimates, means over problems{bands}.{rest}",
            draw(plot_pass_at_k, mine, height=height),
        ),
        Picture(
            file_stem(f"problems_{name}"),
            f"The problems of {name}",
            f"Share of right samples of each problem.{rest}",
            draw(plot_problem_accuracy, tables, height=height),
        ),
    ]


def difference_pictures(comparisons: Sequence[ModelComparison]) -> list[Picture]:
    """Return the picture of the paired differences; if there are many, only those over all benchmarks together."""
    shown = comparisons
    if len(comparisons) > _MOST_DIFFERENCES:
        shown = [one for one in comparisons if one.benchmark is None] or comparisons
        shown = shown[-_MOST_DIFFERENCES:]
    if not shown:
        return []
    rest = (
        f" {len(shown)} of {len(comparisons)} comparisons are drawn; the table has all."
        if len(shown) < len(comparisons)
        else ""
    )
    return [
        Picture(
            "differences",
            "Paired differences",
            f"Blue where the 95% interval leaves out 0.{rest}",
            draw(plot_differences, shown, height=1.2 + 0.42 * len(shown)),
        )
    ]
