import pytest
import torch

from verl_vip.errors import InvalidInputError
from verl_vip.simulation.world import WorldSettings, make_world


def test_equal_seeds_give_equal_worlds():
    one, same, other = (make_world(WorldSettings(num_prompts=50), seed) for seed in (3, 3, 4))
    assert torch.equal(one.start_logits, same.start_logits)
    assert torch.equal(one.prompts.embeddings, same.prompts.embeddings)
    assert not torch.equal(one.start_logits, other.start_logits)


def test_directions_have_unit_length_and_families_are_close():
    world = make_world(WorldSettings(num_prompts=400), 0)
    torch.testing.assert_close(world.directions.norm(dim=1), torch.ones(400, dtype=torch.float64))
    likeness = world.directions @ world.directions.T
    related = world.families[:, None] == world.families
    assert likeness[related].mean() > likeness[~related].mean() + 0.3


def test_embeddings_tell_the_family_and_difficulty_follows_it():
    world = make_world(WorldSettings(num_prompts=600, own_spread=0.1, related_spread=0.1), 1)
    embeddings = world.prompts.embeddings
    distance = torch.cdist(embeddings, embeddings).fill_diagonal_(float("inf"))
    nearest = distance.argmin(1)
    assert (world.families[nearest] == world.families).double().mean() > 0.95
    within = (world.start_logits - world.start_logits[nearest]).abs().mean()
    assert within < 0.3 * world.start_logits.std()


def test_difficulty_has_the_spread_asked_for():
    settings = WorldSettings(num_prompts=4000, num_families=2000)
    logits = make_world(settings, 0).start_logits
    expected = (settings.family_spread**2 + settings.related_spread**2 + settings.own_spread**2) ** 0.5
    assert logits.mean() == pytest.approx(settings.mean_logit, abs=0.3)
    assert logits.std() == pytest.approx(expected, rel=0.25)


def test_difficulty_has_the_distribution_of_given_rates():
    rates = (0.01,) * 30 + (0.5,) * 40 + (0.97,) * 30
    plain, shaped = (make_world(WorldSettings(num_prompts=1000, rates=each), 0) for each in (None, rates))
    found = shaped.start_logits.sigmoid()
    shares = torch.stack([((found - rate).abs() < 1e-6).double().mean() for rate in (0.01, 0.5, 0.97)])
    torch.testing.assert_close(shares, torch.tensor([0.3, 0.4, 0.3]).double(), rtol=0, atol=0.02)
    order = plain.start_logits.argsort()
    assert (shaped.start_logits[order].diff() >= -1e-9).all()
    assert torch.equal(shaped.directions, plain.directions)


@pytest.mark.parametrize("rates", [(), (0.0, 0.5), (0.5, 1.0), (0.5, float("nan"))])
def test_rates_without_a_logit_are_refused(rates):
    with pytest.raises(InvalidInputError, match="above 0 and below 1"):
        WorldSettings(rates=rates)


def test_an_empty_world_is_refused():
    with pytest.raises(InvalidInputError, match="at least one prompt"):
        WorldSettings(num_prompts=0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_prompts", 1.5),
        ("num_families", 0),
        ("dimensions", True),
        ("family_share", -0.1),
        ("common_share", float("nan")),
        ("family_spread", -1.0),
        ("own_spread", float("inf")),
        ("embedding_noise", float("nan")),
        ("mean_logit", float("inf")),
    ],
)
def test_settings_without_meaning_are_refused(name, value):
    with pytest.raises(InvalidInputError, match=name if value else "at least one"):
        WorldSettings(**{name: value})
