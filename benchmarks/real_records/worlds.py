"""Predictors in two simulated worlds made of the records, where the truth is known.

- "trajectories": the prompts of the training run succeed at its rates, smoothed over `WIDTH` visits, whatever they are
  trained on. Steps, batch and rollouts are those of the run.
- "difficulties": the simulated data set and learner of `verl_vip.simulation`, with the success rates of the second
  record at the start. Every prompt has 24 visits.

Counts come from the predictions (strategy `vip`), and the predictors learn from rollouts of these counts. The share is
the part of the variance reduction from even counts to the best counts at the true probabilities.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.real_records.record import BATCH, RATED, ROLLOUTS, STEPS, RecordedRun, read_rates
from benchmarks.real_records.scores import ERAS
from verl_vip.simulation.recorded_world import RecordedWorld
from verl_vip.simulation.run import Arm, RunResult, SimulationSettings, simulate
from verl_vip.simulation.summary import mean_and_half_width
from verl_vip.simulation.world import WorldSettings
from verl_vip.statistics.intervals import mean_interval

#: Standard deviation of the weights over which a rate is smoothed, in visits, and the number of times it is kept at.
WIDTH, TIMES = 4.0, 64
#: Prompts and steps of the world of difficulties: 24 visits of each prompt.
PROMPTS, VISITS = 256, 24
#: Beta tables beside the default's, by decay and prior strength.
TABLES = ((0.5, 2.0), (0.7, 2.0), (0.8, 2.0), (0.9, 2.0), (0.9, 1.0), (0.9, 0.5))


def arms() -> list[Arm]:
    """Return the arms: the default predictor, tables of several settings, and the last rate seen."""
    tables = [
        Arm("vip", "beta_table", {}, {"decay": decay, "prior_strength": strength}, f"beta_table, {decay}, {strength}")
        for decay, strength in TABLES
    ]
    return [Arm("vip", "drifting_gp", label="drifting_gp"), *tables, Arm("vip", "last_seen", label="last_seen")]


def trajectories(record: RecordedRun, width: float = WIDTH, times: int = TIMES) -> RecordedWorld:
    """Return the run's success rates over time, smoothed with Gaussian weights."""
    rates = torch.empty(len(record.successes), times, dtype=torch.float64)
    for row, visits in enumerate(record.successes):
        middle = (torch.arange(len(visits)) + 0.5) / len(visits)
        distance = len(visits) * (torch.linspace(0, 1, times, dtype=torch.float64)[:, None] - middle) / width
        weights = torch.softmax(-distance.square() / 2, 1)
        rates[row] = weights @ (visits.double() / ROLLOUTS)
    return RecordedWorld(record.prompts, rates.clamp(0, 1))


def difficulties(folder: Path) -> WorldSettings:
    """Return a simulated data set with the difficulties of the second record."""
    _, rates = read_rates(folder)
    # A prompt without a success in 128 rollouts may still have some in more.
    known = (rates * RATED + 0.5) / (RATED + 1)
    return WorldSettings(num_prompts=PROMPTS, rates=tuple(known.tolist()))


def measure(record: RecordedRun, folder: Path, seeds: int) -> dict[str, Any]:
    """Return the share of the attainable reduction in both worlds, by arm and range of steps."""
    run = SimulationSettings(prompts_per_step=BATCH, rollouts_per_prompt=ROLLOUTS, steps=STEPS)
    played = trajectories(record)
    batch = 64
    steps = PROMPTS * VISITS // batch
    drawn = replace(SimulationSettings(), world=difficulties(folder), prompts_per_step=batch, steps=steps)
    epoch = PROMPTS // batch
    eras = {"first epoch": (1, epoch), "second epoch": (epoch + 1, 2 * epoch), "later": (2 * epoch + 1, steps)}
    found: dict[str, Any] = {"seeds": seeds, "trajectories": {}, "difficulties": {}}
    for arm in arms():
        for name, settings, world, ranges in (
            ("trajectories", run, played, ERAS),
            ("difficulties", drawn, None, eras),
        ):
            results = [simulate(arm, settings, seed, world) for seed in range(seeds)]
            found[name][arm.name] = shares = {
                title: mean_and_half_width(mean_interval([_share(result, era) for result in results]))
                for title, era in ranges.items()
            }
            shown = ", ".join(f"{title} {100 * share['mean']:.1f} %" for title, share in shares.items())
            print(f"{name}, {arm.name}: {shown}", flush=True)
    return found


def _share(result: RunResult, era: tuple[int, int]) -> float:
    steps: Sequence[Any] = result.steps[era[0] - 1 : era[1]]
    variance, even, best = (
        sum(getattr(step, name) for step in steps) for name in ("variance", "uniform_variance", "oracle_variance")
    )
    return float((even - variance) / (even - best))
