"""Variance of one rollout's gradient under each baseline, on the policies of the learning benchmark.

    python -m benchmarks.learning.gradient_noise

For prompts of the tuning task set, answers are sampled, and the score (the gradient of the log probability) of each
distinct answer is computed. With a baseline b, the gradient (r - b) s of one rollout has variance `a` around its
prompt's gradient. The gradients of prompts have variance `V` around their mean. A step of C rollouts on different
prompts has variance (V + a) / C. It takes some minutes on one core.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.learning.arms import TrainingArm
from benchmarks.learning.benches import BENCHES, RESULTS
from benchmarks.learning.loop import Run, RunPlan
from benchmarks.learning.policy import Policy
from benchmarks.learning.rollouts import log_probability, sample
from benchmarks.learning.update import Estimator
from benchmarks.learning.world import TaskWorld, load_world
from verl_vip.advantages.predicted_baseline import least_variance_baseline

PROMPTS, ANSWERS = 72, 100
#: Rollouts of training before the second half of the figures.
ROLLOUTS = 2_048
EDGES = (0.0, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 0.999)


@dataclass(frozen=True)
class Answers:
    """The distinct answers among samples of one prompt.

    Attributes:
        size: `A`, the squared norm of each answer's score.
        share: `A`, the frequency of each answer.
        reward: `A`, 0 or 1.
        gradient: `P`, estimated from all answers with their mean reward as baseline.
    """

    size: Tensor
    share: Tensor
    reward: Tensor
    gradient: Tensor

    @property
    def success(self) -> Tensor:
        """The share of right answers."""
        return (self.share * self.reward).sum()

    def second_moment(self, baseline: Tensor) -> float:
        """Return the mean squared norm of one rollout's gradient."""
        return float((self.share * self.size * (self.reward - baseline).square()).sum())

    @property
    def squared_gradient(self) -> float:
        """The squared norm of the gradient, corrected for the noise of `ANSWERS` answers."""
        return (float(self.gradient.square().sum()) - self.second_moment(self.success) / ANSWERS) / (1 - 1 / ANSWERS)

    def noise(self, baseline: Tensor) -> float:
        """Return the summed variance of one rollout's gradient."""
        return self.second_moment(baseline) - self.squared_gradient

    @property
    def best(self) -> Tensor:
        """The baseline of least variance, E[|s|^2 r] / E[|s|^2]."""
        weight = self.share * self.size
        return (weight * self.reward).sum() / weight.sum().clamp_min(1e-12)


def answers_of(policy: Policy, world: TaskWorld, generator: torch.Generator, given: int = 0) -> list[Answers]:
    """Sample answers to prompts, and compute the score of each distinct one after its first `given` tokens."""
    prompts = world.train.select(torch.randperm(len(world.prompts), generator=generator)[:PROMPTS])
    drawn = sample(policy, prompts, torch.full((PROMPTS,), ANSWERS), generator)
    found = []
    for prompt in range(PROMPTS):
        rows = (drawn.prompt == prompt).nonzero()[:, 0]
        _, which, counts = torch.unique(drawn.tokens[rows], dim=0, return_inverse=True, return_counts=True)
        first = torch.stack([rows[which == k][0] for k in range(len(counts))])
        share, reward = counts / ANSWERS, drawn.rewards[first].float()
        success = (share * reward).sum()
        size, gradient = torch.zeros(len(first)), torch.zeros(sum(weight.numel() for weight in policy.parameters()))
        for k, row in enumerate(first.tolist()):
            for weight in policy.parameters():
                weight.grad = None
            one = slice(row, row + 1)
            log_p = log_probability(policy, prompts, drawn.prompt[one], drawn.tokens[one], drawn.lengths[one], given)
            log_p.sum().backward()
            score = torch.cat([weight.grad.flatten() for weight in policy.parameters()])
            size[k] = score.square().sum()
            gradient += share[k] * (reward[k] - success) * score
        found.append(Answers(size, share, reward, gradient))
    return found


def judge(found: list[Answers]) -> dict[str, object]:
    """Return `V`, the mean `a` under each baseline, and the best baseline in bins of p."""
    success = torch.stack([each.success for each in found])
    gradients = torch.stack([each.gradient for each in found])
    # The variance between prompts includes the noise of each prompt's gradient, which is subtracted.
    between = float(gradients.var(0).sum()) - sum(each.noise(each.success) for each in found) / len(found) / ANSWERS
    baselines = {"p": success, "0": torch.zeros_like(success), "p(1-p)/(1+p)": least_variance_baseline(success, 1.0)}
    for coupling in (0.3, 0.5, 0.65, 0.8):
        baselines[f"coupling {coupling}"] = least_variance_baseline(success, coupling)
    baselines["best of each prompt"] = torch.stack([each.best for each in found])
    noise = {
        name: sum(each.noise(b) for each, b in zip(found, values, strict=True)) / len(found)
        for name, values in baselines.items()
    }
    bins = []
    for low, high in zip(EDGES, (*EDGES[1:], 1.0), strict=True):
        there = (success >= low) & (success < high)
        if there.any():
            means = {name: round(float(values[there].mean()), 3) for name, values in baselines.items()}
            bins.append({"p_from": low, "prompts": int(there.sum()), **means})
    return {"V": between, "a": noise, "score_sizes": _score_sizes(found), "baselines": bins}


def _score_sizes(found: list[Answers]) -> dict[str, float]:
    """Return the mean squared norm of the scores of right and of wrong answers, on prompts with both."""
    mixed = [each for each in found if 0 < each.success < 1]
    right = [(each.share * each.size * each.reward).sum() / each.success for each in mixed]
    wrong = [(each.share * each.size * (1 - each.reward)).sum() / (1 - each.success) for each in mixed]
    return {"right": float(sum(right)) / len(mixed), "wrong": float(sum(wrong)) / len(mixed)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--cache", type=Path, default=Path("runs/learning"), help="folder for base models and embeddings"
    )
    parser.add_argument("--bench", choices=sorted(BENCHES), default="working")
    options = parser.parse_args()
    torch.set_num_threads(1)
    bench = BENCHES[options.bench]
    world = load_world(options.cache, bench.tuning_set)
    arm = TrainingArm("uniform", estimator=Estimator("rloo"), prompts=8, rollouts=32)
    run = Run(RunPlan(arm, bench.tuning_set, 5e-4, 0, ROLLOUTS, ROLLOUTS, 1.0), world)
    trained = f"after {ROLLOUTS:,} rollouts of RLOO"
    parts = {"base model": 0, trained: 0}
    if world.train.free:
        parts = {"base model": 0, "base model, without the free letters": world.train.free, trained: 0}
    result = {}
    for name, given in parts.items():
        if name == trained:
            run.train()
        result[name] = judge(answers_of(run.policy, world, torch.Generator().manual_seed(0), given))
        print(name, json.dumps(result[name], indent=1))
    (RESULTS / f"{bench.files}/gradient_noise.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
