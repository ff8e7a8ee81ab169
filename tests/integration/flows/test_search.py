"""What is tried next."""

import math

from verl_vip.flows.search import best_by_hypervolume, first_in_grid
from verl_vip.flows.sweep_space import Design, Point

GRID = [Design(strategy, budget) for strategy in ("bad", "good") for budget in (4, 6, 8, 12, 16, 24, 32)]


def result(design) -> Point:
    accuracy = 0.2 + (0.5 if design.strategy == "good" else 0.02) * (1 - math.exp(-design.budget / 10))
    wobble = 0.005
    return Point(design, (accuracy - wobble, accuracy, accuracy + wobble), 100)


def test_the_grid_goes_in_order():
    assert first_in_grid(GRID[3:], [], [], 0) == GRID[3]


def test_corners_first_then_where_there_is_most_to_gain():
    seen: list[Point] = []
    for turn in range(6):
        tried = {point.design for point in seen}
        candidates = [design for design in GRID if design not in tried]
        design = best_by_hypervolume(candidates, seen, [], turn)
        assert design in candidates
        seen.append(result(design))
    corners = {(point.design.strategy, point.design.budget) for point in seen[:4]}
    assert corners == {("bad", 4), ("bad", 32), ("good", 4), ("good", 32)}
    # The other strategy is worse for every budget, which its corners show.
    assert [point.design.strategy for point in seen[4:]] == ["good"] * 2


def test_what_is_being_tried_is_not_proposed_again():
    seen = [result(GRID[k]) for k in (0, 6, 7, 13)]
    first = best_by_hypervolume(GRID[8:13], seen, [], 0)
    assert first == best_by_hypervolume(GRID[8:13], seen, [], 0)
    left = [design for design in GRID[8:13] if design != first]
    assert best_by_hypervolume(left, seen, [first], 0) in left
