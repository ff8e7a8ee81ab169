"""The largest share of the attainable variance reduction that a predictor can reach, in simulation.

    python benchmarks/knowable_share.py [--seeds 5]

Counts from the true success probabilities attain the whole reduction relative to equal counts, but no predictor can
know these probabilities. Given the outcomes, weighting each prompt by E[p(1-p)] minimises the expected variance. The
Bayesian posterior under the simulator's own model is therefore an upper bound for every predictor, in expectation.
There are three such posteriors:

- "all but own part known" knows how difficulty depends on families and directions, and the effect of every update on
  every prompt. Only the prompt's own part, N(0, own_spread^2), is unknown, and it is integrated exactly on a grid. No
  predictor can do better in expectation.
- "model known" knows the model, each prompt's family and direction without noise, and the effect of every update. It
  has to learn the weights of families and directions from outcomes, as every predictor must. Its posterior is a
  Gaussian approximation by moment matching. It is a close estimate of a tighter bound, but not a bound.
- "model known, embeddings as given" estimates directions from the noisy embeddings, and follows the drift with a Kalman
  filter: a random walk along directions and in the level, with the run's own step sizes. It still knows the families,
  how embeddings arise from directions, and all variances. A better model could close a predictor's gap to this one;
  the other two know more than any predictor can.

Predictors, truth and bounds are compared on two trajectories: training with equal counts, and training with the best
predictor's counts. Shares are computed from sums over all steps. The intervals are 95 %, over seeds.
"""

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from verl_vip.advantages.selection import Selection
from verl_vip.allocation import allocate
from verl_vip.prediction.contract import Prediction, Predictor
from verl_vip.prediction.drifting_gp.filter import KalmanFilter, Residuals
from verl_vip.prediction.logistic_normal import probability_moments
from verl_vip.prediction.registry import PREDICTORS, build_predictor
from verl_vip.simulation.learner import Learner
from verl_vip.simulation.measures import variance_of_counts
from verl_vip.simulation.prompt_stream import PromptStream
from verl_vip.simulation.run import SimulationSettings
from verl_vip.simulation.summary import mean_and_half_width
from verl_vip.simulation.update import compute_update
from verl_vip.simulation.world import World, WorldSettings, make_world
from verl_vip.statistics.intervals import mean_interval
from verl_vip.strategies.groups import even_counts
from verl_vip.strategies.outcomes import group_sizes, reward_means

BEST = "drifting_gp"
BOUND = "all but own part known"
MODEL = "model known"
GIVEN = "model known, embeddings as given"
OUTCOMES_OF = ("even counts", BEST)
RESULTS = Path(__file__).parent / "results" / "knowable_share" / "results.json"
WORLDS = {
    "default": WorldSettings(),
    "embeddings tell all of the difficulty": WorldSettings(own_spread=0.0),
    "embeddings tell little": WorldSettings(family_spread=0.7, related_spread=0.7, own_spread=2.0),
}


class Informed:
    """The posterior of each prompt's own part on a grid, if everything else is known.

    Args:
        world: The prompts.
        deviation: Standard deviation of the own parts.
    """

    def __init__(self, world: World, deviation: float) -> None:
        self._own = world.own_logits
        self._grid = deviation * torch.linspace(-6, 6, 481, dtype=torch.float64)
        prior = -torch.linspace(-6, 6, 481, dtype=torch.float64).square() / 2
        self._log_posterior = prior.expand(len(world), -1).clone()

    def reward_variance(self, rows: Tensor, success: Tensor) -> Tensor:
        """Return `E[p(1-p)]` of the prompts in these rows, whose true probabilities are `success`."""
        p = torch.sigmoid(self._logits(rows, success))
        return (torch.softmax(self._log_posterior[rows], 1) * p * (1 - p)).sum(1)

    def observe(self, rows: Tensor, success: Tensor, successes: Tensor, trials: Tensor) -> None:
        """Learn from binomial outcomes."""
        g = self._logits(rows, success)
        fit = successes[:, None] * g - trials[:, None] * torch.nn.functional.softplus(g)
        self._log_posterior[rows] += fit

    def _logits(self, rows: Tensor, success: Tensor) -> Tensor:
        shared = torch.logit(success) - self._own[rows]
        return shared[:, None] + self._grid


class ModelKnown:
    """The posterior of factor weights and own parts.

    Args:
        world: The prompts.
        settings: The settings of the world.
        drift: None if the effect of every update is known. Otherwise the variances that a step adds to the part learned
            along a direction and to the level. The drift is then tracked, and directions are estimated from the
            embeddings.
    """

    def __init__(self, world: World, settings: WorldSettings, drift: tuple[float, float] | None = None) -> None:
        self._start_logits, self._told = world.start_logits, drift is None
        self._factors, misread = world.factors, 0.0
        variance = torch.ones(world.factors.shape[1], dtype=torch.float64)
        self._retention = torch.ones_like(variance)
        if drift is not None:
            self._factors, misread = read_factors(world, settings)
            directions = world.prompts.embeddings.double()
            moving = torch.cat([directions, torch.ones(len(world), 1, dtype=torch.float64)], 1)
            self._factors = torch.cat([self._factors, moving], 1)
            steps = torch.tensor([drift[0]] * directions.shape[1] + [drift[1]], dtype=torch.float64)
            variance = torch.cat([variance, steps])
            # Almost a random walk: over a run, it forgets a hundredth.
            self._retention = torch.cat([self._retention, torch.full_like(steps, 0.9999)])
        self._stationary = torch.where(self._retention < 1, variance / (1 - self._retention.square()), variance)
        self._filter = KalmanFilter(variance)
        # Given the weights, a logit minus its drift is offset - gain * (factors . weights) + N(0, variance).
        self._offset = torch.full((len(world),), settings.mean_logit, dtype=torch.float64)
        self._gain, self._displacement = torch.zeros(2, len(world), dtype=torch.float64)
        self._variance = torch.full((len(world),), settings.own_spread**2 + misread + 1e-12, dtype=torch.float64)

    def reward_variance(self, rows: Tensor, success: Tensor) -> Tensor:
        """Return `E[p(1-p)]` of the prompts in these rows, whose true probabilities are `success`."""
        prior = self._filter.predict(self._retention, self._stationary)
        residuals = self._residuals(rows, success)
        design = residuals.design(self._factors[rows])
        variance = (design @ prior.root).square().sum(1) + residuals.variance
        return Prediction(*probability_moments(residuals.offset + design @ prior.mean, variance)).reward_variance

    def observe(self, rows: Tensor, success: Tensor, successes: Tensor, trials: Tensor) -> None:
        """Learn from binomial outcomes."""
        prior = self._filter.predict(self._retention, self._stationary)
        residuals = self._residuals(rows, success)
        design = residuals.design(self._factors[rows])
        residuals = self._filter.update(prior, design, design @ prior.root, residuals, successes, trials.double(), 0.0)
        self._offset[rows] = residuals.offset - self._drift(rows, success)
        self._gain[rows], self._variance[rows] = residuals.gain, residuals.variance
        self._displacement[rows] = self._factors[rows] @ self._filter.displacement

    def _drift(self, rows: Tensor, success: Tensor) -> Tensor:
        drift = torch.logit(success) - self._start_logits[rows]
        return drift if self._told else torch.zeros_like(drift)

    def _residuals(self, rows: Tensor, success: Tensor) -> Residuals:
        moved = self._factors[rows] @ self._filter.displacement - self._displacement[rows]
        offset = self._offset[rows] + self._drift(rows, success) + self._gain[rows] * moved
        return Residuals(offset, self._gain[rows], self._variance[rows])


def read_factors(world: World, settings: WorldSettings) -> tuple[Tensor, float]:
    """Return the best linear estimate of the factors from family and embedding, and the variance of its error."""
    width = settings.dimensions
    members = (world.factors[:, width:] != 0).double()
    seen = torch.cat([world.prompts.embeddings.double(), members], 1)
    # `gelsd` accepts linearly dependent columns.
    found = seen @ torch.linalg.lstsq(seen, world.factors[:, :width], driver="gelsd").solution
    misread = (world.factors[:, :width] - found).square().sum(1).mean()
    return torch.cat([found, world.factors[:, width:]], 1), float(misread)


def drift_sizes(settings: SimulationSettings, seed: int) -> tuple[float, float]:
    """Return the mean squared change of a direction's part and of the level in a step with equal counts."""
    world = make_world(settings.world, seed)
    learner, stream = Learner(world, settings.learner, seed), PromptStream(len(world), seed)
    size = settings.prompts_per_step
    even = even_counts(size, range(size), settings.budget.total)
    everywhere = torch.cat([world.directions, torch.ones(len(world), 1, dtype=torch.float64)], 1)
    before, squares = torch.logit(learner.success()), []
    for _ in range(settings.steps):
        rows = stream.take(size)
        p = learner.success()[rows]
        outcomes = learner.sample(p, even)
        learner.learn(rows, compute_update(outcomes, Selection(), p, "rloo"))
        after = torch.logit(learner.success())
        squares.append(torch.linalg.lstsq(everywhere, after - before).solution.square())
        before = after
    mean = torch.stack(squares).mean(0)
    return float(mean[:-1].mean()), float(mean[-1])


@dataclass
class Tally:
    """Sums of variances over steps, by regime: first visits and later visits."""

    first: float = 0.0
    later: float = 0.0

    def add(self, variance: float, first: bool) -> None:
        if first:
            self.first += variance
        else:
            self.later += variance


def trace(settings: SimulationSettings, seed: int, outcomes_of: str) -> dict[str, Tally]:
    """Train once, and return the variance of each source's counts on each step's batch."""
    world = make_world(settings.world, seed)
    learner, stream = Learner(world, settings.learner, seed), PromptStream(len(world), seed)
    names = [name for name in PREDICTORS if name != "oracle"]
    predictors: dict[str, Predictor] = {name: build_predictor(name) for name in names}
    informed: dict[str, Informed | ModelKnown] = {
        BOUND: Informed(world, settings.world.own_spread),
        MODEL: ModelKnown(world, settings.world),
        GIVEN: ModelKnown(world, settings.world, drift_sizes(settings, seed)),
    }
    tallies = {name: Tally() for name in ["even counts", "truth", *informed, *names]}
    budget, size = settings.budget, settings.prompts_per_step
    even = even_counts(size, range(size), budget.total)
    success = learner.success()
    for step in range(settings.steps):
        rows = stream.take(size)
        prompts, p = world.prompts.select(rows), success[rows]
        weights = {name: predictor.predict(prompts).reward_variance for name, predictor in predictors.items()}
        weights |= {name: bound.reward_variance(rows, p) for name, bound in informed.items()}
        weights["truth"] = p * (1 - p)
        counts = {
            name: allocate(None, budget.total, lower=budget.lower, upper=budget.upper, weight=weight)
            for name, weight in weights.items()
        }
        counts["even counts"] = even
        for name, tally in tallies.items():
            tally.add(variance_of_counts(p, counts[name], "rloo"), (step + 1) * size <= len(world))
        outcomes = learner.sample(p, counts[outcomes_of])
        trials = group_sizes(outcomes)
        successes = reward_means(outcomes) * trials
        for predictor in predictors.values():
            predictor.observe(prompts, successes, trials)
        for bound in informed.values():
            bound.observe(rows, p, successes, trials)
        learner.learn(rows, compute_update(outcomes, Selection(), p, "rloo"))
        success = learner.success()
    return tallies


def shares(tallies: dict[str, Tally]) -> dict[str, dict[str, float]]:
    """Return each source's share of the attainable reduction: for all steps, first visits and later visits."""

    def share(name: str, pick: Any) -> float:
        even, best = pick(tallies["even counts"]), pick(tallies["truth"])
        return float((even - pick(tallies[name])) / (even - best))

    regimes = {"all": lambda t: t.first + t.later, "first epoch": lambda t: t.first, "later": lambda t: t.later}
    names = [name for name in tallies if name not in ("even counts", "truth")]
    return {name: {regime: share(name, pick) for regime, pick in regimes.items()} for name in names}


def measure(settings: SimulationSettings, seeds: int, outcomes_of: str) -> dict[str, Any]:
    """Return the shares of every source with intervals, and the best predictor's share of the bounds."""
    runs = [shares(trace(settings, seed, outcomes_of)) for seed in range(seeds)]
    found: dict[str, Any] = {}
    for name in runs[0]:
        found[name] = {
            regime: mean_and_half_width(mean_interval([run[name][regime] for run in runs])) for regime in runs[0][name]
        }
    for bound in (BOUND, MODEL, GIVEN):
        ratios = [run[BEST]["all"] / run[bound]["all"] for run in runs]
        found[f"{BEST}, of '{bound}'"] = {"all": mean_and_half_width(mean_interval(ratios))}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    seeds = parser.parse_args().seeds
    torch.set_num_threads(1)
    results = {}
    for world_name, world in WORLDS.items():
        for outcomes_of in OUTCOMES_OF:
            title = f"{world_name}; outcomes of {outcomes_of}"
            results[title] = measure(replace(SimulationSettings(), world=world), seeds, outcomes_of)
            print(f"\n{title} ({seeds} seeds)")
            for name, regimes in results[title].items():
                cells = (f"{k} {100 * e['mean']:5.1f} ± {100 * e['half_width']:4.1f} %" for k, e in regimes.items())
                print(f"  {name:36}" + "   ".join(cells), flush=True)
    RESULTS.write_text(json.dumps({"seeds": seeds, "shares": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
