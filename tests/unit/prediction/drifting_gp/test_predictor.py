import math
from dataclasses import replace

import pytest
import torch

from verl_vip.errors import ConfigError, InvalidInputError
from verl_vip.prediction.contract import Prompts
from verl_vip.prediction.drifting_gp import predictor as drifting_gp
from verl_vip.prediction.drifting_gp.fit import LEVEL_VARIANCE, Hyperparameters, laplace_mode
from verl_vip.prediction.drifting_gp.predictor import DriftingGaussianProcess
from verl_vip.prediction.logistic_normal import probability_moments
from verl_vip.prediction.registry import PREDICTORS, build_predictor


def unit(*size: int, generator: torch.Generator) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(*size, generator=generator), dim=-1)


def test_without_drift_it_agrees_with_the_dense_gaussian_process(monkeypatch):
    """All prompts, seen repeatedly or never, against the posterior over everything observed at once."""
    truth = Hyperparameters(
        lengthscale=0.8,
        neighbour_variance=2.0,
        linear_variance=1e-9,
        cluster_variance=1e-9,
        prompt_variance=1.0,
        visit_variance=1e-9,
        level_steps=1e6,
        neighbour_steps=1e6,
        prompt_steps=1e6,
    )
    monkeypatch.setattr(drifting_gp, "fit", lambda *_, **__: truth)
    monkeypatch.setattr(drifting_gp, "_LEADING_VARIANCES", (LEVEL_VARIANCE, 1e-8))
    generator = torch.Generator().manual_seed(0)
    points = unit(60, 6, generator=generator)
    x = points.double()
    kernel = LEVEL_VARIANCE + 2 * torch.exp(-torch.cdist(x, x).square() / (2 * 0.8**2)) + torch.eye(60).double()
    logits = torch.linalg.cholesky(kernel) @ torch.randn(60, generator=generator, dtype=torch.float64)
    prompts = Prompts(tuple(map(str, range(60))), points)
    predictor, rows, outcomes = DriftingGaussianProcess(), [], []
    for _ in range(8):
        batch = torch.randperm(50, generator=generator)[:20]
        won = torch.binomial(torch.full((20,), 8.0).double(), torch.sigmoid(logits[batch]), generator)
        predictor.observe(prompts.select(batch), won, torch.full((20,), 8))
        rows.append(batch)
        outcomes.append(won)
    seen, won = torch.cat(rows), torch.cat(outcomes)
    gram, trials = kernel[seen][:, seen], torch.full_like(won, 8.0)
    p = torch.sigmoid(laplace_mode(gram, won, trials, torch.zeros_like(won)))
    inner = torch.linalg.inv(gram + torch.diag(1 / (trials * p * (1 - p))))
    cross = kernel[:, seen]
    mean = cross @ (won - trials * p)
    variance = kernel.diagonal() - ((cross @ inner) * cross).sum(1)
    expected, expected_variance = probability_moments(mean, variance)
    prediction = predictor.predict(prompts)
    # What is left is the difference between Laplace's approximation and moment matching.
    torch.testing.assert_close(prediction.mean, expected, rtol=0, atol=0.05)
    torch.testing.assert_close(prediction.variance.sqrt(), expected_variance.sqrt(), rtol=0, atol=0.05)


class World:
    """Families that improve at their own pace, prompts that differ and wander."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        family = torch.randint(8, (320,), generator=self.generator)
        centres = unit(8, 32, generator=self.generator)
        points = centres[family] + 0.1 * torch.randn(320, 32, generator=self.generator)
        self.prompts = Prompts(tuple(f"p{i}" for i in range(320)), torch.nn.functional.normalize(points, dim=1))
        self.logits = -1 + 1.3 * self.normal(8)[family] + 0.8 * self.normal(320)
        self.pace = (0.08 * torch.rand(8, generator=self.generator).double())[family]

    def normal(self, size: int) -> torch.Tensor:
        return torch.randn(size, generator=self.generator, dtype=torch.float64)

    def epoch(self):
        for rows in torch.randperm(320, generator=self.generator).split(32):
            truth = torch.sigmoid(self.logits[rows])
            trials = torch.full((32,), 8)
            yield self.prompts.select(rows), truth, torch.binomial(trials.double(), truth, self.generator), trials
            self.logits += self.pace + 0.05 * self.normal(320)


def excess_log_loss(mean: torch.Tensor, truth: torch.Tensor) -> float:
    def loss(p: torch.Tensor) -> torch.Tensor:
        p = p.clamp(1e-3, 1 - 1e-3)
        return -(truth * p.log() + (1 - truth) * (1 - p).log()).mean()

    return float(loss(mean) - loss(truth))


@pytest.fixture(scope="module")
def contest():
    """Excess log losses, `[predictor][epoch]`, and the squared errors and variances of the drifting process."""
    names = [name for name in PREDICTORS if name != "oracle"]
    losses = {name: [0.0, 0.0, 0.0] for name in names}
    errors, variances = torch.zeros(3), torch.zeros(3)
    for seed in range(2):
        world, predictors = World(seed), {name: build_predictor(name) for name in names}
        for epoch in range(3):
            for prompts, truth, successes, trials in world.epoch():
                for name, predictor in predictors.items():
                    prediction = predictor.predict(prompts)
                    losses[name][epoch] += excess_log_loss(prediction.mean, truth) / 20
                    if name == "drifting_gp":
                        errors[epoch] += (prediction.mean - truth).square().mean()
                        variances[epoch] += prediction.variance.mean()
                    predictor.observe(prompts, successes, trials)
    return losses, errors, variances


def test_it_predicts_better_than_every_other_predictor_in_every_epoch(contest):
    losses, _, _ = contest
    default = losses["drifting_gp"]
    for name in losses.keys() - {"drifting_gp"}:
        assert all(a < 0.9 * b for a, b in zip(default, losses[name], strict=True)), (name, default, losses[name])


def test_its_uncertainty_is_of_the_size_of_its_errors(contest):
    _, errors, variances = contest
    assert ((errors / variances > 0.5) & (errors / variances < 1.6)).all(), errors / variances


def test_more_rollouts_make_it_surer(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    prompts = Prompts(("few", "many", "never"), unit(3, 16, generator=generator))
    monkeypatch.setattr(drifting_gp, "fit", lambda *_, **__: Hyperparameters())
    predictor = DriftingGaussianProcess()
    predictor.observe(prompts.select([0, 1]), torch.tensor([2.0, 32.0]), torch.tensor([4, 64]))
    few, many, never = predictor.predict(prompts).variance.tolist()
    assert many < 0.5 * few < 0.5 * never


def test_beliefs_fade_until_a_prompt_is_like_one_never_seen(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    points = unit(2, 16, generator=generator)
    prompts = Prompts(("seen", "other", "twin"), points[[0, 1, 0]])
    fast = Hyperparameters(cluster_variance=1e-9, level_steps=50.0, neighbour_steps=10.0, prompt_steps=10.0)
    monkeypatch.setattr(drifting_gp, "fit", lambda *_, **__: fast)
    predictor = DriftingGaussianProcess()
    predictor.observe(prompts.select([0, 1]), torch.tensor([0.0, 16.0]), torch.tensor([16, 16]))
    seen, _, twin = predictor.predict(prompts).mean.tolist()
    assert seen < 0.5 * twin
    for _ in range(80):
        predictor.observe(prompts.select([1]), torch.tensor([16.0]), torch.tensor([16]))
    prediction = predictor.predict(prompts)
    assert float(prediction.mean[0]) == pytest.approx(float(prediction.mean[2]), abs=1e-3)
    assert float(prediction.variance[0]) == pytest.approx(float(prediction.variance[2]), abs=1e-3)


def test_what_the_features_miss_fades_as_slowly_as_what_they_explain(monkeypatch):
    """The same belief a hundred steps later, whether there is a feature for the prompt or not."""
    generator = torch.Generator().manual_seed(0)
    prompts = Prompts(tuple(map(str, range(12))), unit(12, 8, generator=generator))
    slow = Hyperparameters(lengthscale=0.3, neighbour_variance=4.0, prompt_variance=0.01, level_steps=1e4)
    slow = replace(slow, linear_variance=1e-9, cluster_variance=1e-9, neighbour_steps=1e4, prompt_steps=5.0)
    monkeypatch.setattr(drifting_gp, "fit", lambda *_, **__: slow)
    means = []
    for features in (1, 12):
        predictor = DriftingGaussianProcess(features=features)
        predictor.observe(prompts, torch.tensor([0.0, 16.0]).repeat(6), torch.full((12,), 16))
        for _ in range(100):
            predictor.observe(prompts.select([0]), torch.tensor([8.0]), torch.tensor([16]))
        means.append(predictor.predict(prompts.select(range(1, 12))).mean)
    assert (means[1] - 0.5).abs().min() > 0.3
    torch.testing.assert_close(means[0], means[1], rtol=0, atol=0.03)


def error_in_the_middle(gain: float) -> tuple[float, float]:
    """Return the mean error of predictions between .2 and .8 in the fourth epoch, and the learned weight of signal.

    Between two visits the logit of a prompt rises by `gain * 4 p (1 - p)`; nothing else moves, and embeddings tell
    nothing.
    """
    generator = torch.Generator().manual_seed(0)
    prompts = Prompts(tuple(map(str, range(240))), unit(240, 12, generator=generator))
    logits = 2 * torch.randn(240, generator=generator, dtype=torch.float64)
    predictor, errors = DriftingGaussianProcess(features=16), []
    for epoch in range(4):
        for rows in torch.randperm(240, generator=generator).split(24):
            truth, batch = torch.sigmoid(logits[rows]), prompts.select(rows)
            if epoch == 3:
                predicted = predictor.predict(batch).mean
                errors.append((predicted - truth)[(predicted > 0.2) & (predicted < 0.8)])
            trials = torch.full((24,), 8)
            predictor.observe(batch, torch.binomial(trials.double(), truth, generator), trials)
            logits[rows] += gain * 4 * truth * (1 - truth)
    return float(torch.cat(errors).mean()), predictor.metrics()["signal_drift"]


def test_prompts_with_both_outcomes_go_on_learning(monkeypatch):
    error, weight = error_in_the_middle(gain=1.0)
    # Ten steps lie between two visits, give or take: r (1 - r) is .086 then.
    assert 0.6 < 0.086 * weight < 1.2
    assert abs(error) < 0.04
    monkeypatch.setattr(drifting_gp, "_LEADING_VARIANCES", (LEVEL_VARIANCE, 1e-8))
    assert error_in_the_middle(gain=1.0)[0] < -0.1


def test_where_nothing_moves_nothing_is_taken_to_move():
    error, weight = error_in_the_middle(gain=0.0)
    assert abs(0.086 * weight) < 0.2
    assert abs(error) < 0.04


def test_everything_failing_is_no_obstacle():
    generator = torch.Generator().manual_seed(0)
    prompts = Prompts(tuple(map(str, range(24))), unit(24, 16, generator=generator))
    predictor = DriftingGaussianProcess()
    for _ in range(9):
        predictor.observe(prompts, torch.zeros(24), torch.full((24,), 8))
    prediction = predictor.predict(prompts)
    assert (prediction.mean < 0.03).all()
    assert all(math.isfinite(value) for value in predictor.metrics().values())


def test_fits_come_early_and_then_at_intervals():
    generator = torch.Generator().manual_seed(0)
    prompts = Prompts(tuple(map(str, range(8))), unit(8, 4, generator=generator))
    predictor, fitted = DriftingGaussianProcess(features=4, refit_every=6), []
    for step in range(1, 19):
        predictor.observe(prompts, torch.arange(8) % 5, torch.full((8,), 4))
        if predictor.metrics()["fit_seconds"] > 0:
            fitted.append(step)
    assert fitted == [1, 2, 4, 6, 12, 18]
    assert predictor.metrics()["features"] == 4


@pytest.mark.parametrize("settings", [{"features": 0}, {"refit_every": 0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        DriftingGaussianProcess(**settings)


def test_other_embeddings_are_refused():
    predictor = DriftingGaussianProcess()
    predictor.observe(Prompts(("a", "b"), torch.eye(2)), torch.tensor([1.0, 2.0]), torch.tensor([4, 4]))
    with pytest.raises(InvalidInputError, match="2 wide"):
        predictor.predict(Prompts(("a",), torch.ones(1, 3)))


def test_the_joint_distribution_of_logits_has_the_moments_of_the_prediction():
    generator = torch.Generator().manual_seed(0)
    centres = unit(2, 6, generator=generator)
    points = torch.nn.functional.normalize(centres.repeat(10, 1) + 0.05 * unit(20, 6, generator=generator), dim=1)
    prompts = Prompts(tuple(map(str, range(20))), points)
    predictor = DriftingGaussianProcess()
    predictor.observe(prompts.select(range(8)), torch.full((8,), 2.0), torch.full((8,), 4))
    found = predictor.predict(prompts)
    factors = found.logits
    drawn = torch.randn(factors.loadings.shape[1], 4000, generator=generator, dtype=torch.float64)
    logits = factors.mean[:, None] + factors.loadings @ drawn
    logits += factors.own_variance.sqrt()[:, None] * torch.randn(20, 4000, generator=generator, dtype=torch.float64)
    p = torch.sigmoid(logits)
    torch.testing.assert_close(p.mean(1), found.mean.double(), atol=0.02, rtol=0)
    torch.testing.assert_close(p.var(1), found.variance.double(), atol=0.01, rtol=0)
    # Two prompts that were never sampled: alike ones move together.
    correlation = torch.corrcoef(logits[[16, 18, 17]])
    assert float(correlation[0, 1]) > float(correlation[0, 2]) + 0.05
