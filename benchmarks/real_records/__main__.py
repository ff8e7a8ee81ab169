"""Predictors and selecting strategies on the public record of a real model's GRPO run.

    python -m benchmarks.real_records --data DIR                # the run: every predictor, step by step
    python -m benchmarks.real_records --data DIR new_prompts    # one epoch over new prompts, from their text alone
    python -m benchmarks.real_records --data DIR forecast       # a forecast from the first two epochs, and what came
    python -m benchmarks.real_records --data DIR worlds         # two simulated worlds made of the records
    python -m benchmarks.real_records --data DIR covariates     # what another model's success rate tells beforehand

DIR holds the downloaded files; `record.py` says which they are, where each comes from, and what is known about them.
Every predictor of the registry but the oracle is replayed with its defaults, and predicts each step before it observes
it. `scores.py` explains the scores, `serving.py` the strategies, and `LOG.md` has the hypotheses and what came of them.

Steps of the visits are not recorded, so the replay is repeated with several placements. The paper's process
and the Beta table are shown at their defaults and at the best of a grid of settings, which is chosen on a placement
that is not reported. drifting_gp has its defaults only.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch

from benchmarks.real_records import covariates, first_epochs, new_prompts, worlds
from benchmarks.real_records.record import BATCH, ROLLOUTS, STEPS, Placement, RecordedRun, place, read_run
from benchmarks.real_records.replay import DEFAULT, constructors, hindsight, replay
from benchmarks.real_records.scores import ERAS, ScoredVisits, judge, score
from benchmarks.real_records.serving import WITH, WITHOUT, judge_served, serve
from benchmarks.real_records.variance_plot import plot_variance_left
from verl_vip.config import EMBEDDING_MODEL
from verl_vip.errors import VerlVipError
from verl_vip.prediction.contract import Prediction
from verl_vip.prediction.embedding import PromptEmbedder
from verl_vip.prediction.registry import build_predictor
from verl_vip.reporting.style import draw, save_png

#: Settings to choose among, beside the defaults.
GRIDS: dict[str, list[dict[str, Any]]] = {
    "gaussian_process": [
        {"eps": eps, "lengthscale": lengthscale}
        for eps, lengthscale in product((0.01, 0.05, 0.1, 0.2), ("median", 0.5, 0.25))
    ],
    "beta_table": [
        {"decay": decay, "prior_strength": strength}
        for decay, strength in product((0.3, 0.5, 0.7, 0.8, 0.9, 1.0), (0.5, 1.0, 2.0))
    ],
}
TUNED = tuple(f"{name}, best setting" for name in GRIDS)
#: Whose choices are judged; the others predict worse.
CHOOSERS = (DEFAULT, "beta_table", *TUNED, "hindsight")
#: Settings are chosen by the variance left in these steps.
CHOSEN_ON = "20-500"
WINDOWS = (2, 4, 8, 16)
RESULTS = Path(__file__).parents[1] / "results" / "real_records"


def choose_settings(name: str, record: RecordedRun, placement: Placement) -> dict[str, Any]:
    """Return the setting of a predictor that leaves the least variance for RLOO, and what each setting leaves."""
    trials: list[dict[str, Any]] = []
    for settings in [{}, *GRIDS[name]]:
        visits = score(replay(build_predictor(name, **settings), record, placement), placement)
        trials.append({"settings": settings, "variance_left": _left(visits, CHOSEN_ON)})
        print(f"{name}, {settings or 'defaults'}: {trials[-1]['variance_left']:.3f}", file=sys.stderr, flush=True)
    return {"best": min(trials, key=lambda trial: trial["variance_left"])["settings"], "trials": trials}


def _left(visits: ScoredVisits, era: str) -> float:
    first, last = ERAS[era]
    steps = slice(first - 1, last)
    return round(float(visits.scored["rloo"][steps].sum() / visits.scored["even rloo"][steps].sum()), 5)


def measure(
    record: RecordedRun, placements: Sequence[Placement], tuned: Mapping[str, dict[str, Any]]
) -> tuple[Any, Any]:
    """Return the scores as JSON data, and every predictor's scored visits of each placement.

    Args:
        record: The run.
        placements: Its visits on steps, several times.
        tuned: The best settings of predictors, by name.
    """
    size = len(record.prompts)
    builders = dict(constructors())
    for name, settings in tuned.items():
        builders[f"{name}, best setting"] = partial(build_predictor, name, **settings)
    visits: dict[str, list[ScoredVisits]] = {name: [] for name in (*builders, "hindsight")}
    served: dict[tuple[str, str], list[torch.Tensor]] = {}
    windows: dict[str, list[float]] = {}
    for number, placement in enumerate(placements):
        print(f"placement {number + 1} of {len(placements)}", file=sys.stderr, flush=True)
        predictions = {name: replay(build(), record, placement) for name, build in builders.items()}
        predictions["hindsight"] = hindsight(record, placement)
        for name, found in predictions.items():
            visits[name].append(score(found, placement))
        for window in WINDOWS:
            other = score(hindsight(record, placement, window), placement)
            windows.setdefault(str(window), []).append(_left(other, CHOSEN_ON))
        for key, counts in _all_served(predictions, record, placement).items():
            served.setdefault(key, []).append(counts)
    attainable = visits["hindsight"]
    predicted = {name: found for name, found in visits.items() if name != "hindsight"}
    choices: dict[str, dict[str, Any]] = {}
    for (strategy, chooser), counts_of in served.items():
        choices.setdefault(strategy, {})[chooser] = judge_served(counts_of, placements, size)
    result = {
        "eras": {title: judge(predicted, attainable, era, size) for title, era in ERAS.items()},
        "served": choices,
        "variance_left_by_window_of_hindsight": {
            window: round(sum(values) / len(values), 5) for window, values in windows.items()
        },
    }
    return result, visits


def _all_served(
    predictions: dict[str, list[Prediction]], record: RecordedRun, placement: Placement
) -> dict[tuple[str, str], torch.Tensor]:
    found = {
        (title, "no prediction"): serve(strategy, predictions[DEFAULT], record, placement)
        for title, strategy in WITHOUT.items()
    }
    for title, strategy in WITH.items():
        for chooser in CHOOSERS:
            found[title, chooser] = serve(strategy, predictions[chooser], record, placement)
    return found


def show(eras: dict[str, Any]) -> None:
    """Print the scores of each range of steps as a table."""
    for title, found in eras.items():
        names = [name for name in found if isinstance(found[name], dict) and "ece" in found[name]]
        floor = f", log loss at least {found['floor']['value']:.4f}" if "floor" in found else ""
        print(f"\n{title}: {found['visits']} visits, {found['mixed']['value']:.0%} of groups mixed{floor}")
        print(f"  {'':30} {'log loss':>8} {'ECE':>5}  {'RLOO left':>22} {'share':>6} {'top':>5} {'mixed':>5}")
        for name in names:
            row = found[name]
            left, share = row["variance_left_rloo"], row["share_rloo"]["value"]
            interval = f"{left['value']:.3f} [{left['interval'][0]:.3f}, {left['interval'][1]:.3f}]"
            print(
                f"  {name:30} {row['log_loss']['value']:8.4f} {row['ece']:5.3f}  {interval:>22} {share:6.2f} "
                f"{row['top_signal']['value']:5.2f} {row['top_mixed']['value']:5.0%}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("run", "new_prompts", "forecast", "worlds", "covariates")
    parser.add_argument("part", nargs="?", choices=parts, default="run")
    parser.add_argument("--data", type=Path, required=True, help="folder with the downloaded records")
    parser.add_argument(
        "--placements", type=int, default=4, help="number of placements; for the other parts, of repetitions"
    )
    parser.add_argument(
        "--cache", type=Path, default=Path("~/.cache/verl_vip").expanduser(), help="folder for embeddings"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    try:
        embedder = PromptEmbedder(EMBEDDING_MODEL, cache_dir=options.cache)
        if options.part == "new_prompts":
            result = new_prompts.measure(options.data, embedder, options.placements)
            show(result["eras"])
        elif options.part == "forecast":
            result = first_epochs.measure(read_run(options.data, embedder), options.data)
            print(json.dumps(result, indent=1))
        elif options.part == "worlds":
            result = worlds.measure(read_run(options.data, embedder), options.data, options.placements)
        elif options.part == "covariates":
            result = covariates.measure(options.data, embedder, options.placements)
            for part in ("rated", "whole"):
                show(result[part]["eras"])
        else:
            result = _run(read_run(options.data, embedder), options.placements)
    except VerlVipError as error:
        sys.exit(str(error))
    RESULTS.mkdir(parents=True, exist_ok=True)
    name = "results" if options.part == "run" else options.part
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")


def _run(record: RecordedRun, number: int) -> dict[str, Any]:
    tuning = {name: choose_settings(name, record, place(record, 0)) for name in GRIDS}
    placements = [place(record, seed) for seed in range(1, number + 1)]
    result, visits = measure(record, placements, {name: found["best"] for name, found in tuning.items()})
    show(result["eras"])
    RESULTS.mkdir(parents=True, exist_ok=True)
    shown = {name: visits[name] for name in (DEFAULT, *TUNED, "hindsight")}
    save_png(draw(plot_variance_left, shown), RESULTS / "variance_left.png", "Variance left on a real run")
    setting = {
        "prompts": len(record.prompts),
        "visits": sum(map(len, record.successes)),
        "steps": STEPS,
        "batch": BATCH,
        "rollouts": ROLLOUTS,
        "placements": number,
        "embedding_model": EMBEDDING_MODEL,
    }
    return {"setting": setting, "tuning": tuning, **result}


if __name__ == "__main__":
    main()
