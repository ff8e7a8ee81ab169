"""Whatever a state file holds, it is restored whole or refused in words."""

import copy
import random

import pytest
import torch

from verl_vip.config import VipConfig
from verl_vip.errors import StateError
from verl_vip.prediction.contract import Prompts
from verl_vip.prediction.registry import PREDICTORS
from verl_vip.state_file import read_state, write_state
from verl_vip.strategies.contract import Budget
from verl_vip.strategies.gradient_variance import GradientVariance
from verl_vip.strategies.registry import STRATEGIES
from verl_vip.strategies.step import Step
from verl_vip.workers.session.outcomes import Plan
from verl_vip.workers.session.run_state import STATE_FILE, RunState

POOL, BATCH, WIDTH, STEPS = 60, 12, 6, 5
BUDGET = Budget(total=48, lower=2, upper=12)
MODEL = "the-model"


def served(step):
    """The prompts of a step; a pool is met again and again."""
    rows = random.Random(step).sample(range(POOL), BATCH)
    points = torch.randn(POOL, WIDTH, generator=torch.Generator().manual_seed(0))
    ids, labels = tuple(f"q{row}" for row in rows), tuple("ab"[row % 2] for row in rows)
    return Prompts(ids, torch.nn.functional.normalize(points, dim=1)[rows], labels)


def planned(state, step, prompts):
    prediction = state.predictor.predict(prompts)
    rounds = Step(state.strategy, prompts, prediction, BUDGET, name=state.strategy_name)
    uids = [f"{step}/{row}" for row in range(len(prompts))]
    labels = ["x"] * len(prompts)
    return Plan(step, state.strategy_name, uids, labels, prompts, prediction, BUDGET, rounds, {"predict": 0.1})


def finish(state, plan):
    while plan.rounds.counts is not None:
        counts = plan.rounds.counts.tolist()
        draws = [random.Random(f"{uid}/{count}").random() for uid, count in zip(plan.uids, counts, strict=True)]
        solved = [min(int(draw * 1.4 * (count + 1)), count) for draw, count in zip(draws, counts, strict=True)]
        plan.rounds.receive(
            tuple((torch.arange(count) < wins).to(torch.float64) for count, wins in zip(counts, solved, strict=True))
        )
    outcomes = plan.rounds.outcomes
    successes = torch.stack([rewards.sum() for rewards in outcomes])
    trials = torch.tensor([len(rewards) for rewards in outcomes])
    state.predictor.observe(plan.prompts, successes, trials, successes)


def train(state, steps):
    """Take the plans in flight, and then plan and take the steps that follow."""
    for step in steps:
        plan = state.plans.pop(step) if len(state.plans) else planned(state, step, served(step))
        finish(state, plan)


def settings(**changes):
    return VipConfig(lower=2, upper=12, **changes)


def origin(vip):
    return vip, GradientVariance(vip.minimised), MODEL


def written(folder, vip, ahead=0):
    """Save the state of a run after `STEPS` steps, with batches in flight; returns the checkpoint's folder."""
    state = RunState.fresh(*origin(vip))
    train(state, range(1, STEPS + 1))
    for step in range(STEPS + 1, STEPS + 1 + ahead):
        state.plans.append(planned(state, step, served(step)))
    state.rollouts_total = STEPS * BUDGET.total
    checkpoint = folder / f"global_step_{STEPS}"
    state.save(checkpoint, STEPS)
    return checkpoint


HOSTILE = [None, True, -1, 0, 1, 10**30, 0.5, -0.5, 1e300, 1e-300, float("nan"), float("inf"), "x", "", [], {}, [1], ()]


def hostile_tensors(tensor):
    return [
        torch.zeros_like(tensor),
        torch.ones_like(tensor),
        -tensor,
        tensor * 1e20,
        tensor.float() * float("nan"),
        tensor + 3,
        tensor.flatten(),
        tensor[:-1] if tensor.ndim else tensor,
        tensor[..., :-1] if tensor.ndim else tensor,
        torch.cat([tensor, tensor]) if tensor.ndim else tensor,
        tensor.flip(0) if tensor.ndim else tensor,
        tensor.T if tensor.ndim == 2 else tensor,
        tensor.to(torch.float16),
        tensor.to(torch.int64),
        tensor.to(torch.bool),
        tensor.to(torch.complex64),
        torch.rand(tensor.shape, generator=torch.Generator().manual_seed(1)),
        torch.zeros(0),
    ]


def places(value, path=()):
    """Every value within a state, by the keys that lead to it."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


def within(value, path):
    for key in path:
        value = value[key]
    return value


def damage(state, chance):
    """Return a copy in which one to three values are lost, replaced, exchanged or moved."""
    state = copy.deepcopy(state)
    for _ in range(chance.choice([1, 1, 2, 3])):
        # Few places are near the top, and each depth is to be hit.
        found = [path for path in places(state) if path]
        depth = chance.choice(sorted({len(path) for path in found}))
        path = chance.choice([path for path in found if len(path) == depth])
        holder, key = within(state, path[:-1]), path[-1]
        value = holder[key]
        kind = chance.choice(["replace", "replace", "lose", "exchange", "double"])
        if kind == "replace" and isinstance(value, torch.Tensor):
            holder[key] = chance.choice([*hostile_tensors(value), *HOSTILE])
        elif kind == "replace":
            holder[key] = chance.choice([*HOSTILE, torch.ones(3), torch.rand(2, 2)])
        elif kind == "lose":
            del holder[key]
        elif kind == "exchange":
            other = chance.choice([path for path in found if path[: len(path)] != path[:0]])
            holder[key] = copy.deepcopy(within(state, other)) if other[: len(path)] != path else None
        elif isinstance(holder, list):
            holder.append(copy.deepcopy(value))
        else:
            holder[f"{key}x"] = copy.deepcopy(value)
    return state


CONFIGS = [{"predictor": name} for name in sorted(PREDICTORS.keys() - {"oracle"})]
CONFIGS += [{"predictor": "beta_table", "strategy": name} for name in sorted(STRATEGIES.keys() - {"vip", "oracle"})]


@pytest.mark.parametrize("changes", CONFIGS, ids=lambda changes: "-".join(changes.values()))
def test_a_damaged_state_is_refused_in_words_or_good_for_the_rest_of_the_run(tmp_path, changes):
    vip = settings(**changes)
    decides = RunState.fresh(*origin(vip)).strategy.decides_beforehand
    checkpoint = written(tmp_path, vip, ahead=2 if decides else 0)
    whole = read_state(checkpoint / STATE_FILE)
    chance = random.Random(str(changes))
    refused = 0
    for attempt in range(200 if changes["predictor"] == "drifting_gp" else 60):
        damaged = damage(whole, chance)
        write_state(checkpoint / STATE_FILE, damaged)
        try:
            state = RunState.of_checkpoint(checkpoint, *origin(vip))
        except StateError:
            refused += 1
            continue
        try:
            train(state, range(STEPS + 1, STEPS + 5))
        except Exception as error:
            raise AssertionError(f"attempt {attempt} was restored, and then: {error!r}") from error
    assert refused > 20
    write_state(checkpoint / STATE_FILE, whole)
    train(RunState.of_checkpoint(checkpoint, *origin(vip)), range(STEPS + 1, STEPS + 5))
