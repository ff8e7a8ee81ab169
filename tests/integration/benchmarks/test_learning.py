"""The learning benchmark's own parts: the model, the sampling, the reading of curves, the resuming."""

import json
from collections import Counter
from dataclasses import dataclass, replace
from random import Random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import Qwen2ForCausalLM

from benchmarks.learning import runner, sensitivity
from benchmarks.learning.analysis import Curves, accuracy_per_seed, group_runs, smooth, spent_at
from benchmarks.learning.arms import TrainingArm
from benchmarks.learning.base_model import WithFreeLetters
from benchmarks.learning.benches import BENCHES, RESULTS
from benchmarks.learning.loop import CurvePoint, RunPlan, identity
from benchmarks.learning.policy import Policy
from benchmarks.learning.report import compare, targets
from benchmarks.learning.rollouts import PromptTokens, SampledAnswers, log_probability, sample, success
from benchmarks.learning.runner import read_results
from benchmarks.learning.task_sets import OTHER_COPIES, TASK_SETS, mixture_with
from benchmarks.learning.tuning import Scores, choose, finalists
from benchmarks.learning.update import Estimator, coefficients
from benchmarks.learning.world import draw_tasks
from verl_vip.advantages.selection import Selection
from verl_vip.errors import InvalidInputError
from verl_vip.prediction.contract import Prediction

PAD, END = 0, 1


@pytest.fixture(scope="module")
def models(model_folder):
    return Qwen2ForCausalLM.from_pretrained(model_folder), Policy.load(model_folder)


@pytest.fixture
def prompts():
    tokens = torch.tensor([[2, 3, 4, 5], [6, 2, PAD, PAD]])
    answers = torch.tensor([[3, END, PAD], [4, 5, END]])
    return PromptTokens(tokens, torch.tensor([4, 2]), answers, torch.tensor([2, 3]), PAD, END)


def test_the_policy_is_qwen2(models):
    reference, policy = models
    tokens = torch.randint(7, (3, 9), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.allclose(policy.logits(policy.hidden(tokens)), reference(tokens).logits, atol=1e-5)


def test_answers_come_as_often_as_their_probability_says(models, prompts):
    _, policy = models
    counts = torch.tensor([4000, 4000])
    drawn = sample(policy, prompts, counts, torch.Generator().manual_seed(0))
    exact = success(policy, prompts)
    assert torch.bincount(drawn.prompt).tolist() == counts.tolist()
    for row in range(2):
        assert float(drawn.rewards[drawn.prompt == row].mean()) == pytest.approx(float(exact[row]), abs=0.015)
    ended = drawn.tokens.gather(1, drawn.lengths[:, None] - 1)[:, 0] == END
    assert (ended | (drawn.lengths == drawn.tokens.shape[1])).all()
    with torch.no_grad():
        each = log_probability(policy, prompts, drawn.prompt, drawn.tokens, drawn.lengths)
    right = drawn.rewards == 1
    assert torch.allclose(each[right].exp().double(), exact[drawn.prompt[right]], rtol=1e-4)


def test_an_answer_after_free_tokens_counts_whatever_they_are(models, prompts):
    _, policy = models
    free = replace(prompts, free=2)
    drawn = sample(policy, free, torch.tensor([6000, 6000]), torch.Generator().manual_seed(0))
    known = success(policy, free, samples=3000)
    for row in range(2):
        mine = drawn.prompt == row
        assert float(drawn.rewards[mine].mean()) == pytest.approx(float(known[row]), abs=0.012)
        right = drawn.tokens[mine & (drawn.rewards == 1)]
        assert len(right.unique(dim=0)) > 1 or float(known[row]) < 0.01
        length = int(prompts.answer_lengths[row])
        assert (right[:, 2 : 2 + length] == prompts.answers[row, :length]).all()
    assert torch.equal(success(policy, free, 50, seed=1), success(policy, free, 50, seed=1))


def test_an_answer_counts_whatever_follows_its_stop(models, prompts):
    _, policy = models
    trailing = replace(prompts, trailing=3)
    drawn = sample(policy, trailing, torch.tensor([6000, 6000]), torch.Generator().manual_seed(0))
    exact = success(policy, trailing)
    for row in range(2):
        mine = drawn.prompt == row
        assert float(drawn.rewards[mine].mean()) == pytest.approx(float(exact[row]), abs=0.012)
        length = int(prompts.answer_lengths[row])
        same = (drawn.tokens[mine, :length] == prompts.answers[row, :length]).all(1)
        assert (same == (drawn.rewards[mine] == 1)).all()
    assert drawn.tokens.shape[1] == prompts.longest + 3 + 2


def test_letters_that_follow_an_answer_come_before_its_end():
    example = WithFreeLetters([1], [[7, 9, 0], [8, 9, 0]], 0.5, 0, 3, [2, 3, 4])
    rows = [example.draw(Random(seed), only_right=False)[1] for seed in range(40)]
    assert {tuple(row[:2]) for row in rows} == {(7, 9), (8, 9)}
    assert {row[-1] for row in rows} == {0}
    assert len({tuple(row[2:-1]) for row in rows}) > 10


def test_the_base_model_is_taught_other_free_letters_each_time():
    example = WithFreeLetters([1], [[7, 0], [8, 0]], 0.5, 3, 0, [2, 3, 4])
    rows = [example.draw(Random(seed), only_right=False)[1] for seed in range(40)]
    assert {tuple(row[3:]) for row in rows} == {(7, 0), (8, 0)}
    assert len({tuple(row[:3]) for row in rows}) > 10
    assert {letter for row in rows for letter in row[:3]} == {2, 3, 4}


def test_the_mean_of_the_batch_leaves_each_rollout_out_of_its_own_baseline():
    outcomes = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64).split(1)
    prediction = Prediction(torch.full((3,), 0.5), torch.zeros(3))
    found = coefficients(outcomes, prediction, Selection(), Estimator("batch_mean"))
    assert found.tolist() == pytest.approx([0.5 / 3, -1 / 3, 0.5 / 3])
    lone = Prediction(torch.tensor([0.5]), torch.zeros(1))
    assert coefficients(outcomes[:1], lone, Selection(), Estimator("batch_mean")).tolist() == [0.0]
    pooled = Selection(keep=(torch.tensor([True]),) * 3, baseline="sampled")
    with pytest.raises(InvalidInputError, match="batch_mean centres on the kept rollouts"):
        coefficients(outcomes, prediction, pooled, Estimator("batch_mean"))


def test_rounds_are_joined_prompt_by_prompt():
    def part(prompt, rewards):
        size = len(prompt)
        return SampledAnswers(
            torch.tensor(prompt), torch.zeros(size, 2).long(), torch.ones(size).long(), torch.tensor(rewards).double()
        )

    joined = SampledAnswers.join([part([0, 2], [0.1, 0.2]), part([0, 1, 2], [0.3, 0.4, 0.5])])
    assert joined.prompt.tolist() == [0, 0, 1, 2, 2]
    assert joined.rewards.tolist() == pytest.approx([0.1, 0.3, 0.4, 0.2, 0.5])


def test_every_prompt_served_counts_the_same_and_discards_do_not():
    outcomes = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0], dtype=torch.float64).split([2, 4, 1])
    prediction = Prediction(torch.full((3,), 0.5), torch.zeros(3))
    plain = coefficients(outcomes, prediction, Selection(), Estimator("rloo"))
    assert plain.tolist() == pytest.approx([1 / 6, -1 / 6, 2 / 3 / 12, 2 / 3 / 12, -2 / 3 / 12, -2 / 3 / 12, 0.0])
    keep = (torch.tensor([True, True]), torch.tensor([True, False, True, False]), torch.tensor([False]))
    some = coefficients(outcomes, prediction, Selection(keep=keep), Estimator("rloo"))
    assert some.tolist() == pytest.approx([1 / 4, -1 / 4, 1 / 4, 0, -1 / 4, 0, 0])
    pooled = coefficients(outcomes, prediction, Selection(keep=keep, baseline="sampled"), Estimator("dr_grpo"))
    assert pooled.tolist() == pytest.approx([1 / 8, -1 / 8, 1 / 8, 0, -1 / 8, 0, 0])
    weighted = coefficients(
        outcomes, prediction, Selection(prompt_weight=torch.tensor([2.0, 1.0, 1.0])),
        Estimator("predicted_baseline", strongest=1e6),
    )  # fmt: skip
    assert weighted.tolist() == pytest.approx([1 / 6, -1 / 6, 1 / 24, 1 / 24, -1 / 24, -1 / 24, 1 / 6], abs=1e-5)


@pytest.mark.parametrize("kind", ["", "working_", "lopsided_", "mixture_"])
def test_no_family_and_no_wording_is_in_both_task_sets(kind):
    tuning, report = TASK_SETS[kind + "tuning"], TASK_SETS[kind + "report"]
    assert not set(tuning.right_rate) & set(report.right_rate)
    assert not {task.prompt for task in tuning.draw(5, 0)} & {task.prompt for task in report.draw(5, 0)}


@pytest.mark.parametrize("name", ["working_report", "lopsided_report", "mixture_report", "mixture_report_0_0"])
def test_training_and_held_out_tasks_share_no_prompt_and_every_cell_is_held_out_equally(name):
    train, held_out = draw_tasks(name)
    assert not {task.prompt for task in train} & {task.prompt for task in held_out}
    assert len({task.prompt for task in train}) == len(train)
    assert set(Counter((task.family, task.difficulty) for task in held_out).values()) == {6}
    cells = Counter((task.family, task.difficulty) for task in train)
    copies, beyond = TASK_SETS[name].copies, TASK_SETS[name].beyond
    assert all(cells[family, level] == 60 * copies.get(family, 1) for family, level in cells)
    assert not beyond & {task.family for task in held_out}


def test_the_first_crossing_is_interpolated_on_the_smoothed_curve():
    accuracy = np.array([0.3, 0.3, 0.6, 0.6, 0.6])
    assert smooth(accuracy).tolist() == pytest.approx([0.3, 0.4, 0.5, 0.6, 0.6])
    spent = np.arange(5) * 100.0
    assert spent_at(accuracy, spent, 0.45) == (pytest.approx(150.0), True)
    assert spent_at(accuracy, spent, 0.9) == (400.0, False)
    points = [{"rollouts": x, "accuracy": y} for x, y in zip(spent, accuracy, strict=True)]
    assert accuracy_per_seed(Curves("a", 1e-3, 400, [0], [points]), 150).tolist() == pytest.approx([0.45])
    # a curve that falls back is shown as it is, and has reached what it reached
    fallen = np.array([0.3, 0.6, 0.6, 0.6, 0.0])
    assert smooth(fallen).tolist() == pytest.approx([0.3, 0.5, 0.6, 0.4, 0.3])
    assert spent_at(fallen, spent, 0.5) == (pytest.approx(100.0), True)


def test_a_run_that_misses_the_target_counts_with_its_length_in_every_arm():
    bench = BENCHES["working"]
    arms = {job.arm.name: job for (job, *_), *_ in bench.candidates().values()}
    ends = {"prioritized": (0.5, 0.9, 0.9), "uniform_8": (0.5, 0.5, 0.5), "uniform_reinforce": (0.5, 0.5, 0.5)}
    records = []
    for name, end in ends.items():
        for seed in range(3):
            accuracies = [0.4] * 3 + [end[seed] if name == "prioritized" else end[0]] * 5
            records.append(_finished(replace(arms[name], seed=seed), accuracies))
    found = compare(group_runs(records), replace(bench, target=0.6, other_targets=(), reference="uniform_8"))
    row = found["prioritized_vs_strongest_uniform_by_target"]["0.6"]
    assert (row["arm_runs_that_missed"], row["reference_runs_that_missed"]) == (1, 3)
    reached = found["arms"]["prioritized"]["rollouts_to_target_by_seed"][1]
    # The curves end after 700 rollouts: one of three runs of the arm, and all of the reference, count with that.
    assert found["arms"]["prioritized"]["rollouts_to_target_by_seed"] == [700, reached, reached]
    assert row["value"] == pytest.approx((700 / reached) ** (2 / 3), rel=2e-3)
    assert found["rollouts_to_target_vs_uniform"]["uniform_8"] == {"value": 1.0, "low": 1.0, "high": 1.0}


def test_runs_of_different_lengths_are_not_compared():
    run = BENCHES["working"].candidates()["uniform_8"][0][0]
    records = [_finished(replace(run, seed=seed, max_rollouts=100 + seed), [0.4]) for seed in range(2)]
    with pytest.raises(ValueError, match=r"runs end after \[100, 101\] rollouts"):
        group_runs(records)


def test_the_curve_of_ratios_goes_as_far_as_half_of_the_runs():
    def arm(name, *heights):
        runs = [
            [{"rollouts": 100 * (k + 1), "accuracy": h} for k, h in enumerate([0.4, 0.4, *[top] * 4])]
            for top in heights
        ]
        return Curves(name, 1e-3, 600, list(range(len(runs))), runs)

    bench = replace(BENCHES["working"], target=0.5, other_targets=(), reference="uniform_8")
    curves = {"uniform_8": arm("uniform_8", 0.43, 0.45, 0.9), "prioritized": arm("prioritized", 0.47, 0.47, 0.9)}
    assert targets(curves, bench) == [0.41, 0.42, 0.43, 0.44, 0.45, 0.5]


def test_the_results_are_those_of_the_committed_runs():
    """Every reported run has a seed below the number that was fixed for its bench."""
    reported = [bench for bench in BENCHES.values() if (RESULTS / f"{bench.files}/runs.jsonl").exists()]
    assert len(reported) >= 6
    for bench in reported:
        found = json.loads((RESULTS / f"{bench.files}/ratios.json").read_text())
        assert bench.reference in ("", found["reference"])
        assert {seed for arm in found["arms"].values() for seed in arm["seeds"]} <= set(range(bench.report_seeds))
        assert found["horizon_rollouts"] == bench.report_rollouts


def _finished(run, accuracies):
    spent = {"prompt_tokens": 10, "answer_tokens": 10, "seconds": 1.0}
    curve = [{**spent, "rollouts": 100 * k, "accuracy": accuracy} for k, accuracy in enumerate(accuracies)]
    return {"job": run.key(), "curve": curve}


def test_prioritized_is_set_against_the_uniform_arm_that_is_strongest_at_each_target():
    def straight(name: str, levels: tuple[float, float]) -> Curves:
        # Three points of each level, which change after 300 and 600 rollouts.
        accuracy = [0.1] * 3 + [levels[0]] * 3 + [levels[1]] * 3
        spent = {"prompt_tokens": 0, "answer_tokens": 1, "seconds": 1.0}
        run = [{"rollouts": 100 * (k + 1), "accuracy": a, **spent} for k, a in enumerate(accuracy)]
        return Curves(name, 1e-3, 900, [0, 1], [run, run])

    arms = {"uniform_early": (0.5, 0.55), "uniform_late": (0.3, 0.9), "prioritized": (0.7, 0.9)}
    curves = {name: straight(name, levels) for name, levels in arms.items()}
    bench = replace(BENCHES["working"], target=0.4, other_targets=(0.6,), reference="uniform_early")
    found = compare(curves, bench)["prioritized_vs_strongest_uniform_by_target"]
    assert {target: found[target]["reference"] for target in ("0.4", "0.6")} == {
        "0.4": "uniform_early",
        "0.6": "uniform_late",
    }
    # Crossings on the smoothed curves: .6 after 650 and 450 rollouts, .4 after 425 and 350.
    assert found["0.6"]["value"] == pytest.approx(650 / 450, abs=1e-4)
    assert found["0.4"]["value"] == pytest.approx(425 / 350, abs=1e-4)
    assert found["0.6"]["reference_runs_that_missed"] == found["0.6"]["arm_runs_that_missed"] == 0


def test_the_candidate_with_the_fewest_rollouts_is_chosen_on_the_seeds_that_all_have():
    bench = BENCHES["short_answers"]
    found = {name: options[:2] for name, options in bench.candidates().items() if name in ("uniform", "pods")}
    slow, fast = [0.4, 0.4, 0.6, 0.7, 0.8, 0.8], [0.4, 0.7, 0.8, 0.8]
    records = []
    for first, second in found.values():
        records += [_finished(run, slow) for run in first]
        records += [_finished(run, fast) for run in second[:2]]  # the third seed, where it has no run, does not count
    chosen = choose(found, Scores(records, bench.tuning_targets))
    for name, (_, second) in found.items():
        assert (chosen[name].arm, chosen[name].learning_rate) == (second[0].arm, second[0].learning_rate)
        assert chosen[name].seeds == (0, 1)
    with pytest.raises(SystemExit, match="arm uniform has no seed with all its tuning runs"):
        choose(found, Scores([], bench.tuning_targets))


def test_finalists_lead_with_the_first_seed_and_are_chosen_from_by_all_seeds():
    bench = BENCHES["short_answers"]
    options = bench.candidates()["uniform"][:3]
    slow, middling, fast = [*[0.4] * 9, 0.8, 0.8], [0.4, 0.4, 0.6, 0.8, 0.8], [0.4, 0.6, 0.8, 0.8]
    records = [_finished(runs[0], curve) for runs, curve in zip(options, (fast, middling, slow), strict=True)]
    scores = Scores(records, bench.tuning_targets)
    assert finalists(options, scores, 2) == [options[0], options[1]]
    assert finalists([*options, bench.candidates()["pods"][0]], scores, 2) == []
    records += [_finished(options[0][1], slow), _finished(options[1][1], middling), _finished(options[2][1], fast)]
    records += [_finished(options[0][2], slow), _finished(options[1][2], middling)]
    chosen = choose({"uniform": options}, Scores(records, bench.tuning_targets), final=2)["uniform"]
    assert (chosen.arm, chosen.learning_rate, chosen.seeds) == (
        options[1][0].arm,
        options[1][0].learning_rate,
        (0, 1, 2),
    )


def test_settings_that_never_get_to_a_target_are_ordered_by_where_they_end():
    bench = BENCHES["mixture"]
    options = bench.candidates()["pods"][:3]
    ends = (0.41, 0.44, 0.43)
    records = [_finished(run, [0.4, end]) for runs, end in zip(options, ends, strict=True) for run in runs]
    scores = Scores(records, bench.tuning_targets)
    assert finalists(options, scores, 2) == [options[1], options[2]]
    chosen = choose({"pods": options}, scores)["pods"]
    assert (chosen.arm, chosen.learning_rate) == (options[1][0].arm, options[1][0].learning_rate)


def test_pools_of_the_mixture_differ_in_what_they_hold_and_share_base_model_and_held_out_prompts():
    _, held_out = draw_tasks("mixture_report")
    for copies in OTHER_COPIES:
        name = mixture_with(*copies)
        others, same = draw_tasks(name)
        assert same == held_out
        assert TASK_SETS[name].base == "mixture_report"
        assert TASK_SETS[name].right_rate == TASK_SETS["mixture_report"].right_rate
        count = Counter(task.family in TASK_SETS[name].copies for task in others)
        assert count[False] == 1440
        assert count[True] == 360 * sum(copies)


def test_a_pools_gain_is_read_off_once_all_its_arms_have_run():
    planned = [job for job in sensitivity.jobs(2) if job.task_set == mixture_with(1, 1)]
    levels = {"prioritized": [0.5, 0.6, 0.7, 0.7, 0.7], "uniform_64": [0.5, 0.5, 0.6, 0.7, 0.7, 0.7]}
    records = [_finished(job, levels.get(job.arm.name, [0.5] * 9)) for job in planned]
    (pool,) = sensitivity.read_off(records)
    assert (pool.prompts, pool.can_teach, pool.free_letters, pool.start) == (2160, 0.667, 32, 0.5)
    # Crossings of .67 on the smoothed curves: after 210 and 310 rollouts.
    assert pool.gain["reference"] == "uniform_64"
    assert pool.gain["value"] == pytest.approx(310 / 210, abs=1e-3)
    assert sensitivity.read_off([record for record in records if record["job"]["arm"]["name"] != "prioritized"]) == []


def test_an_only_candidate_needs_no_runs_to_be_chosen():
    bench = BENCHES["working"]
    only = bench.candidates()["uniform_16"]
    chosen = choose({"uniform_16": only}, Scores([], bench.tuning_targets), final=bench.finalists)["uniform_16"]
    assert (len(only), chosen.arm, chosen.seeds) == (1, only[0][0].arm, ())


def test_the_first_benchmarks_runs_are_those_that_its_results_have():
    bench = BENCHES["short_answers"]
    scores = Scores(read_results(RESULTS / f"{bench.files}/tuning.jsonl"), bench.tuning_targets)
    jobs = [identity(job.key()) for job in bench.report_jobs(5, choose(bench.candidates(), scores))]
    finished = [identity(record["job"]) for record in read_results(RESULTS / f"{bench.files}/runs.jsonl")]
    assert finished
    assert set(finished) <= set(jobs)


def test_more_jobs_than_a_pipe_holds_are_each_run_once(tmp_path, monkeypatch):
    @dataclass
    class Instant:
        job: RunPlan
        world: None
        seconds: tuple[float, ...] = ()

        def train(self):
            return [CurvePoint(0, 0, 0, 0, 0.0, 0.5, 0.5)]

    monkeypatch.setattr(runner, "Run", Instant)  # workers are forked, and so have it too
    monkeypatch.setattr(runner, "load_world", lambda *_: SimpleNamespace(policy=lambda: None))
    monkeypatch.setattr(runner, "accuracy", lambda *_: 0.5)
    arm = TrainingArm("any")
    jobs = [RunPlan(arm, "tuning", 1e-3, seed, 1, 1, 1.0) for seed in range(400)]
    for _ in range(2):
        runner.run_jobs(jobs, tmp_path / "runs.jsonl", tmp_path, workers=2)
    seeds = [record["job"]["seed"] for record in read_results(tmp_path / "runs.jsonl")]
    assert sorted(seeds) == list(range(400))

    # Runs from another base model are not added to these.
    monkeypatch.setattr(runner, "accuracy", lambda *_: 0.51)
    with pytest.raises(SystemExit, match=r"from a base model of accuracy 0\.5000, but the one here has 0\.5100"):
        runner.run_jobs([*jobs, RunPlan(arm, "tuning", 1e-3, 400, 1, 1, 1.0)], tmp_path / "runs.jsonl", tmp_path)
    assert len(read_results(tmp_path / "runs.jsonl")) == 400


def test_a_line_cut_short_is_not_a_result(tmp_path):
    path = tmp_path / "runs.jsonl"
    assert read_results(path) == []
    path.write_text(json.dumps({"job": 1}) + '\n{"job": ')
    assert read_results(path) == [{"job": 1}]
