"""Samples and scores answers, and computes their log probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.learning.policy import Policy


@dataclass(frozen=True)
class PromptTokens:
    """Tokenised prompts, and the tokens of the right answers with their end token or stop.

    Attributes:
        tokens: `Q x P` int64, padded on the right.
        lengths: `Q` int64.
        answers: `Q x A` int64, padded on the right with `pad`.
        answer_lengths: `Q` int64.
        pad: Padding token.
        end: End token.
        free: Number of free tokens before the answer.
        trailing: Number of free tokens after the answer; any text after the answer's stop is accepted.
    """

    tokens: Tensor
    lengths: Tensor
    answers: Tensor
    answer_lengths: Tensor
    pad: int
    end: int
    free: int = 0
    trailing: int = 0

    @property
    def longest(self) -> int:
        """The largest length of a right answer, with its free tokens and its end token."""
        return self.free + self.answers.shape[1]

    def select(self, rows: Tensor) -> "PromptTokens":
        """Return the prompts of the given rows."""
        parts = (part[rows] for part in (self.tokens, self.lengths, self.answers, self.answer_lengths))
        return PromptTokens(*parts, self.pad, self.end, self.free, self.trailing)


@dataclass(frozen=True)
class SampledAnswers:
    """Sampled answers, prompt by prompt.

    Attributes:
        prompt: `N` int64, the prompt's row.
        tokens: `N x R` int64 with the end token, padding after it.
        lengths: `N` int64, the lengths of `tokens` with the end token.
        rewards: `N` float64, 1 for exactly the right answer after the free tokens.
    """

    prompt: Tensor
    tokens: Tensor
    lengths: Tensor
    rewards: Tensor

    @classmethod
    def join(cls, rounds: "Sequence[SampledAnswers]") -> "SampledAnswers":
        """Join the rounds of a step, prompt by prompt, in the order of sampling."""
        prompt = torch.cat([part.prompt for part in rounds])
        order = prompt.argsort(stable=True)
        tokens, lengths, rewards = (
            torch.cat([getattr(part, name) for part in rounds])[order] for name in ("tokens", "lengths", "rewards")
        )
        return cls(prompt[order], tokens, lengths, rewards)


def sample(policy: Policy, prompts: PromptTokens, counts: Tensor, generator: torch.Generator) -> SampledAnswers:
    """Sample `counts[q]` answers to prompt q at temperature 1, at most two tokens longer than the right one."""
    prompt, tokens, lengths = _write(policy, prompts, counts, generator, prompts.longest + prompts.trailing + 2)
    same = tokens[:, prompts.free : prompts.longest] == prompts.answers[prompt]
    if prompts.trailing:
        right = (same | (torch.arange(same.shape[1]) >= prompts.answer_lengths[prompt, None])).all(1)
    else:
        right = same.all(1) & (lengths == prompts.free + prompts.answer_lengths[prompt])
    return SampledAnswers(prompt, tokens, lengths, right.to(torch.float64))


@torch.no_grad()
def _write(
    policy: Policy, prompts: PromptTokens, counts: Tensor, generator: torch.Generator, limit: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Generate `counts[q]` answers of at most `limit` tokens to prompt q; each prompt is read only once.

    Returns:
        The prompt, the tokens and the length of each answer.
    """
    served = counts.nonzero()[:, 0]
    some = prompts.select(served)
    cache = policy.new_cache(some.lengths, int(some.lengths.max()) + limit)
    hidden = policy.hidden(some.tokens[:, : int(some.lengths.max())], cache)
    last = hidden[torch.arange(len(served)), some.lengths - 1]
    copies = torch.repeat_interleave(torch.arange(len(served)), counts[served])
    logits = policy.logits(last)[copies]
    for parts in (cache.keys, cache.values):
        parts[:] = [part[copies] for part in parts]
    cache.lengths = cache.lengths[copies]
    tokens = torch.full((len(copies), limit), prompts.pad)
    lengths = torch.zeros(len(copies), dtype=torch.int64)
    running = torch.ones(len(copies), dtype=torch.bool)
    for place in range(limit):
        noise = torch.empty_like(logits).exponential_(generator=generator)
        drawn = (logits.softmax(1) / noise).argmax(1)
        tokens[:, place] = torch.where(running, drawn, prompts.pad)
        lengths += running
        running &= drawn != prompts.end
        if place + 1 == limit or not running.any():
            break
        logits = policy.logits(policy.step(drawn, cache)[:, 0])
    return served[copies], tokens, lengths


def log_probability(
    policy: Policy, prompts: PromptTokens, rows: Tensor, answers: Tensor, lengths: Tensor, given: int = 0
) -> Tensor:
    """Return the log probability of each answer, given its prompt and its own first tokens.

    Args:
        policy: The model.
        prompts: `Q` prompts.
        rows: `N` int64, the prompt of each answer.
        answers: `N x R` int64, padded on the right.
        lengths: `N` int64, the lengths of the answers.
        given: Number of tokens of each answer that are conditioned on.
    """
    starts = prompts.lengths[rows]
    width = int(lengths.max())
    place = torch.arange(width)
    counted = place < lengths[:, None]
    room = torch.full((len(rows), int((starts + lengths).max())), prompts.pad)
    head = prompts.tokens[rows][:, : room.shape[1]]
    room[:, : head.shape[1]] = head
    at = starts[:, None] + place
    row = torch.arange(len(rows))[:, None].expand_as(at)
    room[row[counted], at[counted]] = answers[:, :width][counted]
    counted &= place >= given
    hidden = policy.hidden(room[:, :-1])[row[counted], at[counted] - 1]
    chosen = policy.logits(hidden).log_softmax(1).gather(1, answers[:, :width][counted][:, None])[:, 0]
    return torch.zeros(len(rows)).index_add(0, row[counted], chosen)


@torch.no_grad()
def success(policy: Policy, prompts: PromptTokens, samples: int = 1, seed: int = 0) -> Tensor:
    """Return the probability that a sampled answer is right, `Q` float64.

    Given the free tokens, only one answer is right, and its probability is exact. If there are free tokens, the result
    is the mean over `samples` draws of them. The same seed gives the same random numbers, whatever the policy.
    """
    rows = torch.arange(len(prompts.lengths))
    answers, lengths = prompts.answers, prompts.answer_lengths
    if prompts.free:
        counts, generator = torch.full_like(rows, samples), torch.Generator().manual_seed(seed)
        rows, letters, _ = _write(policy, prompts, counts, generator, prompts.free)
        ended = (letters == prompts.end).any(1)  # too early to be right
        answers = torch.cat([letters, answers[rows]], 1)
        lengths = prompts.free + lengths[rows]
    probability = log_probability(policy, prompts, rows, answers, lengths, prompts.free).exp().to(torch.float64)
    if prompts.free:
        probability[ended] = 0.0
    return probability.view(len(prompts.lengths), -1).mean(1)
