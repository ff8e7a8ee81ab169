import pytest
import torch

from verl_vip.errors import InvalidInputError
from verl_vip.prediction.drifting_gp.clusters import Clusters
from verl_vip.prediction.drifting_gp.features import NystromFeatures
from verl_vip.prediction.drifting_gp.kernel import Kernel


def points(count: int = 40, width: int = 5, seed: int = 0) -> torch.Tensor:
    return torch.nn.functional.normalize(
        torch.randn(count, width, generator=torch.Generator().manual_seed(seed)), dim=1
    )


def fresh(linear_share: float = 0.0) -> NystromFeatures:
    return NystromFeatures(Kernel.from_embeddings(points()).with_shape(0.5, linear_share, 0.0))


def exact(x: torch.Tensor, lengthscale: float) -> torch.Tensor:
    x = x.double()
    return torch.exp(-torch.cdist(x, x).square() / (2 * lengthscale**2))


def test_with_all_points_the_features_are_the_kernel():
    features = fresh()
    assert features.grow(points(), limit=100) == 40
    phi = features(points())
    torch.testing.assert_close(phi @ phi.T, exact(points(), 0.5), rtol=0, atol=3e-4)


def test_features_never_explain_more_than_the_kernel():
    features = fresh()
    features.grow(points(), limit=12)
    phi = features(points(200, seed=1))
    rest = exact(points(200, seed=1), 0.5) - phi @ phi.T
    assert torch.linalg.eigvalsh(rest).min() > -1e-4


def test_the_points_are_those_of_pivoted_cholesky():
    from linear_operator import to_linear_operator

    features = fresh()
    features.grow(points(), limit=9)
    _, pivots = to_linear_operator(exact(points(), 0.5)).pivoted_cholesky(rank=9, return_pivots=True)
    assert torch.equal(features.state_dict()["points"], points()[pivots[:9]])


def test_growing_leaves_earlier_features_alone():
    features = fresh()
    features.grow(points(), limit=10)
    before = features(points(20, seed=1))
    features.grow(points(seed=2), limit=25)
    torch.testing.assert_close(features(points(20, seed=1))[:, :10], before, rtol=0, atol=1e-6)
    assert len(features) == 25


def test_copies_are_not_taken_twice():
    features = fresh()
    assert features.grow(points(3).repeat(4, 1), limit=100) == 3
    assert features.grow(points(3), limit=100) == 0


def test_other_embeddings_are_refused():
    features = fresh()
    features.grow(points(), limit=3)
    with pytest.raises(InvalidInputError, match="5 wide"):
        features(torch.zeros(2, 4))


def test_the_linear_part_is_centred_and_of_variance_one():
    kernel, x = Kernel.from_embeddings(points() + 3).with_shape(0.5, 0.25, 0.0), (points() + 3).double()
    centred = (x - x.mean(0)) / (x - x.mean(0)).square().sum(1).mean().sqrt()
    expected = 0.75 * exact(points() + 3, 0.5) + 0.25 * centred @ centred.T
    found = kernel(points() + 3, points() + 3)
    torch.testing.assert_close(found, expected, rtol=0, atol=3e-5)
    torch.testing.assert_close(kernel.diagonal(points() + 3), found.diagonal(), rtol=0, atol=1e-5)
    assert float(centred.square().sum(1).mean()) == pytest.approx(1)


def test_the_cluster_part_is_the_share_of_partitions_that_agree():
    clusters = Clusters.fit(points())
    kernel = Kernel.from_embeddings(points()).with_clusters(clusters).with_shape(0.5, 0.2, 0.5)
    left, right = points(), points(7, seed=1)
    # What is not of clusters is 0.3 radial and 0.2 linear.
    expected = 0.5 * kernel.with_shape(0.5, 0.4, 0.0)(left, right) + 0.5 * clusters.kernel(left, right)
    torch.testing.assert_close(kernel(left, right), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(kernel.diagonal(left), kernel(left, left).diagonal(), rtol=0, atol=1e-5)


def test_a_kernel_survives_its_state():
    kernel = Kernel.from_embeddings(points()).with_clusters(Clusters.fit(points())).with_shape(0.5, 0.2, 0.5)
    restored = Kernel.from_state(kernel.state_dict())
    assert torch.equal(restored(points(), points()), kernel(points(), points()))


def test_equal_embeddings_make_no_trouble():
    features = NystromFeatures(Kernel.from_embeddings(torch.ones(4, 5)).with_shape(0.5, 0.5, 0.0))
    assert features.grow(torch.ones(4, 5), limit=3) == 1
    assert features(torch.ones(2, 5)).isfinite().all()


def test_a_new_kernel_keeps_the_function_at_the_inducing_points():
    features = fresh()
    features.grow(points(), limit=15)
    chosen = features.state_dict()["points"]
    old, weights = features(chosen), torch.randn(15, 1, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    basis = features.change_kernel(features.kernel.with_shape(0.8, 0.3, 0.0))
    new = features(chosen)
    # Up to the jitter, which the smoother kernel feels more.
    torch.testing.assert_close(new @ weights, old @ (basis @ weights), rtol=0, atol=0.05)
    torch.testing.assert_close(new @ new.T, features.kernel(chosen, chosen), rtol=0, atol=1e-3)


def test_a_linear_kernel_of_few_dimensions_can_be_refitted_with_many_points():
    features = fresh()
    features.grow(points(), limit=40)
    features.change_kernel(features.kernel.with_shape(5.0, 0.9, 0.0))
    phi = features(points(100, seed=1))
    assert (features.residual_variance(points(100, seed=1), phi) < 0.01).all()
