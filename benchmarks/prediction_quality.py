"""How well each predictor foresees drifting success probabilities, on simulated prompts.

    python benchmarks/prediction_quality.py [--seeds 5]

A pool of prompts lies in families in embedding space. A prompt's logit is the sum of its family's, a smooth
function of its embedding and a part of its own; each family improves at its own pace, with a jump at some time,
and each prompt wanders by itself. Every prompt is sampled once an epoch with 8 rollouts; each is predicted just
before it is sampled. Printed, per epoch: the log loss beyond that of the true probability (nats a rollout), and
the mean squared error, with the standard error over seeds. In the first epoch no prompt was seen before.
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from verl_vip.prediction.predictor import Predictor, Prompts
from verl_vip.prediction.registry import build_predictor

POOL, BATCH, EPOCHS, ROLLOUTS, WIDTH = 1536, 64, 4, 8, 384
STEPS = EPOCHS * POOL // BATCH

PREDICTORS: dict[str, Callable[[], Predictor]] = {
    "drifting_gp": lambda: build_predictor("drifting_gp"),
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
    """What the simulated pool is like: standard deviations of the parts of the logit, and its drift."""

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
        """Return the `POOL` true success probabilities of now."""
        learned = self.pace * self.time + self.jump * torch.sigmoid((self.time - self.when) / 4)
        return torch.sigmoid(self.fixed + self.wandered + learned[self.family])

    def advance(self) -> None:
        """Let one training step pass."""
        self.time += 1
        self.wandered += self.walk * self._normal(POOL)

    def _normal(self, *size: int) -> Tensor:
        return torch.randn(*size, generator=self.generator, dtype=torch.float64)

    def _uniform(self, size: int) -> Tensor:
        return torch.rand(size, generator=self.generator, dtype=torch.float64)


def excess(mean: Tensor, truth: Tensor) -> tuple[float, float]:
    """Return the log loss beyond the truth's and the squared error, averaged over a batch."""

    def loss(p: Tensor) -> Tensor:
        p = p.clamp(1e-3, 1 - 1e-3)
        return -(truth * p.log() + (1 - truth) * (1 - p).log()).mean()

    return float(loss(mean) - loss(truth)), float((mean - truth).square().mean())


def run(scenario: Scenario, seed: int) -> dict[str, Tensor]:
    """Return an `EPOCHS x 2` tensor of scores for each predictor."""
    pool = DriftingPool(scenario, seed)
    order = torch.Generator().manual_seed(1000 + seed)
    predictors = {name: build() for name, build in PREDICTORS.items()}
    scores: dict[str, list[list[tuple[float, float]]]] = {name: [] for name in predictors}
    for _ in range(EPOCHS):
        for name in predictors:
            scores[name].append([])
        for rows in torch.randperm(POOL, generator=order).split(BATCH):  # type: ignore[no-untyped-call]
            prompts, truth = pool.prompts.select(rows), pool.probabilities()[rows]
            trials = torch.full((len(rows),), ROLLOUTS)
            successes = torch.binomial(trials.double(), truth, generator=order)
            for name, predictor in predictors.items():
                scores[name][-1].append(excess(predictor.predict(prompts).mean, truth))
                predictor.observe(prompts, successes, trials)
            pool.advance()
    return {name: torch.tensor(values).mean(1) for name, values in scores.items()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    seeds = parser.parse_args().seeds
    for title, scenario in SCENARIOS.items():
        print(f"\n{title} ({seeds} seeds)\n{'':26}excess log loss, epochs 1 to {EPOCHS}{'':22}mean squared error")
        runs = [run(scenario, seed) for seed in range(seeds)]
        for name in PREDICTORS:
            values = torch.stack([scores[name] for scores in runs])
            mean, error = values.mean(0), values.std(0, correction=1 if seeds > 1 else 0) / math.sqrt(seeds)
            losses = "  ".join(f"{m:.3f}±{e:.3f}" for m, e in zip(mean[:, 0], error[:, 0], strict=True))
            squares = "  ".join(f"{m:.4f}" for m in mean[:, 1].tolist())
            print(f"{name:24}  {losses}   {squares}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
