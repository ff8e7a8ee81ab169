"""Speed and optimality of allocation methods, as ratios within one run on one thread.

For each number of prompts B, success probabilities are drawn from Beta(0.5, 0.9). The budget is 16 B, each prompt gets
4 to 64 rollouts, and the objective is the variance of RLOO or Dr.GRPO. All methods get the same draws. A slow method is
skipped at sizes where it would take minutes. The table gives each method's CPU time as a multiple of `allocate`'s, and
the excess of its objective over the exact optimum. SLSQP's counts are real numbers, not rounded.

    python benchmarks/allocation.py [--seeds 3] [--largest 1000000]
"""

import argparse
import heapq
import json
import statistics
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from scipy.optimize import minimize

from verl_vip.allocation import DrGrpo, Rloo, allocate
from verl_vip.allocation.objective import SmoothObjective
from verl_vip.reporting.style import draw, save_png, series_style

LOWER, UPPER, PER_PROMPT = 4, 64, 16
SIZES = (8, 32, 128, 512, 4096, 32_768, 1_000_000)
OBJECTIVES: dict[str, Callable[[Any], SmoothObjective]] = {"rloo": Rloo, "dr_grpo": DrGrpo}
RESULTS = Path(__file__).parent / "results" / "allocation"


@dataclass(frozen=True)
class AllocationProblem:
    """One draw of prompts, the input of every method."""

    success_probability: Any
    name: Any

    @property
    def size(self) -> int:
        """The number of prompts."""
        return len(self.success_probability)

    @property
    def budget(self) -> int:
        """The total number of rollouts."""
        return PER_PROMPT * self.size

    @property
    def objective(self) -> SmoothObjective:
        """The variance to minimise."""
        p = self.success_probability
        return OBJECTIVES[self.name](p * (1 - p))


def exact(problem: AllocationProblem) -> Any:
    p, budget = problem.success_probability, problem.budget
    return allocate(p, budget, lower=LOWER, upper=UPPER, objective=problem.name).numpy()


def paper(problem: AllocationProblem) -> Any:
    p, budget = problem.success_probability, problem.budget
    return allocate(p, budget, lower=LOWER, upper=UPPER, objective=problem.name, method="paper").numpy()


def uniform(problem: AllocationProblem) -> Any:
    return np.full(problem.size, PER_PROMPT)


def heap_greedy(problem: AllocationProblem) -> Any:
    """Give one rollout at a time to the largest gain, with Python's heap and a table of gains."""
    objective = problem.objective
    weight = objective.weight.tolist()
    gains = [0.0] * LOWER + [float(objective.shape_gain(np.array(n))) for n in range(LOWER, UPPER)]
    counts = [LOWER] * problem.size
    heap = [(-a * gains[LOWER], q) for q, a in enumerate(weight)]
    heapq.heapify(heap)
    for _ in range(problem.budget - LOWER * problem.size):
        q = heap[0][1]
        counts[q] += 1
        if counts[q] < UPPER:
            heapq.heapreplace(heap, (-weight[q] * gains[counts[q]], q))
        else:
            heapq.heappop(heap)
    return np.array(counts)


def dynamic_program(problem: AllocationProblem) -> Any:
    """Solve the knapsack over prompts, vectorised over the budget, and backtrack through the stored choices."""
    objective, spare = problem.objective, problem.budget - LOWER * problem.size
    costs = np.stack([objective.value(np.full(problem.size, n)) for n in range(LOWER, UPPER + 1)])
    best = np.full(spare + 1, np.inf)
    best[0] = 0.0
    choice = np.zeros((problem.size, spare + 1), dtype=np.int8)
    for q in range(problem.size):
        extended = np.full(spare + 1, np.inf)
        for extra in range(min(UPPER - LOWER, spare) + 1):
            trial = best[: spare + 1 - extra] + costs[extra, q]
            better = trial < extended[extra:]
            extended[extra:][better] = trial[better]
            choice[q, extra:][better] = extra
        best = extended
    counts = np.full(problem.size, LOWER)
    for q in reversed(range(problem.size)):
        extra = int(choice[q, spare])
        counts[q] += extra
        spare -= extra
    return counts


def slsqp(problem: AllocationProblem) -> Any:
    """Solve with SciPy's general solver, exact derivatives and its default tolerance."""
    objective, size = problem.objective, problem.size

    def value(n: Any) -> float:
        return float(objective.value(n).sum())

    def gradient(n: Any) -> Any:
        return -objective.weight * objective.slope(n)

    total = {"type": "eq", "fun": lambda n: n.sum() - problem.budget, "jac": lambda n: np.ones(size)}  # noqa: ARG005
    start, bounds = np.full(size, float(PER_PROMPT)), [(LOWER, UPPER)] * size
    return minimize(value, start, jac=gradient, bounds=bounds, constraints=total, method="SLSQP").x


#: Each method, and the largest size at which it is run.
METHODS: dict[str, tuple[Callable[[AllocationProblem], Any], int]] = {
    "exact": (exact, SIZES[-1]),
    "paper": (paper, SIZES[-1]),
    "heap_greedy": (heap_greedy, SIZES[-1]),
    "dynamic_program": (dynamic_program, 512),
    "slsqp": (slsqp, 512),
    "uniform": (uniform, SIZES[-1]),
}


def timed(method: Callable[[AllocationProblem], Any], problem: AllocationProblem) -> tuple[float, Any]:
    """Return the median CPU seconds of as many calls as fit in half a second, and the counts."""
    times: list[float] = []
    counts = None
    while sum(times) < 0.5 and len(times) < 200:
        start = time.process_time()
        counts = method(problem)
        times.append(time.process_time() - start)
    return statistics.median(times), counts


def peak_bytes_per_prompt(problem: AllocationProblem) -> float:
    tracemalloc.start()
    exact(problem)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return float(peak / problem.size)


def measure(size: int, name: str, seeds: int) -> dict[str, Any]:
    """Return the median and range over seeds of each method's seconds, time ratio and excess."""
    rows: dict[str, list[tuple[float, float, float]]] = {}
    for seed in range(seeds if size < 100_000 else 1):  # the heap needs a minute for a million prompts
        problem = AllocationProblem(np.random.default_rng(seed).beta(0.5, 0.9, size), name)
        reference, best = 0.0, 0.0
        for method_name, (method, largest) in METHODS.items():
            if size > largest:
                continue
            taken, counts = timed(method, problem)
            value = float(problem.objective.value(counts).sum())
            if method_name == "exact":
                reference, best = taken, value
            rows.setdefault(method_name, []).append((taken, taken / reference, value / best - 1))
    report: dict[str, Any] = {"exact_peak_bytes_per_prompt": peak_bytes_per_prompt(problem)}
    for method_name, values in rows.items():
        report[method_name] = {
            key: {"median": float(np.median(column)), "min": float(column.min()), "max": float(column.max())}
            for key, column in zip(("seconds", "times_exact", "excess"), np.array(values).T, strict=True)
        }
    return report


def show(name: str, report: dict[int, dict[str, Any]]) -> None:
    others = [method for method in METHODS if method != "exact"]
    print(f"\n{name}: CPU time as a multiple of `allocate`'s (objective above the optimum)")
    print(f"{'B':>9} {'allocate':>12} {'bytes/B':>8}" + "".join(f"{method:>22}" for method in others))
    for size, row in report.items():
        peak = row["exact_peak_bytes_per_prompt"]
        line = f"{size:>9} {1000 * row['exact']['seconds']['median']:>9.3f} ms {peak:>8.0f}"
        for method in others:
            cell = "-"
            if method in row:
                times, excess = row[method]["times_exact"]["median"], row[method]["excess"]["median"]
                cell = f"{times:.3g} ({100 * excess:+.3g} %)"
            line += f"{cell:>22}"
        print(line, flush=True)


def plot_counts(ax: Axes) -> None:
    """Plot the exact counts of 512 prompts with evenly spaced success probabilities between 0 and 1."""
    problem = AllocationProblem(np.linspace(0.001, 0.999, 512), "rloo")
    style = series_style(["Dr.GRPO", "RLOO", "equal counts"])
    for title, name in (("RLOO", "rloo"), ("Dr.GRPO", "dr_grpo")):
        counts = exact(AllocationProblem(problem.success_probability, name))
        ax.step(problem.success_probability, counts, where="mid", label=title, **{**style[title], "marker": None})
    ax.axhline(PER_PROMPT, label="equal counts", **{**style["equal counts"], "marker": None})
    ax.set_xlim(0, 1)
    ax.set_ylim(bottom=0)
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("predicted success probability")
    ax.set_ylabel("rollouts")
    ax.legend(loc="lower center", ncols=3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--largest", type=int, default=SIZES[-1])
    options = parser.parse_args()
    torch.set_num_threads(1)
    report: dict[str, Any] = {
        "setting": {"lower": LOWER, "upper": UPPER, "budget_per_prompt": PER_PROMPT, "seeds": options.seeds},
        "versions": {"numpy": np.__version__, "scipy": scipy.__version__, "torch": torch.__version__},
    }
    sizes = [size for size in SIZES if size <= options.largest]
    for name in OBJECTIVES:
        report[name] = {size: measure(size, name, options.seeds) for size in sizes}
        show(name, report[name])
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "results.json").write_text(json.dumps(report, indent=2) + "\n")
    save_png(draw(plot_counts), RESULTS / "counts.png", "Rollouts by success probability")


if __name__ == "__main__":
    main()
