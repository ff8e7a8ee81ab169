"""What every predictor promises, whichever it is."""

import io
from dataclasses import replace

import pytest
import torch

from verl_vip.errors import InvalidInputError, StateError
from verl_vip.prediction.baselines.oracle import Oracle
from verl_vip.prediction.contract import Covariates, Prediction, Predictor, Prompts
from verl_vip.prediction.registry import PREDICTORS, build_predictor

NAMES = sorted(PREDICTORS)
POOL = 40
WIDTH = 6


def pool_of_prompts() -> Prompts:
    points = torch.randn(POOL, WIDTH, generator=torch.Generator().manual_seed(0))
    return Prompts(tuple(f"q{i}" for i in range(POOL)), torch.nn.functional.normalize(points, dim=1))


def fresh(name: str) -> Predictor:
    predictor = build_predictor(name)
    if isinstance(predictor, Oracle):
        predictor.tell(pool_of_prompts().ids, torch.linspace(0, 1, POOL))
    return predictor


def step(predictor: Predictor, seed: int, size: int = 12) -> None:
    generator = torch.Generator().manual_seed(seed)
    prompts = pool_of_prompts().select(torch.randperm(POOL, generator=generator)[:size])
    trials = torch.randint(1, 9, (size,), generator=generator)
    rate = torch.rand(size, generator=generator)
    predictor.observe(prompts, torch.round(rate * trials), trials)


def trained(name: str, steps: int = 4) -> Predictor:
    predictor = fresh(name)
    for seed in range(steps):
        step(predictor, seed)
    return predictor


def through_disk(state: dict) -> dict:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def assert_same(left: Prediction, right: Prediction) -> None:
    assert torch.equal(left.mean, right.mean)
    assert torch.equal(left.variance, right.variance)


@pytest.mark.parametrize("name", NAMES)
def test_a_prediction_is_a_distribution_over_probabilities(name):
    for predictor in (fresh(name), trained(name)):
        prediction = predictor.predict(pool_of_prompts())
        mean, variance = prediction.mean, prediction.variance
        assert isinstance(predictor, Predictor)
        assert mean.shape == (POOL,)
        assert ((mean >= 0) & (mean <= 1)).all()
        # No distribution on [0, 1] with this mean has a larger variance.
        assert ((variance >= 0) & (variance <= mean * (1 - mean) + 1e-12)).all()


@pytest.mark.parametrize("name", NAMES)
def test_predicting_changes_nothing(name):
    predictor = trained(name)
    first = predictor.predict(pool_of_prompts())
    predictor.predict(pool_of_prompts().select([3, 3, 1]))
    assert_same(first, predictor.predict(pool_of_prompts()))


@pytest.mark.parametrize("name", NAMES)
def test_a_prediction_does_not_depend_on_its_batch(name):
    predictor = trained(name)
    whole = predictor.predict(pool_of_prompts()).mean
    part = predictor.predict(pool_of_prompts().select([7, 2, 2, 30])).mean
    torch.testing.assert_close(part, whole[[7, 2, 2, 30]], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("steps", [0, 1, 5])
def test_a_restored_predictor_continues_bit_for_bit(name, steps):
    original = trained(name, steps)
    restored = build_predictor(name)
    restored.load_state_dict(through_disk(original.state_dict()))
    assert_same(original.predict(pool_of_prompts()), restored.predict(pool_of_prompts()))
    for seed in range(100, 104):
        step(original, seed)
        step(restored, seed)
        assert_same(original.predict(pool_of_prompts()), restored.predict(pool_of_prompts()))


@pytest.mark.parametrize("name", NAMES)
def test_a_state_is_a_copy(name):
    predictor = trained(name)
    state = predictor.state_dict()
    before = predictor.predict(pool_of_prompts())
    step(predictor, 50)
    restored = build_predictor(name)
    restored.load_state_dict(state)
    step(restored, 51)
    again = build_predictor(name)
    again.load_state_dict(state)
    assert_same(before, again.predict(pool_of_prompts()))


@pytest.mark.parametrize("name", NAMES)
def test_foreign_states_are_refused(name):
    predictor = fresh(name)
    other = "ridge" if name != "ridge" else "last_seen"
    state = predictor.state_dict()
    with pytest.raises(StateError, match=rf"state of predictor '{other}'"):
        predictor.load_state_dict(build_predictor(other).state_dict())
    with pytest.raises(StateError, match="version 99"):
        predictor.load_state_dict({**state, "version": 99})
    with pytest.raises(StateError, match="extra=1"):
        predictor.load_state_dict({**state, "settings": {**state["settings"], "extra": 1}})
    with pytest.raises(StateError, match="lacks kind"):
        predictor.load_state_dict({})
    if state["values"]:
        with pytest.raises(StateError, match="incomplete"):
            predictor.load_state_dict({**state, "values": {}})


#: The keys of each predictor's saved values at version 6. When they change, raise `state.VERSION` and list the new
#: keys.
LAYOUT = {
    "beta_table": "table.columns=a,b table.ids table.values",
    "drifting_gp": """effects.columns= effects.variance features.factor features.kernel.centre
        features.kernel.cluster_share
        features.kernel.clusters.basis
        features.kernel.clusters.centres features.kernel.clusters.num_prompts features.kernel.clusters.sizes
        features.kernel.lengthscale features.kernel.linear_share features.kernel.radius features.points
        filter.covariance filter.displacement filter.mean hyperparameters.cluster_variance
        hyperparameters.lengthscale hyperparameters.level_steps hyperparameters.linear_variance
        hyperparameters.neighbour_steps hyperparameters.neighbour_variance hyperparameters.prompt_steps
        hyperparameters.prompt_variance hyperparameters.visit_variance panel.covariates panel.embeddings panel.share
        panel.visits prior.cluster_variance prior.lengthscale prior.level_steps prior.linear_variance
        prior.neighbour_steps prior.neighbour_variance prior.prompt_steps prior.prompt_variance
        prior.visit_variance step table.columns=offset,gain,variance,step,displacement,signal table.ids
        table.values variance_ratio.bernoulli variance_ratio.observed
        variance_ratio.table.columns=observed,bernoulli variance_ratio.table.ids variance_ratio.table.values""",
    "gaussian_process": "embeddings lengthscale table.columns=mean,alpha table.ids table.values",
    "last_seen": "last_mean table.columns=rate table.ids table.values",
    "moving_average": "steps",
    "oracle": "table.columns=probability table.ids table.values",
    "ridge": "coefficients intercept",
}


def layout(values: dict, prefix: str = "") -> set[str]:
    """Names of nested mappings and columns of tables; a mapping by prompt id counts as one value."""
    found = set()
    for name, value in values.items():
        if isinstance(value, dict) and not value.keys() & set(pool_of_prompts().ids):
            found |= layout(value, f"{prefix}{name}.")
        else:
            found.add(f"{prefix}{name}={','.join(value)}" if name == "columns" else prefix + name)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_other_keys_come_with_another_version(name):
    state = trained(name).state_dict()
    assert (state["version"], layout(state["values"])) == (6, set(LAYOUT[name].split()))


@pytest.mark.parametrize("name", NAMES)
def test_the_state_of_an_earlier_release_is_refused_by_its_version(name):
    """Whatever its values are: they are not looked at."""
    for values in ({}, {"table": None}, trained(name).state_dict()["values"]):
        with pytest.raises(StateError, match=r"has version 5, and this release reads version 6; continue with the rel"):
            fresh(name).load_state_dict({**trained(name).state_dict(), "version": 5, "values": values})


@pytest.mark.parametrize("name", NAMES)
def test_repeated_ids_are_pooled_and_empty_rows_ignored(name):
    prompts = pool_of_prompts()
    one, two = fresh(name), fresh(name)
    one.observe(prompts.select([0, 1, 0, 2]), torch.tensor([1.0, 2, 3, 0]), torch.tensor([2, 4, 6, 0]))
    two.observe(prompts.select([0, 1]), torch.tensor([4.0, 2]), torch.tensor([8, 4]))
    assert_same(one.predict(prompts), two.predict(prompts))
    before = two.predict(prompts)
    two.observe(prompts.select([5]), torch.tensor([0.0]), torch.tensor([0]))
    torch.testing.assert_close(two.predict(prompts).mean, before.mean, rtol=0, atol=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_impossible_outcomes_are_refused(name):
    predictor, prompts = fresh(name), pool_of_prompts().select([0, 1])
    with pytest.raises(InvalidInputError, match=r"row 1 has 5\.0 successes in 4 trials"):
        predictor.observe(prompts, torch.tensor([1.0, 5.0]), torch.tensor([4, 4]))
    with pytest.raises(InvalidInputError, match="row 0 has nan"):
        predictor.observe(prompts, torch.tensor([float("nan"), 0.0]), torch.tensor([4, 4]))
    with pytest.raises(InvalidInputError, match="one number for each"):
        predictor.observe(prompts, torch.tensor([1.0]), torch.tensor([4]))
    with pytest.raises(InvalidInputError, match="integer tensor"):
        predictor.observe(prompts, torch.tensor([1.0, 0.0]), torch.tensor([4.0, 4.0]))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("successes", "trials", "message"),
    [
        ([1.0, 0.0], torch.tensor([4, 4]), "successes must be a tensor; got list"),
        (torch.tensor([1.0, 0.0]).numpy(), torch.tensor([4, 4]), "successes must be a tensor; got ndarray"),
        (torch.tensor([1.0, 0.0]), [4, 4], "trials must be a tensor; got list"),
        (torch.tensor([1j, 0j]), torch.tensor([4, 4]), "real numbers; got torch.complex64"),
        (torch.tensor([1.0, 0.0]), torch.tensor([True, True]), "integer tensor"),
    ],
)
def test_outcomes_of_other_types_are_refused(name, successes, trials, message):
    with pytest.raises(InvalidInputError, match=message):
        fresh(name).observe(pool_of_prompts().select([0, 1]), successes, trials)


@pytest.mark.parametrize("name", [name for name in NAMES if name in ("drifting_gp", "gaussian_process", "ridge")])
def test_embeddings_of_another_width_are_refused_and_nothing_is_learned(name):
    predictor = trained(name)
    before = through_disk(predictor.state_dict())
    wider = Prompts(("new", "q0"), torch.eye(WIDTH + 1)[:2])
    for call in (predictor.predict, lambda prompts: predictor.observe(prompts, torch.zeros(2), torch.tensor([4, 4]))):
        with pytest.raises(InvalidInputError, match=f"{WIDTH} wide, as those observed before; got width {WIDTH + 1}"):
            call(wider)
    restored = build_predictor(name)
    restored.load_state_dict(before)
    step(predictor, 60)
    step(restored, 60)
    assert_same(predictor.predict(pool_of_prompts()), restored.predict(pool_of_prompts()))


def damaged(state: dict) -> list[dict]:
    """Return states in which one value, or one part of a value, is missing or of another type or shape."""
    found = []
    for name, value in state["values"].items():
        others = ["x", None] if value is not None else ["x"]
        if isinstance(value, dict) and name != "settings":
            others += [{k: v for k, v in value.items() if k != part} for part in value]
            others += [{**value, k: v[:-1]} for k, v in value.items() if isinstance(v, torch.Tensor) and len(v)]
            others += [
                {**value, k: v * float("nan")} for k, v in value.items() if isinstance(v, torch.Tensor) and len(v)
            ]
        found += [{**state, "values": {**state["values"], name: other}} for other in others]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_damaged_states_are_refused_and_leave_the_predictor_as_it_was(name):
    predictor = trained(name)
    before = predictor.predict(pool_of_prompts())
    states = damaged(trained(name, 3).state_dict())
    assert len(states) > 1
    for state in [*states, None, [1]]:
        with pytest.raises(StateError):
            predictor.load_state_dict(state)
        assert_same(before, predictor.predict(pool_of_prompts()))


@pytest.mark.parametrize("name", NAMES)
def test_hostile_embeddings_give_finite_predictions(name):
    points = pool_of_prompts().embeddings
    kinds = [points.half(), points[:, :1], points * 1e10, points * 1e-20, points.T.clone().T, points * 0]
    for embeddings in kinds:
        prompts = Prompts(pool_of_prompts().ids, embeddings)
        predictor = fresh(name)
        for _ in range(3):
            predictor.observe(prompts, torch.full((POOL,), 64.0), torch.full((POOL,), 64))
        prediction = predictor.predict(prompts)
        assert prediction.mean.isfinite().all()
        assert prediction.reward_variance.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_metrics_are_plain_numbers(name):
    assert all(type(value) is float for value in trained(name).metrics().values())


def test_covariates_follow_their_prompts():
    values = torch.arange(POOL, dtype=torch.float64)[:, None]
    prompts = replace(pool_of_prompts(), covariates=Covariates(values, ("known",)))
    chosen = prompts.select([3, 3, 1])
    assert chosen.covariates.values.tolist() == [[3], [3], [1]]
    assert chosen.looks_like(prompts.select(torch.tensor([3, 3, 1])))
    other = replace(prompts, covariates=Covariates(values + 1, ("known",)))
    assert not chosen.looks_like(other.select([3, 3, 1]))
    assert not chosen.looks_like(pool_of_prompts().select([3, 3, 1]))


def test_covariates_check_their_shape():
    with pytest.raises(InvalidInputError, match="c = 2 columns"):
        Covariates(torch.zeros(3, 1), ("a", "b"))
    with pytest.raises(InvalidInputError, match="must be finite; those of 'b'"):
        Covariates(torch.tensor([[0.0, float("nan")]]), ("a", "b"))
    with pytest.raises(InvalidInputError, match="40 prompts need one row of covariates each; got 3 rows"):
        replace(pool_of_prompts(), covariates=Covariates(torch.zeros(3, 1), ("a",)))


@pytest.mark.parametrize("name", NAMES)
def test_covariates_change_a_prediction_only_where_they_are_used(name):
    generator = torch.Generator().manual_seed(0)
    known = torch.randn(POOL, 1, generator=generator, dtype=torch.float64)
    prompts = replace(pool_of_prompts(), covariates=Covariates(known, ("known",)))
    trials = torch.full((POOL,), 8)
    successes = torch.binomial(trials.double(), torch.sigmoid(3 * known[:, 0]), generator)
    with_them, without = fresh(name), fresh(name)
    with_them.observe(prompts, successes, trials)
    without.observe(pool_of_prompts(), successes, trials)
    same = torch.equal(with_them.predict(prompts).mean, without.predict(pool_of_prompts()).mean)
    assert same is not getattr(with_them, "uses_covariates", False)


def test_prompts_check_their_shape():
    with pytest.raises(InvalidInputError, match="B = 2 rows"):
        Prompts(("a", "b"), torch.zeros(3, 4))
    with pytest.raises(InvalidInputError, match="must be a tensor; got list"):
        Prompts(("a",), [[0.0]])
    with pytest.raises(InvalidInputError, match="prompt 'b' has length nan"):
        Prompts(("a", "b"), torch.tensor([[0.0], [float("nan")]]))
    with pytest.raises(InvalidInputError, match="prompt 'a' has length inf"):
        Prompts(("a",), torch.full((1, 3), 1e30))
    with pytest.raises(InvalidInputError, match="one length"):
        Prediction(torch.zeros(3), torch.zeros(2))


def test_rewards_that_vary_less_than_0_or_1_have_less_variance():
    prediction = Prediction(torch.tensor([0.5, 0.5]), torch.tensor([0.0, 0.05]), torch.tensor([1.0, 0.1]))
    torch.testing.assert_close(prediction.reward_variance, torch.tensor([0.25, 0.02]))


def test_reward_variance_is_less_than_that_of_the_mean():
    prediction = Prediction(torch.tensor([0.5, 0.5, 0.1]), torch.tensor([0.0, 0.25, 0.02]))
    torch.testing.assert_close(prediction.reward_variance, torch.tensor([0.25, 0.0, 0.07]))
