"""How noisy one rollout's gradient is under each baseline, on the policies that the learning benchmark trains.

    python -m benchmarks.learning.gradient_noise

For prompts of the tuning task set, answers are sampled and the score (the gradient of the log probability) of each
different one is computed. With a baseline b, the gradient (r - b) s of one rollout varies around its prompt's by `a`;
prompts' gradients vary around their mean by `V`. A step of C rollouts on different prompts has variance (V + a) / C.
One core, about a minute.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.learning.arms import Arm
from benchmarks.learning.loop import Job, Run
from benchmarks.learning.policy import Policy
from benchmarks.learning.rollouts import log_probability, sample
from benchmarks.learning.update import Estimator
from benchmarks.learning.world import World, load_world
from verl_vip.advantages.predicted_baseline import least_variance_baseline

PROMPTS, ANSWERS = 72, 100
EDGES = (0.0, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 0.999)
RESULT = Path(__file__).resolve().parent.parent / "results" / "learning_gradient_noise.json"


@dataclass(frozen=True)
class Answers:
    """The different answers to one prompt: scores `A x P`, how often each came, and their 0/1 rewards."""

    scores: Tensor
    share: Tensor
    reward: Tensor

    @property
    def success(self) -> Tensor:
        """The share of right answers."""
        return (self.share * self.reward).sum()

    @property
    def gradient(self) -> Tensor:
        """The `P` gradient of the success probability."""
        return ((self.share * (self.reward - self.success))[:, None] * self.scores).sum(0)

    def noise(self, baseline: Tensor) -> float:
        """Return the summed variance of one rollout's gradient."""
        size = self.scores.square().sum(1)
        second = (self.share * size * (self.reward - baseline).square()).sum()
        return float(second - self.gradient.square().sum())

    @property
    def best(self) -> Tensor:
        """The baseline of least noise, E[|s|^2 r] / E[|s|^2]."""
        weight = self.share * self.scores.square().sum(1)
        return (weight * self.reward).sum() / weight.sum().clamp_min(1e-12)


def answers_of(policy: Policy, world: World, generator: torch.Generator) -> list[Answers]:
    """Sample answers to some prompts, and compute the score of each different one."""
    prompts = world.train.select(torch.randperm(len(world.prompts), generator=generator)[:PROMPTS])
    drawn = sample(policy, prompts, torch.full((PROMPTS,), ANSWERS), generator)
    found = []
    for prompt in range(PROMPTS):
        rows = (drawn.prompt == prompt).nonzero()[:, 0]
        _, which, counts = torch.unique(drawn.tokens[rows], dim=0, return_inverse=True, return_counts=True)
        first = torch.stack([rows[which == k][0] for k in range(len(counts))])
        scores = []
        for row in first:
            for weight in policy.parameters():
                weight.grad = None
            one = slice(int(row), int(row) + 1)
            log_p = log_probability(policy, prompts, drawn.prompt[one], drawn.tokens[one], drawn.lengths[one])
            log_p.sum().backward()
            scores.append(torch.cat([weight.grad.flatten() for weight in policy.parameters()]))
        found.append(Answers(torch.stack(scores), counts / ANSWERS, drawn.rewards[first].float()))
    return found


def judge(found: list[Answers]) -> dict[str, object]:
    """Return `V`, the mean `a` under each baseline, and the best baseline in bins of p."""
    success = torch.stack([each.success for each in found])
    gradients = torch.stack([each.gradient for each in found])
    between = float(gradients.var(0).sum())
    baselines = {"p": success, "0": torch.zeros_like(success), "p(1-p)/(1+p)": least_variance_baseline(success, 1.0)}
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
    return {"V": between, "a": noise, "baselines": bins}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path("runs/learning"), help="base models and embeddings")
    options = parser.parse_args()
    torch.set_num_threads(1)
    world = load_world(options.cache, "tuning")
    arm = Arm("uniform", estimator=Estimator("rloo"), prompts=8, rollouts=32)
    run = Run(Job(arm, "tuning", 5e-4, 0, 2048, 2048, 1.0), world)
    result = {}
    for name, trained in (("base model", False), ("after 2,048 rollouts of RLOO", True)):
        if trained:
            run.train()
        result[name] = judge(answers_of(run.policy, world, torch.Generator().manual_seed(0)))
        print(name, json.dumps(result[name], indent=1))
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
