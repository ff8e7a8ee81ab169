"""Chooses the design that a sweep tries next.

`grid` goes through all of them. `botorch` chooses designs that can still improve the front of accuracy against
rollouts, by the logarithm of the noisy expected hypervolume improvement (qLogNEHVI; Daulton et al., arXiv 2105.08195,
and Ament et al., arXiv 2310.20708). Accuracy is modelled as a Gaussian process over designs; the cost is known.
"""

from collections.abc import Callable, Collection, Sequence

import torch

from verl_vip.flows.parameters import Search
from verl_vip.flows.sweep_space import Design, Point

Proposal = Callable[[Sequence[Design], Sequence[Point], Collection[Design], int], Design]

_MC_SAMPLES = 128


def first_in_grid(candidates: Sequence[Design], _seen: object, _pending: object, _seed: int) -> Design:
    """Return the next design in the order of the grid."""
    return candidates[0]


def best_by_hypervolume(
    candidates: Sequence[Design], seen: Sequence[Point], pending: Collection[Design], seed: int
) -> Design:
    """Return the candidate with the greatest expected gain in hypervolume.

    The least and the greatest budget of each strategy are tried first.

    Args:
        candidates: Designs not tried yet, at least one.
        seen: Designs with results.
        pending: Designs that are being tried.
        seed: Seed of the Monte Carlo samples.
    """
    tried = {point.design for point in seen} | set(pending)
    everything = sorted({*candidates, *tried})
    for strategy in dict.fromkeys(design.strategy for design in everything):
        of_it = [design for design in everything if design.strategy == strategy]
        for corner in (of_it[0], of_it[-1]):
            if corner not in tried:
                return corner
    if len(seen) < 2:
        return candidates[len(candidates) // 2]
    return _by_hypervolume(candidates, seen, [*pending], everything, seed)


PROPOSALS: dict[Search, Proposal] = {"grid": first_in_grid, "botorch": best_by_hypervolume}


def _by_hypervolume(
    candidates: Sequence[Design],
    seen: Sequence[Point],
    pending: Sequence[Design],
    everything: Sequence[Design],
    seed: int,
) -> Design:
    from botorch import fit_gpytorch_mll
    from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
    from botorch.models import SingleTaskGP
    from botorch.models.deterministic import GenericDeterministicModel
    from botorch.models.model import ModelList
    from botorch.models.transforms import Standardize
    from botorch.sampling.get_sampler import get_sampler
    from botorch.utils.sampling import manual_seed
    from gpytorch.mlls import ExactMarginalLogLikelihood

    strategies = sorted({design.strategy for design in everything})
    greatest = max(design.budget for design in everything)
    least = min(design.budget for design in everything)

    def features(designs: Sequence[Design]) -> torch.Tensor:
        """Return the budget on a logarithmic scale in [0, 1], and one column for each strategy."""
        span = torch.log(torch.tensor(max(greatest / least, 1.0 + 1e-9), dtype=torch.float64))
        budget = torch.log(torch.tensor([design.budget / least for design in designs], dtype=torch.float64)) / span
        which = [[float(design.strategy == name) for name in strategies] for design in designs]
        return torch.cat([budget[:, None], torch.tensor(which, dtype=torch.float64)], dim=1)

    def saved(x: torch.Tensor) -> torch.Tensor:
        return -torch.exp(x[..., :1] * torch.log(torch.tensor(greatest / least, dtype=x.dtype))) * least / greatest

    with manual_seed(seed):
        x = features([point.design for point in seen])
        y = torch.tensor([[point.accuracy] for point in seen], dtype=torch.float64)
        accuracy = SingleTaskGP(x, y, torch.full_like(y, _noise(seen)), outcome_transform=Standardize(m=1))
        fit_gpytorch_mll(ExactMarginalLogLikelihood(accuracy.likelihood, accuracy))
        model = ModelList(accuracy, GenericDeterministicModel(saved, num_outputs=1))
        gain = qLogNoisyExpectedHypervolumeImprovement(
            model=model,
            ref_point=[float(y.min()) - 0.1 * float(y.max() - y.min()) - 1e-3, -1.1],
            X_baseline=x,
            X_pending=features(pending) if pending else None,
            sampler=get_sampler(model.posterior(x), torch.Size([_MC_SAMPLES]), seed=seed),
            prune_baseline=True,
            cache_root=False,  # a deterministic model has no root to cache
        )
        with torch.no_grad():
            gains = gain(features(candidates)[:, None, :])
    return candidates[int(gains.argmax())]


def _noise(seen: Sequence[Point]) -> float:
    """Return the variance of a design's mean accuracy: over seeds if there are several, otherwise over problems."""
    several = [torch.tensor(point.accuracies, dtype=torch.float64) for point in seen if len(point.accuracies) > 1]
    if several:
        count = sum(len(values) for values in several)
        pooled = sum(float(((values - values.mean()) ** 2).sum()) for values in several) / (count - len(several))
        return max(pooled / (count / len(several)), 1e-6)
    return max(sum(p.accuracy * (1 - p.accuracy) / p.problems for p in seen) / len(seen), 1e-6)
