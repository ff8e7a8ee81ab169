import pytest
import torch

from verl_vip.errors import StateError
from verl_vip.prediction.contract import Prompts
from verl_vip.prediction.drifting_gp.clusters import Clusters
from verl_vip.prediction.drifting_gp.predictor import DriftingGaussianProcess


def families(count: int, members: int, deviation: float = 0.02, seed: int = 0) -> torch.Tensor:
    """Prompts of one family after those of another, close together."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.nn.functional.normalize(torch.randn(count, 24, generator=generator), dim=1)
    noise = deviation * torch.randn(count * members, 24, generator=generator)
    return centres.repeat_interleave(members, 0) + noise


def test_prompts_of_a_family_are_together_and_of_two_are_apart():
    points = families(8, 20)
    together = Clusters.fit(points).kernel(points, points)
    family = torch.arange(160) // 20
    same = family[:, None] == family
    assert together[same].mean() > 0.6
    assert together[~same].mean() < 0.2
    torch.testing.assert_close(together.diagonal(), torch.ones(160))


def test_the_kernel_counts_partitions_that_agree():
    points = families(6, 12)
    clusters, new = Clusters.fit(points), families(6, 3, seed=1)
    expected = (clusters.cells(points)[:, None] == clusters.cells(new)).float().mean(2)
    torch.testing.assert_close(clusters.kernel(points, new), expected)
    assert torch.linalg.eigvalsh(clusters.kernel(points, points)).min() > -1e-5


def test_cells_are_those_of_the_nearest_centre():
    points = families(6, 12)
    clusters = Clusters.fit(points)
    distance = torch.cdist(points @ clusters.basis, clusters.centres)
    for row, size in enumerate(clusters.sizes.tolist()):
        assert torch.equal(clusters.cells(points)[:, row], distance[row, :, :size].argmin(1))


def test_few_or_equal_prompts_are_not_partitioned():
    assert Clusters.fit(torch.randn(15, 4)) is None
    assert Clusters.fit(torch.ones(100, 4)) is None
    assert Clusters.fit(families(4, 4)).num_prompts == 16


def test_nothing_is_together_with_nothing():
    clusters = Clusters.fit(families(4, 8))
    assert clusters.kernel(torch.zeros(0, 24), families(4, 8)).shape == (0, 32)
    assert clusters.kernel(families(4, 8), torch.zeros(0, 24)).shape == (32, 0)


def test_it_is_restored_or_refused():
    points = families(4, 8)
    state = Clusters.fit(points).state_dict()
    assert torch.equal(Clusters.from_state(state).kernel(points, points), Clusters.fit(points).kernel(points, points))
    for name, wrong in (("basis", torch.ones(24, 3)), ("centres", torch.ones(8, 4)), ("sizes", torch.tensor([99] * 8))):
        with pytest.raises(StateError):
            Clusters.from_state({**state, name: wrong})


def test_outcomes_of_a_family_tell_of_its_other_prompts_within_few_rollouts():
    """Half of the families always solved and half never, one rollout a prompt, no prompt twice."""
    generator = torch.Generator().manual_seed(0)
    points = families(16, 40, deviation=0.1)
    solved = (torch.arange(640) // 40) % 2
    order = torch.randperm(640, generator=generator)
    prompts = Prompts(tuple(map(str, range(640))), points)
    predictor = DriftingGaussianProcess()
    for batch in order[:96].split(16):
        predictor.observe(prompts.select(batch), solved[batch].double(), torch.ones(16, dtype=torch.long))
    rest = order[96:]
    mean = predictor.predict(prompts.select(rest)).mean
    assert float((mean - solved[rest]).square().mean()) < 0.04
