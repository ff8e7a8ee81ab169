"""The learning benchmark's loop: the guard of the budget leaves what is trained as it is, and stops what breaks it."""

import pytest
import torch

from benchmarks.learning.arms import TrainingArm
from benchmarks.learning.loop import Run, RunPlan
from benchmarks.learning.policy import Policy
from benchmarks.learning.rollouts import PromptTokens, SampledAnswers, log_probability, sample
from benchmarks.learning.update import Estimator, coefficients
from benchmarks.learning.world import TaskWorld
from verl_vip.errors import IntegrationError
from verl_vip.prediction.contract import Prompts
from verl_vip.prediction.registry import build_predictor
from verl_vip.simulation.prompt_stream import PromptStream
from verl_vip.strategies.registry import build_strategy

PAD, END = 0, 1
LENGTH = 64
ARMS = [
    TrainingArm("even", "uniform", estimator=Estimator("reinforce"), prompts=4, rollouts=16),
    TrainingArm("drawn", "prioritized", estimator=Estimator("predicted_baseline"), prompts=4, rollouts=4,
        strategy_settings={"correction": 1.0}),
    TrainingArm("in rounds", "reinforce_ada", prompts=4, rollouts=32, strategy_settings={"round_size": 4, "kept": 2}),
    TrainingArm("weighed", "dynamic_pruning", prompts=4, rollouts=16, lower=2),
]  # fmt: skip


@pytest.fixture(scope="module")
def world(model_folder):
    """Twelve prompts; the right answer begins with the letter that the model writes most often."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(2, 7, (12, 3), generator=generator)
    policy = Policy.load(model_folder)
    with torch.no_grad():
        answers = policy.logits(policy.hidden(tokens))[:, -1, 2:].argmax(dim=1, keepdim=True) + 2
    train = PromptTokens(tokens, torch.full((12,), 3), answers, torch.full((12,), 1), PAD, END, trailing=1)
    prompts = Prompts(tuple(map(str, range(12))), torch.randn(12, 4, generator=generator))
    return TaskWorld(model_folder, train, prompts, train, [("only", 1)] * 12)


def job(arm):
    return RunPlan(arm, "tiny", 1e-2, seed=3, max_rollouts=LENGTH, evaluate_every=LENGTH, stop_at=1.0)


def train_without_the_guard(arm, world):
    """Drive the strategy's own generator; return the trained weights and what was sampled in each step."""
    policy, generator = world.policy(), torch.Generator().manual_seed(3)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-2, weight_decay=0.01, foreach=True)
    stream = PromptStream(12, 3)
    strategy = build_strategy(arm.strategy, arm.objective, **arm.strategy_settings)
    predictor = build_predictor(arm.predictor, **arm.predictor_settings)
    sampled = []
    while sum(sampled) < LENGTH:
        rows = stream.take(round(strategy.pool_ratio * arm.prompts))
        prompts, tokens = world.prompts.select(rows), world.train.select(rows)
        prediction = predictor.predict(prompts)
        rounds = strategy.rounds(prompts, prediction, arm.budget)
        counts, parts, selection = next(rounds), [], None
        while selection is None:
            parts.append(sample(policy, tokens, counts, generator))
            try:
                counts = rounds.send(torch.split(parts[-1].rewards, counts.tolist()))
            except StopIteration as stop:
                selection = stop.value
        found = SampledAnswers.join(parts)
        trials = torch.bincount(found.prompt, minlength=len(rows))
        outcomes = torch.split(found.rewards, trials.tolist())
        factor = coefficients(outcomes, prediction, selection, arm.estimator)
        used = factor.nonzero()[:, 0]
        if len(used):
            log_p = log_probability(policy, tokens, found.prompt[used], found.tokens[used], found.lengths[used])
            optimizer.zero_grad()
            (-(factor[used].float() * log_p).sum()).backward()
            torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
            optimizer.step()
        seen = trials.nonzero()[:, 0]
        wins = torch.stack([rewards.sum() for rewards in outcomes])
        predictor.observe(prompts.select(seen), wins[seen], trials[seen])
        sampled.append(len(found.rewards))
    return torch.nn.utils.parameters_to_vector(policy.parameters()), sampled


@pytest.mark.parametrize("arm", ARMS, ids=lambda arm: arm.name)
def test_the_guard_leaves_what_is_trained_as_it_is(arm, world):
    run = Run(job(arm), world)
    first = torch.nn.utils.parameters_to_vector(run.policy.parameters())
    curve = run.train()
    trained = torch.nn.utils.parameters_to_vector(run.policy.parameters())
    wanted, sampled = train_without_the_guard(arm, world)
    assert torch.equal(trained, wanted)
    assert not torch.equal(trained, first)
    assert (curve[-1].steps, curve[-1].rollouts) == (len(sampled), sum(sampled))


def test_a_strategy_that_breaks_the_budget_trains_nothing(world, tmp_path, monkeypatch):
    (tmp_path / "overspending.py").write_text(
        "import torch\n"
        "from verl_vip.strategies import Selection, Stateless\n"
        "class Overspending(Stateless):\n"
        "    def rounds(self, prompts, prediction, budget):\n"
        "        yield torch.full((len(prompts),), budget.total)\n"
        "        return Selection()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    run = Run(job(TrainingArm("over", "overspending:Overspending", prompts=4, rollouts=16)), world)
    with pytest.raises(IntegrationError, match=r"requested 64 rollouts over 4 prompts, .* but the budget is 16"):
        run.train()
    assert run.rewards == []
