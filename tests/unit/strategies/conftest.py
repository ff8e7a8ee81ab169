"""Batches of prompts, and a way to play a strategy's rounds against drawn rewards."""

import pytest
import torch

from verl_vip.prediction.contract import Prediction, Prompts


class Step:
    """What happened in one step: counts and outcomes of each round, and the selection."""

    def __init__(self, counts, outcomes, selection):
        self.counts = counts
        self.outcomes = outcomes
        self.selection = selection

    @property
    def totals(self):
        return torch.stack(self.counts).sum(0)


@pytest.fixture(scope="session")
def batch():
    def make(probabilities, variances=None, first=0):
        mean = torch.as_tensor(probabilities, dtype=torch.float64)
        variance = torch.zeros_like(mean) if variances is None else torch.as_tensor(variances, dtype=torch.float64)
        ids = tuple(f"prompt-{first + row}" for row in range(len(mean)))
        labels = tuple("ab"[row % 2] for row in range(len(mean)))
        return Prompts(ids, torch.zeros(len(mean), 2), labels), Prediction(mean, variance)

    return make


@pytest.fixture(scope="session")
def play():
    """Play a step; rewards come from `success`, or from a script of rewards a prompt."""

    def run(strategy, prompts, prediction, budget, success=None, script=None, seed=0):
        generator = torch.Generator().manual_seed(seed)
        truth = prediction.mean if success is None else torch.as_tensor(success, dtype=torch.float64)
        used = [0] * len(prompts)
        counts, outcomes = [], []

        def draw(row, count):
            if script is not None:
                used[row] += count
                return torch.tensor(script[row][used[row] - count : used[row]], dtype=torch.float64)
            return (torch.rand(count, generator=generator, dtype=torch.float64) < truth[row]).double()

        rounds = strategy.rounds(prompts, prediction, budget)
        asked = next(rounds)
        while True:
            counts.append(asked)
            outcomes.append(tuple(draw(row, int(count)) for row, count in enumerate(asked)))
            try:
                asked = rounds.send(outcomes[-1])
            except StopIteration as stop:
                return Step(counts, outcomes, stop.value)

    return run
