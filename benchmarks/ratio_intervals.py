"""Coverage of 95% intervals for a ratio of rollouts: Welch's on logarithms, and the bootstrap over paired seeds.

The rollouts that a run needs are drawn from log-normal distributions, independently for each run: seeds pair nothing.
Some cases have a horizon, at which a run that has not reached the target ends and counts with its length. With several
base models, each has a ratio of its own, and the intervals are for their geometric mean: over the models' ratios, and
over all runs as if they were of one model.

    python benchmarks/ratio_intervals.py
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from verl_vip.statistics.intervals import pooled_ratio_interval, ratio_interval

RESULTS = Path(__file__).resolve().parent / "results" / "ratio_intervals" / "results.json"
Floats = NDArray[np.float64]
_RESAMPLES = 1000
#: Standard deviation of the models' log ratios.
_BETWEEN = 0.3


@dataclass(frozen=True)
class Case:
    """A kind of comparison.

    Attributes:
        name: What is special about it.
        spreads: Standard deviations of the log rollouts of the reference and of the arm.
        missed: Share of the reference's runs that end at the horizon.
        models: Number of base models.
    """

    name: str
    spreads: tuple[float, float]
    missed: float = 0.0
    models: int = 1


CASES = (
    Case("equal spreads", (0.35, 0.35)),
    Case("unequal spreads", (0.2, 0.5)),
    Case("a quarter of the reference's runs miss the target", (0.35, 0.35), missed=0.25),
    Case("three quarters miss it", (0.35, 0.35), missed=0.75),
    Case("three base models", (0.35, 0.35), models=3),
    Case("six base models", (0.35, 0.35), models=6),
)
SEEDS = (5, 8, 12)


def draw(case: Case, seeds: int, trials: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return the rollouts of the reference and of the arm, `trials x models x seeds` each; the arm needs a third."""
    shift = _BETWEEN * rng.standard_normal((trials, case.models, 1)) * (case.models > 1)
    reference = np.exp(case.spreads[0] * rng.standard_normal((trials, case.models, seeds)) + shift)
    arm = np.exp(case.spreads[1] * rng.standard_normal((trials, case.models, seeds))) / 3
    if case.missed:
        horizon = np.exp(case.spreads[0] * _normal_quantile(1 - case.missed))
        reference, arm = np.minimum(reference, horizon), np.minimum(arm, horizon)
    return reference, arm


def paired_bootstrap(reference: Floats, arm: Floats, rng: np.random.Generator) -> Floats:
    """Return the limits of the ratio of means over resampled seeds, the same for both arms."""
    drawn = rng.integers(len(reference), size=(_RESAMPLES, len(reference)))
    return np.asarray(np.percentile(reference[drawn].mean(1) / arm[drawn].mean(1), [2.5, 97.5]))


def coverage(case: Case, seeds: int, trials: int, rng: np.random.Generator) -> dict[str, float]:
    """Return the share of intervals that hold the ratio of a very large sample."""
    many = [values.ravel() for values in draw(case, 1000, 2000 if case.models > 1 else 400, rng)]
    of_means = many[0].mean() / many[1].mean()
    of_logs = float(np.exp(np.log(many[0]).mean() - np.log(many[1]).mean()))
    held = {"Welch on logarithms": 0, "bootstrap, paired": 0, "over models": 0}
    for reference, arm in zip(*draw(case, seeds, trials, rng), strict=True):
        one = ratio_interval(reference.ravel(), arm.ravel())
        low, high = paired_bootstrap(reference.ravel(), arm.ravel(), rng)
        held["Welch on logarithms"] += one.low <= of_logs <= one.high
        held["bootstrap, paired"] += bool(low <= of_means <= high)
        if case.models > 1:
            ratios = [ratio_interval(*pair).value for pair in zip(reference, arm, strict=True)]
            pooled = pooled_ratio_interval(ratios)
            held["over models"] += pooled.low <= of_logs <= pooled.high
    if case.models == 1:
        del held["over models"]
    return {name: round(count / trials, 3) for name, count in held.items()}


def _normal_quantile(share: float) -> float:
    from scipy.stats import norm

    return float(norm.ppf(share))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=2000, help="comparisons a case (default: %(default)s)")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    rows = [
        {"case": case.name, "seeds": seeds, "coverage": coverage(case, seeds, options.trials, rng)}
        for case in CASES
        for seeds in SEEDS
    ]
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps({"trials": options.trials, "rows": rows}, indent=1) + "\n")
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
