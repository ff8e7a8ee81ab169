"""Oracles: slow, obvious ways to the optimum that share nothing with the solvers."""

import heapq
import itertools

import numpy as np
import pytest


@pytest.fixture(scope="session")
def brute_force():
    """Least objective over all feasible counts; `skip` allows zero with the value of a skipped prompt."""

    def solve(objective, budget, lower, upper, skip=False):
        choices = ([0] if skip else []) + list(range(lower, upper + 1))
        grid = np.array([c for c in itertools.product(choices, repeat=len(objective)) if sum(c) == budget])
        if not grid.size:
            return None
        shapes = objective.shape(np.maximum(grid, lower))
        if skip:
            shapes = np.where(grid > 0, shapes, objective.skipped_shape)
        return float((objective.weight * shapes).sum(axis=1).min())

    return solve


@pytest.fixture(scope="session")
def dynamic_program():
    """Least objective by dynamic programming over prompts, O(B C (U - L))."""

    def solve(objective, budget, lower, upper):
        costs = np.stack([objective.value(np.full(len(objective), n)) for n in range(lower, upper + 1)])
        spare = budget - lower * len(objective)
        best = np.full(spare + 1, np.inf)
        best[0] = 0.0
        for row in costs.T:
            extended = np.full(spare + 1, np.inf)
            for extra, cost in enumerate(row[: spare + 1]):
                np.minimum(extended[extra:], best[: spare + 1 - extra] + cost, out=extended[extra:])
            best = extended
        return float(best[spare])

    return solve


@pytest.fixture(scope="session")
def unit_greedy():
    """Counts by one rollout at a time to the largest gain, lowest index first among equal floats."""

    def solve(objective, budget, start, upper):
        table = objective.weight * np.stack(
            [objective.shape_gain(np.full(len(objective), n)) for n in range(int(start.min()), upper)]
        )
        base, counts = int(start.min()), start.copy()
        heap = [(-table[n - base, q], q) for q, n in enumerate(start) if n < upper]
        heapq.heapify(heap)
        for _ in range(budget - int(start.sum())):
            _, q = heapq.heappop(heap)
            counts[q] += 1
            if counts[q] < upper:
                heapq.heappush(heap, (-table[counts[q] - base, q], q))
        return counts

    return solve
