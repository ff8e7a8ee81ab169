import torch

from verl_vip.prediction.contract import Prompts
from verl_vip.prediction.drifting_gp.panel import _CAPACITY, _VISITS, Panel
from verl_vip.prediction.observations import pool


def visit(panel: Panel, numbers: range, time: int) -> None:
    prompts = Prompts(tuple(f"q{i}" for i in numbers), torch.tensor([[float(i)] for i in numbers]))
    trials = torch.full((len(numbers),), 4)
    panel.add(pool(prompts, torch.full((len(numbers),), float(time % 5)), trials), time)


def test_all_visits_to_members_are_remembered_up_to_the_last_few():
    panel = Panel()
    for time in range(6):
        visit(panel, range(10), time)
    visits = panel.visits()
    assert len(visits.prompt) == 10 * _VISITS
    assert visits.time[visits.prompt == 3].tolist() == [2, 3, 4, 5]
    assert visits.successes[visits.prompt == 3].tolist() == [2, 3, 4, 0]
    assert visits.embeddings[visits.prompt == 3].unique().tolist() == [3.0]


def test_memory_is_bounded_and_members_stay_members():
    panel = Panel()
    for time in range(60):
        start = 100 * (time % 20)
        visit(panel, range(start, start + 100), time)
        assert len(panel.visits().time) <= _CAPACITY
    visits = panel.visits()
    # Three epochs have passed, and every member was met in each.
    assert len(visits.time) > _CAPACITY / 4
    assert (torch.bincount(visits.prompt) == 3).all()


def test_a_saved_panel_goes_on_as_before():
    one = Panel()
    for time in range(8):
        visit(one, range(100 * time, 100 * time + 100), time)
    two = Panel.from_state(one.state_dict())
    for panel in (one, two):
        visit(panel, range(300), 8)
    assert torch.equal(one.visits().time, two.visits().time)
    assert torch.equal(one.visits().embeddings, two.visits().embeddings)
