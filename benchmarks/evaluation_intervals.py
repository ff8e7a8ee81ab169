"""Coverage of 95% intervals for a benchmark's mean.

The success rates of problems are drawn from Beta distributions, and n samples of each problem from its rate. The script
compares the interval that evaluations report with Student's t and the bootstrap over problems. As a warning, it also
shows Wilson's interval, which treats all samples as independent.

    python benchmarks/evaluation_intervals.py
"""

import argparse

import numpy as np
from numpy.typing import NDArray

from verl_vip.statistics.intervals import mean_interval, score_interval, wilson_interval

#: Number of problems, Beta distribution of their success rates, samples per problem.
CASES = [
    (problems, shape, samples)
    for problems in (12, 30, 60)
    for shape in ((0.05, 0.95), (0.3, 0.7), (1.0, 1.0), (5.0, 5.0))
    for samples in (1, 16)
]
METHODS = ("reported", "t", "bootstrap", "samples as independent")
_RESAMPLES = 1000


def intervals(scores: NDArray[np.float64], samples: int, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Return each method's interval, in the order of METHODS."""
    reported, student = score_interval(scores.tolist()), mean_interval(scores.tolist())
    means = scores[rng.integers(0, len(scores), (_RESAMPLES, len(scores)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return [
        reported.limits,
        student.limits,
        (float(low), float(high)),
        wilson_interval(float(scores.sum()) * samples, len(scores) * samples).limits,
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=2000, help="simulated benchmarks per case (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    print(f"Share of {options.trials} intervals that hold the truth, and their mean width. Aim: 0.950.")
    print(f"{'problems':>8} {'Beta':>12} {'n':>3}  " + "  ".join(f"{name:>22}" for name in METHODS))
    for problems, (alpha, beta), samples in CASES:
        truth = alpha / (alpha + beta)
        held, width = np.zeros(len(METHODS)), np.zeros(len(METHODS))
        for _ in range(options.trials):
            rates = rng.beta(alpha, beta, problems)
            found = np.array(intervals(rng.binomial(samples, rates) / samples, samples, rng))
            held += (found[:, 0] <= truth) & (truth <= found[:, 1])
            width += found[:, 1] - found[:, 0]
        cells = (f"{a:>13.3f} {b:>8.3f}" for a, b in zip(held / options.trials, width / options.trials, strict=True))
        print(f"{problems:>8} {f'({alpha}, {beta})':>12} {samples:>3}  " + "  ".join(cells))


if __name__ == "__main__":
    main()
