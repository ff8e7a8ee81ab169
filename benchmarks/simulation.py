"""All strategies on simulated prompts, without a language model, on one thread.

Every strategy runs with the predictor "beta_table" on the same data sets, and VIP with every other predictor too. The
"oracle" knows the true success probabilities. The script also measures three dependencies of the share of the
attainable variance reduction: on the error of the success probabilities, on the difficulty of the simulated world, and
on the number of visits to a prompt while the policy changes more slowly. The default world has three visits.

All arms have the same learning rate, which is not tuned for any of them, and the learner is a simple model. The shares
and the rollouts without signal are measurements; the success rates are only illustrations.

    python benchmarks/simulation.py [--seeds 5] [--plots DIR]
"""

import argparse
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from verl_vip.allocation import allocate
from verl_vip.prediction.registry import PREDICTORS
from verl_vip.reporting.simulation_report import comparison_data, comparison_table, write_comparison
from verl_vip.simulation.comparison import compare, named_arms
from verl_vip.simulation.measures import variance_of_counts
from verl_vip.simulation.run import Arm, SimulationSettings
from verl_vip.simulation.summary import mean_and_half_width
from verl_vip.simulation.world import WorldSettings, make_world
from verl_vip.strategies.groups import even_counts
from verl_vip.strategies.registry import STRATEGIES

BEST = "drifting_gp"
COMMON = "beta_table"
RESULTS = Path(__file__).parent / "results" / "simulation" / "results.json"
WORLDS = {
    "embeddings tell all of the difficulty": WorldSettings(own_spread=0.0),
    "embeddings tell little": WorldSettings(family_spread=0.7, related_spread=0.7, own_spread=2.0),
}
#: By visits to a prompt: prompts of the data set, steps, learning rate of the simulated policy.
VISITS = {24: (256, 96, 0.5), 100: (256, 400, 0.1), 200: (128, 400, 0.05), 400: (64, 400, 0.05)}


def all_arms() -> list[Arm]:
    """Return every strategy with the common predictor, and VIP with the others, the best first."""
    others = [name for name in PREDICTORS if name not in (BEST, COMMON, "oracle")]
    vip = [Arm("vip", BEST), *(Arm("vip", name, label=f"vip ({name})") for name in (COMMON, *others))]
    rest = [arm for arm in named_arms(sorted(STRATEGIES), COMMON) if arm.strategy != "vip"]
    return [*vip, *rest]


def share_by_error(settings: SimulationSettings, batches: int = 200) -> dict[str, float]:
    """Return the share of the attainable variance reduction if the logits of success have normal errors."""
    generator = torch.Generator().manual_seed(0)
    logits = make_world(settings.world, 0).start_logits
    budget, size = settings.budget, settings.prompts_per_step
    even = even_counts(size, range(size), budget.total)
    shares = {}
    for error in (0.1, 0.2, 0.3, 0.5, 0.7, 1.0):
        gained, attainable = 0.0, 0.0
        for _ in range(batches):
            truth = logits[torch.randperm(len(logits), generator=generator)[:size]]
            believed = truth + error * torch.randn(size, generator=generator, dtype=torch.float64)
            p = truth.sigmoid()
            variances = [
                variance_of_counts(
                    p, allocate(q, budget.total, lower=budget.lower, upper=budget.upper), settings.objective
                )
                for q in (believed.sigmoid(), p)
            ]
            uniform = variance_of_counts(p, even, settings.objective)
            gained += uniform - variances[0]
            attainable += uniform - variances[1]
        shares[str(error)] = gained / attainable
    return shares


def share_elsewhere(others: dict[str, SimulationSettings], seeds: int) -> dict[str, Any]:
    """Return the mean and half width of the share of VIP with the best predictor under other settings."""
    shares = {}
    for name, settings in others.items():
        (summary,) = compare([Arm("vip", BEST)], settings, seeds)
        estimate = summary.measures["attainable_share"]
        assert estimate is not None
        shares[name] = mean_and_half_width(estimate)
        share = estimate.scaled(100)
        print(f"{name}: vip with {BEST} gets {share.value:.1f} ± {share.half_width:.1f} %", flush=True)
    return shares


def visited_more(settings: SimulationSettings) -> dict[str, SimulationSettings]:
    """Return settings with more visits to every prompt, by the number of visits."""
    return {
        f"{visits} visits": replace(
            settings,
            world=replace(settings.world, num_prompts=prompts),
            learner=replace(settings.learner, learning_rate=rate),
            steps=steps,
        )
        for visits, (prompts, steps, rate) in VISITS.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--plots", type=Path, default=None, metavar="DIR", help="folder in which to write the table and the plots too"
    )
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    settings = SimulationSettings()
    summaries = compare(all_arms(), settings, options.seeds)
    print(comparison_table(summaries, settings, options.seeds))
    by_error = share_by_error(settings)
    for error, share in by_error.items():
        print(f"success logits known up to an error of {error}: {100 * share:.1f} % of the attainable reduction")
    others = {name: replace(settings, world=world) for name, world in WORLDS.items()}
    by_world = share_elsewhere(others, min(options.seeds, 3))
    by_visits = share_elsewhere(visited_more(settings), min(options.seeds, 3))
    data = comparison_data(summaries, settings, options.seeds)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    further = {"share_by_error": by_error, "share_by_world": by_world, "share_by_visits": by_visits}
    RESULTS.write_text(json.dumps({**data, **further}, indent=1) + "\n")
    if options.plots is not None:
        write_comparison(summaries, settings, options.seeds, options.plots)


if __name__ == "__main__":
    main()
