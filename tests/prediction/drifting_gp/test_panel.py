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
    records = panel.records()
    assert len(records.prompt) == 10 * _VISITS
    assert records.time[records.prompt == 3].tolist() == [2, 3, 4, 5]
    assert records.successes[records.prompt == 3].tolist() == [2, 3, 4, 0]
    assert records.embeddings[records.prompt == 3].unique().tolist() == [3.0]


def test_memory_is_bounded_and_members_stay_members():
    panel = Panel()
    for time in range(60):
        start = 100 * (time % 20)
        visit(panel, range(start, start + 100), time)
        assert len(panel.records().time) <= _CAPACITY
    records = panel.records()
    # Three epochs have passed, and every member was met in each.
    assert len(records.time) > _CAPACITY / 4
    assert (torch.bincount(records.prompt) == 3).all()


def test_a_saved_panel_goes_on_as_before():
    one = Panel()
    for time in range(8):
        visit(one, range(100 * time, 100 * time + 100), time)
    two = Panel.from_state(one.state_dict())
    for panel in (one, two):
        visit(panel, range(300), 8)
    assert torch.equal(one.records().time, two.records().time)
    assert torch.equal(one.records().embeddings, two.records().embeddings)
