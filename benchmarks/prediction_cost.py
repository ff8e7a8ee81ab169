"""What a training step's predictions cost, in time and memory.

    python benchmarks/prediction_cost.py [--threads 2]

Times `predict` and `observe` of one batch of 512 prompts after all prompts of the pool were seen: the
fastest of 20 steps, taken in turns, because what makes a step slower is something else on the machine. The
drifting Gaussian process is timed between its fits of hyper-parameters, whose duration is printed apart, as
they are rare. Absolute times depend on the machine; the ratios are of one run.
"""

import argparse
import resource
import time
from typing import Any

import torch

from verl_vip.prediction.predictor import Predictor, Prompts
from verl_vip.prediction.registry import build_predictor

BATCH, WIDTH, ROLLOUTS = 512, 384, 8
SMALL_POOL, LARGE_POOL = 17_398, 1_000_000
REPEATS = 20


class Batches:
    """Random batches of a pool whose embeddings lie in 32 families; made on demand, so that memory is ours."""

    def __init__(self, pool: int) -> None:
        self.pool = pool
        self.generator = torch.Generator().manual_seed(0)
        self.centres = torch.randn(32, WIDTH, generator=self.generator)

    def of(self, rows: list[int]) -> Prompts:
        """Return the prompts of these rows."""
        noise = torch.randn(len(rows), WIDTH, generator=torch.Generator().manual_seed(rows[0]))
        points = torch.nn.functional.normalize(self.centres[[row % 32 for row in rows]] + noise, dim=1)
        return Prompts(tuple(f"{row:032x}" for row in rows), points)

    def random(self) -> Prompts:
        """Return a batch of prompts drawn at random."""
        return self.of(torch.randint(self.pool, (BATCH,), generator=self.generator).tolist())


def observe(predictor: Predictor, prompts: Prompts) -> None:
    successes = torch.arange(len(prompts)) % (ROLLOUTS + 1)
    predictor.observe(prompts, successes.double(), torch.full((len(prompts),), ROLLOUTS))


def timed(predictors: list[tuple[Predictor, Batches]]) -> tuple[list[float], list[float]]:
    """Return each predictor's seconds of a step without a fit, and the seconds of all fits."""
    steps: list[list[float]] = [[] for _ in predictors]
    fits: list[float] = []
    while min(map(len, steps)) < REPEATS:
        for (predictor, batches), mine in zip(predictors, steps, strict=True):
            prompts = batches.random()
            began = time.perf_counter()
            predictor.predict(prompts)
            observe(predictor, prompts)
            seconds = time.perf_counter() - began
            fit = predictor.metrics().get("fit_seconds", 0.0)
            if fit:
                fits.append(fit)
            else:
                mine.append(seconds)
    return [min(mine) for mine in steps], fits


def trained(name: str, pool: int) -> tuple[Predictor, list[float]]:
    """Return a predictor that has seen the whole pool once, and the seconds of its fits."""
    predictor, batches, fits = build_predictor(name), Batches(pool), []
    for start in range(0, pool, BATCH):
        observe(predictor, batches.of(list(range(start, min(start + BATCH, pool)))))
        fits.append(predictor.metrics().get("fit_seconds", 0.0))
    return predictor, [fit for fit in fits if fit]


def widened(predictor: Predictor, pool: int) -> Predictor:
    """Return a copy that knows `pool` prompts, by repeating the rows of its table."""
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
    torch.set_num_threads(parser.parse_args().threads)
    reference, _ = trained("gaussian_process", SMALL_POOL)
    predictor, fits = trained("drifting_gp", SMALL_POOL)
    large_pool = widened(predictor, LARGE_POOL)
    (paper, small, large), more = timed(
        [
            (reference, Batches(SMALL_POOL)),
            (predictor, Batches(SMALL_POOL)),
            (large_pool, Batches(LARGE_POOL)),
        ]
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"a batch of {BATCH}, {torch.get_num_threads()} threads; predict + observe")
    print(f"paper's Gaussian process, {SMALL_POOL:>9,} prompts: {1000 * paper:7.1f} ms")
    print(f"drifting_gp,              {SMALL_POOL:>9,} prompts: {1000 * small:7.1f} ms ({paper / small:.1f} x faster)")
    print(f"drifting_gp,              {LARGE_POOL:>9,} prompts: {1000 * large:7.1f} ms ({large / small:.2f} x)")
    print("fits of hyper-parameters: " + ", ".join(f"{fit:.2f} s" for fit in fits + more))
    print(f"peak memory of all this: {peak:.2f} GiB")


if __name__ == "__main__":
    main()
