import pytest
import torch

from verl_vip.errors import InvalidInputError
from verl_vip.simulation.learner import Learner, LearnerSettings
from verl_vip.simulation.update import Update
from verl_vip.simulation.world import WorldSettings, make_world

ROWS = torch.tensor([0])
WORLD = make_world(WorldSettings(num_prompts=300, num_families=10), 0)


def update(signal, noise):
    return Update(torch.tensor([signal]).double(), torch.tensor([noise]).double(), 1, torch.tensor([8]))


def test_success_starts_where_the_world_says():
    success = Learner(WORLD, LearnerSettings(), 0).success()
    torch.testing.assert_close(success, torch.sigmoid(WORLD.start_logits))


def test_signal_helps_a_prompt_and_its_neighbours_most():
    learner = Learner(WORLD, LearnerSettings(start_displacement=0.0), 0)
    before = torch.logit(learner.success())
    learner.learn(ROWS, update(0.2, 0.0))
    gain = torch.logit(learner.success()) - before
    assert gain.argmax() == 0
    assert float(gain[0]) == pytest.approx(LearnerSettings().learning_rate, rel=1e-6)
    torch.testing.assert_close(gain, gain[0] * (WORLD.directions @ WORLD.directions[0]), atol=1e-9, rtol=1e-6)


def test_more_noise_costs_more_success():
    final = []
    for noise in (0.0001, 0.01):
        learner = Learner(WORLD, LearnerSettings(), 0)
        rows = torch.arange(300)
        for _ in range(60):
            signal = learner.success() * (1 - learner.success())
            learner.learn(rows, Update(signal, torch.full((300,), 300 * noise).double(), 300, torch.full((300,), 8)))
        final.append(float(learner.success().mean()))
    assert final[0] > final[1] + 0.05


def test_no_signal_and_no_noise_change_nothing():
    learner = Learner(WORLD, LearnerSettings(), 0)
    before = learner.success()
    learner.learn(ROWS, update(0.0, 0.0))
    learner.learn(ROWS, Update(torch.zeros(1).double(), torch.zeros(1).double(), 0, torch.zeros(1).long()))
    assert torch.equal(learner.success(), before)


def test_rewards_are_drawn_at_the_success_probability():
    learner = Learner(WORLD, LearnerSettings(), 0)
    p = torch.tensor([0.0, 0.25, 1.0]).double()
    outcomes = learner.sample(p, torch.tensor([5, 4000, 7]))
    assert [len(values) for values in outcomes] == [5, 4000, 7]
    assert outcomes[0].sum() == 0
    assert outcomes[2].sum() == 7
    assert abs(float(outcomes[1].mean()) - 0.25) < 0.03


@pytest.mark.parametrize(
    ("name", "value"),
    [("learning_rate", -1.0), ("noise", float("nan")), ("fragility", float("inf")), ("fragile_dimensions", 0)],
)
def test_settings_without_meaning_are_refused(name, value):
    with pytest.raises(InvalidInputError, match=name):
        LearnerSettings(**{name: value})
