"""Scorers on three scales, by data source, as verl's own are: the end-to-end test of reward ranges loads it by path."""


def compute_score(data_source, solution_str, ground_truth, extra_info=None, **_):
    right = len(solution_str) % 2 == 0  # what even an untrained model earns now and then
    if data_source == "signed":
        return {"score": 1.0 if right else -1.0, "acc": right, "pred": solution_str}
    if data_source == "stranger":
        return 7.0 if right else -3.0
    return float(right)
