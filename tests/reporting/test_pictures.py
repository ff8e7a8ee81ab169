import xml.etree.ElementTree as ET

from verl_vip.reporting.pictures import comparison_pictures, run_pictures
from verl_vip.reporting.records import RecordWriter, read_run


def test_pictures_of_a_run(run_folder):
    pictures = run_pictures(read_run(run_folder))
    assert [picture.name for picture in pictures] == [
        "accuracy_by_rollouts",
        "accuracy_by_steps",
        "accuracy_by_time",
        "accuracy_by_family",
        "counts_by_prediction",
        "counts_over_time",
        "reliability",
        "no_signal",
        "overhead",
    ]
    figure = ET.fromstring(pictures[0].html())
    assert figure.tag == "figure"
    assert figure.find("h3").text == "Accuracy against rollouts"
    drawing = figure.find("{http://www.w3.org/2000/svg}svg")
    assert drawing.get("aria-label") == "Accuracy against rollouts"
    assert "95% interval" in figure.find("figcaption").text


def test_pictures_leave_out_what_was_not_recorded(tmp_path, make_header, make_step, make_validation):
    writer = RecordWriter(tmp_path)
    writer.append(make_header())
    assert run_pictures(read_run(tmp_path)) == []
    writer.append(make_validation(0))
    assert len(run_pictures(read_run(tmp_path))) == 4
    writer.append(make_step(1, seconds={}))
    assert "overhead" not in [picture.name for picture in run_pictures(read_run(tmp_path))]
    assert len(run_pictures(read_run(tmp_path))) == 8


def test_comparison_needs_no_steps(tmp_path, make_header, make_validation):
    writer = RecordWriter(tmp_path)
    writer.append(make_header())
    writer.append(make_validation(0))
    assert len(comparison_pictures({"vip": [read_run(tmp_path)]})) == 3


def test_pictures_of_several_runs(run_folder):
    run = read_run(run_folder)
    names = [picture.name for picture in comparison_pictures({"vip": [run], "uniform": [run]})]
    assert names == ["accuracy_by_rollouts", "accuracy_by_steps", "accuracy_by_time", "no_signal"]
