import xml.etree.ElementTree as ET

from verl_vip.records.records import RecordWriter, read_run
from verl_vip.reporting.pareto import outcomes
from verl_vip.reporting.pictures import comparison_pictures, run_pictures


def names(pictures):
    return {part: [picture.name for picture in shown] for part, shown in pictures.items()}


def test_pictures_of_a_run(run_folder):
    pictures = run_pictures(read_run(run_folder))
    assert names(pictures) == {
        "accuracy": ["accuracy_by_rollouts", "accuracy_by_tokens", "accuracy_by_time", "accuracy_by_family"],
        "rollouts": ["counts_by_prediction", "counts_over_time", "no_signal", "teaching"],
        "predictions": ["reliability", "overhead"],
    }
    figure = ET.fromstring(pictures["accuracy"][0].html())
    assert figure.tag == "figure"
    assert figure.find("h3").text == "Accuracy against rollouts"
    drawing = figure.find("{http://www.w3.org/2000/svg}svg")
    assert drawing.get("aria-label").startswith("Accuracy against rollouts. Rollouts are what the budget counts")
    assert "95% interval" in figure.find("figcaption").text


def test_pictures_leave_out_what_was_not_recorded(tmp_path, make_header, make_step, make_validation):
    writer = RecordWriter(tmp_path)
    writer.append(make_header())
    assert names(run_pictures(read_run(tmp_path))) == {"accuracy": []}
    writer.append(make_validation(0))
    assert names(run_pictures(read_run(tmp_path))) == {"accuracy": []}, "one validation is no curve"
    writer.append(make_step(1, seconds={}))
    writer.append(make_validation(1))
    assert names(run_pictures(read_run(tmp_path))) == {
        "accuracy": ["accuracy_by_rollouts", "accuracy_by_time", "accuracy_by_family"],
        "rollouts": ["counts_by_prediction", "counts_over_time", "no_signal"],
        "predictions": ["reliability"],
    }


def test_comparison_needs_no_steps(run_of):
    groups = {"vip": [run_of("a", steps=0, accuracies={0: 1.0, 16: 2.0})]}
    pictures = comparison_pictures(groups, outcomes(groups))
    assert names(pictures) == {"accuracy": ["accuracy_by_rollouts", "accuracy_by_time"]}


def test_pictures_of_several_runs(run_folder):
    run = read_run(run_folder)
    groups = {"vip": [run], "uniform": [run]}
    assert names(comparison_pictures(groups, outcomes(groups))) == {
        "accuracy": ["accuracy_by_rollouts", "accuracy_by_tokens", "accuracy_by_time"],
        "rollouts": ["counts_by_prediction", "no_signal"],
        "predictions": ["reliability", "overhead"],
    }


def test_budgets_that_differ_have_a_front(run_of):
    groups = {
        "vip (rollout.n=4)": [run_of("a", accuracies={0: 1.0, 16: 2.0})],
        "vip (rollout.n=8)": [run_of("b", accuracies={0: 1.0, 32: 3.0})],
    }
    assert names(comparison_pictures(groups, outcomes(groups)))["accuracy"][0] == "pareto"


def test_of_many_groups_the_best_are_drawn(run_of):
    groups = {f"s{k}": [run_of(f"s{k}", f"s{k}", {0: 1.0, 16: 10.0 + k})] for k in range(10)}
    first = comparison_pictures(groups, outcomes(groups))["accuracy"][0]
    legend = first.figure.axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == [f"s{k}" for k in range(2, 10)]
    assert "Of 10 lines the 8 that ended with the best accuracy are drawn" in first.caption


def test_runs_without_token_counts_are_named(write_run, tmp_path):
    groups = {
        name: [read_run(write_run(tmp_path / name, name, steps=5, with_tokens=name == "vip"))]
        for name in ("vip", "uniform")
    }
    tokens = comparison_pictures(groups, outcomes(groups))["accuracy"][1]
    assert tokens.name == "accuracy_by_tokens"
    assert "for lack of token counts: one run." in tokens.caption
    assert len(tokens.figure.axes[0].lines) == 1
