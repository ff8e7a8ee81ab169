"""Synthetic run folders that look like real ones: prompts of mixed difficulty that are slowly learned."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from verl_vip.evaluation.benchmarks import load_benchmark
from verl_vip.evaluation.grading import make_grader
from verl_vip.evaluation.models import ModelSource
from verl_vip.evaluation.run import Evaluator, Task
from verl_vip.evaluation.sampling import Response, SamplingSettings
from verl_vip.records.records import RecordWriter, RunHeader, StepRecord, ValidationRecord, read_run

START = 1_800_000_000.0
FAMILIES = ("chain_sum", "basic_arithmetic", "letter_counting", "gcd")


def make_step(step: int = 1, **changes) -> StepRecord:
    """A hand-sized step of four prompts and a budget of 16 rollouts."""
    values = {
        "step": step,
        "wall_time": START + 10.0 * step,
        "strategy": "vip",
        "budget": 16,
        "ids": ["a", "b", "c", "d"],
        "labels": ["gcd", "gcd", "chain_sum", "chain_sum"],
        "requested": [2, 6, 6, 2],
        "observed": [2, 6, 6, 2],
        "predicted": [0.05, 0.4, 0.5, 0.95],
        "predicted_variance": [0.01, 0.02, 0.02, 0.0],
        "successes": [0.0, 3.0, 2.0, 2.0],
        "rollouts_total": 16 * step,
        "seconds": {"embed": 0.01, "predict": 0.02, "allocate": 0.001, "observe": 0.03},
    }
    return StepRecord(**{**values, **changes})


def make_header(**changes) -> RunHeader:
    values = {
        "started_at": START,
        "settings": {"vip": {"strategy": {"name": "vip", "lower": 2}}, "data": {"train_batch_size": 4}},
        "versions": {"verl": "0.9.1", "verl-vip": "0.1.0"},
        "prompts_per_step": 4,
        "budget": 16,
    }
    return RunHeader(**{**values, **changes})


def make_validation(step: int = 0, **changes) -> ValidationRecord:
    values = {
        "step": step,
        "wall_time": START + 10.0 * step + 1,
        "rollouts_total": 16 * step,
        "correct": {"gcd": 3.0, "chain_sum": 2.5},
        "count": {"gcd": 10, "chain_sum": 5},
    }
    return ValidationRecord(**{**values, **changes})


def counts_of(predicted: np.ndarray, budget: int, uniform: bool) -> np.ndarray:
    """Counts that sum to the budget: flat, or in proportion to sqrt(p(1-p)) above a floor of 2."""
    size = len(predicted)
    if uniform:
        return np.full(size, budget // size)
    share = np.sqrt(predicted * (1 - predicted))
    ideal = 2 + (budget - 2 * size) * share / share.sum()
    counts = np.floor(ideal).astype(int)
    counts[np.argsort(counts - ideal)[: budget - counts.sum()]] += 1
    return counts


def write_run(
    folder: Path,
    strategy: str = "vip",
    steps: int = 40,
    seed: int = 0,
    resume_at: int | None = None,
    per_prompt: int = 8,
    with_tokens: bool = True,
):
    """Write the records of one run and return its folder. More rollouts of a prompt teach more in a step."""
    rng = np.random.default_rng(seed)
    size, budget = 32, 32 * per_prompt
    base = rng.normal(-0.6, 1.6, size=200)
    family = rng.integers(len(FAMILIES), size=200)
    gain = {"uniform": 0.03, "vip": 0.045}.get(strategy, 0.037) * (per_prompt / 8) ** 0.5
    writer = RecordWriter(folder)
    settings = {
        "vip": {"strategy": {"name": strategy, "lower": 2, "upper": 32}, "predictor": {"kind": "gp"}},
        "data": {"train_batch_size": size, "seed": seed},
        "actor_rollout_ref.rollout.n": per_prompt,
        "trainer": {"total_training_steps": steps, "logger": ["console", "file"], "note": "<b>&</b>"},
    }
    header = make_header(settings=settings, prompts_per_step=size, budget=budget)
    writer.append(header)
    now = START + 30.0
    believed = np.full(200, 0.5)

    def validate(step: int) -> None:
        counts = dict.fromkeys(FAMILIES, 30)
        level = base + family * 0.3 + gain * step
        chance = [float(np.mean(1 / (1 + np.exp(-level[family == k])))) for k in range(len(FAMILIES))]
        correct = {name: float(rng.binomial(30, p)) for name, p in zip(FAMILIES, chance, strict=True)}
        writer.append(ValidationRecord(step, now, step * budget, correct, counts))

    validate(0)
    for step in range(1, steps + 1):
        if step - 1 == resume_at:
            now += 3600.0
            writer.append(
                make_header(
                    started_at=now,
                    settings=settings,
                    prompts_per_step=size,
                    budget=budget,
                    resumed_from=resume_at,
                )
            )
            now += 30.0
        rows = rng.choice(200, size=size, replace=False)
        truth = 1 / (1 + np.exp(-(base[rows] + family[rows] * 0.3 + gain * step)))
        counts = counts_of(believed[rows], budget, strategy == "uniform")
        successes = rng.binomial(counts, truth)
        now += 12.0 * (per_prompt / 8) + rng.normal(0, 0.5)
        writer.append(
            StepRecord(
                step=step,
                wall_time=now,
                strategy=strategy,
                budget=budget,
                ids=[f"{row:016x}" for row in rows],
                labels=[FAMILIES[k] for k in family[rows]],
                requested=counts.tolist(),
                observed=counts.tolist(),
                predicted=believed[rows].tolist(),
                predicted_variance=(0.1 * believed[rows] * (1 - believed[rows])).tolist(),
                successes=successes.astype(float).tolist(),
                rollouts_total=step * budget,
                seconds={
                    "embed": float(0.4 if step < 5 else 0.02),
                    "predict": 0.03,
                    "allocate": 0.002,
                    "observe": 0.05 + 0.003 * step,
                },
                tokens=(counts * 11 + successes).tolist() if with_tokens else None,
            )
        )
        believed[rows] = 0.4 * believed[rows] + 0.6 * (successes + 0.5) / (counts + 1)
        if step % 5 == 0:
            now += 8.0
            validate(step)
    return folder


class Recited:
    """A sampler that answers `What is k + k?` rightly in the first `right` of its samples of each problem."""

    def __init__(self, right: int) -> None:
        self.right = right

    def versions(self) -> dict[str, str]:
        return {"recited": "1"}

    def sample(self, model, requests, settings):
        asked: dict[str, int] = {}
        for request in requests:
            text = request.prompt[-1]["content"]
            k, seen = int(text.split()[2]), asked.get(text, 0)
            asked[text] = seen + 1
            yield [Response(request.key, f"\\boxed{{{2 * k if seen < self.right else 2 * k + 1}}}", "stop", 7, 9)]


def write_evaluations(output: Path, right: dict[str, int], n: int = 4) -> Path:
    """Evaluate models, each with its number of right samples of n, on three problems; returns the output folder."""
    problems = output.parent / "sums.jsonl"
    problems.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.dumps({"problem": f"What is {k} + {k}?", "answer": 2 * k}) for k in range(1, 4)]
    problems.write_text("\n".join(rows) + "\n")
    weights = output.parent / "weights"
    weights.mkdir(exist_ok=True)
    (weights / "config.json").write_text("{}")
    (weights / "model.safetensors").write_bytes(b"weights")
    for label, count in right.items():
        step = int(label.rpartition("-step")[2]) if "-step" in label else None
        model = ModelSource(label, weights, "huggingface", step, str(weights))
        task = Task(load_benchmark(str(problems)), make_grader("integer"))
        Evaluator(output, SamplingSettings(n=n), Recited(count), lambda source, folder: folder).run([model], [task])
    return output


@pytest.fixture(name="write_evaluations", scope="session")
def write_evaluations_fixture() -> Callable[..., Path]:
    return write_evaluations


@pytest.fixture(name="make_step", scope="session")
def make_step_fixture() -> Callable[..., StepRecord]:
    return make_step


@pytest.fixture(name="make_header", scope="session")
def make_header_fixture() -> Callable[..., RunHeader]:
    return make_header


@pytest.fixture(name="make_validation", scope="session")
def make_validation_fixture() -> Callable[..., ValidationRecord]:
    return make_validation


@pytest.fixture(name="write_run", scope="session")
def write_run_fixture() -> Callable[..., Path]:
    return write_run


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory) -> Path:
    """One finished run of forty steps that was resumed once."""
    return write_run(tmp_path_factory.mktemp("runs") / "vip-seed0", resume_at=20)


@pytest.fixture
def run_of(tmp_path):
    """Write a run with the given `vip` settings and accuracies in percent by rollouts; returns its records."""

    def write(name, strategy="vip", accuracies=None, seed=0, steps=1, other=None, **vip):
        writer = RecordWriter(tmp_path / name)
        settings = {"vip": {"strategy": strategy, **vip}, "data": {"seed": seed}, **(other or {})}
        writer.append(make_header(settings=settings))
        for step in range(1, steps + 1):
            writer.append(make_step(step, strategy=strategy))
        for rollouts, percent in (accuracies or {}).items():
            correct, count = {"gcd": percent}, {"gcd": 100}
            writer.append(make_validation(rollouts // 16, rollouts_total=rollouts, correct=correct, count=count))
        return read_run(tmp_path / name)

    return write
