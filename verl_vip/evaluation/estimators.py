"""Unbiased estimates of pass@k and maj@k from n samples of a problem, computed exactly and without resampling."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from verl_vip.errors import InvalidInputError

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Vote:
    """The vote of one sample: its answer, or None without one, and whether the answer is correct."""

    answer: str | None
    correct: bool


def pass_at_k(n: int, c: int, k: int) -> float:
    """Return the probability that k of n samples, drawn without replacement, include a correct one.

    This is `1 - C(n-c, k) / C(n, k)`, the unbiased estimate of the probability that k new samples include a correct one
    (Chen et al. 2021, arXiv 2107.03374, eq. 1). It is computed in integers and rounded once. At k = n it only says
    whether any sample was correct, so choose n well above the largest k of interest.

    Args:
        n: Number of samples of the problem.
        c: Number of correct samples.
        k: Number of samples drawn, at most n.

    Raises:
        InvalidInputError: Unless 0 <= c <= n and 1 <= k <= n.
    """
    if not 0 <= c <= n:
        raise InvalidInputError(f"{c} correct samples out of {n} are impossible; c must be between 0 and n.")
    if not 1 <= k <= n:
        raise InvalidInputError(f"pass@{k} cannot be estimated from {n} samples; k must be between 1 and n.")
    subsets = comb(n, k)
    return (subsets - comb(n - c, k)) / subsets


def majority_at_k(votes: Sequence[Vote], k: int) -> float:
    """Return the probability that the most frequent answer of k samples, drawn without replacement, is correct.

    Samples without an answer do not vote. Ties are broken evenly, and k samples without any answer count as wrong. If
    the samples of an answer were not all judged alike, the answer counts with the share of correct ones.

    The draw has a multivariate hypergeometric distribution. This is the distribution of independent binomial draws from
    the samples of each answer, with any common probability, given that they sum to k. With the probability k/n nothing
    under- or overflows.

    Args:
        votes: The votes of the n samples of the problem.
        k: Number of samples that vote, between 1 and n.

    Raises:
        InvalidInputError: If k is out of range.
    """
    n = len(votes)
    if not 1 <= k <= n:
        raise InvalidInputError(f"maj@{k} cannot be estimated from {n} samples; k must be between 1 and n.")
    sizes = Counter(vote.answer for vote in votes)
    silent = sizes.pop(None, 0)
    right = Counter(vote.answer for vote in votes if vote.correct and vote.answer is not None)
    draws = {size: binom.pmf(np.arange(size + 1), size, k / n) for size in {silent, *sizes.values()}}
    total = sum(
        count / sizes[answer] * _wins(sizes[answer], list((sizes - Counter({answer: n})).values()), silent, draws, k)
        for answer, count in right.items()
    )
    return float(min(total / binom.pmf(k, n, k / n), 1.0))


def _wins(own: int, others: Sequence[int], silent: int, draws: Mapping[int, FloatArray], k: int) -> float:
    """Return the probability that k samples are drawn and an answer with `own` samples wins their vote, ties shared.

    `draws` has, for each number of samples, the probabilities of drawing 0, 1, ... of them.
    """
    won = 0.0
    for votes in range(1, min(own, k) + 1):
        rest = k - votes
        ways = _below_or_tied(others, draws, votes, rest)
        shares = ways @ (1.0 / np.arange(1, ways.shape[1] + 1))
        won += draws[own][votes] * np.convolve(shares, draws[silent])[rest]
    return won


def _below_or_tied(others: Sequence[int], draws: Mapping[int, FloatArray], most: int, rest: int) -> FloatArray:
    """Return an array whose entry [s, t] is the probability that the others get s votes, and t of them exactly `most`.

    None of them has more than `most` votes.
    """
    ties = min(sum(size >= most for size in others), rest // most)
    ways = np.zeros((rest + 1, ties + 1))
    ways[0, 0] = 1.0
    for size in others:
        fresh = np.zeros_like(ways)
        for got, probability in enumerate(draws[size][: min(most, rest + 1)]):
            fresh[got:] += probability * ways[: rest + 1 - got]
        if size >= most and ties:
            fresh[most:, 1:] += draws[size][most] * ways[: rest + 1 - most, :-1]
        ways = fresh
    return ways
