"""Time and memory of a training step's predictions.

    python benchmarks/prediction_cost.py [--threads 2] [--json]

Times `predict` and `observe` for a batch of 512 prompts, after all prompts of the pool have been seen. The predictors
take turns. After the first steps of a run, the drifting Gaussian process fits its hyper-parameters every 16th step. The
time of a step between two fits is the fastest one, because slower ones are due to other load on the machine.
"amortised" adds the mean time of a fit divided by 16. "worst" is the slowest step, including the fit. Absolute times
depend on the machine. If other work keeps a core busy, two threads are slower than one.
"""

import argparse
import json
import resource
import time
from pathlib import Path
from typing import Any

import torch

from verl_vip.prediction.contract import Predictor, Prompts
from verl_vip.prediction.registry import build_predictor

BATCH, WIDTH, ROLLOUTS = 512, 384, 8
SMALL_POOL, LARGE_POOL = 17_398, 1_000_000
#: Number of timed steps, which include two fits.
STEPS = 32
REFIT_EVERY = 16
RESULTS = Path(__file__).parent / "results" / "prediction_cost" / "results.json"


class Batches:
    """Random batches of a pool with 32 families of embeddings, made on demand to save memory."""

    def __init__(self, pool: int) -> None:
        self.pool = pool
        self.generator = torch.Generator().manual_seed(0)
        self.centres = torch.randn(32, WIDTH, generator=self.generator)
        # A prompt's embedding is always the same, and different in each of 32 * 4,099 rows.
        self.noise = torch.randn(4_099, WIDTH, generator=self.generator)

    def of(self, rows: list[int]) -> Prompts:
        """Return the prompts of these rows."""
        noise = self.noise[[row % len(self.noise) for row in rows]]
        points = torch.nn.functional.normalize(self.centres[[row % 32 for row in rows]] + noise, dim=1)
        return Prompts(tuple(f"{row:032x}" for row in rows), points)

    def random(self) -> Prompts:
        """Return a random batch of distinct prompts."""
        return self.of(torch.randperm(self.pool, generator=self.generator)[:BATCH].tolist())


def observe(predictor: Predictor, prompts: Prompts) -> None:
    successes = torch.arange(len(prompts)) % (ROLLOUTS + 1)
    predictor.observe(prompts, successes.double(), torch.full((len(prompts),), ROLLOUTS))


def timed(predictor: Predictor, batches: Batches) -> dict[str, float]:
    """Return the milliseconds of a step between fits, of one with its share of a fit, and of the slowest step."""
    between, fits, worst = [], [], 0.0
    for _ in range(STEPS):
        prompts = batches.random()
        began = time.perf_counter()
        predictor.predict(prompts)
        observe(predictor, prompts)
        seconds = time.perf_counter() - began
        fit = predictor.metrics().get("fit_seconds", 0.0)
        worst = max(worst, seconds)
        if fit:
            fits.append(fit)
        else:
            between.append(seconds)
    step = min(between)
    amortised = step + (sum(fits) / len(fits) / REFIT_EVERY if fits else 0.0)
    return {"step": 1000 * step, "amortised": 1000 * amortised, "worst": 1000 * worst}


def trained(name: str, pool: int) -> tuple[Predictor, list[float]]:
    """Return a predictor that has seen the whole pool once, and the seconds of its fits."""
    predictor, batches, fits = build_predictor(name), Batches(pool), []
    for start in range(0, pool, BATCH):
        observe(predictor, batches.of(list(range(start, min(start + BATCH, pool)))))
        fits.append(predictor.metrics().get("fit_seconds", 0.0))
    return predictor, [fit for fit in fits if fit]


def widened(predictor: Predictor, pool: int) -> Predictor:
    """Return a copy with `pool` prompts, made by repeating the rows of its table."""
    state: dict[str, Any] = predictor.state_dict()
    table = state["values"]["table"]
    rows = torch.arange(pool) % len(table["ids"])
    table["values"] = table["values"][rows]
    table["ids"] = [f"{row:032x}" for row in range(pool)]
    copy = build_predictor("drifting_gp")
    copy.load_state_dict(state)
    return copy


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="write the result file as well")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    reference, _ = trained("gaussian_process", SMALL_POOL)
    predictor, fits = trained("drifting_gp", SMALL_POOL)
    arms = {
        f"paper's Gaussian process, {SMALL_POOL:,} prompts": (reference, Batches(SMALL_POOL)),
        f"drifting_gp, {SMALL_POOL:,} prompts": (predictor, Batches(SMALL_POOL)),
        f"drifting_gp, {LARGE_POOL:,} prompts": (widened(predictor, LARGE_POOL), Batches(LARGE_POOL)),
    }
    print(f"a batch of {BATCH}, {torch.get_num_threads()} threads; milliseconds of predict + observe")
    taken = {}
    for name, arm in arms.items():
        taken[name] = timed(*arm)
        print(f"  {name:<42}" + "".join(f"  {part} {value:7.1f}" for part, value in taken[name].items()), flush=True)
    # In KiB on Linux.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print("fits during the first pass, in seconds: " + ", ".join(f"{fit:.2f}" for fit in fits))
    print(f"peak memory of all this: {peak:.2f} GiB")
    if arguments.json:
        result = {"threads": torch.get_num_threads(), "batch": BATCH, "ms": taken, "fits_s": fits, "peak_gib": peak}
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
