import numpy as np
import pytest

from verl_vip.allocation import DrGrpo, Rloo, allocate
from verl_vip.allocation.paper_rounding import paper_counts
from verl_vip.allocation.relaxed import relaxed_counts

P = [0.01, 0.1, 0.2, 0.4, 0.5, 0.8, 0.95, 0.99]


@pytest.mark.parametrize(
    ("objective", "counts"),
    [("rloo", [4, 7, 10, 11, 12, 10, 6, 4]), ("dr_grpo", [4, 7, 10, 12, 12, 10, 5, 4])],
)
def test_golden_values(objective, counts):
    assert allocate(P, 64, lower=4, upper=12, objective=objective, method="paper").tolist() == counts


@pytest.mark.parametrize("make", [Rloo, DrGrpo])
@pytest.mark.parametrize("seed", range(10))
def test_is_algorithm_2_step_for_step(make, seed, unit_greedy):
    rng = np.random.default_rng(seed)
    p = rng.beta(0.3, 0.7, 64)
    objective, budget = make(p * (1 - p)), int(rng.integers(3 * 64, 32 * 64))
    relaxed, _ = relaxed_counts(objective, budget, 3, 32)
    floors = np.floor(relaxed + 1e-9).astype(np.int64)
    expected = unit_greedy(objective, budget, floors, 32)
    np.testing.assert_array_equal(paper_counts(objective, budget, 3, 32), expected)


def test_floors_can_lie_above_the_optimum(dynamic_program):
    # Hill's apportionment may give a prompt less than its quota rounded down: here the last one, because five
    # hard prompts all sit above their rounding point.
    p = np.array([0.0077] * 5 + [0.5])
    objective, budget, lower, upper = Rloo(p * (1 - p)), 36, 3, 24
    paper, exact = (allocate(p, budget, lower=lower, upper=upper, method=m).numpy() for m in ("paper", "exact"))
    relaxed, _ = relaxed_counts(objective, budget, lower, upper)
    assert relaxed[-1] == pytest.approx(17.00758504)
    assert paper.tolist() == [4, 4, 4, 4, 3, 17]
    assert exact.tolist() == [4, 4, 4, 4, 4, 16]
    best = dynamic_program(objective, budget, lower, upper)
    assert objective.value(exact).sum() == pytest.approx(best, rel=1e-12)
    assert objective.value(paper).sum() > 1.007 * best


def test_needs_no_rounding_at_integer_optima():
    # sqrt(a) = 1, 2, 3 and lambda = 1/4 give n = 3, 5, 7 exactly.
    counts = allocate(None, 15, lower=2, upper=16, weight=[1.0, 4.0, 9.0], method="paper")
    assert counts.tolist() == [3, 5, 7]
