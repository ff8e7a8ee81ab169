"""Accuracy of each predictor on simulated prompts with drifting success probabilities.

    python benchmarks/prediction_quality.py [--seeds 5] [--json]

The prompts of a pool form families in embedding space. A prompt's logit is the sum of its family's part, a smooth
function of its embedding and its own part. Each family improves at its own rate, with one jump, and each prompt follows
its own random walk. Every prompt is sampled once per epoch with 8 rollouts and predicted just before. In the first
epoch, all prompts are new. For each epoch, the script prints, with 95 % intervals over seeds:

- the excess log loss over that of the true probability, in nats per rollout;
- the regret of the allocation: the excess of the summed RLOO variance with counts from the predictions over that with
  counts from the true probabilities, in percent. Each prompt gets 3 to 24 rollouts, 8 on average. "even counts" are 8
  for every prompt.

The JSON also has the mean squared error, and differences from our predictor paired by seed.
"""

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from verl_vip.allocation import allocate
from verl_vip.prediction.contract import Predictor, Prompts
from verl_vip.prediction.registry import build_predictor
from verl_vip.simulation.measures import variance_of_counts
from verl_vip.simulation.summary import mean_and_half_width
from verl_vip.statistics.intervals import mean_interval, paired_interval

POOL, BATCH, EPOCHS, ROLLOUTS, WIDTH = 1536, 64, 4, 8, 384
STEPS = EPOCHS * POOL // BATCH
LOWER, UPPER = 3, 24
DEFAULT, EVEN = "drifting_gp", "even counts"
SCORES = ("excess log loss", "squared error", "regret, %")
RESULTS = Path(__file__).parent / "results" / "prediction_quality" / "results.json"

PREDICTORS: dict[str, Callable[[], Predictor]] = {
    DEFAULT: lambda: build_predictor(DEFAULT),
    "paper's GP": lambda: build_predictor("gaussian_process"),
    "paper's GP, eps .05": lambda: build_predictor("gaussian_process", eps=0.05),
    "paper's GP, noise, h .5": lambda: build_predictor("gaussian_process", lengthscale=0.5, observation_noise=True),
    "beta_table": lambda: build_predictor("beta_table"),
    "last_seen": lambda: build_predictor("last_seen"),
    "moving_average": lambda: build_predictor("moving_average"),
    "ridge": lambda: build_predictor("ridge"),
}


@dataclass(frozen=True)
class Scenario:
    """Settings of the simulated pool: standard deviations of the parts of the logit, and the drift."""

    start: float = -1.5
    families: int = 24
    family: float = 1.2
    smooth: float = 1.0
    own: float = 1.0
    trend: float = 0.03
    walk: float = 0.05


SCENARIOS = {
    "families and smooth structure": Scenario(),
    "most prompts too hard": Scenario(start=-4.0, family=2.0),
    "fast drift": Scenario(trend=0.08, walk=0.15),
    "embeddings say nothing": Scenario(family=0.0, smooth=0.0, own=2.0),
}


class DriftingPool:
    """Prompts whose success probabilities drift."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        centres = torch.nn.functional.normalize(self._normal(scenario.families, WIDTH), dim=1)
        self.family = torch.randint(scenario.families, (POOL,), generator=self.generator)
        coordinates = self._normal(POOL, 6)
        inside = coordinates @ self._normal(6, WIDTH) / math.sqrt(6 * WIDTH)
        noise = self._normal(POOL, WIDTH) / math.sqrt(WIDTH)
        points = torch.nn.functional.normalize(centres[self.family] + 0.5 * inside + 0.35 * noise, dim=1)
        self.prompts = Prompts(tuple(f"{seed}-{row}" for row in range(POOL)), points.float())
        direction = torch.nn.functional.normalize(self._normal(6), dim=0)
        self.fixed = (
            scenario.start
            + scenario.family * self._normal(scenario.families)[self.family]
            + scenario.smooth * coordinates @ direction
            + scenario.own * self._normal(POOL)
        )
        self.pace = 2 * scenario.trend * self._uniform(scenario.families)
        self.jump = 50 * scenario.trend * self._uniform(scenario.families)
        self.when = 0.7 * STEPS * self._uniform(scenario.families)
        self.walk, self.wandered, self.time = scenario.walk, torch.zeros(POOL, dtype=torch.float64), 0

    def probabilities(self) -> Tensor:
        """Return the `POOL` current true success probabilities."""
        learned = self.pace * self.time + self.jump * torch.sigmoid((self.time - self.when) / 4)
        return torch.sigmoid(self.fixed + self.wandered + learned[self.family])

    def advance(self) -> None:
        """Advance by one training step."""
        self.time += 1
        self.wandered += self.walk * self._normal(POOL)

    def _normal(self, *size: int) -> Tensor:
        return torch.randn(*size, generator=self.generator, dtype=torch.float64)

    def _uniform(self, size: int) -> Tensor:
        return torch.rand(size, generator=self.generator, dtype=torch.float64)


def excess(mean: Tensor, truth: Tensor) -> tuple[float, float]:
    """Return the excess log loss over that of the truth, and the squared error, averaged over a batch."""

    def loss(p: Tensor) -> Tensor:
        p = p.clamp(1e-3, 1 - 1e-3)
        return -(truth * p.log() + (1 - truth) * (1 - p).log()).mean()

    return float(loss(mean) - loss(truth)), float((mean - truth).square().mean())


def variance(truth: Tensor, weight: Tensor) -> float:
    """Return the summed variance, at the true probabilities, of the counts from these weights."""
    counts = allocate(None, ROLLOUTS * len(truth), lower=LOWER, upper=UPPER, weight=weight.clamp_min(0))
    return variance_of_counts(truth, counts, "rloo")


def run(scenario: Scenario, seed: int) -> dict[str, Tensor]:
    """Return an `EPOCHS x 3` tensor of scores for each predictor; equal counts only have a regret."""
    pool = DriftingPool(scenario, seed)
    order = torch.Generator().manual_seed(1000 + seed)
    predictors = {name: build() for name, build in PREDICTORS.items()}
    # For each batch: excess log loss, squared error and summed variance.
    scores: dict[str, list[list[tuple[float, float, float]]]] = {name: [] for name in [*predictors, EVEN, "truth"]}
    for _ in range(EPOCHS):
        for rows_of_epoch in scores.values():
            rows_of_epoch.append([])
        for rows in torch.randperm(POOL, generator=order).split(BATCH):  # type: ignore[no-untyped-call]
            prompts, truth = pool.prompts.select(rows), pool.probabilities()[rows]
            trials = torch.full((len(rows),), ROLLOUTS)
            successes = torch.binomial(trials.double(), truth, generator=order)
            for name, predictor in predictors.items():
                prediction = predictor.predict(prompts)
                found = variance(truth, prediction.reward_variance)
                scores[name][-1].append((*excess(prediction.mean, truth), found))
                predictor.observe(prompts, successes, trials)
            even = variance_of_counts(truth, trials, "rloo")
            scores[EVEN][-1].append((math.nan, math.nan, even))
            scores["truth"][-1].append((0.0, 0.0, variance(truth, truth * (1 - truth))))
            pool.advance()
    means = {name: torch.tensor(values, dtype=torch.float64).mean(1) for name, values in scores.items()}
    least = means.pop("truth")[:, 2]
    for values in means.values():
        values[:, 2] = 100 * (values[:, 2] / least - 1)
    return means


def summarise(runs: list[dict[str, Tensor]]) -> dict[str, Any]:
    """Return each predictor's scores by epoch with intervals over seeds, and their differences from the default."""
    found: dict[str, Any] = {}
    for name in runs[0]:
        found[name] = {}
        for column, score in enumerate(SCORES):
            if name == EVEN and column < 2:
                continue
            # By epoch, with one value for each seed.
            values, default = (
                [[float(scores[which][epoch, column]) for scores in runs] for epoch in range(EPOCHS)]
                for which in (name, DEFAULT)
            )
            found[name][score] = [mean_and_half_width(mean_interval(v)) for v in values]
            found[name][f"{score}, above {DEFAULT}"] = [
                mean_and_half_width(paired_interval(v, o)) for v, o in zip(values, default, strict=True)
            ]
    return found


def show(title: str, found: dict[str, Any]) -> None:
    """Print a scenario's scores. A star marks a difference in favour of the default whose interval excludes 0."""
    print(f"\n{title}\n{'':26}excess log loss, epochs 1 to {EPOCHS}{'':34}regret, %")
    for name, scores in found.items():
        cells = []
        for score, digits in ((SCORES[0], 3), (SCORES[2], 1)):
            for epoch in range(EPOCHS):
                if score not in scores:
                    cells.append(" " * 14)
                    continue
                value, above = scores[score][epoch], scores[f"{score}, above {DEFAULT}"][epoch]
                star = "*" if above["mean"] - above["half_width"] > 0 else " "
                cells.append(f"{value['mean']:7.{digits}f}±{value['half_width']:.{digits}f}{star}".ljust(14))
        print(f"{name:24}  " + "".join(cells), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="write the result file as well")
    options = parser.parse_args()
    results = {}
    for title, scenario in SCENARIOS.items():
        results[title] = summarise([run(scenario, seed) for seed in range(options.seeds)])
        show(f"{title} ({options.seeds} seeds)", results[title])
    if options.json:
        RESULTS.write_text(json.dumps({"seeds": options.seeds, "scenarios": results}, indent=1) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
