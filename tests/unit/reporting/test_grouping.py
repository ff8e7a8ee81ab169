import pytest

from verl_vip.records.records import RecordWriter, read_run
from verl_vip.reporting.grouping import group_runs, is_seed, strategy_of


def test_runs_of_one_strategy_are_one_group_whatever_their_seed(run_of):
    runs = {"a": run_of("a", seed=1), "b": run_of("b", seed=2), "c": run_of("c", "uniform")}
    assert {name: list(members) for name, members in group_runs(runs).items()} == {
        "vip": ["a", "b"],
        "uniform": ["c"],
    }


def test_runs_with_other_vip_settings_are_told_apart(run_of):
    runs = {
        "a": run_of("a", predictor="gp"),
        "b": run_of("b", predictor="ridge"),
        "c": run_of("c", "uniform"),
    }
    assert list(group_runs(runs)) == ["vip (predictor=gp)", "vip (predictor=ridge)", "uniform"]


def test_run_without_steps_is_grouped_by_its_settings(run_of):
    assert list(group_runs({"a": run_of("a", "knapsack", steps=0)})) == ["knapsack"]


def test_runs_that_differ_in_seeds_and_places_alone_are_one_group(run_of):
    runs = {
        str(seed): run_of(
            str(seed),
            seed=seed,
            other={"actor_rollout_ref.actor.data_loader_seed": seed, "trainer.experiment_name": f"run-{seed}"},
            cache_dir=f"/tmp/{seed}",
        )
        for seed in (1, 2, 3)
    }
    assert {name: list(members) for name, members in group_runs(runs).items()} == {"vip": ["1", "2", "3"]}


def test_any_other_setting_tells_runs_apart(run_of):
    runs = {
        "a": run_of("a", other={"actor_rollout_ref.actor.optim.lr": 1e-6}),
        "b": run_of("b", other={"actor_rollout_ref.actor.optim.lr": 1e-5}),
    }
    assert sorted(group_runs(runs)) == ["vip (optim.lr=1e-05)", "vip (optim.lr=1e-06)"]


def test_groups_are_named_by_the_fewest_settings_and_sorted_by_number(run_of):
    runs = {
        f"{n}": run_of(f"{n}", other={"actor_rollout_ref.rollout.n": n, "data.max_response_length": 100 * n})
        for n in (16, 4, 8)
    }
    assert list(group_runs(runs)) == ["vip (rollout.n=4)", "vip (rollout.n=8)", "vip (rollout.n=16)"]


def test_budgets_tell_runs_apart_even_if_no_setting_does(tmp_path, make_header, make_step):
    runs = {}
    for budget in (16, 32):
        writer = RecordWriter(tmp_path / f"{budget}")
        writer.append(make_header(budget=budget))
        writer.append(make_step(1))
        runs[f"{budget}"] = read_run(tmp_path / f"{budget}")
    assert list(group_runs(runs)) == ["vip (rollouts_per_step=16)", "vip (rollouts_per_step=32)"]


def test_one_setting_may_not_be_enough(run_of):
    runs = {
        f"{predictor}{lower}": run_of(f"{predictor}{lower}", predictor=predictor, lower=lower)
        for predictor in ("gp", "ridge")
        for lower in (1, 2)
    }
    assert list(group_runs(runs)) == [
        "vip (predictor=gp, lower=1)",
        "vip (predictor=gp, lower=2)",
        "vip (predictor=ridge, lower=1)",
        "vip (predictor=ridge, lower=2)",
    ]


def test_strategies_keep_the_order_given(run_of):
    runs = {"u": run_of("u", "uniform"), "v": run_of("v"), "d": run_of("d", "dapo")}
    assert list(group_runs(runs)) == ["uniform", "vip", "dapo"]
    assert [strategy_of(run) for run in runs.values()] == ["uniform", "vip", "dapo"]


@pytest.mark.parametrize(
    ("key", "seed"),
    [("data.seed", True), ("actor.data_loader_seed", True), ("seed", True), ("vip.seeded", False), ("a.b", False)],
)
def test_seeds_are_known_by_name(key, seed):
    assert is_seed(key) is seed


def test_a_run_whose_settings_changed_on_the_way_is_told_from_one_that_kept_them(tmp_path, make_header, make_step):
    runs = {}
    for name, rates in {"changed": (1e-4, 1e-5), "kept": (1e-5, 1e-5), "kept too": (1e-5, 1e-5)}.items():
        writer = RecordWriter(tmp_path / name)
        for step, rate in enumerate(rates, start=1):
            settings = {"lr": rate, "trainer.total_training_steps": step, "data.seed": step}
            writer.append(make_header(settings=settings, resumed_from=step - 1 or None))
            writer.append(make_step(step))
        runs[name] = read_run(tmp_path / name)
    assert {name: list(members) for name, members in group_runs(runs).items()} == {
        "vip (lr=0.0001 (step 1); 1e-05 (step 2))": ["changed"],
        "vip (lr=1e-05)": ["kept", "kept too"],
    }
