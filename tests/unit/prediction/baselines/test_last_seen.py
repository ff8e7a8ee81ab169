import torch

from verl_vip.prediction.baselines.last_seen import LastSeen
from verl_vip.prediction.contract import Prompts

THREE = Prompts(("a", "b", "c"), torch.zeros(3, 1))


def test_it_repeats_the_last_visit_and_gives_others_the_last_mean():
    predictor = LastSeen()
    assert predictor.predict(THREE).mean.tolist() == [0.5, 0.5, 0.5]
    predictor.observe(THREE.select([0, 1]), torch.tensor([2.0, 8.0]), torch.tensor([8, 8]))
    predictor.observe(THREE.select([0]), torch.tensor([1.0]), torch.tensor([8]))
    assert predictor.predict(THREE).mean.tolist() == [0.125, 1.0, 0.125]
