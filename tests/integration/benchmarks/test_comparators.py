"""The benches with comparators: their pools, their rules, and one step of every arm."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.learning.analysis import Curves
from benchmarks.learning.arms import TrainingArm
from benchmarks.learning.base_model import settings_of
from benchmarks.learning.benches import BENCHES, RESULTS, tuned_jobs
from benchmarks.learning.comparators import COMPARATORS, HIDDEN, REVISITED
from benchmarks.learning.loop import Run, RunPlan, accuracies, identity
from benchmarks.learning.policy import Policy
from benchmarks.learning.report import compare, settled
from benchmarks.learning.rollouts import PromptTokens, success
from benchmarks.learning.runner import read_results
from benchmarks.learning.task_sets import TASK_SETS
from benchmarks.learning.tuning import ruled_targets
from benchmarks.learning.update import Estimator, coefficients
from benchmarks.learning.world import TaskWorld, draw_beyond, draw_tasks, labels_of
from verl_vip.advantages.selection import Selection
from verl_vip.prediction.contract import Prediction, Prompts

PAD, END = 0, 1
FIRST = COMPARATORS[0]
ARMS = {name: grid[0][0] for name, grid in FIRST.grids.items()} | {
    name: replace(FIRST.grids[source][0][0], name=name, **changes) for name, (source, changes) in FIRST.derived.items()
}


@pytest.fixture(scope="module")
def world(model_folder):
    """500 prompts with labels; the right answer begins with the letter that the model writes most often."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.cartesian_prod(*[torch.arange(2, 7)] * 4)[torch.randperm(625, generator=generator)[:500]]
    policy = Policy.load(model_folder)
    with torch.no_grad():
        answers = policy.logits(policy.hidden(tokens))[:, -1, 2:].argmax(dim=1, keepdim=True) + 2

    def part(rows):
        size = len(tokens[rows])
        return PromptTokens(
            tokens[rows], torch.full((size,), 4), answers[rows], torch.full((size,), 1), PAD, END, trailing=1
        )

    return TaskWorld(
        model_folder,
        part(slice(None)),
        Prompts(tuple(map(str, range(500))), torch.randn(500, 4, generator=generator)),
        part(slice(0, 6)),
        [("only", 1)] * 6,
        {
            "family": tuple(str(row % 12) for row in range(500)),
            "source": tuple("own" if row % 5 == 0 else "repeated" for row in range(500)),
        },
        part(slice(6, 8)),
        torch.tensor([1.0] * 6 + [5.0] * 2, dtype=torch.float64) / 16,
    )


@pytest.mark.parametrize("name", sorted(ARMS))
def test_every_arm_takes_a_step(name, world):
    arm = ARMS[name]
    run = Run(RunPlan(arm, "tiny", 1e-3, seed=0, max_rollouts=1, evaluate_every=1, stop_at=1.0), world)
    before = [weights.clone() for weights in run.policy.parameters()]
    curve = run.train()
    assert 0 < curve[-1].rollouts <= arm.rollouts
    if arm.strategy not in ("greso", "dynamic_pruning"):  # these may spend less
        assert curve[-1].rollouts == arm.rollouts
    moved = any(not torch.equal(old, new) for old, new in zip(before, run.policy.parameters(), strict=True))
    assert moved


def test_rules_that_decide_on_prompts_alone_have_one_rollout_for_each():
    for name in ("mopps_one", "pruned_prompts", "balanced_families", "prioritized_in_sources"):
        for arm, _ in FIRST.grids[name]:
            assert arm.prompts == arm.rollouts
            assert arm.estimator.kind == "reinforce"


def test_labels_reach_the_strategy_and_only_where_an_arm_asks_for_them(world):
    for name, kind in (("balanced_families", "family"), ("balanced_sources", "source"), ("prioritized", "")):
        run = Run(RunPlan(ARMS[name], "tiny", 1e-3, 0, 1, 1, 1.0), world)
        assert run._prompts.labels == (world.labels[kind] if kind else None)


def test_a_balanced_draw_gives_every_source_as_many_rollouts(world):
    seen = Counter()
    run = Run(RunPlan(replace(ARMS["balanced_sources"], prompts=8, rollouts=8), "tiny", 1e-3, 0, 96, 96, 1.0), world)
    observe = run._predictor.observe
    run._predictor.observe = lambda prompts, wins, trials: (seen.update(prompts.labels), observe(prompts, wins, trials))
    run.train()
    assert seen == {"own": 48, "repeated": 48}


def test_the_pools_accuracy_weights_prompts_by_the_pool(world):
    policy = world.policy()
    own, pool = accuracies(policy, world)
    each = success(policy, world.train).double()
    assert own == pytest.approx(float(each[:6].mean()), abs=1e-6)
    assert pool == pytest.approx(float((each[:6].sum() + 5 * each[6:8].sum()) / 16), abs=1e-6)


def test_held_out_prompts_stand_for_the_pools_proportions():
    name = "mixture_report"
    train, held_out = draw_tasks(name)
    beyond = draw_beyond(name)
    copies = TASK_SETS[name].copies
    cells = Counter(task.family for task in train)
    assert not {task.prompt for task in beyond} & {task.prompt for task in (*train, *held_out)}
    shares = Counter()
    for task in (*held_out, *beyond):
        shares[task.family] += copies.get(task.family, 1)
    ratio = {family: cells[family] / shares[family] for family in cells}
    assert len(set(ratio.values())) == 1
    labels = labels_of(train, TASK_SETS[name])
    assert Counter(labels["source"]) == {"own": 1440, "repeated": 3600, "beyond": 2880}
    assert len(set(labels["family"])) == 12


def test_groups_of_four_meet_every_prompt_of_the_small_pool_three_times():
    for bench in REVISITED:
        train, _ = draw_tasks(bench.report_set)
        assert 3 * len(train) <= bench.report_rollouts / 4
    large, small = (draw_tasks(bench.report_set) for bench in (FIRST, REVISITED[0]))
    assert large[1] == small[1]  # the same held-out prompts


@pytest.mark.parametrize("name", ["hidden_tuning", "hidden_report"])
def test_hidden_prompts_are_worded_as_the_others_and_every_family_has_its_share(name):
    task_set = TASK_SETS[name]
    train, held_out = draw_tasks(name)
    assert not {task.prompt for task in train} & {task.prompt for task in held_out}
    assert set(Counter((task.family, task.difficulty) for task in held_out).values()) == {6}
    assert not any(task_set.hides(task) for task in held_out)
    share = {
        family: np.mean([task_set.hides(task) for task in train if task.family == family])
        for family in task_set.right_rate
    }
    assert all(0.65 < one < 0.9 for one in share.values())
    wordings = {
        hides: {task.prompt.partition(":")[0] for task in train if task_set.hides(task) == hides}
        for hides in (True, False)
    }
    assert wordings[True] == wordings[False]
    rule = {"hidden_tuning": ("last_two", lambda s: s[-2:]), "hidden_report": ("without_first", lambda s: s[1:])}[name]
    mine = [task for task in train if task.family == rule[0]]
    assert [task.answer == rule[1](task.operand) for task in mine] == [not task_set.hides(task) for task in mine]
    assert all(len(task.answer) == len(rule[1](task.operand)) for task in mine)
    assert not any(task_set.hides(task) for task in task_set.draw(20, 0))
    assert 3 * len(train) <= HIDDEN[0].report_rollouts / 4
    assert set(labels_of(train, task_set)["source"]) == {"own"}


def test_the_base_models_of_a_bench_differ_in_their_seed_alone():
    sets = [TASK_SETS[bench.report_set] for bench in COMPARATORS]
    settings = [settings_of(one) for one in sets]
    assert len({one.training.seed for one in settings}) == 3
    assert len({replace(one.training, seed=0) for one in settings}) == 1
    assert len({str(one.right_rate) for one in sets}) == 1
    assert [bench.tuning_file for bench in COMPARATORS] == ["comparators/tuning.jsonl"] * 3
    bases = [TASK_SETS[bench.report_set].base for bench in REVISITED]
    assert bases == [bench.report_set for bench in COMPARATORS]


def test_committed_runs_keep_their_keys():
    for name in ("mixture", "lopsided", "short_answers"):
        bench = BENCHES[name]
        finished = {identity(run["job"]) for run in read_results(RESULTS / f"{bench.files}/runs.jsonl")}
        planned = {identity(job.key()) for job in tuned_jobs(bench, bench.report_seeds)}
        assert len(finished & planned) > len(finished) / 2
    plain, labelled = (RunPlan(TrainingArm("a", labels=kind), "t", 1.0, 0, 1, 1, 1.0).key() for kind in ("", "source"))
    assert "labels" not in plain["arm"]
    assert labelled["arm"]["labels"] == "source"
    rows = RunPlan(TrainingArm("a", estimator=Estimator(prompt_weight="rows")), "t", 1.0, 0, 1, 1, 1.0).key()
    assert rows["arm"]["estimator"]["prompt_weight"] == "rows"
    assert "prompt_weight" not in plain["arm"]["estimator"]


def test_rows_of_equal_weight_give_a_prompt_the_weight_of_its_count():
    outcomes = torch.tensor([1.0, 0.0, 1.0, 0.0, 0.0, 0.0], dtype=torch.float64).split([2, 4])
    prediction = Prediction(torch.full((2,), 0.5), torch.zeros(2))
    equal, rows = (
        coefficients(outcomes, prediction, Selection(), Estimator(prompt_weight=weight)) for weight in ("equal", "rows")
    )
    assert rows[:2].tolist() == pytest.approx([1 / 6, -1 / 6])
    torch.testing.assert_close(rows * 6 / torch.tensor([2.0] * 2 + [4.0] * 4), equal * 2)


def curves(**ends):
    """Arms whose runs rise evenly from .4 to their ends over 600 rollouts."""
    spent = {"prompt_tokens": 1, "answer_tokens": 1, "seconds": 1.0}
    found = {}
    for name, levels in ends.items():
        runs = [
            [
                {"rollouts": 100 * k, "accuracy": 0.4 + (end - 0.4) * k / 6, "pool_accuracy": 0.2 + end / 10 * k / 6,
                 **spent}
                for k in range(7)
            ]
            for end in levels
        ]  # fmt: skip
        found[name] = Curves(name, 1e-3, 600, list(range(len(levels))), runs)
    return found


def test_target_and_reference_follow_from_the_uniform_arms():
    arms = curves(uniform_a=(0.7, 0.7, 0.74), uniform_b=(0.5, 0.5, 0.5), prioritized=(0.9, 0.9, 0.9))
    # After two thirds, uniform_a is at .4 + 2/3 of the mean rise, .6089.
    assert settled(FIRST, arms) == (0.6, "uniform_a")
    assert settled(replace(FIRST, target=0.5, reference="uniform_b"), arms) == (0.5, "uniform_b")
    found = compare(arms, FIRST)
    assert (found["target_accuracy"], found["reference"]) == (0.6, "uniform_a")
    pool = found["on_the_pools_mixture"]
    assert (pool["target_accuracy"], pool["reference"]) == (0.24, "uniform_a")
    assert pool["rollouts_to_target_vs_uniform"]["prioritized"]["value"] > 1
    without = [
        [{name: value for name, value in point.items() if name != "pool_accuracy"} for point in run]
        for run in arms["prioritized"].runs
    ]
    arms["prioritized"] = replace(arms["prioritized"], runs=without)
    assert "on_the_pools_mixture" not in compare(arms, FIRST)


def test_tuning_targets_follow_from_the_runs_that_come_first():
    options = FIRST.candidates()["uniform_reinforce"][:2]
    ends, records = (0.6, 0.8), []
    for runs, end in zip(options, ends, strict=True):
        curve = [{"rollouts": 100.0 * k, "accuracy": 0.4 + (end - 0.4) * k / 60} for k in range(61)]
        records.append({"job": runs[0].key(), "curve": curve})
    found = ruled_targets(records, options)
    assert found == (0.6, pytest.approx(0.69))  # the mean .6 + .1 of the last points is smoothed to just below .70
    assert np.mean(ends) == pytest.approx(0.7)
    with pytest.raises(SystemExit, match="run `tune --arms uniform_reinforce` first"):
        ruled_targets(records[:1], options)
