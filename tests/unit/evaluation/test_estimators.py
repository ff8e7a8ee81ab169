"""pass@k and maj@k against every subset there is."""

from itertools import combinations
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_vip.errors import InvalidInputError
from verl_vip.evaluation.estimators import Vote, majority_at_k, pass_at_k


@pytest.mark.parametrize(
    ("n", "c", "k", "value"),
    [
        (32, 1, 32, 1.0),
        (32, 2, 32, 1.0),
        (32, 1, 16, 0.5),
        (64, 1, 32, 0.5),
        (10, 3, 1, 0.3),
        (5, 2, 2, 7 / 10),
        (4, 0, 4, 0.0),
        (4, 1, 4, 1.0),
        (200, 1, 100, 0.5),
        (16, 8, 2, 1 - 28 / 120),
    ],
)
def test_golden_values_of_pass_at_k(n, c, k, value):
    assert pass_at_k(n, c, k) == pytest.approx(value, abs=1e-15)


@given(st.data())
def test_pass_at_k_is_the_share_of_subsets_with_a_right_sample(data):
    n = data.draw(st.integers(1, 9))
    c = data.draw(st.integers(0, n))
    k = data.draw(st.integers(1, n))
    right = sum(any(member < c for member in subset) for subset in combinations(range(n), k))
    assert pass_at_k(n, c, k) == right / comb(n, k)


@given(st.integers(1, 2000), st.data())
def test_pass_at_k_is_monotone_and_keeps_its_precision(n, data):
    c = data.draw(st.integers(0, n))
    k = data.draw(st.integers(1, n))
    value = pass_at_k(n, c, k)
    assert 0 <= value <= 1
    assert pass_at_k(n, c, 1) == c / n
    assert c == 0 or value >= pass_at_k(n, c - 1, k)
    assert k == 1 or value >= pass_at_k(n, c, k - 1)
    # One right sample is in the subset with probability k/n; a float formula loses this where k/n is small.
    assert pass_at_k(n, 1, k) == pytest.approx(k / n, rel=1e-15)


@pytest.mark.parametrize(("n", "c", "k"), [(4, 5, 1), (4, -1, 1), (4, 1, 0), (4, 1, 5), (0, 0, 1)])
def test_pass_at_k_refuses_what_is_impossible(n, c, k):
    with pytest.raises(InvalidInputError):
        pass_at_k(n, c, k)


def by_enumeration(votes, k):
    """Every subset of k samples votes; ties are shared, silence is wrong."""
    shares = {}
    for answer in {vote.answer for vote in votes} - {None}:
        mine = [vote.correct for vote in votes if vote.answer == answer]
        shares[answer] = sum(mine) / len(mine)
    total = 0.0
    subsets = list(combinations(votes, k))
    for subset in subsets:
        counts = {}
        for vote in subset:
            if vote.answer is not None:
                counts[vote.answer] = counts.get(vote.answer, 0) + 1
        winners = [answer for answer, count in counts.items() if count == max(counts.values())]
        total += sum(shares[answer] for answer in winners) / len(winners) if winners else 0.0
    return total / len(subsets)


VOTES = st.lists(
    st.builds(Vote, st.sampled_from([None, "1", "2", "3", "4"]), st.booleans()),
    min_size=1,
    max_size=9,
)


@given(VOTES, st.data())
def test_majority_at_k_is_the_mean_over_all_subsets(votes, data):
    k = data.draw(st.integers(1, len(votes)))
    assert majority_at_k(votes, k) == pytest.approx(by_enumeration(votes, k), abs=1e-12)


def test_majority_at_one_is_the_mean_and_at_n_is_the_vote():
    votes = [Vote("33", True)] * 3 + [Vote("7", False)] * 2 + [Vote(None, False)]
    assert majority_at_k(votes, 1) == pytest.approx(3 / 6)
    assert majority_at_k(votes, 6) == pytest.approx(1.0)
    tied = [Vote("33", True), Vote("7", False)]
    assert majority_at_k(tied, 2) == pytest.approx(0.5)


def test_majority_at_k_of_many_samples_stays_a_probability():
    votes = [Vote(str(k), False) for k in range(900)] + [Vote("right", True)] * 100
    assert 0.999 < majority_at_k(votes, 512) <= 1.0


@pytest.mark.parametrize("k", [0, 3])
def test_majority_refuses_more_votes_than_samples(k):
    with pytest.raises(InvalidInputError):
        majority_at_k([Vote("1", True), Vote("2", False)], k)


@pytest.mark.filterwarnings("ignore")  # importing verl warns of every engine that is absent
def test_verls_best_at_k_is_not_pass_at_k():
    from verl.trainer.ppo.metric_utils import process_validation_metrics

    def best(n, c, k):
        accuracies = [1.0] * c + [0.0] * (n - c)
        found = process_validation_metrics(["aime"] * n, ["problem"] * n, {"acc": accuracies})
        return found["aime"]["acc"][f"best@{k}/mean"]

    # verl draws k samples with replacement, and so misses right ones that are there.
    for n, c, k, unbiased in ((32, 1, 32, 1.0), (32, 2, 32, 1.0), (32, 1, 16, 0.5), (64, 1, 32, 0.5)):
        assert pass_at_k(n, c, k) == pytest.approx(unbiased)
        assert best(n, c, k) == pytest.approx(1 - (1 - c / n) ** k, abs=0.05)
        assert best(n, c, k) < unbiased - 0.05
